# SPDX-License-Identifier: Apache-2.0
"""The pack: plan, sections, container, signature."""

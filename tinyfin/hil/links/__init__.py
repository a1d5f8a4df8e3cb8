# SPDX-License-Identifier: Apache-2.0
"""The line to one terminal: opened, slowed down, damaged, written down."""

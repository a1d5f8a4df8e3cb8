# SPDX-License-Identifier: Apache-2.0
"""Drafts of governance documents, every fact of them from a registry: docs/governance.md."""

# SPDX-License-Identifier: Apache-2.0
"""Anomaly models on payment transactions, from training to the payment terminal.

Importing this package imports nothing heavy: every part is a submodule that is imported by name.
"""

from __future__ import annotations

__version__ = "0.1.0"

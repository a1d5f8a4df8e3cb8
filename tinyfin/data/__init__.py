# SPDX-License-Identifier: Apache-2.0
"""Transactions in: readers, validation, the event stream and the simulator."""

from __future__ import annotations

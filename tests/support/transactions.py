# SPDX-License-Identifier: Apache-2.0
"""Transactions as the readers give them, made from arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from tinyfin.data.transactions import Transactions
from tinyfin.schema import PAYMENT, Schema


def transactions(t: ArrayLike, schema: Schema = PAYMENT, **columns: Any) -> Transactions:
    """Rows at the times ``t`` of one terminal: approved at once, without values and labels, but for
    the columns that are given."""
    clock = np.asarray(t).astype(np.uint32)
    n = len(clock)
    plain: dict[str, Any] = {
        "row": np.arange(n),
        "terminal": np.zeros(n, np.int32),
        "terminals": ("0",),
        "id": np.arange(n, dtype=np.uint64),
        "t_mono_s": clock,
        "t_local_s": clock,
        "values": np.zeros((n, len(schema.fields)), np.int64),
        "present": np.zeros(n, np.uint32),
        "result": np.zeros(n, np.uint8),
        "response": np.full(n, -1, np.int32),
        "action": np.zeros(n, np.uint8),
        "outcome_t_mono_s": clock,
        "label": np.full(n, -1, np.int8),
        "label_known_s": clock,
        "scenario": None,
        "scenario_code": np.zeros(n, np.int16),
    }
    for name, column in columns.items():
        known = plain[name]
        is_array = isinstance(known, np.ndarray)
        plain[name] = np.asarray(column).astype(known.dtype) if is_array else column
    return Transactions(schema, **plain)


def labelled(t: np.ndarray, label: np.ndarray, known: np.ndarray) -> Transactions:
    """Rows with labels, and when each is known."""
    return transactions(t, label=label, label_known_s=known)

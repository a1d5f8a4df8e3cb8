# SPDX-License-Identifier: Apache-2.0
"""Transactions in the making: equal-length int64 columns by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from tinyfin.schema import CVMS, ENTRY_MODES, TRANSACTION_TYPES

__all__ = ["CVM", "ENTRY", "TYPE", "Columns", "Ints", "Rows", "stack", "take"]

Ints = npt.NDArray[np.int64]
Rows = Mapping[str, Ints]
Columns = dict[str, Ints | npt.NDArray[np.uint64]]
"""Of native rows; tokens are uint64."""

ENTRY = {name: i for i, name in enumerate(ENTRY_MODES)}
TYPE = {name: i for i, name in enumerate(TRANSACTION_TYPES)}
CVM = {name: i for i, name in enumerate(CVMS)}

DEFAULTS = {
    "time_s": 0,
    "terminal": 0,
    "card": 0,
    "bin": 0,
    "amount_minor": 0,
    "type": TYPE["purchase"],
    "entry": ENTRY["contactless_chip"],
    "cvm": CVM["none"],
    "chip_failures": 0,
    "response": 0,
    "result": -1,  # -1: what the response says
    "approval": -1,
    "expiry": -1,  # -1: the card's own
    "operator": -1,  # -1: whoever is on duty
    "stan": -1,  # -1: the next
    "scenario": 0,
    "label": 0,
}


def make(n: int, **columns: npt.ArrayLike) -> Rows:
    """n rows; a scalar is repeated, a column that is not given has its default."""
    unknown = columns.keys() - DEFAULTS.keys()
    if unknown:
        raise KeyError(f"no such columns: {sorted(unknown)}")
    return {
        name: np.broadcast_to(np.asarray(columns.get(name, default)), n).astype(np.int64)
        for name, default in DEFAULTS.items()
    }


def stack(parts: Sequence[Rows]) -> Rows:
    """The rows of all parts, one after the other."""
    return {name: np.concatenate([part[name] for part in parts]) for name in DEFAULTS}


def take(rows: Rows, where: npt.NDArray[np.generic], **changed: npt.ArrayLike) -> Rows:
    """Selected rows, with some columns replaced."""
    picked = {name: column[where] for name, column in rows.items()}
    n = len(picked["time_s"])
    for name, value in changed.items():
        picked[name] = np.broadcast_to(np.asarray(value), n).astype(np.int64)
    return picked

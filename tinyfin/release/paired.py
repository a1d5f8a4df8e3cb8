# SPDX-License-Identifier: Apache-2.0
"""Scores of two packs on the same events, window by window: the table of a shadow and what it is
judged by, in the integers of docs/formats/probation.md."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from tinyfin.errors import DataError
from tinyfin.pack.probation import Cuts, Probation
from tinyfin.twin import log2_q8

__all__ = [
    "FAILED",
    "SHARES",
    "Counted",
    "Windows",
    "bins_of",
    "cuts_of",
    "failed_at",
    "measures",
    "psi_q10",
    "stretches",
    "tables_of",
]

Ints = npt.NDArray[np.int64]
Scores = npt.NDArray[np.uint32]
Mask = npt.NDArray[np.bool_]

SHARES = (0.5, 0.8, 0.95)
"""Of the scores, below the three cuts."""
FAILED = ("far", "differ", "psi", "alerts")
"""What a look may fail by, in the order in which it is looked at."""
_LN2_Q10 = 2839
_MOST = 65_535
_FAR = np.abs(np.subtract.outer(np.arange(4), np.arange(4))) >= 2


def cuts_of(score_q32: Scores, whose: str) -> Cuts:
    """Cuts that have about 50, 80 and 95 % of the scores below them, ascending strictly: where many
    scores are equal, the next one that occurs.

    Raises DataError for fewer than four scores that differ; ``whose`` names the pack.
    """
    found, counts = np.unique(score_q32, return_counts=True)
    if len(found) < 4:
        raise DataError(
            f"{whose}: gives {len(found)} different scores on all of these transactions, and four "
            "are needed to compare packs; look at the model, or give other data"
        )
    below = np.cumsum(counts) - counts
    at = 0
    cuts = []
    for left, share in zip((3, 2, 1), SHARES, strict=True):
        wanted = int(np.searchsorted(below, share * score_q32.size))
        at = min(max(wanted, at + 1), len(found) - left)
        cuts.append(int(found[at]))
    return cuts[0], cuts[1], cuts[2]


def bins_of(score_q32: Scores, cuts: Cuts) -> npt.NDArray[np.int8]:
    """Bin 0 to 3 of each score: the number of cuts that are at most it."""
    return np.searchsorted(np.array(cuts, np.uint64), score_q32, side="right").astype(np.int8)


def stretches(terminal: Ints, length: int, *, first: bool = False) -> Ints:
    """Rows of windows of ``length`` events of one terminal, int64[windows, length]: one after the
    other from a terminal's first row on, what is left at the end unused; or ``first`` ones alone.

    ``terminal``: of rows in order of time.
    """
    order = np.argsort(terminal, kind="stable")
    sorted_ = terminal[order]
    begin = np.flatnonzero(np.r_[True, np.diff(sorted_) != 0]) if len(order) else order
    rows = np.diff(np.r_[begin, len(order)])
    many = np.minimum(rows // length, 1) if first else rows // length
    within = np.arange(many.sum()) - np.repeat(np.cumsum(many) - many, many)
    starts = np.repeat(begin, many) + within * length
    return np.asarray(order[starts[:, None] + np.arange(length)])


class Counted(Protocol):
    """Stretches of events, each of one terminal, and what was counted of them by any event."""

    @property
    def terminal(self) -> Ints: ...

    def until(self, events: int) -> tuple[Ints, Ints, Ints]: ...


@dataclass(frozen=True)
class Windows:
    """Bins and alerts of both packs, each [windows, events], and the terminal of each window."""

    terminal: Ints
    parent_bin: npt.NDArray[np.int8]
    own_bin: npt.NDArray[np.int8]
    parent_alert: Mask
    own_alert: Mask

    def until(self, events: int) -> tuple[Ints, Ints, Ints]:
        """After so many events: tables int64[windows, 4, 4], alerts of the parent, own alerts."""
        return (
            tables_of(self.parent_bin[:, :events], self.own_bin[:, :events]),
            self.parent_alert[:, :events].sum(axis=1, dtype=np.int64),
            self.own_alert[:, :events].sum(axis=1, dtype=np.int64),
        )


def tables_of(parent_bin: npt.NDArray[np.int8], own_bin: npt.NDArray[np.int8]) -> Ints:
    """Counts int64[windows, 4, 4]: row of the parent, column of the candidate."""
    n = len(parent_bin)
    cell = 4 * parent_bin.astype(np.int64) + own_bin + 16 * np.arange(n)[:, None]
    return np.bincount(cell.ravel(), minlength=16 * n).reshape(n, 4, 4)


def measures(tables: Ints) -> tuple[Ints, Ints, Ints]:
    """``far``, ``differ`` and ``psi_q10`` of each table."""
    differ = tables.sum(axis=(1, 2)) - np.trace(tables, axis1=1, axis2=2)
    return tables[:, _FAR].sum(axis=1), differ, psi_q10(tables)


def psi_q10(tables: Ints) -> Ints:
    """The stability index of column sums against row sums times 1,024, as terminals compute it."""
    a, b = 2 * tables.sum(axis=1) + 1, 2 * tables.sum(axis=2) + 1
    n = tables.sum(axis=(1, 2))
    log = np.array([log2_q8(x) for x in range(int(max(a.max(initial=1), b.max(initial=1))))])
    total = ((a - b) * (log[a - 1] - log[b - 1])).sum(axis=1)
    return np.asarray(np.minimum(total * _LN2_Q10 // (1024 * (2 * n + 4)), _MOST))


def failed_at(bounds: Probation, windows: Counted) -> npt.NDArray[np.int8]:
    """For each look and window what it fails by, int8[looks, windows]: an index into FAILED, or -1.
    A terminal stops at its first look that fails."""
    out = np.full((len(bounds.looks), len(windows.terminal)), -1, np.int8)
    for i, look in enumerate(bounds.looks):
        tables, parent, own = windows.until(look.events)
        far, differ, psi = measures(tables)
        allowed = (bounds.alerts_factor_q8 * parent >> 8) + bounds.alerts_more
        fails = (far > look.far, differ > look.differ, psi > look.psi_q10, own > allowed)
        for code in reversed(range(len(FAILED))):
            out[i, fails[code]] = code
    return out

# SPDX-License-Identifier: Apache-2.0
"""Transactions as the stream of events that a terminal sees."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from tinyfin.data.transactions import NO_RESULT, Transactions
from tinyfin.errors import ConfigError

__all__ = [
    "NOTICE",
    "OUTCOME",
    "SCORE",
    "Notices",
    "Stream",
    "event_stream",
    "has_notice",
    "stream_in_windows",
]

SCORE = 0
OUTCOME = 1
NOTICE = 2

Notices = Literal["both", "fraud_only", "none"]

_SCORE_PHASE = 2
_END = 2**32

WINDOW_EVENTS = 1 << 20
"""Events of a window: the more, the longer a terminal's state stays in the cache."""


@dataclass(frozen=True)
class Stream:
    """m events in the order in which they happen."""

    kind: npt.NDArray[np.uint8]
    """0 score, 1 outcome, 2 notice."""
    index: npt.NDArray[np.int64]
    """Row of the Transactions the event belongs to."""
    t_mono_s: npt.NDArray[np.uint32]
    """When it happens, seconds since 2000-01-01."""

    def __len__(self) -> int:
        return len(self.kind)

    def part(self, events: npt.NDArray[np.bool_]) -> Stream:
        """The events that a mask chooses, in their order."""
        return Stream(self.kind[events], self.index[events], self.t_mono_s[events])


def has_notice(tx: Transactions, notices: Notices) -> npt.NDArray[np.bool_]:
    """Which transactions get a notice. Raises ConfigError if ``notices`` is none of the three."""
    if notices not in get_args(Notices):
        raise ConfigError(f"notices = {notices!r}; use one of {', '.join(get_args(Notices))}")
    if notices == "none":
        return np.zeros(len(tx), bool)
    noticed: npt.NDArray[np.bool_] = tx.label >= 0 if notices == "both" else tx.label == 1
    return noticed


def event_stream(tx: Transactions, notices: Notices = "both") -> Stream:
    """Order the scores, outcomes and notices of ``tx`` by time.

    Within one second come notices, then outcomes, then scores, and within those the input order;
    but an outcome or a notice of the same second as its own score directly follows that score,
    because nothing can become known of a transaction before it happens. A transaction with
    ``NO_RESULT`` has no outcome event. Notices are the only way a label travels: ``"both"`` says
    fraud and cleared, ``"fraud_only"`` says fraud, ``"none"`` says nothing; an unknown label makes
    no notice.

    Raises ConfigError if ``notices`` is none of the three.
    """
    scored, ended, noticed = (np.flatnonzero(mask) for mask in _masks(tx, notices))
    return _ordered(tx, scored, ended, noticed)


def stream_in_windows(
    tx: Transactions,
    notices: Notices = "both",
    *,
    since_s: int = 0,
    until_s: int = _END,
    events: int = WINDOW_EVENTS,
) -> Iterator[tuple[npt.NDArray[np.int64], Stream]]:
    """:func:`event_stream` in windows of about so many events: rows of ``tx``, ascending, and the
    events of the window, whose index counts those rows.

    Only transactions since ``since_s`` and events before ``until_s``. Memory grows by 24 bytes a
    row, not with what a whole stream and what comes of it take.
    """
    kinds = [
        _ByTime.of(rows[tx.t_mono_s[rows] >= since_s], time)
        for rows, time in zip(
            map(np.flatnonzero, _masks(tx, notices)),
            (tx.t_mono_s, tx.outcome_t_mono_s, tx.label_known_s),
            strict=True,
        )
    ]
    steps = kinds[0].time_s[:: max(1, events // len(kinds))]
    edges = [0, *np.unique(steps[1:]).astype(np.int64).tolist(), _END]
    for low_s, high_s in pairwise(edges):
        scored, ended, noticed = (kind.within(low_s, min(high_s, until_s)) for kind in kinds)
        rows = np.unique(np.concatenate([scored, ended, noticed]))
        if len(rows):
            whole = _ordered(tx, scored, ended, noticed)
            yield rows, Stream(whole.kind, np.searchsorted(rows, whole.index), whole.t_mono_s)


@dataclass(frozen=True)
class _ByTime:
    """Rows in the order in which something happens to them."""

    rows: npt.NDArray[np.int64]
    time_s: npt.NDArray[np.uint32]

    @classmethod
    def of(cls, rows: npt.NDArray[np.int64], time_s: npt.NDArray[np.uint32]) -> _ByTime:
        own = time_s[rows]
        if np.all(own[1:] >= own[:-1]):
            return cls(rows.astype(np.int32), own)
        order = np.argsort(own, kind="stable")
        return cls(rows[order].astype(np.int32), own[order])

    def within(self, low_s: int, high_s: int) -> npt.NDArray[np.int64]:
        """Rows of what happens from one second to before another."""
        first, last = (np.searchsorted(self.time_s, s) for s in (low_s, high_s))
        return self.rows[first:last].astype(np.int64)


def _masks(
    tx: Transactions, notices: Notices
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Which transactions are scored, have an outcome, have a notice."""
    noticed = has_notice(tx, notices)
    ended = tx.result != NO_RESULT
    if np.any(ended & (tx.outcome_t_mono_s < tx.t_mono_s)) or np.any(
        noticed & (tx.label_known_s < tx.t_mono_s)
    ):
        raise ConfigError("an outcome or a label is earlier than its transaction; check the times")
    return np.ones(len(tx), bool), ended, noticed


def _ordered(
    tx: Transactions,
    scored: npt.NDArray[np.int64],
    ended: npt.NDArray[np.int64],
    noticed: npt.NDArray[np.int64],
) -> Stream:
    index = np.concatenate([noticed, ended, scored])
    kind = np.repeat(
        np.array([NOTICE, OUTCOME, SCORE], np.uint8), [len(noticed), len(ended), len(scored)]
    )
    time = np.concatenate(
        [tx.label_known_s[noticed], tx.outcome_t_mono_s[ended], tx.t_mono_s[scored]]
    )
    # Phase within the second: what concerns earlier transactions first (notice 0, outcome 1),
    # then each score (2) followed by what became known of it at once.
    own = time == tx.t_mono_s[index]
    phase = np.where(own, _SCORE_PHASE, np.where(kind == NOTICE, 0, 1)).astype(np.uint8)
    order = np.lexsort((kind, index, phase, time))
    return Stream(kind[order], index[order], time[order].astype(np.uint32))

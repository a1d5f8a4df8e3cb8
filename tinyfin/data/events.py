# SPDX-License-Identifier: Apache-2.0
"""Transactions as the stream of events that a terminal sees."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from tinyfin.data.transactions import NO_RESULT, LabelNotes, Transactions
from tinyfin.errors import ConfigError

__all__ = [
    "NOTICE",
    "OUTCOME",
    "SCORE",
    "Notices",
    "Stream",
    "event_stream",
    "has_notice",
    "noticed_labels",
    "notices_of",
    "stream_in_windows",
]

SCORE = 0
OUTCOME = 1
NOTICE = 2
"""Of the label of the row. ``NOTICE + i`` is of the label before it that i others have replaced;
labels of a row alternate, so that odd kinds say the opposite of what the row says."""

Notices = Literal["both", "fraud_only", "none"]

_SCORE_PHASE = 2
_END = 2**32

WINDOW_EVENTS = 1 << 20
"""Events of a window: the more, the longer a terminal's state stays in the cache."""


@dataclass(frozen=True)
class Stream:
    """m events in the order in which they happen."""

    kind: npt.NDArray[np.uint8]
    """0 score, 1 outcome, 2 and above notice."""
    index: npt.NDArray[np.int64]
    """Row of the Transactions the event belongs to."""
    t_mono_s: npt.NDArray[np.uint32]
    """When it happens, seconds since 2000-01-01."""

    def __len__(self) -> int:
        return len(self.kind)

    def part(self, events: npt.NDArray[np.bool_]) -> Stream:
        """The events that a mask chooses, in their order."""
        return Stream(self.kind[events], self.index[events], self.t_mono_s[events])


def notices_of(tx: Transactions, notices: Notices) -> LabelNotes:
    """What notices say of transactions. Raises ConfigError if ``notices`` is none of the three."""
    if notices not in get_args(Notices):
        raise ConfigError(f"notices = {notices!r}; use one of {', '.join(get_args(Notices))}")
    notes = tx.label_notes(doubtful=True)
    if notices == "both":
        return notes
    return notes.part((notes.label == 1) & (notices == "fraud_only"))


def has_notice(tx: Transactions, notices: Notices) -> npt.NDArray[np.bool_]:
    """Which transactions get a notice. Raises ConfigError if ``notices`` is none of the three."""
    noticed = np.zeros(len(tx), bool)
    noticed[notices_of(tx, notices).index] = True
    return noticed


def noticed_labels(
    tx: Transactions, notices: Notices
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.uint32]]:
    """The label that notices ever say of each row, -1 where there is none and 1 where one says
    fraud; and when the first comes. Raises ConfigError if ``notices`` is none of the three."""
    notes = notices_of(tx, notices)
    label = np.full(len(tx), -1, np.int8)
    np.maximum.at(label, notes.index, notes.label)
    known_s = tx.label_known_s.copy()
    known_s[notes.index] = notes.known_s
    np.minimum.at(known_s, notes.index, notes.known_s)
    return label, known_s


def event_stream(tx: Transactions, notices: Notices = "both") -> Stream:
    """Order the scores, outcomes and notices of ``tx`` by time.

    Within one second come notices, then outcomes, then scores, and within those the input order;
    but an outcome or a notice of the same second as its own score directly follows that score,
    because nothing can become known of a transaction before it happens. A transaction with
    ``NO_RESULT`` has no outcome event. Notices are the only way a label travels: ``"both"`` says
    fraud and cleared, ``"fraud_only"`` says fraud, ``"none"`` says nothing; an unknown label makes
    no notice. A label that a later one replaced makes one, too, when it became known.

    Raises ConfigError if ``notices`` is none of the three.
    """
    notes, ended = _checked(tx, notices)
    return _ordered(tx, np.arange(len(tx)), np.flatnonzero(ended), notes)


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

    Only transactions since ``since_s`` and events before ``until_s``. Memory grows by 40 bytes a
    row, not with what a whole stream and what comes of it take.
    """
    notes, ended = _checked(tx, notices)
    inside = tx.t_mono_s >= since_s
    kinds = [
        _ByTime.of(np.flatnonzero(inside), tx.t_mono_s),
        _ByTime.of(np.flatnonzero(inside & ended), tx.outcome_t_mono_s),
        _ByTime.of(np.flatnonzero(inside[notes.index]), notes.known_s),
    ]
    steps = kinds[0].time_s[:: max(1, events // len(kinds))]
    edges = [0, *np.unique(steps[1:]).astype(np.int64).tolist(), _END]
    for low_s, high_s in pairwise(edges):
        scored, done, said = (kind.within(low_s, min(high_s, until_s)) for kind in kinds)
        noticed = notes.part(said)
        rows = np.unique(np.concatenate([scored, done, noticed.index]))
        if len(rows):
            whole = _ordered(tx, scored, done, noticed)
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


def _checked(tx: Transactions, notices: Notices) -> tuple[LabelNotes, npt.NDArray[np.bool_]]:
    """What notices say, and which transactions have an outcome."""
    notes, ended = notices_of(tx, notices), tx.result != NO_RESULT
    if np.any(ended & (tx.outcome_t_mono_s < tx.t_mono_s)) or np.any(
        notes.known_s < tx.t_mono_s[notes.index]
    ):
        raise ConfigError("an outcome or a label is earlier than its transaction; check the times")
    return notes, ended


def _ordered(
    tx: Transactions, scored: npt.NDArray[np.int64], ended: npt.NDArray[np.int64], notes: LabelNotes
) -> Stream:
    index = np.concatenate([notes.index, ended, scored])
    kind = np.concatenate(
        [
            NOTICE + notes.later,
            np.repeat(np.array([OUTCOME, SCORE], np.uint8), [len(ended), len(scored)]),
        ]
    )
    time = np.concatenate([notes.known_s, tx.outcome_t_mono_s[ended], tx.t_mono_s[scored]])
    # Phase within the second: what concerns earlier transactions first (notice 0, outcome 1),
    # then each score (2) followed by what became known of it at once.
    own = time == tx.t_mono_s[index]
    phase = np.where(own, _SCORE_PHASE, np.where(kind >= NOTICE, 0, 1)).astype(np.uint8)
    order = np.lexsort((kind, index, phase, time))
    return Stream(kind[order], index[order], time[order].astype(np.uint32))

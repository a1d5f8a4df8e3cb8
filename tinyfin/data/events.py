# SPDX-License-Identifier: Apache-2.0
"""Transactions as the stream of events that a terminal sees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from tinyfin.data.transactions import NO_RESULT, Transactions
from tinyfin.errors import ConfigError

__all__ = ["NOTICE", "OUTCOME", "SCORE", "Notices", "Stream", "event_stream", "told_of"]

SCORE = 0
OUTCOME = 1
NOTICE = 2

Notices = Literal["both", "fraud_only", "none"]

_SCORE_PHASE = 2


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


def told_of(tx: Transactions, notices: Notices) -> npt.NDArray[np.bool_]:
    """Which transactions get a notice. Raises ConfigError if ``notices`` is none of the three."""
    if notices not in get_args(Notices):
        raise ConfigError(f"notices = {notices!r}; use one of {', '.join(get_args(Notices))}")
    if notices == "none":
        return np.zeros(len(tx), bool)
    told: npt.NDArray[np.bool_] = tx.label >= 0 if notices == "both" else tx.label == 1
    return told


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
    rows = np.arange(len(tx), dtype=np.int64)
    scored = rows
    ended = rows[tx.result != NO_RESULT]
    noticed = rows[told_of(tx, notices)]

    index = np.concatenate([noticed, ended, scored])
    kind = np.repeat(
        np.array([NOTICE, OUTCOME, SCORE], np.uint8), [len(noticed), len(ended), len(scored)]
    )
    start = tx.t_mono_s[index]
    time = np.concatenate(
        [tx.label_known_s[noticed], tx.outcome_t_mono_s[ended], tx.t_mono_s[scored]]
    )
    if np.any(time < start):
        raise ConfigError("an outcome or a label is earlier than its transaction; check the times")

    # Phase within the second: what concerns earlier transactions first (notice 0, outcome 1),
    # then each score (2) followed by what became known of it at once.
    own = time == start
    phase = np.where(own, _SCORE_PHASE, np.where(kind == NOTICE, 0, 1)).astype(np.uint8)
    order = np.lexsort((kind, index, phase, time))
    return Stream(kind[order], index[order], time[order].astype(np.uint32))

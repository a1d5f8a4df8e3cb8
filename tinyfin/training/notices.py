# SPDX-License-Identifier: Apache-2.0
"""Whether scored transactions had the notices that the model's calibration had.

Features on known labels move with notices alone. Where none come (a file without labels, labels
that were not known in time, a terminal's first days) they do not move, and the probabilities, which
were fitted to rows with notices, no longer hold. What distinguishes the two is how old the newest
known label is when a transaction is scored.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import get_args

import numpy as np
import numpy.typing as npt

from tinyfin.config.sections import Features
from tinyfin.data.events import Notices, notices_of
from tinyfin.data.transactions import Transactions
from tinyfin.features.graph import walk
from tinyfin.features.operators import LABELLED
from tinyfin.features.selection import select
from tinyfin.results.run import LabelAges, NoticeStatus
from tinyfin.training.run_folder import RunFolder

__all__ = ["FEW", "STATUSES", "Feed", "KnownLabels", "label_fed", "newest_label_ages"]

STATUSES: tuple[NoticeStatus, ...] = get_args(NoticeStatus)
"""Of a scored row: it had notices as the calibration rows had; it lacked them; it had notices of
another kind (``[data] notices``); the model has no use for them."""

FEW = 0.01
"""Up to this share of rows without notices nothing is said: some terminals are quiet."""

Ages = npt.NDArray[np.int64]

DAY_S = 86_400
FAR_S = np.iinfo(np.int64).max
_SHARE = 0.999
_CHUNK_ROWS = 1 << 20
_KEY_BITS = 33
_UNMEASURED_S = 14 * DAY_S


@dataclass(frozen=True)
class Feed:
    """The notices that a run was trained with."""

    notices: Notices
    features: tuple[str, ...]
    """Those that notices move."""
    stream_s: int | None
    """Oldest that the newest known label of all terminals may be; None: it was never known."""
    terminal_s: int | None
    """The same of the transaction's own terminal; None where many had none."""

    @classmethod
    def of(cls, run: RunFolder) -> Feed:
        """That of a run; of one made before it was measured, the label delay and 14 days."""
        data = run.facts().data
        unmeasured = LabelAges(stream=(data.label_delay_s or 0) + _UNMEASURED_S, terminal=None)
        ages = data.newest_label_s or unmeasured
        return cls(data.notices, label_fed(run.config().features), ages.stream, ages.terminal)

    def status(self, given: Notices, stream: Ages, terminal: Ages) -> npt.NDArray[np.int8]:
        """Index into :data:`STATUSES` of rows with these ages of the newest known label."""
        if not self.features:
            return np.full(len(stream), STATUSES.index("unused"), np.int8)
        same = given == self.notices
        missing = np.zeros(len(stream), bool)
        # how often one terminal hears of a label depends on the kind of notices
        limits = ((self.stream_s, stream), (self.terminal_s if same else None, terminal))
        for limit, age in limits:
            if limit is not None:
                missing |= age > limit + limit // 4 + DAY_S
        kind = STATUSES.index("as_trained" if same else "other")
        return np.where(missing, STATUSES.index("missing"), kind).astype(np.int8)

    def counts(
        self, tx: Transactions, given: Notices, rows: npt.NDArray[np.int64] | slice
    ) -> dict[NoticeStatus, int]:
        """How many of ``rows`` have each status when all of ``tx`` goes through the engine."""
        ages = KnownLabels(len(tx.terminals), given).ages(tx, rows)
        found = np.bincount(self.status(given, *ages), minlength=len(STATUSES))
        return dict(zip(STATUSES, found.tolist(), strict=True))

    def warning(self, given: Notices, counts: Mapping[NoticeStatus, int], what: str) -> str | None:
        """What to say of rows that did not have the notices of the calibration; None if all had, or
        all but a few."""
        total, names = sum(counts.values()), ", ".join(self.features)
        causes = []
        if counts["other"]:
            causes.append(
                f"trained with notices = {self.notices!r}, but {counts['other']} of {total} "
                f"transactions {what} with {given!r}: {names} mean something else there"
            )
        if counts["missing"] > FEW * total:
            causes.append(
                f"{counts['missing']} of {total} transactions {what} without the notices that "
                f"calibrated the model: {names} do not move there; give labels as far as they were "
                "known, and earlier transactions too (--warmup FILE); in the days before the first "
                "label can be known there are none to give"
            )
        if not causes:
            return None
        return (
            f"WARNING: {'; and '.join(causes)}. Probabilities and budgets do not hold for them: "
            "docs/detection.md, Without notices"
        )


class KnownLabels:
    """How old the newest known label is, over transactions that come in chunks in order of time."""

    def __init__(self, terminals: int, notices: Notices) -> None:
        self._notices = notices
        self._newest = np.full(max(terminals, 1), -1, np.int64)
        self._waiting = np.zeros((3, 0), np.int64)

    def ages(
        self, tx: Transactions, rows: npt.NDArray[np.int64] | slice = slice(None)
    ) -> tuple[Ages, Ages]:
        """Seconds from the transaction of the newest label that a notice had given by then to each
        of ``rows`` of the chunk: of all terminals, of the own one. FAR_S where there is none."""
        notes = notices_of(tx, self._notices)
        columns = (tx.terminal[notes.index], tx.t_mono_s[notes.index], notes.known_s)
        new = np.stack([column.astype(np.int64) for column in columns])
        waiting = np.concatenate([self._waiting, new], axis=1)
        terminal, t = tx.terminal[rows].astype(np.int64), tx.t_mono_s[rows].astype(np.int64)
        everywhere = np.zeros_like(terminal)
        newest = (
            np.maximum(
                _newest(np.zeros_like(waiting[0]), waiting, everywhere, t), self._newest.max()
            ),
            np.maximum(_newest(waiting[0], waiting, terminal, t), self._newest[terminal]),
        )
        due = waiting[2] <= int(tx.t_mono_s.max(initial=0))
        np.maximum.at(self._newest, waiting[0, due], waiting[1, due])
        self._waiting = waiting[:, ~due]
        stream, own = (np.where(at < 0, FAR_S, t - at) for at in newest)
        return stream, own


def _newest(
    group: npt.NDArray[np.int64],
    notices: npt.NDArray[np.int64],
    asked: npt.NDArray[np.int64],
    t: npt.NDArray[np.int64],
) -> npt.NDArray[np.int64]:
    """Time of the newest transaction of a group whose label was known at t; -1 for none."""
    order = np.argsort(group << _KEY_BITS | notices[2], kind="stable")
    base = group[order] << _KEY_BITS
    key = base | notices[2][order]
    newest = np.maximum.accumulate(base + notices[1][order]) - base
    at = np.searchsorted(key, asked << _KEY_BITS | t, side="right") - 1
    found = at >= 0
    found[found] = key[at[found]] >> _KEY_BITS == asked[found]
    out = np.full(len(t), -1, np.int64)
    out[found] = newest[at[found]]
    return out


def newest_label_ages(
    tx: Transactions, notices: Notices, calibration: npt.NDArray[np.int64]
) -> LabelAges:
    """How old the newest known label was at the calibration rows, except one in a thousand: of all
    terminals, of the own one. None where more rows than that had none."""
    known = KnownLabels(len(tx.terminals), notices)
    parts = [known.ages(chunk, rows) for chunk, rows in _chunks(tx, calibration)]
    ages = [np.concatenate(part) for part in zip(*parts, strict=True)]
    high = [int(np.quantile(age, _SHARE, method="lower")) if len(age) else FAR_S for age in ages]
    stream, terminal = (None if age == FAR_S else age for age in high)
    return LabelAges(stream=stream, terminal=terminal)


def _chunks(
    tx: Transactions, rows: npt.NDArray[np.int64]
) -> Iterator[tuple[Transactions, npt.NDArray[np.int64]]]:
    """Transactions in order of time in chunks that share their memory and part no second; of each
    chunk those of ``rows``, ascending. Transactions in another order are one chunk."""
    t = tx.t_mono_s
    edges = [0, len(tx)]
    if np.all(t[1:] >= t[:-1]) and np.all(rows[1:] >= rows[:-1]):
        edges = [0, *np.unique(np.searchsorted(t, t[_CHUNK_ROWS::_CHUNK_ROWS])).tolist(), len(tx)]
    for low, high in pairwise(edges):
        first, last = np.searchsorted(rows, (low, high)) if len(edges) > 2 else (0, len(rows))
        yield tx.take(slice(low, high)), rows[first:last] - low


def label_fed(features: Features) -> tuple[str, ...]:
    """Names of the features that notices move."""
    return tuple(
        feature.name
        for feature in select(features)
        if any(x.operator.name in LABELLED for x in walk(feature.expression))
    )

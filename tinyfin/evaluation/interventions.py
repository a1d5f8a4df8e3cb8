# SPDX-License-Identifier: Apache-2.0
"""Who is sent online or declined more than others, and whether frauds explain it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import isfinite, nan

import numpy as np
import numpy.typing as npt

from tinyfin.data.transactions import ADVICE, Transactions
from tinyfin.evaluation.fold_scores import FoldScores
from tinyfin.evaluation.groups import Group
from tinyfin.evaluation.ratios import Counts, risk_ratio
from tinyfin.evaluation.subgroups import slices_of
from tinyfin.evaluation.summary import promised
from tinyfin.results.evaluation import Intervention, Ratio

__all__ = ["interventions"]

_KINDS = ("entry mode", "MCC")
_NONE = Ratio(ratio=nan, low=nan, high=nan)


def interventions(
    tx: Transactions, scored: Sequence[FoldScores], groups: Mapping[str, Group]
) -> list[Intervention]:
    """Each value of entry mode, MCC and the user's own groups against all other rows: advice of the
    int8 model over all folds, each row as the first fold that tests it has it."""
    rows = np.concatenate([s.rows for s in scored])
    once = np.zeros(len(rows), bool)
    once[np.unique(rows, return_index=True)[1]] = True
    advice = np.concatenate([s.advice for s in scored])
    declined = advice == ADVICE.index("decline")
    online = (advice > 0) & ~declined
    ends = np.cumsum([len(s.rows) for s in scored])[:-1]
    calibrated = all(s.calibrated for s in scored)
    out = []
    for kind, value, mask in _values(tx, rows, groups):
        own, rest = mask & once, ~mask & once
        if not np.any(own) or not np.any(rest):
            continue
        ratios = [
            risk_ratio(Counts(*(int(np.count_nonzero(m)) for m in (x & own, own, x & rest, rest))))
            for x in (online, declined)
        ]
        promise = promised(tx, scored, np.split(own & (advice > 0), ends)) if calibrated else None
        to_expected = _NONE
        if promise is not None and promise.expected > 0:
            bounds = (promise.expected, promise.high, promise.low)
            ratio, low, high = (promise.observed / x if x > 0 else nan for x in bounds)
            to_expected = Ratio(ratio=ratio, low=low, high=high)
        out.append(
            Intervention(
                kind=kind,
                value=value,
                rows=int(np.count_nonzero(own)),
                frauds=int(np.count_nonzero(own & (tx.label[rows] == 1))),
                online_per_1000=1000 * float(np.mean(online[own])),
                declined_per_1000=1000 * float(np.mean(declined[own])),
                online_ratio=ratios[0],
                declined_ratio=ratios[1],
                observed_to_expected=to_expected,
                explained="not more"
                if not any(r.low > 1 for r in ratios)
                else "unknown"
                if not isfinite(to_expected.high)
                else "by its frauds"
                if to_expected.high >= 1
                else "not by its frauds",
            )
        )
    return out


def _values(
    tx: Transactions, rows: npt.NDArray[np.int64], groups: Mapping[str, Group]
) -> Iterator[tuple[str, str, npt.NDArray[np.bool_]]]:
    for kind, name, mask in slices_of(tx, rows):
        if kind in _KINDS:
            yield kind, name, mask
    for name, group in groups.items():
        for i, value in enumerate(group.values):
            yield name, value, group.code[rows] == i

# SPDX-License-Identifier: Apache-2.0
"""Tables of risk: ``risk = "learn"`` turns a number or code into how likely fraud is at it.

The fit rows are split at the numbers that say most about their labels (information gain, the
splits of a decision tree, the best one first) into at most 33 ranges. A range's entry is

    64 * log2(odds of fraud in it / odds of all)

with ``_PRIOR`` frauds and the genuine rows that go with them added to every range, so that a rare
code says little. Codes without an order, merchant categories or hashes of text, get ranges of their
own where they matter.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from tinyfin.config import Config
from tinyfin.config.sections import Risk
from tinyfin.data.transactions import Transactions
from tinyfin.features.selection import learned_risks
from tinyfin.training.learned_cuts import computed_numbers, roundest

__all__ = ["learn_risks", "risk_table"]

_RANGES = 33
_FEWEST = 50
"""Rows of a range."""
_GAIN = 4.0
"""Nats that a split must gain, over all its rows."""
_PRIOR = 2.0
_MANY = 4096
_SCALE = 64.0
_CAP = 8.0


def learn_risks(
    config: Config,
    tx: Transactions,
    fit: npt.NDArray[np.int64],
    label: npt.NDArray[np.int8] | None = None,
    *,
    note: Callable[[str], None] = lambda _: None,
) -> tuple[Config, dict[str, Risk]]:
    """The configuration with the tables that its features learn on the rows ``fit``, and the
    tables. Labels of other rows take no part; ``label`` takes the place of the transactions'."""
    wanted = learned_risks(config.features)
    if not wanted:
        return config, {}
    numbers = computed_numbers([feature.expression for feature in wanted], config, tx, fit)
    known = (tx.label if label is None else label)[fit]
    labelled = known >= 0
    risks = {}
    for feature, x in zip(wanted, numbers, strict=True):
        risks[feature.name] = risk_table(x[labelled], known[labelled])
        note(f"{feature.name}: {len(risks[feature.name].values)} ranges")
    features = config.features.model_copy(update={"risks": {**config.features.risks, **risks}})
    return replace(config, features=features), risks


def risk_table(
    x: npt.NDArray[np.int64],
    label: npt.NDArray[np.int8] | npt.NDArray[np.bool_],
    *,
    most: int = _RANGES,
) -> Risk:
    """The table of x[n] for label[n] (0 or 1), of at most so many ranges; zeros when nothing is
    known."""
    fraud = label == 1
    total, bad = float(len(x)), float(np.count_nonzero(fraud))
    if not 0 < bad < total:
        return Risk(cuts=[0], values=[0, 0])
    values, code = np.unique(x, return_inverse=True)
    if len(values) > _MANY:
        ordered = np.sort(x)
        values = np.unique(ordered[np.linspace(0, len(x) - 1, _MANY).astype(np.int64)])
        code = np.searchsorted(values, x, side="left")
    rows = np.bincount(code, minlength=len(values)).astype(np.float64)
    frauds = np.bincount(code, weights=fraud, minlength=len(values))
    n, k = np.r_[0.0, np.cumsum(rows)], np.r_[0.0, np.cumsum(frauds)]
    edges = sorted(_split(n, k, most))
    # a cut is the lowest number of the range above it, as round as what is between allows
    cuts = [roundest(int(values[i - 1]) + 1, int(values[i])) for i in edges]
    bounds = [0, *edges, len(values)]
    base = bad / total
    prior = _PRIOR / base
    entries = []
    for low, high in pairwise(bounds):
        p = (k[high] - k[low] + _PRIOR) / (n[high] - n[low] + prior)
        odds = np.log2(p / (1.0 - p)) - np.log2(base / (1.0 - base))
        entries.append(round(_SCALE * float(np.clip(odds, -_CAP, _CAP))))
    if not cuts:
        return Risk(cuts=[int(values[0])], values=[entries[0], entries[0]])
    return Risk(cuts=cuts, values=entries)


def _split(n: npt.NDArray[np.float64], k: npt.NDArray[np.float64], most: int) -> list[int]:
    """Positions between values where ranges part; n and k count rows and frauds before each."""
    found: list[int] = []
    heap: list[tuple[float, int, int, int]] = []

    def offer(low: int, high: int) -> None:
        at = np.arange(low + 1, high)
        if not len(at):
            return
        left, right = n[at] - n[low], n[high] - n[at]
        gain = (
            _loss(n[high] - n[low], k[high] - k[low])
            - _loss(left, k[at] - k[low])
            - _loss(right, k[high] - k[at])
        )
        gain = np.where((left >= _FEWEST) & (right >= _FEWEST), gain, -1.0)
        best = int(np.argmax(gain))
        if gain[best] >= _GAIN:
            heapq.heappush(heap, (-float(gain[best]), low, int(at[best]), high))

    offer(0, len(n) - 1)
    while heap and len(found) < most - 1:
        _, low, at, high = heapq.heappop(heap)
        found.append(at)
        offer(low, at)
        offer(at, high)
    return found


def _loss(n: npt.NDArray[np.float64], k: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Nats of labels when only their share is known: n rows, k of them fraud."""
    p = k / n
    parts = [np.where(q > 0, -q * np.log(np.where(q > 0, q, 1.0)), 0.0) for q in (p, 1.0 - p)]
    return np.asarray(n * (parts[0] + parts[1]))

# SPDX-License-Identifier: Apache-2.0
"""The odds of fraud of an event, as a sum of tables over features and over pairs of features.

Features are split into at most 16 ranges where they say most about the labels, then at quantiles.
Boosted trees of at most three splits, each over one feature or over one of few pairs, give a
generalised additive model with interactions (Lou, Caruana, Gehrke and Hooker 2013), which is read
off as tables of integers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Protocol

import numpy as np
import numpy.typing as npt

from tinyfin.config.sections import Pair, Risk
from tinyfin.training.target_encoding import risk_table

__all__ = ["SCALE", "EventOdds", "Flags", "Matrix", "fit_event_odds"]

SCALE = 64
"""Odds are 64 * log2."""
_RANGES = 16
_FEATURES, _PAIRS = 8, 4
_DEVIATIONS = 4.0
"""By how many standard deviations a pair must gain more than chance would."""
_TREES = 200
_GENUINE_ROWS = 150_000

Matrix = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


class Trees(Protocol):
    """Boosted trees, fitted: what is used of scikit-learn's."""

    def decision_function(self, x: npt.NDArray[np.number], /) -> Matrix:
        """Log-odds float64[n] of x[n, F]."""

    def predict_proba(self, x: npt.NDArray[np.number], /) -> Matrix:
        """Probabilities float64[n, 2]."""


@dataclass(frozen=True)
class EventOdds:
    """Tables whose entries add up to the odds, 64 * log2."""

    base: int
    tables: Mapping[str, Risk]
    pairs: Sequence[Pair]

    def of(self, features: npt.NDArray[np.int16], names: Sequence[str]) -> npt.NDArray[np.int64]:
        """Odds int64[n] of features int16[n, F] with these names."""
        place = {
            name: np.searchsorted(table.cuts, features[:, names.index(name)], side="right")
            for name, table in self.tables.items()
        }
        odds = np.full(len(features), self.base, np.int64)
        for name, table in self.tables.items():
            odds += np.array(table.values)[place[name]]
        for pair in self.pairs:
            a, b = pair.features
            odds += np.array(pair.values)[place[a] * len(self.tables[b].values) + place[b]]
        return odds


def fit_event_odds(
    features: npt.NDArray[np.int16], fraud: Flags, own: Flags, names: Sequence[str]
) -> EventOdds:
    """Tables for features int16[n, F] and labels bool[n]; rows that are not ``own`` take no part.

    At most four pairs get a table, those whose cells have most that the sum leaves unexplained, and
    at most eight features: those of the pairs, and those that move the odds most.
    """
    genuine = np.flatnonzero(own & ~fraud)
    taken = np.random.default_rng(1).permutation(genuine)[:_GENUINE_ROWS]
    shift = float(np.log(len(taken) / max(len(genuine), 1)))
    rows = np.sort(np.r_[np.flatnonzero(own & fraud), taken])
    x, y = features[rows].astype(np.int64), fraud[rows]
    if not y.any():
        return EventOdds(round(-SCALE * float(np.log2(len(genuine) + 1))), {}, [])
    cuts = [_cuts(x[:, j], y) for j in range(len(names))]
    place = np.stack(
        [np.searchsorted(c, x[:, j], side="right") for j, c in enumerate(cuts)], axis=1
    )
    sizes = [len(c) + 1 for c in cuts]
    model = _trees(place, y, [])
    moved = [float(np.var(_alone(model, j, sizes)[place[:, j]])) for j in range(len(names))]
    pairs = _pairs(place, sizes, y, model.predict_proba(place)[:, 1])
    paired = {j for pair in pairs for j in pair}
    alone = [j for j in np.argsort(-np.array(moved), kind="stable").tolist() if j not in paired]
    kept = sorted([*paired, *(j for j in alone if moved[j] > 0)][:_FEATURES])
    if not kept:  # nothing parts the labels
        share = (np.count_nonzero(own & fraud) + 1) / (np.count_nonzero(own) + 2)
        return EventOdds(round(SCALE * float(np.log2(share / (1 - share)))), {}, [])
    place, sizes = place[:, kept], [sizes[j] for j in kept]
    pairs = [(kept.index(a), kept.index(b)) for a, b in pairs]
    model = _trees(place, y, pairs)
    base = float(model.decision_function(np.zeros((1, len(kept))))[0]) + shift
    return EventOdds(
        round(SCALE * base / np.log(2)),
        {
            names[j]: Risk(cuts=cuts[j], values=_whole(_alone(model, i, sizes)))
            for i, j in enumerate(kept)
        },
        [
            Pair(
                features=(names[kept[a]], names[kept[b]]),
                values=_whole(_together(model, a, b, sizes)),
            )
            for a, b in pairs
        ],
    )


def _cuts(x: npt.NDArray[np.int64], fraud: Flags) -> list[int]:
    """Where the labels part, and quantiles between as far as there are ranges left."""
    table = risk_table(x, fraud, most=_RANGES)
    cuts = set(table.cuts if any(table.values) else [])
    for n in (4, 8, _RANGES):
        for cut in np.unique(np.quantile(x, np.arange(1, n) / n, method="lower")).tolist():
            if len(cuts) < _RANGES - 1 and cut > x.min():
                cuts.add(int(cut))
    return sorted(cuts) or [int(x.max()) + 1]


def _trees(place: npt.NDArray[np.int64], fraud: Flags, pairs: Sequence[tuple[int, int]]) -> Trees:
    from sklearn.ensemble import HistGradientBoostingClassifier

    trees: Trees = HistGradientBoostingClassifier(
        max_iter=_TREES,
        max_leaf_nodes=4 if pairs else 2,
        learning_rate=0.1,
        min_samples_leaf=40,
        l2_regularization=1.0,
        interaction_cst=[*({i} for i in range(place.shape[1])), *map(set, pairs)],
        early_stopping=False,
        random_state=1,
    ).fit(place, fraud)
    return trees


def _pairs(
    place: npt.NDArray[np.int64], sizes: Sequence[int], fraud: Flags, p: Matrix
) -> list[tuple[int, int]]:
    """The pairs of columns whose cells gain most by a step of their own (a Newton step)."""
    gains = []
    for a, b in combinations(range(len(sizes)), 2):
        cell = place[:, a] * sizes[b] + place[:, b]
        slope = np.bincount(cell, weights=fraud - p)
        curve = np.bincount(cell, weights=p * (1 - p))
        # by chance the gain is half of a chi-square with as many degrees of freedom as cells
        chance = np.count_nonzero(curve) / 2
        excess = float(np.sum(slope**2 / (curve + 1.0))) / 2 - chance
        gains.append((excess / np.sqrt(chance), excess, a, b))
    gains.sort(key=lambda gain: -gain[1])
    return [(a, b) for deviations, _, a, b in gains if deviations > _DEVIATIONS][:_PAIRS]


def _alone(model: Trees, i: int, sizes: Sequence[int]) -> Matrix:
    """What each place of column i adds, the others at 0."""
    probe = np.zeros((sizes[i], len(sizes)))
    probe[:, i] = np.arange(sizes[i])
    found = model.decision_function(probe)
    return np.asarray(found - found[0])


def _together(model: Trees, a: int, b: int, sizes: Sequence[int]) -> Matrix:
    """What each place of both columns adds to what they add alone, row by row."""
    probe = np.zeros((sizes[a] * sizes[b], len(sizes)))
    probe[:, a] = np.repeat(np.arange(sizes[a]), sizes[b])
    probe[:, b] = np.tile(np.arange(sizes[b]), sizes[a])
    found = model.decision_function(probe)
    alone = np.add.outer(_alone(model, a, sizes), _alone(model, b, sizes)).ravel()
    return np.asarray(found - found[0] - alone)


def _whole(log_odds: Matrix) -> list[int]:
    found: list[int] = np.round(SCALE * log_odds / np.log(2)).astype(np.int64).tolist()
    return found

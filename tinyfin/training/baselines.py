# SPDX-License-Identifier: Apache-2.0
"""Learned baselines: what a workstation would do with the same features and the same labels.

They train on every row whose label is known when the model goes live (the model's own fit,
validation and calibration together: they need nothing held back), and none of them has to fit into
a terminal. Trees see the features as the engine gives them, the logistic regression the network's
inputs, whose maps have straightened them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tinyfin.errors import ConfigError
from tinyfin.progress import stage
from tinyfin.results.metrics import Thinned
from tinyfin.training.families.trees import Trees, grow
from tinyfin.training.metrics import average_precision
from tinyfin.training.representative_sample import thinned, thinned_facts

__all__ = ["LEARNED", "learned_scores", "require_known"]

Rows = Mapping[str, npt.NDArray[np.int64]]
Inputs = npt.NDArray[np.integer]
Weights = npt.NDArray[np.float64]
Scorer = Callable[[Inputs], npt.NDArray[np.floating]]


@dataclass(frozen=True)
class Sample:
    """Rows to fit on."""

    x: Inputs
    y: npt.NDArray[np.bool_]
    weight: Weights
    part: npt.NDArray[np.int8]
    """Index into _PARTS."""
    seed: int

    def take(self, rows: npt.NDArray[np.int64]) -> Sample:
        """Some of the rows."""
        return replace(
            self, x=self.x[rows], y=self.y[rows], weight=self.weight[rows], part=self.part[rows]
        )

    @property
    def jobs(self) -> int:
        """Threads: few rows are not worth a second one, which would only wait for the first."""
        return 2 if len(self.x) >= _MANY else 1


Fit = Callable[[Sample], Scorer]


class Shape(NamedTuple):
    """How XGBoost's trees grow."""

    narrow: bool
    """As those of the families (:func:`tinyfin.training.families.trees.grow`), or with 80 % of the
    features for each tree and leaves that hold more rows."""
    depth: int
    trees: int


_PARTS = ("fit", "validation", "calibration")
_MANY = 100_000


def learned_scores(
    names: Iterable[str],
    inputs: Mapping[str, npt.NDArray[np.int8]],
    features: npt.NDArray[np.int16],
    rows: Rows,
    label: npt.NDArray[np.int8],
    seed: int,
    thinned: list[Thinned],
) -> dict[str, npt.NDArray[np.float32]]:
    """Scores of the test rows by each of the baselines ``names``; higher is more suspicious.
    ``thinned`` takes what is to be said of rows that they were not trained on.

    ``inputs``: network inputs int8[n, F] of each slice; ``rows``: its rows among ``features``
    int16[N, F] and ``label`` int8[N]; ``test`` is one of the slices. The same arguments give the
    same scores. Raises ConfigError for a name that is not in LEARNED.
    """
    out = {}
    names = list(names)
    require_known(names)
    learned = np.concatenate([rows[part] for part in _PARTS])
    part_of = np.repeat(np.arange(len(_PARTS), dtype=np.int8), [len(rows[p]) for p in _PARTS])
    y = label[learned] == 1
    for name in names:
        which, genuine, fit = LEARNED[name]
        both = bool(np.any(y)) and not bool(np.all(y))
        if not len(rows["test"]) or not (both or name in _UNTAUGHT):
            continue
        taken, weight = _thinned(y, genuine, seed)
        thinned += thinned_facts(
            f"baseline {name}", label[learned], taken, f"a limit of {genuine:,} genuine rows"
        )
        x: Inputs
        test: Inputs
        if which == _INPUTS:
            x, test = _among([inputs[part] for part in _PARTS], taken), inputs["test"]
        else:
            x, test = _rows(features, learned[taken]), _rows(features, rows["test"])
        with stage(f"baseline {name}, {len(taken):,} rows"):
            score = fit(Sample(x, y[taken], weight, part_of[taken], seed))
            chunks = [score(test[at : at + _MANY]) for at in range(0, len(test), _MANY)]
        out[name] = np.asarray(np.concatenate(chunks), np.float32)
    return out


def require_known(names: Iterable[str]) -> None:
    """ConfigError for a baseline that is not in LEARNED."""
    for name in names:
        if name not in LEARNED:
            raise ConfigError(
                f"evaluate.baselines: unknown {name!r}; known are {', '.join(LEARNED)}"
            )


def _rows(features: npt.NDArray[np.int16], rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int16]:
    """``features[rows]``; not copied where the rows follow each other."""
    if len(rows) and np.all(np.diff(rows) == 1):
        return features[rows[0] : rows[-1] + 1]
    return features[rows]


def _among(
    parts: Sequence[npt.NDArray[np.int8]], taken: npt.NDArray[np.int64]
) -> npt.NDArray[np.int8]:
    """The rows ``taken``, ascending, of the parts as if they were one array."""
    ends = np.cumsum([len(part) for part in parts])
    cuts = np.searchsorted(taken, ends)
    return np.concatenate(
        [
            part[taken[low:high] - (end - len(part))]
            for part, end, low, high in zip(parts, ends, np.r_[0, cuts[:-1]], cuts, strict=True)
        ]
    )


def _thinned(
    y: npt.NDArray[np.bool_], genuine: int, seed: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """All frauds and at most ``genuine`` other rows, with weights that undo the choice."""
    taken = thinned(y.astype(np.int8), genuine, seed)
    others = int(np.count_nonzero(~y))
    return taken, np.where(y[taken], 1.0, max(1.0, others / genuine))


def _logistic(rows: Sample) -> Scorer:
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(max_iter=300, random_state=rows.seed)
    model.fit(rows.x.astype(np.float32) / 64, rows.y, sample_weight=rows.weight)
    return lambda x: model.decision_function(x.astype(np.float32) / 64)


def _forest(rows: Sample) -> Scorer:
    from sklearn.ensemble import RandomForestClassifier

    model = RandomForestClassifier(
        n_estimators=100, min_samples_leaf=3, random_state=rows.seed, n_jobs=rows.jobs
    )
    model.fit(rows.x, rows.y, sample_weight=rows.weight)
    return lambda x: model.predict_proba(x)[:, 1]


def _xgboost(rows: Sample) -> Scorer:
    """Fitted on all rows, with the shape that ranks the validation rows best when the trees are
    fitted on the rows before those."""
    shape = _USUAL
    fit, later = np.flatnonzero(rows.part == 0), rows.part == 1
    if np.any(rows.y[fit]) and np.count_nonzero(rows.y[later]) >= _ENOUGH_FRAUDS:
        trial = rows.take(fit[_thinned(rows.y[fit], _TRIAL_ROWS, rows.seed)[0]])
        label = rows.y[later].astype(np.int8)
        tried = {}
        for narrow, depth in product((True, False), _DEPTHS):
            most = Shape(narrow, depth, max(_TREES))
            model = _grown(trial, most)
            for trees in _TREES:
                score = model.log_odds(rows.x[later], trees)
                tried[most._replace(trees=trees)] = average_precision(score, label)
        shape = max(tried, key=lambda one: (tried[one], one == _USUAL))
    return _grown(rows, shape).log_odds


def _grown(rows: Sample, shape: Shape) -> Trees:
    return grow(
        rows.x,
        rows.y,
        rows.weight,
        trees=shape.trees,
        depth=shape.depth,
        rate=0.1,
        seed=rows.seed,
        narrow=shape.narrow,
        threads=rows.jobs,
    )


def _isolation(rows: Sample) -> Scorer:
    from sklearn.ensemble import IsolationForest

    model = IsolationForest(n_estimators=100, random_state=rows.seed, n_jobs=rows.jobs)
    model.fit(rows.x)
    return lambda x: -model.score_samples(x)


_INPUTS, _FEATURES = 0, 1
_DEPTHS, _TREES, _USUAL = (4, 5, 6), (100, 200, 300, 400), Shape(True, 5, 200)
_ENOUGH_FRAUDS = 20
"""With fewer among the validation rows the best shape is best by chance."""
_TRIAL_ROWS = 250_000
_UNTAUGHT = ("isolation_forest",)

LEARNED: Mapping[str, tuple[int, int, Fit]] = {
    "logistic_regression": (_INPUTS, 100_000, _logistic),
    "random_forest": (_FEATURES, 80_000, _forest),
    "xgboost": (_FEATURES, 4_000_000, _xgboost),
    "isolation_forest": (_FEATURES, 50_000, _isolation),
}
"""Name of each: what it sees, genuine rows it trains on at most, how it is fitted."""

# SPDX-License-Identifier: Apache-2.0
"""Learned baselines: what a workstation would do with the same features and the same labels.

They learn from every row whose label is known when the model goes live (the model's own fit,
validation and calibration together: they need nothing held back), and none of them has to fit into
a terminal. Trees see the features as the engine gives them, the logistic regression the network's
inputs, whose maps have straightened them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tinyfin.errors import ConfigError
from tinyfin.progress import stage

__all__ = ["LEARNED", "learned_scores"]

Rows = Mapping[str, tuple[npt.NDArray[np.int8], npt.NDArray[np.int16]]]
Labels = Mapping[str, npt.NDArray[np.int8]]
Scorer = Callable[[npt.NDArray[Any]], npt.NDArray[Any]]
Fit = Callable[[npt.NDArray[Any], npt.NDArray[np.bool_], npt.NDArray[Any], int], Scorer]

_PARTS = ("fit", "validation", "calibration")
_MANY = 100_000


def learned_scores(
    names: Iterable[str], rows: Rows, label: Labels, seed: int
) -> dict[str, npt.NDArray[np.float32]]:
    """Scores of the test rows by each of the baselines ``names``; higher is more suspicious.

    ``rows``: network inputs int8[n, F] and features int16[n, F] of each slice, ``test`` among them.
    The same arguments give the same scores. Raises ConfigError for a name that is not in LEARNED.
    """
    out = {}
    y = np.concatenate([label[part] for part in _PARTS]) == 1
    for name in names:
        if name not in LEARNED:
            raise ConfigError(
                f"evaluate.baselines: unknown {name!r}; known are {', '.join(LEARNED)}"
            )
        which, genuine, fit = LEARNED[name]
        told = bool(np.any(y)) and not bool(np.all(y))
        if len(rows["test"][which]) == 0 or not (told or name in _UNTAUGHT):
            continue
        x = np.concatenate([rows[part][which] for part in _PARTS])
        taken, weight = _thinned(y, genuine, seed)
        with stage(f"baseline {name}, {len(taken):,} rows"):
            score = fit(x[taken], y[taken], weight, seed)(rows["test"][which])
        out[name] = np.asarray(score, np.float32)
    return out


def _thinned(
    y: npt.NDArray[np.bool_], genuine: int, seed: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """All frauds and at most ``genuine`` other rows, with weights that undo the choice."""
    others = np.flatnonzero(~y)
    share = 1.0
    if len(others) > genuine:
        share = len(others) / genuine
        others = np.random.default_rng(seed).choice(others, genuine, replace=False)
    taken = np.sort(np.concatenate([np.flatnonzero(y), others]))
    return taken, np.where(y[taken], 1.0, share)


def _jobs(x: npt.NDArray[Any]) -> int:
    """Threads: few rows are not worth a second one, which would only wait for the first."""
    return 2 if len(x) >= _MANY else 1


def _logistic(
    x: npt.NDArray[Any], y: npt.NDArray[np.bool_], weight: npt.NDArray[Any], seed: int
) -> Scorer:
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(max_iter=300, random_state=seed)
    model.fit(x.astype(np.float32) / 64, y, sample_weight=weight)
    return lambda rows: model.decision_function(rows.astype(np.float32) / 64)


def _forest(
    x: npt.NDArray[Any], y: npt.NDArray[np.bool_], weight: npt.NDArray[Any], seed: int
) -> Scorer:
    from sklearn.ensemble import RandomForestClassifier

    model = RandomForestClassifier(
        n_estimators=100, min_samples_leaf=3, random_state=seed, n_jobs=_jobs(x)
    )
    model.fit(x, y, sample_weight=weight)
    return lambda rows: model.predict_proba(rows)[:, 1]


def _xgboost(
    x: npt.NDArray[Any], y: npt.NDArray[np.bool_], weight: npt.NDArray[Any], seed: int
) -> Scorer:
    from xgboost import XGBClassifier

    model = XGBClassifier(
        n_estimators=200, max_depth=5, learning_rate=0.1, min_child_weight=5, subsample=0.8,
        colsample_bytree=0.8, tree_method="hist", base_score=0.5, n_jobs=_jobs(x),
        random_state=seed,
    )  # fmt: skip
    model.fit(x, y, sample_weight=weight)
    return lambda rows: model.predict(rows, output_margin=True)


def _isolation(
    x: npt.NDArray[Any], y: npt.NDArray[np.bool_], weight: npt.NDArray[Any], seed: int
) -> Scorer:
    from sklearn.ensemble import IsolationForest

    model = IsolationForest(n_estimators=100, random_state=seed, n_jobs=_jobs(x))
    model.fit(x)
    return lambda rows: -model.score_samples(rows)


_INPUTS, _FEATURES = 0, 1
_UNTAUGHT = ("isolation_forest",)

LEARNED: Mapping[str, tuple[int, int, Fit]] = {
    "logistic_regression": (_INPUTS, 100_000, _logistic),
    "random_forest": (_FEATURES, 80_000, _forest),
    "xgboost": (_FEATURES, 250_000, _xgboost),
    "isolation_forest": (_FEATURES, 50_000, _isolation),
}
"""Name of each: what it sees, genuine rows it learns from at most, how it is fitted."""

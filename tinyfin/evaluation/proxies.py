# SPDX-License-Identifier: Apache-2.0
"""How well the features of a model tell a group that the model does not see.

What a classifier can read from the features, a model can act on without seeing the group: the
features are proxies of it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tinyfin.evaluation.groups import Group
from tinyfin.results.evaluation import GroupFeature, ProxyFigures
from tinyfin.training.bootstrap import draws, interval
from tinyfin.training.metrics import roc_auc

__all__ = ["ACCEPTABLE", "proxy_figures", "replicated_auc"]

ACCEPTABLE = 0.7
"""From here on discrimination is acceptable: Hosmer, Lemeshow and Sturdivant, Applied Logistic
Regression, 3rd edition, section 5.2.4."""
_ROWS = 10_000
_FEWEST = 20
_FOLDS = 5
_TREES = 50
_LISTED = 5

Floats = npt.NDArray[np.float64]


def proxy_figures(
    features: npt.NDArray[np.int16],
    names: Sequence[str],
    group: Group,
    rows: npt.NDArray[np.int64],
    terminal: npt.NDArray[np.int32],
    seed: int,
) -> ProxyFigures | None:
    """What a random forest tells of the group from the features of ``rows``, of which at most
    10,000 are drawn; features [n, F], group and terminal of all transactions.

    Cross-validated in five parts (fewer where there are fewer terminals) that share no terminal:
    each row is judged by a forest that has not seen its terminal. ROC AUC of each value against all
    others, and their mean. Values at fewer than two terminals, or with fewer than 20 rows, are left
    out. The interval is a bootstrap over terminals, wider by sqrt(1 + k / (k - 1)) for k parts,
    because forests share the rows that they learn from (Nadeau and Bengio, Inference for the
    Generalization Error, 2003). Where all rows are of one terminal, parts and bootstrap are of
    rows. None where fewer than two values are left.
    """
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    rng = np.random.default_rng(seed)
    rows = np.unique(rows)
    if len(rows) > _ROWS:
        rows = np.sort(rng.choice(rows, _ROWS, replace=False))
    by_terminal = len(np.unique(terminal[rows])) > 1
    unit = terminal[rows] if by_terminal else np.arange(len(rows))
    code = group.code[rows]
    kept = [
        i
        for i in range(len(group.values))
        if np.count_nonzero(code == i) >= _FEWEST and len(np.unique(unit[code == i])) > 1
    ]
    if len(kept) < 2:
        return None
    chosen = np.isin(code, kept)
    rows, code, unit = rows[chosen], code[chosen], np.unique(unit[chosen], return_inverse=True)[1]
    x = features[rows].astype(np.float32)
    parts = min(_FOLDS, int(unit.max()) + 1)
    cut = (StratifiedGroupKFold if by_terminal else StratifiedKFold)(
        parts, shuffle=True, random_state=seed
    )
    told = np.zeros((len(rows), len(group.values)))
    for learned, tested in cut.split(x, code, unit):
        forest = RandomForestClassifier(
            _TREES, min_samples_leaf=5, class_weight="balanced", random_state=seed
        )
        forest.fit(x[learned], code[learned])
        told[np.ix_(tested, forest.classes_)] = forest.predict_proba(x[tested])
    drawn = np.stack(list(draws(int(unit.max()) + 1, seed)))[:, unit].astype(np.float64)
    again = np.stack([replicated_auc(told[:, i], code == i, drawn) for i in kept])
    low, high = interval(np.mean(again, axis=0))
    each = [roc_auc(told[:, i], (code == i).astype(np.int8)) for i in kept]
    auc, wider = float(np.mean(each)), np.sqrt(1 + parts / (parts - 1))
    return ProxyFigures(
        roc_auc=auc,
        interval=(max(0.0, auc - wider * (auc - low)), min(1.0, auc + wider * (high - auc))),
        held_out="terminals" if by_terminal else "transactions",
        rows=len(rows),
        values=[group.values[i] for i in kept],
        features=_alone(x, names, code, {i: group.values[i] for i in kept}),
    )


def _alone(
    x: npt.NDArray[np.float32],
    names: Sequence[str],
    code: npt.NDArray[np.int64],
    values: dict[int, str],
) -> list[GroupFeature]:
    """The features that tell most on their own, with the value that each tells best."""
    found = []
    for f, name in enumerate(names):
        both = [
            (max(auc, 1 - auc), value)
            for i, value in values.items()
            for auc in [roc_auc(x[:, f].astype(np.float64), (code == i).astype(np.int8))]
        ]
        auc, value = max(both)
        found.append(GroupFeature(feature=name, value=value, roc_auc=auc))
    return sorted(found, key=lambda one: -one.roc_auc)[:_LISTED]


def replicated_auc(score: Floats, positive: npt.NDArray[np.bool_], weight: Floats) -> Floats:
    """Weighted area under the ROC curve for each row of ``weight`` [replicates, n]: Mann and
    Whitney's statistic, ties count half. NaN without weight on both sides."""
    _, place = np.unique(score, return_inverse=True)
    out = np.full(len(weight), np.nan)
    for i, own in enumerate(weight):
        good = np.bincount(place, own * positive)
        bad = np.bincount(place, own * ~positive)
        total = good.sum() * bad.sum()
        if total > 0:
            out[i] = float(np.sum(good * (np.cumsum(bad) - bad / 2)) / total)
    return out

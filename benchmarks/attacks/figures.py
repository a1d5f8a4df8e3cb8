# SPDX-License-Identifier: Apache-2.0
"""How well an attacker who sees a number guesses something that is true or not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tinyfin.training.bootstrap import draw_groups

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

_LOW, _HIGH = 2.5, 97.5


@dataclass(frozen=True)
class Leak:
    """What a number gives away."""

    advantage: float
    """True positive rate less false positive rate of the best threshold. It is chosen on one half
    of the groups and judged on the other, both ways, so that chance alone gives 0 on average."""
    advantage_interval: tuple[float, float]
    """95 %, bootstrap over groups."""
    auc: float
    auc_interval: tuple[float, float]
    rows: int
    groups: int

    def cells(self) -> list[str]:
        """Advantage and area under the ROC curve, with their intervals."""
        return [
            f"{value:.3f} ({low:.3f} to {high:.3f})"
            for value, (low, high) in (
                (self.advantage, self.advantage_interval),
                (self.auc, self.auc_interval),
            )
        ]


def leak(score: Floats, truth: Bools, group: Ints, seed: int) -> Leak:
    """How well ``score`` (higher: rather true) tells where ``truth`` holds; each float64[n],
    bool[n]. ``group`` int64[n]: rows that belong together, such as those of a card."""
    group = np.unique(group, return_inverse=True)[1]
    count = int(group.max()) + 1
    half = np.random.default_rng(seed).permutation(count)[group] < count / 2
    guess = np.zeros(len(score), bool)
    for chosen in (half, ~half):
        guess[~chosen] = score[~chosen] >= best_threshold(score[chosen], truth[chosen])
    weights = [np.ones(len(score)), *draw_groups(count, seed)[:, group].astype(np.float64)]
    advantages = [_advantage(guess, truth, weight) for weight in weights]
    areas = _areas(score, truth, weights)
    return Leak(
        advantages[0], _interval(advantages[1:]), areas[0], _interval(areas[1:]), len(score), count
    )


def best_threshold(score: Floats, truth: Bools) -> float:
    """The score from which on to guess true, so that the true positive rate exceeds the false one
    most."""
    order = np.argsort(-score, kind="stable")
    ordered, is_true = score[order], truth[order]
    yes = max(1, int(np.count_nonzero(truth)))
    no = max(1, len(truth) - int(np.count_nonzero(truth)))
    lead = np.cumsum(is_true) / yes - np.cumsum(~is_true) / no
    last = np.r_[ordered[1:] != ordered[:-1], True]  # of equal scores all or none
    return float(ordered[last][np.argmax(lead[last])])


def learned_guess(inputs: Floats, truth: Bools, group: Ints, seed: int) -> Floats:
    """For each row the log odds that ``truth`` holds, float64[n]: gradient-boosted trees, fitted on
    the rows of the other half of the groups. ``inputs``: float64[n, k]."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    group = np.unique(group, return_inverse=True)[1]
    count = int(group.max()) + 1
    half = np.random.default_rng(seed).permutation(count)[group] < count / 2
    guess = np.zeros(len(truth))
    for chosen in (half, ~half):
        model = HistGradientBoostingClassifier(
            max_iter=60, max_leaf_nodes=15, min_samples_leaf=30, random_state=seed
        )
        model.fit(inputs[chosen], truth[chosen])
        guess[~chosen] = model.decision_function(inputs[~chosen])
    return guess


def log_odds(score_q32: npt.NDArray[np.uint32]) -> Floats:
    """Of the engine's probabilities."""
    p = (score_q32.astype(np.float64) + 0.5) / 2.0**32
    return np.asarray(np.log(p) - np.log1p(-p))


def table(head: list[str], rows: list[list[str]]) -> str:
    """In Markdown."""
    return "\n".join(
        "| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows)
    )


def _advantage(guess: Bools, truth: Bools, weight: Floats) -> float:
    yes, no = weight * truth, weight * ~truth
    return float((yes @ guess) / max(yes.sum(), 1e-9) - (no @ guess) / max(no.sum(), 1e-9))


def _areas(score: Floats, truth: Bools, weights: Sequence[Floats]) -> list[float]:
    """Areas under the ROC curve: the weight of pairs that are in order, of equal ones half."""
    order = np.argsort(score, kind="stable")
    ordered, is_true = score[order], truth[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    out = []
    for weight in weights:
        yes = np.add.reduceat(weight[order] * is_true, starts)
        no = np.add.reduceat(weight[order] * ~is_true, starts)
        pairs = yes.sum() * no.sum()
        lower = np.cumsum(no) - no / 2
        out.append(float(yes @ lower / pairs) if pairs else float("nan"))
    return out


def _interval(values: list[float]) -> tuple[float, float]:
    low, high = np.nanpercentile(values, [_LOW, _HIGH])
    return float(low), float(high)

# SPDX-License-Identifier: Apache-2.0
"""How well scores find fraud. All take scores (higher is worse) and labels (1 fraud, 0 genuine).

Scikit-learn's where it has them; where no figure exists (no fraud, nothing but fraud)
the answer is NaN, not an error.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tinyfin.results.metrics import ScenarioRecall, ScorerFigures

__all__ = [
    "at_false_positive_rate",
    "average_precision",
    "brier",
    "calibration_bins",
    "calibration_error",
    "evaluate",
    "precision_recall_curve",
    "roc_auc",
]

Scores = npt.NDArray[np.number]
Labels = npt.NDArray[np.integer]

BINS = 15


def _cumulated(
    score: Scores, label: Labels, weight: Scores | None
) -> tuple[Scores, Scores, Scores]:
    """Thresholds descending, and the weight of frauds and of genuine rows at or above each."""
    order = np.argsort(-score.astype(np.float64), kind="stable")
    ordered = score[order]
    w = np.ones(len(score)) if weight is None else weight[order].astype(np.float64)
    fraud = label[order] == 1
    last = np.r_[np.flatnonzero(np.diff(ordered)), len(ordered) - 1]
    return ordered[last], np.cumsum(w * fraud)[last], np.cumsum(w * ~fraud)[last]


def average_precision(score: Scores, label: Labels, weight: Scores | None = None) -> float:
    """Sum over thresholds of precision times the gain in recall; ties count once. NaN without both
    classes: where every row is fraud, any order of them is perfect.

    Scikit-learn's ``average_precision_score``.
    """
    from sklearn.metrics import average_precision_score

    fraud = label == 1
    if np.all(fraud) or not np.any(fraud):
        return float("nan")
    return float(average_precision_score(fraud, score, sample_weight=weight))


def roc_auc(score: Scores, label: Labels, weight: Scores | None = None) -> float:
    """Area under the ROC curve. NaN without both classes. Scikit-learn's ``roc_auc_score``."""
    from sklearn.metrics import roc_auc_score

    fraud = label == 1
    if np.all(fraud) or not np.any(fraud):
        return float("nan")
    return float(roc_auc_score(fraud, score, sample_weight=weight))


def at_false_positive_rate(score: Scores, label: Labels, rate: float) -> tuple[float, float, float]:
    """Recall and precision at the lowest threshold whose false positives stay within ``rate``.

    Returns recall, precision and the threshold (a row alerts when its score is >= it). No alert at
    all gives 0, NaN, inf.
    """
    if len(np.unique(label)) < 2:
        return float("nan"), float("nan"), float("inf")
    thresholds, tp, fp = _cumulated(score, label, None)
    inside = np.flatnonzero(fp <= rate * fp[-1])
    if not len(inside):
        return 0.0, float("nan"), float("inf")
    i = inside[-1]
    return float(tp[i] / tp[-1]), float(tp[i] / (tp[i] + fp[i])), float(thresholds[i])


def precision_recall_curve(score: Scores, label: Labels) -> tuple[Scores, Scores]:
    """Recall (ascending) and precision at every threshold; the steps between them, times their
    precision, sum to the average precision. Needs nothing but numpy."""
    _, tp, fp = _cumulated(score, label, None)
    return tp / max(tp[-1], 1e-12), tp / (tp + fp)


def brier(probability: Scores, label: Labels) -> float:
    """Mean squared difference of probability and outcome; scikit-learn's ``brier_score_loss``."""
    from sklearn.metrics import brier_score_loss

    if not len(label):
        return float("nan")
    return float(brier_score_loss(label == 1, np.clip(probability, 0.0, 1.0), labels=[False, True]))


def calibration_bins(
    probability: Scores, label: Labels, bins: int = BINS
) -> tuple[Scores, Scores, npt.NDArray[np.int64]]:
    """Mean probability, share of fraud and rows of ``bins`` bins that hold equally many rows."""
    order = np.argsort(probability, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    mean = np.array([probability[part].mean() for part in parts])
    share = np.array([(label[part] == 1).mean() for part in parts])
    return mean, share, np.array([len(part) for part in parts])


def calibration_error(probability: Scores, label: Labels, bins: int = BINS) -> float:
    """Expected calibration error over bins of equal mass."""
    mean, share, rows = calibration_bins(probability, label, bins)
    return float(np.sum(rows * np.abs(mean - share)) / np.sum(rows))


def evaluate(
    score: Scores,
    label: Labels,
    *,
    probability: Scores | None = None,
    scenario: npt.NDArray[np.int16] | None = None,
    scenario_names: Sequence[str] = (),
    weight: Scores | None = None,
) -> ScorerFigures:
    """All figures of one scorer on one population.

    ``probability`` adds Brier, ECE, observed and expected frauds; ``scenario`` adds the recall of
    each scenario at a false-positive rate of 0.1 %. ``weight``: of the rows, for the average
    precision alone.
    """
    recall, precision, threshold = at_false_positive_rate(score, label, 0.001)
    more_recall, more_precision, _ = at_false_positive_rate(score, label, 0.01)
    out = ScorerFigures(
        rows=len(score),
        frauds=int(np.count_nonzero(label == 1)),
        average_precision=average_precision(score, label, weight),
        roc_auc=roc_auc(score, label),
        recall_at_0_1_percent=recall,
        precision_at_0_1_percent=precision,
        recall_at_1_percent=more_recall,
        precision_at_1_percent=more_precision,
    )
    if scenario is not None:
        by_name = {}
        for code, name in enumerate(scenario_names):
            rows = (scenario == code) & (label == 1)
            if name and np.any(rows):
                by_name[name] = ScenarioRecall(
                    frauds=int(np.count_nonzero(rows)),
                    recall=float(np.mean(score[rows] >= threshold)),
                )
        out.scenario_recall = by_name
    if probability is not None:
        base = float(np.mean(label == 1))
        out.brier = brier(probability, label)
        out.brier_skill = 1.0 - out.brier / (base * (1.0 - base)) if 0 < base < 1 else float("nan")
        out.calibration_error = calibration_error(probability, label)
        out.expected_frauds = float(np.sum(probability))
    return out

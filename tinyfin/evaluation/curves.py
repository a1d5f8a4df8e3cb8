# SPDX-License-Identifier: Apache-2.0
"""Curves of a test period, few enough points to be drawn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypedDict

import numpy as np
import numpy.typing as npt

from tinyfin.pages.charts import CalibrationBin, PrecisionRecall, ScoreHistogram
from tinyfin.training.bootstrap import wilson
from tinyfin.training.metrics import precision_recall_curve

__all__ = ["Curves", "curves", "score_histogram"]

_POINTS = 160
_BINS = 48
_LOWEST = 1e-7


class Curves(TypedDict, total=False):
    """By scorer; nothing without both classes."""

    precision_recall: dict[str, PrecisionRecall]
    calibration: dict[str, list[CalibrationBin]]


def score_histogram(
    probability: npt.NDArray[np.float64], label: npt.NDArray[np.int8]
) -> ScoreHistogram | None:
    """Counts of genuine (0) and fraud (1) per bin of log10 of the probability; None without rows.

    Rows of unknown label are left out.
    """
    known = label >= 0
    if not np.any(known):
        return None
    logs = np.log10(np.clip(probability[known], _LOWEST, 1.0))
    edges = np.linspace(min(float(np.floor(logs.min())), -1.0), 0.0, _BINS + 1)
    fraud = label[known] == 1
    return {
        "edges": edges.tolist(),
        "genuine": np.histogram(logs[~fraud], edges)[0].tolist(),
        "fraud": np.histogram(logs[fraud], edges)[0].tolist(),
    }


def curves(
    label: npt.NDArray[np.int8],
    scores: Mapping[str, npt.NDArray[np.number]],
    probability: Mapping[str, npt.NDArray[np.float64]],
) -> Curves:
    """Precision over recall of every scorer, best first, and calibration of the probabilities.

    Empty without both classes.
    """
    if len(np.unique(label[label >= 0])) < 2:
        return {}
    by_name: dict[str, PrecisionRecall] = {}
    for name, score in scores.items():
        recall, precision = precision_recall_curve(score, label)
        at = np.unique(np.searchsorted(recall, np.linspace(0, 1, _POINTS + 1)))
        at = np.minimum(np.r_[0, at], len(recall) - 1)
        by_name[name] = {
            "average_precision": float(np.sum(np.diff(np.r_[0.0, recall]) * precision)),
            "recall": recall[at].tolist(),
            "precision": precision[at].tolist(),
        }
    best_first = sorted(by_name, key=lambda name: -by_name[name]["average_precision"])
    return {
        "precision_recall": {name: by_name[name] for name in best_first},
        "calibration": {name: _bins(p, label) for name, p in probability.items()},
    }


def _bins(p: npt.NDArray[np.float64], label: npt.NDArray[np.int8]) -> list[CalibrationBin]:
    """Mean probability and share of fraud, three bins per power of ten.

    Bins of equally many rows, as the calibration error has them, would nearly all be where there
    is no fraud.
    """
    third = np.floor(3 * np.log10(np.clip(p, _LOWEST, 1 - 1e-12))).astype(np.int64)
    out: list[CalibrationBin] = []
    for number in np.unique(third).tolist():
        rows = third == number
        n = int(np.count_nonzero(rows))
        share = float(np.mean(label[rows] == 1))
        low, high = wilson(share, n)
        mean = float(np.mean(p[rows]))
        out.append({"mean": mean, "share": share, "low": low, "high": high, "rows": n})
    return out

# SPDX-License-Identifier: Apache-2.0
"""Curves of a test period, few enough points to be drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tinyfin.pages.charts import CalibrationBin, PrecisionRecall, ScoreHistogram
from tinyfin.training.bootstrap import wilson
from tinyfin.training.metrics import precision_recall_curve

__all__ = ["Curves", "curves", "score_histogram"]

_POINTS = 160
_BINS = 48
_LOWEST = 1e-7


@dataclass(frozen=True)
class Curves:
    """Precision over recall of every scorer, best first, and calibration of the probabilities."""

    precision_recall: dict[str, PrecisionRecall]
    calibration: dict[str, list[CalibrationBin]]


def score_histogram(
    probability: npt.NDArray[np.float64], label: npt.NDArray[np.int8]
) -> ScoreHistogram | None:
    """Genuine (0) and fraud (1) per bin; None without rows. Rows of unknown label are left out."""
    known = label >= 0
    if not np.any(known):
        return None
    logs = np.log10(np.clip(probability[known], _LOWEST, 1.0))
    edges = np.linspace(min(float(np.floor(logs.min())), -1.0), 0.0, _BINS + 1)
    fraud = label[known] == 1
    return ScoreHistogram(
        edges.tolist(),
        np.histogram(logs[~fraud], edges)[0].tolist(),
        np.histogram(logs[fraud], edges)[0].tolist(),
    )


def curves(
    label: npt.NDArray[np.int8],
    scores: Mapping[str, npt.NDArray[np.number]],
    probability: Mapping[str, npt.NDArray[np.float64]],
) -> Curves | None:
    """Curves of few enough points to be drawn; None without both classes."""
    if len(np.unique(label[label >= 0])) < 2:
        return None
    by_name = {}
    for name, score in scores.items():
        recall, precision = precision_recall_curve(score, label)
        at = np.unique(np.searchsorted(recall, np.linspace(0, 1, _POINTS + 1)))
        at = np.minimum(np.r_[0, at], len(recall) - 1)
        by_name[name] = PrecisionRecall(
            float(np.sum(np.diff(np.r_[0.0, recall]) * precision)),
            recall[at].tolist(),
            precision[at].tolist(),
        )
    best_first = sorted(by_name.items(), key=lambda item: -item[1].average_precision)
    return Curves(dict(best_first), {name: _bins(p, label) for name, p in probability.items()})


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
        out.append(CalibrationBin(mean, share, low, high, n))
    return out

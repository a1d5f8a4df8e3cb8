# SPDX-License-Identifier: Apache-2.0
"""What the alerts at a threshold in force amount to: confusion counts and shares, with intervals.

The 95 % intervals resample groups (cards, where there are any: alerts and frauds of one card come
together), and are never narrower than Wilson's, which takes rows as independent but knows that few
rows say little. F1 is to Wilson a share of true positives and half of the errors.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from tinyfin.results.metrics import Action, Confusion, Population, Thresholds
from tinyfin.training.bootstrap import draws, interval, wilson

__all__ = ["ACTION_LEVELS", "SHARES", "at_thresholds", "confusion", "share"]

ACTION_LEVELS: Mapping[Action, int] = {"go_online": 1, "verify": 2, "decline": 3}
"""Actions that a threshold leads to, in order, by the index into ADVICE: what is advised from a
higher threshold counts as an alert of the lower ones too."""
SHARES = ("precision", "recall", "f1", "accuracy")

Mask = npt.NDArray[np.bool_]


def at_thresholds(
    in_force: Mapping[Action, bool],
    advice: npt.NDArray[np.uint8],
    fraud: Mask,
    group: npt.NDArray[np.generic],
    populations: Mapping[Population, Mask],
) -> Thresholds:
    """By action whose threshold is ``in_force`` and by population: :func:`confusion`.

    ``advice``: by score, an index into ADVICE per row; an alert is that action or a stronger one.
    """
    return {
        name: {
            population: confusion((advice >= level)[mask], fraud[mask], group[mask])
            for population, mask in populations.items()
        }
        for name, level in ACTION_LEVELS.items()
        if in_force.get(name)
    }


def confusion(alert: Mask, fraud: Mask, group: npt.NDArray[np.generic], seed: int = 0) -> Confusion:
    """Counts and shares at a threshold.

    ``group``: what is resampled. NaN where there is nothing to divide by.
    """
    cells = np.stack([alert & fraud, alert & ~fraud, ~alert & fraud, ~alert & ~fraud])
    counts = np.count_nonzero(cells, axis=1)
    value = _shares(counts[None, :].astype(np.float64))[:, 0]
    codes = np.unique(group, return_inverse=True)[1]
    by_group = np.stack([np.bincount(codes, cell) for cell in cells], axis=1)
    drawn = np.stack([times @ by_group for times in draws(len(by_group), seed)])
    replicated = _shares(drawn)
    tp, fp, fn, tn = counts.tolist()
    size = (tp + fp, tp + fn, tp + (fp + fn) / 2, counts.sum())
    spans = []
    for one, many, n in zip(value.tolist(), replicated, size, strict=True):
        low, high = interval(many)
        if n:
            least, most = wilson(one, n)
            low, high = np.fmin(low, least), np.fmax(high, most)
        spans.append((float(low), float(high)))
    precision, recall, f1, accuracy = value.tolist()
    return Confusion(
        true_positives=tp,
        false_positives=fp,
        false_negatives=fn,
        true_negatives=tn,
        precision=precision,
        precision_interval=spans[0],
        recall=recall,
        recall_interval=spans[1],
        f1=f1,
        f1_interval=spans[2],
        accuracy=accuracy,
        accuracy_interval=spans[3],
    )


def share(
    hits: npt.NDArray[np.integer], rows: npt.NDArray[np.integer], seed: int = 0
) -> tuple[float, tuple[float, float]]:
    """``hits`` among ``rows``, both int[groups], with the interval; NaN without rows."""
    n, found = int(rows.sum()), int(hits.sum())
    if not n:
        return float("nan"), (float("nan"), float("nan"))
    some = rows > 0
    by_group = np.stack([hits[some], rows[some]], axis=1)
    drawn = np.stack([times @ by_group for times in draws(len(by_group), seed)])
    low, high = interval(drawn[:, 0] / drawn[:, 1])
    least, most = wilson(found / n, n)
    return found / n, (min(low, least), max(high, most))


def _shares(cells: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """[SHARES, n] of rows of true and false positives, false and true negatives."""
    tp, fp, fn, tn = cells.T
    with np.errstate(invalid="ignore"):
        return np.stack(
            [
                tp / (tp + fp),
                tp / (tp + fn),
                2 * tp / (2 * tp + fp + fn),
                (tp + tn) / (tp + fp + fn + tn),
            ]
        )

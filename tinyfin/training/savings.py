# SPDX-License-Identifier: Apache-2.0
"""What alerts save, for the model and for every other scorer that alerts on as many rows.

Savings are those of :func:`tinyfin.training.alert_metrics.savings` (Bahnsen et al.); their 95 %
intervals resample groups (:mod:`tinyfin.training.bootstrap`); the alerts stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tinyfin.data.transactions import Transactions
from tinyfin.results.metrics import Savings
from tinyfin.training.alert_metrics import savings
from tinyfin.training.bootstrap import draws, interval, mean_of_folds

__all__ = ["Period", "amounts_of", "compare_savings", "highest"]

Mask = npt.NDArray[np.bool_]


def amounts_of(tx: Transactions, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Minor units of some rows; zeros for events that are no payments."""
    return np.zeros(len(rows)) if tx.amount is None else tx.amount[rows].astype(np.float64)


def highest(score: npt.NDArray[np.number], count: int) -> Mask:
    """The ``count`` rows with the highest scores, earlier ones first among equals."""
    out = np.zeros(len(score), bool)
    out[np.argsort(-score.astype(np.float64), kind="stable")[:count]] = True
    return out


@dataclass(frozen=True)
class Period:
    """Test rows of one period, n of them, with scores and alerts."""

    alert: Mask
    """Rows that the model alerts by the thresholds in force."""
    scores: Mapping[str, npt.NDArray[np.number]]
    """By scorer, the model included."""
    fraud: Mask
    amount: npt.NDArray[np.float64]
    """Minor units."""
    group: npt.NDArray[np.integer]
    """Number of each row's group, from 0; groups are resampled."""


def compare_savings(
    model: str, periods: Sequence[Period], groups: int, seed: int, alert_minor: float
) -> dict[str, Savings]:
    """By scorer the mean savings of the periods that have a fraudulent amount; empty without any.

    ``model`` alerts as it does; every other scorer on as many of its highest scores in each period,
    so all make the same work. ``groups``: how many there are; each bootstrap sample is the same for
    all periods and scorers. ``alert_minor``: what an alert costs.
    """
    judged = [p for p in periods if np.sum(p.amount[p.fraud]) > 0]
    if not judged:
        return {}
    names = list(judged[0].scores)
    value = np.empty((len(judged), len(names)))
    sums = []
    for i, p in enumerate(judged):
        count = int(np.count_nonzero(p.alert))
        columns = [p.amount * p.fraud]
        for j, name in enumerate(names):
            alert = p.alert if name == model else highest(p.scores[name], count)
            value[i, j] = savings(alert, p.fraud, p.amount, alert_minor)
            columns.append(p.amount * (p.fraud & ~alert) + alert_minor * alert)
        sums.append(np.stack([np.bincount(p.group, x, groups) for x in columns], axis=1))
    # [replicates, periods, 1 + scorers]: what would be lost without alerts, and what is with them
    drawn = np.stack([[times @ each for each in sums] for times in draws(groups, seed)])
    lost = drawn[:, :, :1]
    saved = 1.0 - np.divide(
        drawn[:, :, 1:], lost, out=np.full_like(drawn[:, :, 1:], np.nan), where=lost > 0
    )
    replicated = mean_of_folds([*saved.swapaxes(0, 1)])
    mean = value.mean(axis=0)
    own = names.index(model)
    return {
        name: Savings(
            savings=float(mean[j]),
            interval=interval(replicated[:, j]),
            model_saves_more_by=float(mean[own] - mean[j]),
            model_saves_more_by_interval=interval(replicated[:, own] - replicated[:, j]),
        )
        for j, name in enumerate(names)
    }

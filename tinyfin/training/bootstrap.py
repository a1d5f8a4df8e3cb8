# SPDX-License-Identifier: Apache-2.0
"""Intervals by resampling cards: frauds of one card come together, so rows are not independent.

Efron and Tibshirani, An Introduction to the Bootstrap, ch. 8 (data whose units are groups) and 13
(percentile intervals).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from tinyfin.progress import shown

__all__ = [
    "REPLICATES",
    "Drawn",
    "Z",
    "draw_groups",
    "draws",
    "interval",
    "mean_of_folds",
    "replicated_ap",
    "wilson",
]

REPLICATES = 200
Z = 1.96
_BLOCK = 25

Drawn = npt.NDArray[np.float32]


def draw_groups(groups: int, seed: int, replicates: int = REPLICATES) -> Drawn:
    """How often each group is drawn, float32[replicates, groups]; every row sums to ``groups``."""
    return np.stack([times.astype(np.float32) for times in draws(groups, seed, replicates)])


def draws(groups: int, seed: int, replicates: int = REPLICATES) -> Iterator[npt.NDArray[np.int64]]:
    """The rows of :func:`draw_groups`, one at a time."""
    rng = np.random.default_rng(seed)
    for _ in range(replicates):
        yield np.bincount(rng.integers(0, groups, groups), minlength=groups)


def wilson(share: float, n: float) -> tuple[float, float]:
    """Wilson's 95 % interval of a share of n independent rows."""
    centre = (share + Z * Z / (2 * n)) / (1 + Z * Z / n)
    half = Z * float(np.sqrt(share * (1 - share) / n + Z * Z / (4 * n * n))) / (1 + Z * Z / n)
    return max(0.0, centre - half), min(1.0, centre + half)


def replicated_ap(
    score: npt.NDArray[np.number],
    fraud: npt.NDArray[np.bool_],
    group: npt.NDArray[np.int64],
    drawn: Drawn,
    weight: npt.NDArray[np.float64] | None = None,
) -> npt.NDArray[np.float64]:
    """Average precision under each draw, float64[replicates]; NaN where no fraud or
    nothing else was drawn.

    ``group``: index of each row's group, a column of ``drawn``. ``weight``: of the rows.
    """
    out = np.full(len(drawn), np.nan)
    if not np.any(fraud):
        return out
    weighed = None if weight is None else weight[~fraud]
    genuine = np.bincount(group[~fraud], weighed, minlength=drawn.shape[1])
    # what scores below every fraud changes nothing
    kept = np.flatnonzero(score >= np.min(score[fraud]))
    order = kept[np.argsort(-score[kept].astype(np.float64), kind="stable")]
    ordered, bad = score[order], fraud[order]
    last = np.r_[np.flatnonzero(np.diff(ordered)), len(ordered) - 1]
    own = np.ones(len(order), np.float32) if weight is None else weight[order].astype(np.float32)
    for start in shown("resampling", range(0, len(drawn), _BLOCK), f"times {_BLOCK} draws"):
        times = drawn[start : start + _BLOCK][:, group[order]] * own
        tp = np.cumsum(times * bad, axis=1, dtype=np.float64)[:, last]
        all_ = np.cumsum(times, axis=1, dtype=np.float64)[:, last]
        gain = np.diff(tp, axis=1, prepend=0.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            precision = np.where(all_ > 0, tp / all_, 0.0)
            out[start : start + _BLOCK] = np.sum(gain * precision, axis=1) / tp[:, -1]
    return np.where(drawn @ genuine > 0, out, np.nan)


def interval(values: npt.NDArray[np.float64], share: float = 0.95) -> tuple[float, float]:
    """The percentile interval of replicates; NaN without any."""
    good = values[np.isfinite(values)]
    if not len(good):
        return float("nan"), float("nan")
    low, high = np.quantile(good, [(1 - share) / 2, (1 + share) / 2])
    return float(low), float(high)


def mean_of_folds(replicated: Sequence[npt.NDArray[np.float64]]) -> npt.NDArray[np.float64]:
    """The mean over folds, draw by draw: the same cards were drawn in all of them.

    A fold that no draw gives a figure, because it holds no fraud, is left out.
    """
    finite = [values for values in replicated if np.any(np.isfinite(values))]
    return np.asarray(np.mean(np.stack(finite or replicated), axis=0))

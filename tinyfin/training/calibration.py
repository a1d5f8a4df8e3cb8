# SPDX-License-Identifier: Apache-2.0
"""From the raw integer score to a probability: a strictly increasing table.

Plain isotonic regression has steps, and steps tie scores that the model tells apart. Here blocks
of the isotonic fit are shrunk towards a logistic curve and joined by lines that always rise, over
every raw score that the model can give, so that ranking by probability is ranking by raw score.
The table is fitted on rows at their true prevalence: class weights of the training leave no trace.

Where no fraud is known there is no probability to be had: the table then gives a score's rank, the
share of the calibration rows below it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tinyfin.errors import DataError
from tinyfin.pack.calibration import Calibration

__all__ = [
    "MAX_KNOTS", "Q32", "fit_ranks", "fit_scores", "fit_table", "has_frauds", "probability",
]  # fmt: skip

MAX_KNOTS = 32
Q32 = 1 << 32
_SHRINK = 4.0
_LOWEST, _HIGHEST = 1e-6, 1.0 - 1e-6


def probability(table: Calibration, raw: npt.NDArray[np.int32]) -> npt.NDArray[np.float64]:
    """The calibrated probability of raw scores, as a float."""
    return table.evaluate(raw).astype(np.float64) / Q32


def fit_table(
    raw: npt.NDArray[np.int32],
    label: npt.NDArray[np.int8],
    bounds: tuple[int, int],
    knots: int = MAX_KNOTS,
) -> Calibration:
    """Fit on raw scores of rows at their true prevalence; 1 marks fraud.

    ``bounds``: smallest and largest raw score that the model can give; the table spans them. Raises
    DataError without both classes.
    """
    fraud = label == 1
    if not np.any(fraud) or np.all(fraud):
        raise DataError("calibration needs frauds and genuine rows; give more labelled data")
    x = raw.astype(np.float64)
    scale = max(float(np.std(x)), 1.0)
    slope, intercept = _logistic(x / scale, fraud)
    slope /= scale
    center, share, mass = _blocks(x, fraud, slope, intercept, knots - 2)
    centers, shares = _pool(center, share, mass)
    low, high = min(bounds[0], int(raw.min())), max(bounds[1], int(raw.max()))
    points = {round(float(c)): float(p) for c, p in zip(centers, shares, strict=True)}
    first, last = min(points), max(points)
    if low < first:
        points[low] = _shift(points[first], slope * (low - first))
    if high > last:
        points[high] = _shift(points[last], slope * (high - last))
    if len(points) < 2:
        points[low + 1 if high == low else high] = _shift(points[low], slope)
    at = sorted(points)
    table = _rising(at, [points[r] for r in at])
    return _recentre(table, raw, float(np.mean(fraud)))


def has_frauds(label: npt.NDArray[np.int8]) -> bool:
    """There is something to calibrate on: frauds, and rows that are none."""
    return bool(np.any(label == 1) and np.any(label != 1))


def fit_scores(
    raw: npt.NDArray[np.int32], label: npt.NDArray[np.int8], bounds: tuple[int, int]
) -> Calibration:
    """:func:`fit_table` where frauds are known, :func:`fit_ranks` where none is."""
    return fit_table(raw, label, bounds) if has_frauds(label) else fit_ranks(raw, bounds)


def fit_ranks(raw: npt.NDArray[np.int32], bounds: tuple[int, int]) -> Calibration:
    """A table whose p is the share of ``raw`` below; it spans ``bounds`` and rises everywhere."""
    if not len(raw):
        raise DataError("calibration needs rows; give more data")
    tail = 0.5 ** np.arange(1, MAX_KNOTS - 6)
    share = np.unique(np.r_[0.01, 0.05, 0.1, 0.25, 1.0 - tail[tail >= 0.5 / len(raw)]])
    at = np.quantile(raw, share, method="lower").astype(np.int64)
    points = {int(x): float(p) for x, p in zip(at, share, strict=True)}  # the last of equals
    low, high = min(bounds[0], int(raw.min())), max(bounds[1], int(raw.max()))
    last = max(points.values())
    points.setdefault(low, min(points.values()) / 2.0)
    points.setdefault(high if high > low else low + 1, (1.0 + last) / 2.0)
    rising = sorted(points)
    return _rising(rising, [points[x] for x in rising])


def _logistic(x: npt.NDArray[np.float64], y: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """Slope (never falling) and intercept of a logistic curve, by Newton's method."""
    base = float(np.mean(y))
    a, b = 0.0, float(np.log(base / (1.0 - base)))
    for _ in range(50):
        p = 1.0 / (1.0 + np.exp(-np.clip(a * x + b, -30, 30)))
        g = np.array([np.sum((p - y) * x) + 1e-3 * a, np.sum(p - y)])
        w = p * (1.0 - p)
        h = np.array([[np.sum(w * x * x) + 1e-3, np.sum(w * x)], [np.sum(w * x), np.sum(w)]])
        step = np.linalg.solve(h + 1e-9 * np.eye(2), g)
        step *= min(1.0, 2.0 / max(float(np.max(np.abs(step))), 1e-12))
        a, b = a - float(step[0]), b - float(step[1])
        if float(np.max(np.abs(step))) < 1e-8:
            break
    return max(a, 1e-3), b


def _blocks(
    x: npt.NDArray[np.float64],
    fraud: npt.NDArray[np.bool_],
    slope: float,
    intercept: float,
    count: int,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Mean score, share of fraud (shrunk towards the logistic curve) and weight of each block.

    Half of the edges part the frauds evenly, half the rows; equal scores stay together.
    """
    order = np.argsort(x, kind="stable")
    x, fraud = x[order], fraud[order]
    half = max(2, count // 2)
    positions = np.flatnonzero(fraud)
    per_fraud = max(1, int(np.ceil(len(positions) / half)))
    edges = np.concatenate(
        [positions[::per_fraud], np.linspace(0, len(x), half + 1).astype(np.int64)]
    )
    starts = np.unique(np.searchsorted(x, x[np.clip(edges, 0, len(x) - 1)], side="left"))
    ends = np.r_[starts[1:], len(x)]
    center, share, mass = [], [], []
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        prior = 1.0 / (1.0 + np.exp(-np.clip(slope * x[start:end] + intercept, -30, 30)))
        n = end - start
        center.append(float(np.mean(x[start:end])))
        share.append((float(np.sum(fraud[start:end])) + _SHRINK * float(np.mean(prior)))
                     / (n + _SHRINK))
        mass.append(float(n))
    return np.array(center), np.array(share), np.array(mass)


def _pool(
    center: npt.NDArray[np.float64], share: npt.NDArray[np.float64], mass: npt.NDArray[np.float64]
) -> tuple[list[float], list[float]]:
    """Pool adjacent violators: blocks that do not rise become one."""
    stack: list[list[float]] = []
    for block in zip(center.tolist(), share.tolist(), mass.tolist(), strict=True):
        c, p, m = block
        while stack and stack[-1][1] >= p:
            c0, p0, m0 = stack.pop()
            c, p, m = (c0 * m0 + c * m) / (m0 + m), (p0 * m0 + p * m) / (m0 + m), m0 + m
        stack.append([c, p, m])
    return [b[0] for b in stack], [b[1] for b in stack]


def _shift(p: float, logits: float) -> float:
    p = min(max(p, _LOWEST), _HIGHEST)
    z = float(np.clip(np.log(p / (1.0 - p)) + logits, -30, 30))
    return float(1.0 / (1.0 + np.exp(-z)))


def _rising(raw: Sequence[int], share: Sequence[float]) -> Calibration:
    """Whole numbers that rise by at least one per raw score, within 1 .. 2^32 - 2."""
    p = [round(min(max(s, 0.0), 1.0) * Q32) for s in share]
    p[0] = max(1, p[0])
    for i in range(1, len(p)):
        p[i] = max(p[i], p[i - 1] + raw[i] - raw[i - 1])
    ceiling = Q32 - 2
    for i in range(len(p) - 1, -1, -1):
        p[i] = min(p[i], ceiling)
        ceiling = p[i] - (raw[i] - raw[i - 1] if i else 0)
    if p[0] < 0:
        raise DataError("the range of raw scores is too wide to calibrate; use a larger shift")
    return Calibration(tuple(int(r) for r in raw), tuple(p))


def _recentre(table: Calibration, raw: npt.NDArray[np.int32], base: float) -> Calibration:
    """Shift the odds until the mean probability is the prevalence: lines between blocks bend it."""
    for _ in range(8):
        mean = float(np.mean(probability(table, raw)))
        if abs(mean - base) <= 1e-4 * base:
            break
        shift = float(np.log(base / (1.0 - base)) - np.log(mean / (1.0 - mean)))
        table = _rising(table.raw, [_shift(p / Q32, shift) for p in table.p_q32])
    return table

# SPDX-License-Identifier: Apache-2.0
"""From the raw integer score to a probability: a strictly increasing table.

Plain isotonic regression has steps, and steps tie scores that the model distinguishes. Here lines
that always rise follow a smooth curve of the odds (:mod:`tinyfin.training.monotone_curve`), over
every raw score that the model can give, so that ranking by probability is ranking by raw score.
The table is fitted on rows at their true prevalence: class weights of the training leave no trace.

Where no fraud is known there is no probability: the table then gives a score's rank, the
share of the calibration rows below it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tinyfin.errors import DataError
from tinyfin.pack.calibration import Calibration
from tinyfin.training.monotone_curve import fit_curve, hats
from tinyfin.training.odds import log_odds, probability_of

__all__ = ["MAX_KNOTS", "Q32", "fit_ranks", "fit_scores", "fit_table", "has_frauds", "probability"]

MAX_KNOTS = 32
Q32 = 1 << 32
_GRAIN = 64
"""Probabilities are whole multiples of this many 2^-32, so that the last bits of a machine's
arithmetic do not reach the pack."""
_FINE = 1e-4
_LITTLE = 0.05
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
    curve = fit_curve(raw, fraud)
    values, rows = np.unique(raw.astype(np.int64), return_counts=True)
    p = np.clip(curve(values), _LOWEST, _HIGHEST)
    weight = rows / (p * (1.0 - p))
    at = values[_corners(values, p, weight, knots - 2)]
    share = _through(values, p, weight, at)
    points = dict(zip(at.tolist(), share.tolist(), strict=True))
    ends = np.array([min(bounds[0], int(values[0])), max(bounds[1], int(values[-1]))])
    if ends[0] == ends[1]:
        ends[1] += 1
    for end, share_there in zip(ends.tolist(), curve(ends).tolist(), strict=True):
        points.setdefault(end, min(max(share_there, _LOWEST), _HIGHEST))
    rising = sorted(points)
    wanted = [points[r] for r in rising]
    table = _rising(rising, wanted)
    meant = float(np.mean(np.interp(raw, rising, wanted)))
    if log_odds(float(np.mean(probability(table, raw)))) - log_odds(meant) > _LITTLE:
        # The range of raw scores is so wide that rising by one for each takes up the low
        # probabilities; shifting would spoil the high ones, too.
        return table
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


def _corners(
    x: npt.NDArray[np.int64],
    p: npt.NDArray[np.float64],
    weight: npt.NDArray[np.float64],
    count: int,
) -> npt.NDArray[np.int64]:
    """Indices of at most ``count`` of the points: each new one where the lines so far err most, in
    standard deviations of the rows there."""
    kept = sorted({0, len(x) - 1})
    while len(kept) < min(count, len(x)):
        error = (np.interp(x, x[kept], p[kept]) - p) ** 2 * weight
        worst = int(np.argmax(error))
        if error[worst] < _FINE:
            break
        kept = sorted({*kept, worst})
    return np.asarray(kept, np.int64)


def _through(
    x: npt.NDArray[np.int64],
    p: npt.NDArray[np.float64],
    weight: npt.NDArray[np.float64],
    at: npt.NDArray[np.int64],
) -> npt.NDArray[np.float64]:
    """Values at the corners whose lines are nearest to p: chords alone are above a curve that
    bends upwards, and below one that bends down."""
    if len(at) < 2:
        return p[:1]
    lines = hats(x, at)
    wanted = np.linalg.solve(lines.T @ (lines * weight[:, None]), lines.T @ (weight * p))
    return np.asarray(np.maximum.accumulate(np.clip(wanted, _LOWEST, _HIGHEST)))


def _shift(p: float, logits: float) -> float:
    p = min(max(p, _LOWEST), _HIGHEST)
    return float(probability_of(np.clip(log_odds(p) + logits, -30, 30)))


def _rising(raw: Sequence[int], share: Sequence[float]) -> Calibration:
    """Whole numbers that rise by at least one per raw score, within 1 .. 2^32 - 2."""
    p = [round(min(max(s, 0.0), 1.0) * Q32 / _GRAIN) * _GRAIN for s in share]
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
    """Shift the odds until the mean probability is the prevalence."""
    shifted = table
    for _ in range(8):
        mean = float(np.mean(probability(shifted, raw)))
        if abs(mean - base) <= 1e-4 * base:
            return shifted
        shift = float(log_odds(base) - log_odds(mean))
        shifted = _rising(shifted.raw, [_shift(p / Q32, shift) for p in shifted.p_q32])
    return shifted

# SPDX-License-Identifier: Apache-2.0
"""The odds of fraud as a function of a score: a smooth curve that never falls.

The log-odds are straight between a few knots, fitted by penalised maximum likelihood:

    sum over rows of log(1 + exp z) - t z
    + PENALTY / 2 * sum over knots of (change of slope)^2 / (mean of the gaps next to it)

with z rising everywhere. The penalty pulls towards one straight line, the logistic curve of Platt
(1999); with many frauds the data bend it. The targets t are Platt's, (frauds + 1) / (frauds + 2)
and 1 / (genuine + 2), so that scores that fully separate the two classes give no certainty.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tinyfin.training.odds import log_odds, probability_of

__all__ = ["PENALTY", "Curve", "fit_curve", "hats"]

PENALTY = 10.0
"""In units of the score's standard deviation."""
_KNOTS = 12
_GROUPS = 8192
_LEAST_SLOPE = 1e-3
_CLOSEST = 1e-3
_STEPS = 100
_SETTLED = 1e-10

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """Log-odds at knots, straight between and beyond them."""

    middle: float
    scale: float
    """A score's place among the knots is (score - middle) / scale."""
    knots: Floats
    z: Floats
    """Log-odds at the knots."""
    spread: Floats
    """Inverse of the curvature of what was minimised, among the values at the knots."""

    def __call__(self, score: npt.NDArray[np.number]) -> Floats:
        """Probabilities of scores, n of them."""
        return _sigmoid(self.log_odds(score))

    def log_odds(self, score: npt.NDArray[np.number]) -> Floats:
        """Log-odds of scores, n of them."""
        return np.asarray(self._hats(score) @ self.z)

    def sensitivity(self, learned: npt.NDArray[np.number], at: npt.NDArray[np.number]) -> Floats:
        """By how much the sum of the probabilities ``at`` some scores rises with one more fraud
        among each of the scores ``learned`` from, to first order."""
        p = self(at)
        pull = self.spread @ (self._hats(at).T @ (p * (1.0 - p)))
        return np.asarray(self._hats(learned) @ pull)

    def _hats(self, score: npt.NDArray[np.number]) -> Floats:
        return hats((score.astype(np.float64) - self.middle) / self.scale, self.knots)


def fit_curve(score: npt.NDArray[np.number], fraud: npt.NDArray[np.bool_]) -> Curve:
    """Fit on scores of rows at their true prevalence; both classes have to be there."""
    middle, scale = float(np.mean(score)), float(np.std(score)) or 1.0
    x = (score.astype(np.float64) - middle) / scale
    knots = _places(x, fraud)
    at, rows, target = _grouped(x, fraud)
    z, spread = _minimum(hats(at, knots), rows, target, knots)
    return Curve(middle, scale, knots, z, spread)


def _sigmoid(z: Floats) -> Floats:
    return np.asarray(probability_of(np.clip(z, -35.0, 35.0)))


def _places(x: Floats, fraud: npt.NDArray[np.bool_]) -> Floats:
    """Knots: half of them divide the frauds evenly, half all rows."""
    half = (np.arange(_KNOTS // 2) + 0.5) / (_KNOTS // 2)
    found = np.unique(np.r_[np.quantile(x[fraud], half), np.quantile(x, half)])
    least = _CLOSEST * float(found[-1] - found[0])
    kept = [float(found[0])]
    for place in found[1:].tolist():
        if place - kept[-1] > least:
            kept.append(place)
    return np.array(kept if len(kept) > 1 else [kept[0], kept[0] + 1.0])


def _grouped(x: Floats, fraud: npt.NDArray[np.bool_]) -> tuple[Floats, Floats, Floats]:
    """Groups of equal scores, or of neighbours where there are very many: mean score, rows, and
    the mean of their targets."""
    values, group = np.unique(x, return_inverse=True)
    if len(values) > _GROUPS:
        group = group * _GROUPS // len(values)
    rows = np.bincount(group).astype(np.float64)
    bad = np.bincount(group, weights=fraud)
    frauds, genuine = float(np.sum(bad)), float(np.sum(rows - bad))
    target = bad * (frauds + 1.0) / (frauds + 2.0) + (rows - bad) / (genuine + 2.0)
    return np.bincount(group, weights=x) / rows, rows, target / rows


def hats(x: npt.NDArray[np.number], knots: npt.NDArray[np.number]) -> Floats:
    """Weights of the knots' values at x, float64[n, knots]; lines go on beyond the ends."""
    left = np.clip(np.searchsorted(knots, x, side="right") - 1, 0, len(knots) - 2)
    share = (x - knots[left]) / np.diff(knots)[left]
    out = np.zeros((len(x), len(knots)))
    row = np.arange(len(x))
    out[row, left], out[row, left + 1] = 1.0 - share, share
    return out


def _minimum(weights: Floats, rows: Floats, target: Floats, knots: Floats) -> tuple[Floats, Floats]:
    """Values at the knots, and the inverse curvature, by Newton's method on the first value and
    the slopes; slopes that would fall stay at the least one (Bertsekas 1982, projected Newton)."""
    gaps = np.diff(knots)
    n = len(knots)
    rise = np.tril(np.ones((n, n)))
    rise[:, 1:] *= gaps
    bend = np.zeros((max(n - 2, 0), n))
    for i in range(n - 2):
        bend[i, i + 1 : i + 3] = np.array([-1.0, 1.0]) / np.sqrt((gaps[i] + gaps[i + 1]) / 2.0)
    stiff = PENALTY * bend.T @ bend
    design = weights @ rise
    low = np.r_[-np.inf, np.full(n - 1, _LEAST_SLOPE)]
    base = float(np.sum(rows * target) / np.sum(rows))
    at = np.r_[log_odds(base) + 0.5 * knots[0], np.full(n - 1, 0.5)]

    def cost(at: Floats) -> float:
        z = design @ at
        return float(np.sum(rows * (np.logaddexp(0.0, z) - target * z)) + 0.5 * at @ stiff @ at)

    now = cost(at)
    for _ in range(_STEPS):
        p = _sigmoid(design @ at)
        slope = design.T @ (rows * (p - target)) + stiff @ at
        free = (at > low) | (slope < 0.0)
        curved = _curvature(design[:, free], rows * p * (1.0 - p), stiff[np.ix_(free, free)])
        step = np.zeros(n)
        step[free] = -np.linalg.solve(curved, slope[free])
        share = 1.0
        while share > 1e-8:
            new = np.maximum(at + share * step, low)
            later = cost(new)
            if later <= now + 1e-4 * float(slope @ (new - at)):
                break
            share /= 2.0
        else:
            break
        moved = float(np.max(np.abs(new - at)))
        at, now = new, later
        if moved < _SETTLED:
            break
    p = _sigmoid(design @ at)
    free = at > low
    inverse = np.zeros((n, n))
    inverse[np.ix_(free, free)] = np.linalg.inv(
        _curvature(design[:, free], rows * p * (1.0 - p), stiff[np.ix_(free, free)])
    )
    return np.asarray(rise @ at), np.asarray(rise @ inverse @ rise.T)


def _curvature(design: Floats, weight: Floats, stiff: Floats) -> Floats:
    curved = design.T @ (design * weight[:, None]) + stiff
    return np.asarray(curved + 1e-12 * float(np.trace(curved)) * np.eye(len(curved)))

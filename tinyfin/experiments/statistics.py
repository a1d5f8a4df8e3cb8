# SPDX-License-Identifier: Apache-2.0
"""How many terminals an experiment needs, and what a difference of two arms says.

A metric is a ratio of sums over terminals. Its variance is that of the terminals' residuals
(W. G. Cochran, Sampling Techniques, 1977, section 6.4), and the difference of two arms has
Student's t with the degrees of freedom of B. L. Welch (1947). The number of terminals is that of
A. Donner and N. Klar (Design and Analysis of Cluster Randomization Trials, 2000, chapter 5), with
the noncentral t in place of their normal quantiles.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tinyfin.errors import InputError

__all__ = ["Arm", "Difference", "binary_variance", "compare", "power_of", "terminals_per_arm"]

Floats = npt.NDArray[np.float64]
_MOST_TERMINALS = 1 << 30


@dataclass(frozen=True)
class Arm:
    """What the terminals of an arm have counted; those without data are left out."""

    count: Floats
    """float64[k]: of what the metric counts, by terminal."""
    exposure: Floats
    """float64[k]: what it is counted for; positive."""

    @property
    def rate(self) -> float:
        """The metric: counts for one unit of exposure, over all terminals."""
        return float(self.count.sum() / self.exposure.sum())

    @property
    def variance(self) -> float:
        """Of one terminal: divided by their number it is that of ``rate``. Infinite for one."""
        k = len(self.count)
        if k < 2:
            return math.inf
        residual = self.count - self.rate * self.exposure
        return float(residual @ residual) / (k - 1) / float(self.exposure.mean()) ** 2


@dataclass(frozen=True)
class Difference:
    """Of the rates of two arms, treatment less control."""

    value: float
    error: float
    """Its standard error."""
    freedom: float
    low: float
    high: float
    p_value: float


def compare(control: Arm, treatment: Arm, alpha: float) -> Difference:
    """The difference with its interval at confidence 1 - alpha. Raises InputError for an arm with
    fewer than two terminals."""
    from scipy.special import stdtr, stdtrit

    arms = (control, treatment)
    parts = [arm.variance / len(arm.count) for arm in arms]
    if math.inf in parts:
        raise InputError("an arm has data of fewer than 2 terminals; nothing can be compared")
    value, error = treatment.rate - control.rate, math.sqrt(sum(parts))
    if error == 0:
        return Difference(value, 0.0, math.inf, value, value, float(value == 0))
    squares = sum(p**2 / (len(arm.count) - 1) for p, arm in zip(parts, arms, strict=True))
    freedom = error**4 / squares
    margin = float(stdtrit(freedom, 1 - alpha / 2)) * error
    p_value = 2 * float(stdtr(freedom, -abs(value) / error))
    return Difference(value, error, freedom, value - margin, value + margin, p_value)


def power_of(difference: float, error: float, freedom: float, alpha: float) -> float:
    """The probability of finding a true difference: of a noncentral t beyond the two quantiles."""
    from scipy.special import nctdtr, stdtrit

    if error == 0:
        return 1.0
    limit, shift = float(stdtrit(freedom, 1 - alpha / 2)), abs(difference) / error
    tails = nctdtr(freedom, shift, np.array([limit, -limit]))
    below, opposite = np.nan_to_num(tails)  # NaN: too small for scipy
    return float(1 - below + opposite)


def terminals_per_arm(variance: float, difference: float, alpha: float, power: float) -> int:
    """The fewest terminals in each of two equal arms that find a true ``difference`` with
    probability ``power``; ``variance``: of one terminal, as :attr:`Arm.variance` has it. Raises
    InputError."""
    if not 0 < alpha < 1 or not alpha < power < 1 or difference <= 0 or not variance >= 0:
        raise InputError("a design takes 0 < alpha < power < 1 and a difference above 0")

    def enough(k: int) -> bool:
        return power_of(difference, math.sqrt(2 * variance / k), 2 * (k - 1), alpha) >= power

    found = bisect_left(range(_MOST_TERMINALS), True, lo=2, key=enough)
    if found == _MOST_TERMINALS:
        raise InputError(f"more than {found:,} terminals; ask for a larger difference")
    return found


def binary_variance(share: float, events: float, correlation: float) -> float:
    """Of one terminal's share, where each of its ``events`` has the outcome with probability
    ``share`` and two of them have this correlation: p (1 - p) (1 + (m - 1) rho) / m."""
    if not 0 < share < 1 or events < 1 or not 0 <= correlation <= 1:
        raise InputError("a share is between 0 and 1, with 1 event or more and correlation 0 to 1")
    return share * (1 - share) * (1 + (events - 1) * correlation) / events

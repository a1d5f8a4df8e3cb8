# SPDX-License-Identifier: Apache-2.0
"""Whether two samples of counts by bin are of one distribution: the chi-square test of
homogeneity (K. Pearson, 1911; W. Press et al., Numerical Recipes, 14.3, for unequal sizes)."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["chi_square", "chi_square_quantile", "chi_square_tail"]


def chi_square(before: ArrayLike, after: ArrayLike) -> tuple[float, int]:
    """The statistic and its degrees of freedom. Bins that are empty in both do not count; (0, 0)
    without counts on a side."""
    a, b = np.asarray(before, np.float64), np.asarray(after, np.float64)
    n, m = a.sum(), b.sum()
    kept = a + b > 0
    if not n or not m:
        return 0.0, 0
    a, b = a[kept], b[kept]
    difference = np.sqrt(m / n) * a - np.sqrt(n / m) * b
    return float(np.sum(difference**2 / (a + b))), len(a) - 1


@cache
def chi_square_quantile(share: float, degrees: int) -> float:
    """What a chi-square stays below with probability ``share``."""
    from scipy.stats import chi2

    return float(chi2.ppf(share, degrees))


def chi_square_tail(statistic: float, degrees: int) -> float:
    """Probability that a chi-square is at least ``statistic``; 1 without degrees of freedom."""
    from scipy.stats import chi2

    return float(chi2.sf(statistic, degrees)) if degrees else 1.0

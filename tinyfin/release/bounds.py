# SPDX-License-Identifier: Apache-2.0
"""From windows of terminals on which a candidate is healthy to bounds that hold on others.

A terminal is refused when any of its measures passes its bound at any look, so the bounds are one
region with one risk. Each measure is brought to one scale by its own tail over the terminals: its
distance from a high quantile, over the mean excess above that. The maximum over all measures and
windows of a terminal is one number, as in a max-T test (P. H. Westfall and S. S. Young, 1993). The
region is all whose maximum does not pass a level, the same for all measures.

The level is the larger of two. First, the largest maximum seen: terminals are exchangeable, so
another one passes the largest of n with probability 1 / (n + 1), and with confidence c a share of
at most 1 - (1 - c)^(1 / n) does (S. S. Wilks, Determination of sample sizes for setting tolerance
limits, 1941); 0.1 % takes 2,995 terminals. Second, because few terminals show little of the tail,
an exponential tail of the maxima above that quantile (peaks over threshold: J. Pickands,
Statistical inference using extreme order statistics, 1975, with shape 0), carried on to the share
wanted, its mean excess at the upper end of its 95 % interval. It is carried on to half of the share
wanted: terminals to come are like those of the data, but not the same population. That is an aim:
where terminals differ by more than such a tail has (a few merchants of another kind), more are
refused, but no more than the first of the two says. docs/release.md has what becomes of both on
terminals that were used for nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tinyfin.errors import DataError

__all__ = ["CONFIDENCE", "LEAST_TERMINALS", "WANTED", "Region", "region", "wilks"]

Floats = npt.NDArray[np.float64]

WANTED = 0.001
"""Share of healthy terminals that bounds may refuse."""
CONFIDENCE = 0.95
LEAST_TERMINALS = 20
"""That bounds are made from."""
_MARGIN = 0.5
"""Of the share wanted, what the tail is carried on to."""
_TAIL, _LEAST_IN_TAIL = 0.1, 20
"""Share of the terminals that is the tail, but at least so many of them; half of them at most."""


@dataclass(frozen=True)
class Region:
    """A bound for each measure."""

    bounds: Floats
    terminals: int
    refused_at_most: float
    """Share of terminals to come, with CONFIDENCE, whatever their tail is."""
    extrapolated: bool
    """Whether that is more than what was wanted, which then rests on the tail carried on: an aim,
    without a confidence."""


def wilks(terminals: int, confidence: float = CONFIDENCE) -> float:
    """Share of a population above the largest of a sample, at most, with this confidence."""
    return float(1.0 - (1.0 - confidence) ** (1.0 / terminals))


def region(values: Floats, terminal: npt.NDArray[np.int64], *, wanted: float = WANTED) -> Region:
    """Bounds for the measures ``values`` float64[windows, measures] of windows of ``terminal``s.

    A measure passes its bound when it is larger; all of them count in steps of about 1. Raises
    DataError for fewer than LEAST_TERMINALS.
    """
    names, code = np.unique(terminal, return_inverse=True)
    n = len(names)
    if n < LEAST_TERMINALS:
        raise DataError(
            f"{n} terminal{'s have' if n != 1 else ' has'} a whole window, and bounds take at "
            f"least {LEAST_TERMINALS}; give data of more terminals, or fewer events with --look "
            "and --trial-events"
        )
    largest = np.full((n, values.shape[1]), -np.inf)
    np.maximum.at(largest, code, values)
    tail = min(0.5, max(_TAIL, _LEAST_IN_TAIL / n))
    base = np.quantile(largest, 1 - tail, axis=0)
    scale = np.array([max(1.0, _mean_excess(*pair)) for pair in zip(largest.T, base, strict=True)])
    maximum = ((largest - base) / scale).max(axis=1)
    level = max(float(maximum.max()), _carried_on(maximum, tail, _MARGIN * wanted))
    shown = wilks(n)
    return Region(base + level * scale, n, shown, shown > wanted)


def _mean_excess(column: Floats, above: float) -> float:
    over = column[column > above] - above
    return float(over.mean()) if len(over) else 0.0


def _carried_on(maximum: Floats, tail: float, wanted: float) -> float:
    from scipy.stats import chi2

    start = float(np.quantile(maximum, 1 - tail))
    over = maximum[maximum > start] - start
    if not len(over):
        return start
    # twice the sum of k exponential excesses over their true mean is chi-square, 2 k degrees
    mean = 2 * float(over.sum()) / float(chi2.ppf(1 - CONFIDENCE, 2 * len(over)))
    return start + mean * max(0.0, float(np.log(len(over) / len(maximum) / wanted)))

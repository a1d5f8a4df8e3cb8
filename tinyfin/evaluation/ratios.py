# SPDX-License-Identifier: Apache-2.0
"""The ratio of two shares, with its interval, and the worst of several."""

from __future__ import annotations

from collections.abc import Mapping
from math import exp, inf, nan, sqrt
from statistics import NormalDist
from typing import NamedTuple

from tinyfin.results.evaluation import Ratio, WorstRatios
from tinyfin.training.bootstrap import Z

__all__ = ["FEWEST_ALERTS", "FEWEST_FRAUDS", "Counts", "risk_ratio", "worst_ratios"]

FEWEST_FRAUDS = 20
"""Frauds that a value must have before a bound on recall can fail by it."""
FEWEST_ALERTS = 5
"""False alerts that a value must have before a bound on them can fail by it."""


class Counts(NamedTuple):
    """Events among rows, in one value of a group and in all other rows."""

    events: int
    rows: int
    other_events: int
    other_rows: int


def risk_ratio(counts: Counts, z: float = Z) -> Ratio:
    """The share of events in the value over that in the rest, with the interval of Katz, Baptista,
    Azen and Pike, Obtaining Confidence Intervals for the Risk Ratio in Cohort Studies (Biometrics
    34, 1978, method C): log ratio +- z sqrt(1/a - 1/n + 1/c - 1/m), rows independent.

    Where a cell of the 2 x 2 table is 0, 0.5 is added to all four (the Haldane-Anscombe correction;
    Deeks and Higgins, Statistical Algorithms in Review Manager 5, 2010). NaN without rows on one
    side, or without any event, when there is nothing to compare.
    """
    a, n, c, m = map(float, counts)
    if not n or not m or not a + c:
        return Ratio(ratio=nan, low=nan, high=nan)
    if 0 in (a, n - a, c, m - c):
        a, n, c, m = a + 0.5, n + 1, c + 0.5, m + 1
    ratio = (a / n) / (c / m)
    spread = z * sqrt(1 / a - 1 / n + 1 / c - 1 / m)
    return Ratio(ratio=ratio, low=ratio * exp(-spread), high=ratio * exp(spread))


def worst_ratios(false_alerts: Mapping[str, Counts], detected: Mapping[str, Counts]) -> WorstRatios:
    """The largest lower end of the false-alert ratios, and the smallest upper end of the recall
    ratios, over the values of a group; counts by value.

    The worst of k values is chosen after looking, so each interval has confidence 1 - 0.05 / k
    (Bonferroni). A value with fewer than FEWEST_ALERTS false alerts has at least 0 times those of
    the rest, one with fewer than FEWEST_FRAUDS frauds at most 1 / recall of the rest: what holds of
    any value. NaN where fewer than two values can be compared.
    """
    low, noisy = nan, None
    compared = {v: c for v, c in false_alerts.items() if c.rows and c.other_rows}
    for value, counts in compared.items():
        enough = counts.events >= FEWEST_ALERTS
        end = risk_ratio(counts, _z(len(compared))).low if enough else 0.0
        if not end <= low:
            low, noisy = end, value if enough else None
    high, missed = inf, None
    compared = {v: c for v, c in detected.items() if c.rows and c.other_rows and c.other_events}
    for value, counts in compared.items():
        enough = counts.rows >= FEWEST_FRAUDS
        any_value = counts.other_rows / counts.other_events
        end = risk_ratio(counts, _z(len(compared))).high if enough else any_value
        if end < high:
            high, missed = end, value if enough else None
    return WorstRatios(
        false_alert_ratio_at_least=low,
        false_alert_value=noisy,
        recall_ratio_at_most=high if high < inf else nan,
        recall_value=missed,
    )


def _z(values: int) -> float:
    return NormalDist().inv_cdf(1 - 0.05 / (2 * values))

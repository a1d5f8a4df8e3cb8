# SPDX-License-Identifier: Apache-2.0
"""Whether a terminal has drifted, from the counts that its monitor keeps.

A terminal is compared with itself: its newest window of events with all before it. The statistic
is the chi-square of two samples, divided by the inflation that the pack gives for such windows of
healthy terminals. Compared with a fixed distribution, such as that of a fleet, a healthy terminal
would alarm most of the time: terminals differ.

Against its stratum, the other terminals of the same kind, a terminal's chi-square is compared with
theirs: each against the sum of the rest, the median heterogeneity per event taken out, so that
terminals with more events do not look stranger; the logarithm of what is left against the others'
mean and spread, by Student's t for one more observation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tinyfin.pack.drift import DriftSection
from tinyfin.pack.monitor_image import Counts, MonitorCounts, window
from tinyfin.pack.two_samples import chi_square, chi_square_tail
from tinyfin.training.drift import jensen_shannon, stability_index

__all__ = [
    "ALPHA",
    "FEWEST_EVENTS",
    "FEWEST_OTHERS",
    "LEAST_INDEX",
    "Comparison",
    "against_past",
    "against_stratum",
    "baseline_line",
    "last_window",
]

ALPHA = 0.001
"""Of one terminal's test, over all of its histograms."""
LEAST_INDEX = 0.1
"""A change with a smaller stability index is no drift, however certain it is (N. Siddiqi, Credit
Risk Scorecards, 2006)."""
FEWEST_EVENTS = 100
"""In a window, for a verdict."""
FEWEST_OTHERS = 8
"""Terminals of a stratum besides the one that is compared."""


@dataclass(frozen=True)
class Comparison:
    """Two samples of one histogram. ``p_value``: of equal distributions; NaN where there are
    too few to say."""

    stability_index: float
    jensen_shannon: float
    events: int
    """Of the newer sample."""
    events_before: int
    p_value: float
    drifted: bool


def _compare(before: Counts, after: Counts, p_value: float, alpha: float) -> Comparison:
    index = stability_index(before, after)
    if after.sum() < FEWEST_EVENTS:
        p_value = float("nan")
    return Comparison(
        index,
        jensen_shannon(before, after),
        int(after.sum()),
        int(before.sum()),
        p_value,
        bool(p_value < alpha and index >= LEAST_INDEX),
    )


def last_window(
    readings: Sequence[MonitorCounts], events: int
) -> tuple[tuple[Counts, ...], tuple[Counts, ...]]:
    """Counts of one terminal before its newest window, and in it: the newest readings that hold at
    least ``events`` together. What a terminal counted first, until it had as many, is left out:
    its features were still settling."""
    windows = [window(a, b) for a, b in zip([None, *readings], readings, strict=False)]
    known = min((len(w) for w in windows), default=0)
    sizes = [int(w[0].sum()) if known else 0 for w in windows]
    warm, held = 0, 0
    while warm < len(windows) and held < events:
        held += sizes[warm]
        warm += 1
    first, held = len(windows), 0
    while first > warm and held < events:
        first -= 1
        held += sizes[first]
    past, now = (
        tuple(np.sum([w[i] for w in part], axis=0) for i in range(known)) if part else ()
        for part in (windows[warm:first], windows[first:])
    )
    return past, now


def against_past(
    drift: DriftSection, past: Sequence[Counts], now: Sequence[Counts], alpha: float = ALPHA
) -> list[Comparison]:
    """Each histogram's newest window against what came before; none without a past."""
    pairs = list(zip(drift.histograms, past, now, strict=False))
    found = []
    for histogram, before, after in pairs:
        statistic, degrees = chi_square(before, after)
        inflation = histogram.inflation_q8 / 256
        p_value = chi_square_tail(statistic / inflation, degrees)
        found.append(_compare(before, after, p_value, alpha / len(pairs)))
    return found


def baseline_line(drift: DriftSection, names: Sequence[str], counts: Sequence[Counts]) -> str:
    """How far events of many terminals are from those at release, in one line. ``names``: of the
    pack's features; ``counts``: int64[bins] per histogram."""
    found = [
        stability_index(histogram.weights, count)
        for histogram, count in zip(drift.histograms, counts, strict=False)
    ]
    if not found or not counts[0].sum():
        return "drift from the pack's release: no events to compare"
    text = f"drift from the pack's release: stability index {found[0]:.3f} of the score"
    if rest := found[1:]:
        largest = int(np.argmax(rest))
        index = drift.features[largest].feature
        name = names[index] if index < len(names) else f"feature {index}"
        text += f", at most {rest[largest]:.3f} of {len(rest)} features ({name})"
    return f"{text}; {LEAST_INDEX} and more is a change"


def against_stratum(
    windows: Mapping[str, Sequence[Counts]], alpha: float = ALPHA
) -> dict[str, list[Comparison]]:
    """Each terminal's newest window against the sum of the others', histogram by histogram; none
    with fewer than :data:`FEWEST_OTHERS` others."""
    found: dict[str, list[Comparison]] = {name: [] for name in windows}
    known = min((len(w) for w in windows.values()), default=0)
    if len(windows) <= FEWEST_OTHERS:
        return found
    for i in range(known):
        all_of_them = np.sum([w[i] for w in windows.values()], axis=0)
        strange = _strangeness({name: w[i] for name, w in windows.items()}, all_of_them)
        for name, w in windows.items():
            others = np.array([s for other, s in strange.items() if other != name])
            p_value = _tail(strange[name], others)
            found[name].append(_compare(all_of_them - w[i], w[i], p_value, alpha / known))
    return found


def _strangeness(counts: Mapping[str, Counts], total: Counts) -> dict[str, float]:
    """Logarithm of each chi-square over what the median terminal would have with as many events."""
    names = list(counts)
    size = np.array([counts[name].sum() for name in names], np.float64)
    ratio = np.array([_ratio(total - counts[name], counts[name]) for name in names])
    excess = float(np.median((ratio - 1)[size > 0] / size[size > 0])) if size.any() else 0.0
    usual = 1 + max(excess, 0.0) * size
    logs = np.log(np.maximum(ratio, 1e-3) / usual)
    return dict(zip(names, logs.tolist(), strict=True))


def _ratio(others: Counts, own: Counts) -> float:
    statistic, degrees = chi_square(others, own)
    return statistic / degrees if degrees else 1.0


def _tail(value: float, others: Counts | np.ndarray) -> float:
    """Probability of a value at least as large, by the others' mean and spread."""
    from scipy.stats import t

    spread = float(np.std(others, ddof=1)) * np.sqrt(1 + 1 / len(others))
    if spread == 0:
        return float(value <= float(np.mean(others)))
    return float(t.sf((value - float(np.mean(others))) / spread, len(others) - 1))

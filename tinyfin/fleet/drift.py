# SPDX-License-Identifier: Apache-2.0
"""Drift of a fleet: each terminal against its own past, and strata of terminals against theirs.

A terminal is compared as ``tinyfin report drift`` does it
(:func:`~tinyfin.training.terminal_drift.against_past`): chi-square of two samples over the
inflation that the pack's DRFT gives.

The events of a stratum are not independent: those of one terminal are alike. So its chi-square is
compared with what it would be if terminals moved each on its own, by how much they did move: J.
Rao and A. Scott, "The Analysis of Categorical Data from Complex Sample Surveys", JASA 76 (1981),
with the second-order correction and F for few clusters of D. Thomas and J. Rao (JASA 82, 1987).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tinyfin.documents import Document, Facts
from tinyfin.errors import InputError
from tinyfin.fleet.estimates import Estimate, Realised, estimated_on, realised_on
from tinyfin.fleet.lake import Lake, date_of
from tinyfin.fleet.monitors import FleetCounts, Ints, read_counts
from tinyfin.fleet.packs import histogram_names
from tinyfin.fleet.views import connect
from tinyfin.pack.container import Pack
from tinyfin.progress import stage
from tinyfin.training.drift import jensen_shannon, stability_index
from tinyfin.training.terminal_drift import (
    ALPHA,
    FEWEST_EVENTS,
    FEWEST_OTHERS,
    LEAST_INDEX,
    Comparison,
    against_past,
)

__all__ = [
    "BASELINE_DAYS",
    "NOT_YET",
    "WINDOW_DAYS",
    "FleetDrift",
    "Pooled",
    "drift_of",
    "has_drifted",
    "pooled",
    "strata_on",
]

BASELINE_DAYS, WINDOW_DAYS = 28, 7
"""A stratum's newest days are compared with the first days of its terminals under the pack."""


NOT_YET = (
    f"No stratum can be compared yet: it takes {FEWEST_OTHERS + 1} terminals and "
    f"{BASELINE_DAYS + WINDOW_DAYS} days under the pack"
)
STRATA_ALPHA = 0.01
"""Of the tests of all histograms and strata of a day; a dozen terminals show no less."""


class HistogramDrift(Facts):
    """A histogram of a terminal or of a stratum, before and now."""

    of: str
    """Alias of the terminal, or the stratum."""
    histogram: str
    stability_index: float | None
    jensen_shannon: float | None
    p_value: float | None
    """Of equal distributions; null where there is too little to say."""
    events: int
    terminals: int
    drifted: bool


class FleetDrift(Document):
    """What ``tinyfin fleet drift`` finds."""

    NAME: ClassVar[str] = "fleet_drift.json"
    pack: str
    as_of: str
    terminals: int
    """That have reported counts of the pack."""
    compared: int
    """Of those, the ones with a past to compare with."""
    drifted: int
    """Of those, the ones of which a histogram has drifted."""
    expected_by_chance: float
    """How many would be among them if none had drifted, at most."""
    chance: float
    """Probability of as many by chance."""
    drifts: list[HistogramDrift]
    """Those of terminals that have drifted."""
    strata: list[HistogramDrift]
    score_by_day: dict[str, dict[str, float | None]]
    """By day and stratum the stability index of the score."""
    estimate: Estimate | None
    realised: Realised | None

    @property
    def comparable(self) -> list[HistogramDrift]:
        """Those of strata of which enough is known."""
        return [one for one in self.strata if one.p_value is not None]


@dataclass(frozen=True)
class Pooled:
    """A histogram of several terminals before and now."""

    stability_index: float
    jensen_shannon: float
    p_value: float
    """NaN with too few terminals or events."""
    events: int
    terminals: int


def pooled(before: Ints, now: Ints) -> Pooled:
    """Terminals together against their own past, with terminals as clusters.

    before, now: int64[T, bins]. What is expected now is each terminal's past share of a bin times
    its events now, so terminals that have become busier are no drift. Terminals with fewer than
    :data:`~tinyfin.training.terminal_drift.FEWEST_EVENTS` before, or none now, are left out.
    """
    from scipy.stats import f

    kept = (before.sum(1) >= FEWEST_EVENTS) & (now.sum(1) > 0)
    a, b = before[kept].astype(np.float64), now[kept].astype(np.float64)
    expected = a / a.sum(1, keepdims=True) * b.sum(1, keepdims=True)
    whole, found, n = expected.sum(0), b.sum(0), len(a)
    p_value = float("nan")
    if n > FEWEST_OTHERS and found.sum() >= FEWEST_EVENTS:
        there = whole + found > 0
        scale = np.sqrt(np.maximum(whole[there], 0.5))
        moved = (b - expected)[:, there] / scale
        statistic = float(np.sum(moved.sum(0) ** 2))
        centred = moved - moved.mean(0)
        spread = n / (n - 1) * centred.T @ centred
        trace = float(np.trace(spread))
        if trace > 0:
            degrees = trace**2 / float(np.sum(spread**2))
            p_value = float(f.sf(statistic / trace, degrees, degrees * (n - 1)))
        else:
            p_value = float(statistic == 0)
    return Pooled(
        stability_index(whole, found), jensen_shannon(whole, found), p_value, int(found.sum()), n
    )


def strata_on(counts: FleetCounts, day: int) -> dict[str, list[Pooled]]:
    """By stratum each histogram's newest :data:`WINDOW_DAYS` up to a day against the first
    :data:`BASELINE_DAYS` of the same terminals, once these are over."""
    ends = counts.first_day[counts.terminal] - 1 + BASELINE_DAYS
    apart = ends <= day - WINDOW_DAYS
    before = counts.by_terminal(counts.settled & (counts.day <= ends) & apart)
    now = counts.by_terminal(counts.days(day - WINDOW_DAYS + 1, day) & apart)
    strata = np.array(counts.stratum)
    return {
        str(name): [
            pooled(before[strata == name][:, span], now[strata == name][:, span])
            for span in counts.spans
        ]
        for name in np.unique(strata)
    }


def has_drifted(found: Pooled, tests: int) -> bool:
    """At the level :data:`STRATA_ALPHA` over so many tests, and by enough to matter."""
    return found.p_value < STRATA_ALPHA / tests and found.stability_index > LEAST_INDEX


def _terminals(counts: FleetCounts, names: Sequence[str]) -> tuple[list[HistogramDrift], int]:
    """Histograms of terminals whose newest window differs from their past, and how many terminals
    could be compared."""
    newest = counts.by_terminal(counts.newest)
    before = counts.by_terminal(counts.settled & ~counts.newest)
    score = counts.spans[0]
    able = (before[:, score].sum(1) > 0) & (newest[:, score].sum(1) >= FEWEST_EVENTS)
    rows = []
    with stage("comparing terminals", int(able.sum())) as done:
        for i in np.flatnonzero(able).tolist():
            done.step()
            past, now = ([row[i, span] for span in counts.spans] for row in (before, newest))
            for name, one in zip(names, against_past(counts.drift, past, now), strict=True):
                if one.drifted:
                    rows.append(_row(counts.terminals[i], name, one, 1, True))
    return rows, int(able.sum())


def _row(
    of: str, name: str, found: Pooled | Comparison, terminals: int, drifted: bool
) -> HistogramDrift:
    return HistogramDrift(
        of=of,
        histogram=name,
        stability_index=found.stability_index,
        jensen_shannon=found.jensen_shannon,
        p_value=found.p_value,
        events=found.events,
        terminals=terminals,
        drifted=drifted,
    )


def drift_of(lake: Lake, pack: Pack, day: int, strata: Mapping[str, str] | None) -> FleetDrift:
    """All that a lake knows of a pack up to a day, counted from 2000-01-01. ``strata``: by alias,
    of :func:`~tinyfin.fleet.monitors.read_strata`. Raises InputError, ToolError."""
    from scipy.stats import binom

    with connect(lake, day) as base:
        counts, realised = read_counts(base, pack, strata), realised_on(base, pack)
    if not len(counts.terminal):
        raise InputError(
            f"{lake.path}: no report up to {date_of(day)} has counts of pack {pack.pack_id.hex()}; "
            "name the pack that terminals run"
        )
    names = histogram_names(pack)
    rows, compared = _terminals(counts, names)
    drifted = len({one.of for one in rows})
    by_day = {}
    for at in range(day - 2 * WINDOW_DAYS + 1, day + 1):
        found = strata_on(counts, at)
        by_day[str(date_of(at))] = {name: of[0].stability_index for name, of in found.items()}
    tests = len(names) * len(found)
    return FleetDrift(
        pack=pack.pack_id.hex(),
        as_of=str(date_of(day)),
        terminals=len(counts.terminals),
        compared=compared,
        drifted=drifted,
        expected_by_chance=ALPHA * compared,
        chance=float(binom.sf(drifted - 1, compared, ALPHA)),
        drifts=rows,
        strata=[
            _row(stratum, name, one, one.terminals, has_drifted(one, tests))
            for stratum, of in found.items()
            for name, one in zip(names, of, strict=True)
        ],
        score_by_day={at: {**of} for at, of in by_day.items()},
        estimate=estimated_on(pack, counts, day, WINDOW_DAYS),
        realised=realised,
    )

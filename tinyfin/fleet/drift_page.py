# SPDX-License-Identifier: Apache-2.0
"""The drift of a fleet as an HTML page."""

from __future__ import annotations

from tinyfin.fleet.drift import NOT_YET, FleetDrift, HistogramDrift
from tinyfin.monitoring.blocks import lines_figure
from tinyfin.pages.blocks import Block, Figure, count, fixed, number, spread, table
from tinyfin.pages.render import Headline, PageSection, page
from tinyfin.results.facts import NAN
from tinyfin.training.terminal_drift import LEAST_INDEX

__all__ = ["precision_rows", "render", "score_figure"]

_MOST = 100
"""Histograms of terminals that are listed."""
_HEAD = ["histogram", "terminals", "events", "stability index", "JS distance", "p", "drifted"]


def render(found: FleetDrift) -> str:
    """The HTML."""
    moved = [one for one in found.strata if one.drifted]
    by_chance = f"{found.expected_by_chance:.1f} by chance"
    return page(
        f"Fleet: drift of pack {found.pack[:8]}",
        subtitle=f"{found.terminals:,} terminals, up to {found.as_of}",
        verdict=Headline(
            f"Drift in {len(moved)} of {len(found.strata)} histograms"
            if moved
            else ("No stratum drifts" if found.comparable else NOT_YET),
            not moved if found.comparable else None,
            [f"{one.of}: {one.histogram}, {fixed(one.stability_index)}." for one in moved[:5]],
        ),
        headline=[
            ("terminals compared", count(found.compared)),
            ("drifted", f"{found.drifted:,} ({by_chance}, at most)"),
            *((name, f"{shown[0]}; {shown[1]}") for name, *shown in precision_rows(found)),
        ],
        sections=[
            PageSection("score", "Score by day", [score_figure(found)]),
            PageSection("strata", "Strata", [_table("Each against its past", found.comparable)]),
            PageSection(
                "terminals", "Terminals", [_table("Those that differ", found.drifts[:_MOST])]
            ),
        ],
        facts_file="the output of tinyfin fleet drift --json",
    )


def score_figure(found: FleetDrift, ident: str = "score") -> Figure:
    """The stability index of the score, day by day, of each stratum that can be compared."""
    series = {
        name: [NAN if (x := day.get(name)) is None else x for day in found.score_by_day.values()]
        for name in sorted({one.of for one in found.comparable})
    }
    return lines_figure(
        ident,
        "Stability index of the score",
        [*found.score_by_day],
        series,
        {"limit": LEAST_INDEX},
        "population stability index",
        "The newest 7 days of each stratum against the first 28 days of its terminals under the "
        "pack.",
    )


def _table(caption: str, rows: list[HistogramDrift]) -> Block:
    cells = [
        [
            one.of,
            one.histogram,
            count(one.terminals),
            count(one.events),
            fixed(one.stability_index),
            fixed(one.jensen_shannon),
            number(one.p_value, 2),
            "yes" if one.drifted else "no",
        ]
        for one in rows
    ]
    return table(caption, ["", *_HEAD], cells)


def precision_rows(found: FleetDrift) -> list[tuple[str, str, str]]:
    """Name, interval and promise of what is estimated, and of what came true."""
    rows = []
    if (seen := found.estimate) is not None:
        for name, pair, promised in (
            ("precision", seen.precision, seen.promised_precision),
            ("recall", seen.recall, seen.promised_recall),
        ):
            said = f"{promised:.3f} promised" if seen.exact_bins else f"{promised:.3f} at least"
            rows.append((f"estimated {name}", spread(*pair), said))
    if (came := found.realised) is not None:
        for name, share in (("precision", came.precision), ("recall", came.recall)):
            if share is not None:
                said = f"{share[0]:.3f} up to {came.last_day}"
                rows.append((f"realised {name}", spread(*share[1:]), said))
    return rows

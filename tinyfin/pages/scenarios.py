# SPDX-License-Identifier: Apache-2.0
"""Blocks on scenarios of fraud: attacks with an alert, and alerts where there was no fraud."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tinyfin.pages import charts
from tinyfin.pages.blocks import Block, count, figure, number, table
from tinyfin.results.evaluation import ScenarioFigures

__all__ = ["scenario_blocks"]


def scenario_blocks(
    scenarios: Sequence[ScenarioFigures],
    *,
    gap_s: int,
    caption: str = "Attacks",
    more: Sequence[tuple[str, Callable[[ScenarioFigures], str]]] = (),
) -> list[Block]:
    """A picture and a table of the attacks, and a table of scenarios without any fraud.

    ``scenarios``: rows of :func:`tinyfin.evaluation.attacks.by_scenario`. ``gap_s``:
    seconds between two frauds of one attack at most. ``more``: further columns of the attacks,
    each a title and what to say of a scenario.
    """
    attacks = [s for s in scenarios if s.frauds]
    quiet = [s for s in scenarios if not s.frauds]
    out: list[Block] = []
    if attacks:
        out.append(
            figure(
                charts.horizontal_bars(
                    "found",
                    "Attacks with at least one alert",
                    [
                        (
                            s.scenario,
                            s.attacks_detected / s.attacks,
                            f"{s.attacks_detected:,} of {s.attacks:,}",
                        )
                        for s in attacks
                    ],
                    1.0,
                ),
                "Attacks with at least one alert. An attack: frauds of one scenario on one "
                f"terminal, at most {gap_s // 3600} hours apart.",
            )
        )
        out.append(
            table(
                caption,
                [
                    "scenario",
                    "attacks",
                    "detected",
                    "frauds until the first alert, median",
                    "at most",
                    "frauds",
                    "with alert",
                    "false alerts",
                    *(title for title, _ in more),
                ],
                [
                    [
                        s.scenario,
                        count(s.attacks),
                        count(s.attacks_detected),
                        number(s.transactions_until_detected_median),
                        count(s.transactions_until_detected_max),
                        count(s.frauds),
                        count(s.frauds_alerted),
                        f"{s.false_alerts:,} of {s.genuine:,}" if s.genuine else "-",
                        *(told(s) for _, told in more),
                    ]
                    for s in attacks
                ],
            )
        )
    if quiet:
        out.append(
            table(
                "Without any fraud: every alert is false",
                ["scenario", "transactions", "terminals", "false alerts", "per 1,000"],
                [
                    [
                        s.scenario,
                        count(s.transactions),
                        count(s.terminals),
                        count(s.false_alerts),
                        number(1000 * s.false_alerts / s.genuine if s.genuine else None),
                    ]
                    for s in quiet
                ],
            )
        )
    return out

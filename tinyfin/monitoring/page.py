# SPDX-License-Identifier: Apache-2.0
"""What was found as one HTML file: checks, weeks, the columns that drifted most, labels, days."""

from __future__ import annotations

import math
from pathlib import Path

from tinyfin import files
from tinyfin.monitoring.blocks import SHOWN, days_figure, finding_lines, lines_figure, shares_figure
from tinyfin.monitoring.remarks import check_rows, remarks
from tinyfin.pages.blocks import Block, count, fixed, number, percent, spread, table, text
from tinyfin.pages.render import Headline, PageSection, page
from tinyfin.results.monitor import Bounded, ColumnDrift, Monitoring

__all__ = ["render", "write_page"]

_TITLES = {
    "ok": (True, "All checks hold"),
    "warning": (None, "Warnings, and no check failed"),
    "failed": (False, "Failed on these transactions"),
    "too_few_rows": (None, "Too few rows for a verdict"),
}


def write_page(path: Path, found: Monitoring) -> Path:
    """Write the page. Raises InputError when it cannot be written."""
    return files.write(path, render(found))


def render(found: Monitoring) -> str:
    """The HTML."""
    data = found.data
    return page(
        f"{found.run}: monitor",
        subtitle=f"{data.rows:,} transactions of {data.terminals:,} terminals, {data.from_[:10]} "
        f"to {data.to[:10]} · compared with {found.trained_rows:,} of the training · pack "
        f"{found.pack_id[:8]}",
        verdict=_verdict(found),
        headline=_headline(found),
        sections=[
            PageSection("checks", "Checks", [_checks(found)]),
            PageSection("weeks", "By week", _weeks(found)),
            PageSection("columns", "What drifted most", _columns(found)),
            *([] if found.labels is None else [PageSection("labels", "Labels", _labels(found))]),
            PageSection("days", "Transactions per day", _days(found)),
        ],
        facts_file="monitor.json",
    )


def _verdict(found: Monitoring) -> Headline:
    passed, title = _TITLES[found.state]
    return Headline(title, passed, finding_lines(found.checks))


def _headline(found: Monitoring) -> list[tuple[str, str]]:
    alerts = found.alerts_per_1000
    rows = [
        ("alerts per 1,000", number(alerts.value)),
        ("95 % interval", spread(*alerts.interval, 1)),
        ("when thresholds were set", number(alerts.expected)),
    ]
    if found.columns:
        first = found.columns[0]
        rows.append((f"stability index, {first.name}", fixed(first.stability_index)))
    if found.labels is not None:
        for action, budgeted in found.labels.false_alerts_per_1000.items():
            name = f"false alerts per 1,000, {action.replace('_', ' ')}"
            rows.append((name, number(budgeted.value)))
        rows.append(("average precision", fixed(found.labels.average_precision.value)))
    return rows


def _checks(found: Monitoring) -> Block:
    return table(
        "The most important first",
        ["check", "state", "what was found, 95 % intervals"],
        [[check, state, said] for state, check, said in check_rows(found)],
    )


def _weeks(found: Monitoring) -> list[Block]:
    names = [week.begin for week in found.weeks]
    alerts = found.alerts_per_1000
    usual = {"when thresholds were set": alerts.expected} if math.isfinite(alerts.expected) else {}
    budgets = {
        f"budget of false alerts, {action.replace('_', ' ')}": budget
        for action, budget in found.budget_per_1000.items()
    }
    limits = {"warning": found.limits["psi_warning"], "failed": found.limits["psi_failed"]}
    score = [column for column in found.columns if column.kind == "score"]
    worst = _most(found)
    out: list[Block] = [
        lines_figure(
            "alerts",
            "Alerts per 1,000 transactions",
            names,
            {"alerts": [week.alerts_per_1000 for week in found.weeks]},
            {**usual, **budgets},
            "alerts per 1,000 transactions",
            "Alerts by week, with Wilson's 95 % intervals. Alerts are true ones, too; the budget "
            "is one of false alerts.",
            [week.interval for week in found.weeks],
        )
    ]
    for ident, title, columns in (
        ("score", "Stability index of the score", score),
        ("inputs", "Stability index of the inputs that drifted most", worst),
    ):
        if any(math.isfinite(x) for column in columns for x in column.by_week):
            out.append(
                lines_figure(
                    ident,
                    title,
                    names,
                    {column.name: column.by_week for column in columns},
                    {} if ident == "inputs" else limits,
                    "population stability index",
                    f"{title}, each week against the training; weeks of too few rows are left out.",
                )
            )
    rows = [
        [
            week.begin,
            count(week.rows),
            count(week.alerts),
            number(week.alerts_per_1000),
            spread(*week.interval, 2),
            *(fixed(column.by_week[i]) for column in score),
        ]
        for i, week in enumerate(found.weeks)
    ]
    head = ["week from", "transactions", "alerts", "per 1,000", "95 % interval"]
    out.append(table("Weeks", [*head, *("stability index, score" for _ in score)], rows))
    return out


def _most(found: Monitoring) -> list[ColumnDrift]:
    """The inputs that drifted most."""
    return [c for c in found.columns if c.kind == "input" and c.rows][:SHOWN]


def _columns(found: Monitoring) -> list[Block]:
    shown = [c for c in found.columns if c.kind == "score" and c.rows] + _most(found)
    out: list[Block] = [
        shares_figure(
            f"column-{i}",
            column,
            "these transactions",
            f"{column.kind.capitalize()}{'' if column.kind == 'score' else ' ' + column.name}: "
            f"stability index {fixed(column.stability_index)}, Jensen-Shannon distance "
            f"{fixed(column.jensen_shannon)}.",
        )
        for i, column in enumerate(shown)
    ]
    out.append(
        table(
            "Score, inputs and fields",
            ["column", "kind", "state", "stability index", "Jensen-Shannon distance", "rows"],
            [
                [
                    column.name,
                    column.kind,
                    column.state.replace("_", " "),
                    fixed(column.stability_index),
                    fixed(column.jensen_shannon),
                    count(column.rows),
                ]
                for column in found.columns
            ],
        )
    )
    return out


def _labels(found: Monitoring) -> list[Block]:
    labels = found.labels
    if labels is None:
        return []
    rows = [_row("average precision", labels.average_precision)]
    for action, figure_ in labels.recall.items():
        rows.append(_row(f"recall, {action.replace('_', ' ')}", figure_))
    for action, figure_ in labels.false_alerts_per_1000.items():
        rows.append(_row(f"false alerts per 1,000, {action.replace('_', ' ')}", figure_))
    promised = labels.frauds_promised
    if promised is not None:
        rows.append(
            [
                "frauds",
                count(promised.observed),
                f"{promised.expected:,.1f} ({spread(promised.low, promised.high, 1)}) promised",
                "",
            ]
        )
    said = remarks(found)[-1]
    return [
        text(f"{said[0].upper()}{said[1:]}. Intervals resample {labels.drawn}."),
        table("With labels", ["figure", "found", "95 % interval", "expected"], rows),
    ]


def _row(name: str, found: Bounded) -> list[str]:
    return [name, number(found.value), spread(*found.interval), number(found.expected)]


def _days(found: Monitoring) -> list[Block]:
    asked = sum(found.notices.values()) - found.notices["unused"]
    share = percent(found.notices["as_trained"] / asked) if asked else "-"
    said = remarks(found)[: 1 if found.labels is None else -1]
    return [
        days_figure({day.day: day.rows for day in found.days}),
        text(" ".join(f"{line[0].upper()}{line[1:]}." for line in said)),
        table(
            "Notices and state",
            ["", "transactions"],
            [
                *([name.replace("_", " "), count(n)] for name, n in found.notices.items()),
                ["share as trained", share],
                ["verdicts with the flag COLD", count(found.cold_rows)],
            ],
        ),
    ]

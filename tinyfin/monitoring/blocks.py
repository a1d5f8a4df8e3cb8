# SPDX-License-Identifier: Apache-2.0
"""What the pages of ``tinyfin monitor`` and ``tinyfin check`` both show."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from tinyfin.pages import charts
from tinyfin.pages.blocks import Figure, figure, number, table
from tinyfin.results.monitor import CheckResult, ColumnDrift

__all__ = ["SHOWN", "days_figure", "finding_lines", "lines_figure", "shares_figure"]

SHOWN = 5
"""Checks that are named, and columns that are drawn."""


def finding_lines(checks: Sequence[CheckResult]) -> list[str]:
    """The first checks that failed or warn, a sentence each."""
    bad = [check for check in checks if check.state in ("failed", "warning")]
    lines = [f"{check.check}: {check.text}." for check in bad[:SHOWN]]
    if len(bad) > SHOWN:
        lines.append(f"{len(bad) - SHOWN} more are in the table of checks.")
    return [line[0].upper() + line[1:] for line in lines]


def lines_figure(
    ident: str,
    title: str,
    names: Sequence[str],
    series: Mapping[str, Sequence[float]],
    levels: Mapping[str, float],
    label: str,
    caption: str,
    spans: Sequence[tuple[float, float]] = (),
) -> Figure:
    """:func:`tinyfin.pages.charts.folds` over weeks or days, with a table of its values."""
    styles = {name: i for i, name in enumerate([*series, *levels])}
    rows = [[name, *(number(row[i]) for row in series.values())] for i, name in enumerate(names)]
    said = f"{title}, {names[0]} to {names[-1]}. The values are in the table below the picture."
    return figure(
        charts.folds(
            ident,
            title,
            names,
            series,
            styles,
            label,
            said,
            most=math.inf,
            levels=levels,
            spans=spans,
        ),
        caption,
        legend=list(styles.items()),
        numbers=table(title, ["", *series], rows),
    )


def days_figure(rows: Mapping[str, int]) -> Figure:
    """Transactions per day."""
    return lines_figure(
        "days",
        "Transactions per day",
        [*rows],
        {"transactions": [float(n) for n in rows.values()]},
        {},
        "transactions",
        "Days without any are at 0; the first and the last day may not be whole.",
    )


def shares_figure(ident: str, column: ColumnDrift, found: str, caption: str) -> Figure:
    """A column's shares by bin in the training and in ``found``."""
    bins = zip(column.bins, column.trained, column.found, strict=True)
    return figure(
        charts.two_shares(
            ident,
            f"Shares of {column.name} by bin",
            [row for row in bins if any(row[1:])],
            ("training", found),
        ),
        caption,
        legend=[("training", 0), (found, 1)],
    )

# SPDX-License-Identifier: Apache-2.0
"""What was found, and what there was to look at, in sentences."""

from __future__ import annotations

from itertools import groupby

from tinyfin.results.monitor import Monitoring

__all__ = ["check_rows", "remarks"]

_NAMED = 5
"""Inputs and fields of one state that get a row each; days that are named."""


def check_rows(found: Monitoring) -> list[list[str]]:
    """State, check and sentence, the most important first; the many inputs and fields that are
    alike share a row."""
    rows: list[list[str]] = []
    for state, checks in groupby(found.checks, lambda check: check.state):
        rest: list[str] = []
        named = _NAMED if state in ("failed", "warning") else 0
        for check in checks:
            if check.check.startswith(("input ", "field ")):
                if not named:
                    rest.append(check.check)
                    continue
                named -= 1
            rows.append([state.replace("_", " "), check.check, check.text])
        if rest and state in ("failed", "warning"):
            rows.append([state, f"{len(rest)} more", ", ".join(rest)])
        elif rest:
            said = "no drift" if state == "ok" else "too few rows to compare"
            inputs = sum(name.startswith("input ") for name in rest)
            counts = ((inputs, "input"), (len(rest) - inputs, "field"))
            names = [f"{n} {name}{'s' * (n > 1)}" for n, name in counts if n]
            rows.append([state.replace("_", " "), ", ".join(names), said])
    return rows


def remarks(found: Monitoring) -> list[str]:
    """On the transactions, their days and their labels."""
    data = found.data
    counts = sorted(day.rows for day in found.days)
    empty = [day.day for day in found.days if not day.rows]
    lines = [
        f"{data.rows:,} transactions of {data.terminals:,} terminals, {data.from_[:10]} to "
        f"{data.to[:10]}; per day {counts[len(counts) // 2]:,} (median), {counts[0]:,} to "
        f"{counts[-1]:,}"
    ]
    if empty:
        more = f" and {len(empty) - _NAMED} more" if len(empty) > _NAMED else ""
        lines.append(f"days without any transaction: {', '.join(empty[:_NAMED])}{more}")
    labels = found.labels
    if labels is None:
        lines.append("no labels: nothing is said of false alerts, frauds and recall")
        return lines
    lines.append(
        f"labels as of {labels.as_of}: {labels.rows:,} rows ({labels.frauds:,} frauds) are old "
        f"enough; left out: {labels.immature:,} immature (label not known yet, or younger than "
        f"{labels.horizon_days:.3g} days), {labels.unlabelled:,} without a label"
    )
    return lines

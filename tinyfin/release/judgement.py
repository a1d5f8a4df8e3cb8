# SPDX-License-Identifier: Apache-2.0
"""What refuses a candidate, and which decisions change."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np

from tinyfin.evaluation.compare import Judged, figures
from tinyfin.monitoring.labels import Mature
from tinyfin.pages.blocks import fixed, number, percent, spread
from tinyfin.release.probation import LEAST_SEEN
from tinyfin.release.scored import Rows
from tinyfin.results.comparison import Pair
from tinyfin.results.monitor import LabelFigures
from tinyfin.results.release import Changed, Objection, ProbationFacts, Rule

__all__ = ["changed_groups", "figures_of", "objections"]

_SHOWN_GROUPS = 8


def figures_of(mature: Mature, alert_minor: float) -> dict[str, Pair]:
    """Figures of the parent (a) and the candidate (b) on the same labelled rows; ``mature`` has
    the columns that :func:`tinyfin.release.scored.score_both` adds."""
    rows = mature.rows
    both = Judged(
        rows["label"], rows["amount"], rows["t"], rows["terminal"], mature.group, alert_minor
    )
    return figures(both, (rows["parent_raw"], rows["raw"]), (rows["parent_advice"], rows["advice"]))


def objections(
    labels: LabelFigures | None,
    found: dict[str, Pair],
    probation: ProbationFacts | None,
    *,
    margin: float,
    allow: Collection[Rule],
) -> list[Objection]:
    """The rules that the candidate breaks, allowed ones too."""
    broken = [*_by_labels(labels, found, margin), *_by_bounds(probation)]
    return [Objection(rule=rule, text=text, allowed=rule in allow) for rule, text in broken]


def _by_labels(
    labels: LabelFigures | None, found: dict[str, Pair], margin: float
) -> Iterator[tuple[Rule, str]]:
    if labels is None or not labels.frauds or labels.frauds == labels.rows:
        rows = "no label" if labels is None else f"{labels.rows} labels, {labels.frauds} of fraud,"
        yield (
            "no-labels",
            f"{rows} known and old enough, so nothing says that the candidate is good; give "
            "labelled transactions, or --as-of with a later moment",
        )
        return
    pair = found.get("average_precision")
    if pair is not None and pair.interval is not None:
        low, high = pair.interval
        if high < 0 or pair.difference < -margin:
            yield (
                "not-better",
                f"average precision {fixed(pair.b)}, the parent's {fixed(pair.a)}: lower by "
                f"{fixed(-pair.difference)} (95 % interval of the difference {spread(low, high)}, "
                f"margin {fixed(margin)})",
            )
    promised = labels.frauds_promised
    if promised is not None and not promised.within:
        yield (
            "not-calibrated",
            f"{promised.observed} frauds, and the probabilities promise {promised.expected:.1f} "
            f"(95 % interval {spread(promised.low, promised.high, 1)})",
        )
    alerts = found.get("false_alerts_per_1000")
    if alerts is not None and alerts.b <= alerts.a:
        return
    for action, rate in labels.false_alerts_per_1000.items():
        if rate.interval[0] > rate.expected:
            yield (
                "over-budget",
                f"{action.replace('_', ' ')}: {number(rate.value)} false alerts per 1,000 genuine "
                f"transactions (95 % interval {spread(*rate.interval, 2)}), the budget is "
                f"{number(rate.expected)}",
            )


def _by_bounds(probation: ProbationFacts | None) -> Iterator[tuple[Rule, str]]:
    if probation is None or not probation.shadow:
        return
    for seen in probation.sees[:3]:
        if seen.share[-1] < LEAST_SEEN:
            yield (
                "too-different",
                f"it differs too much from the parent to be judged in shadow: bounds that it keeps "
                f"refuse a pack that gives {seen.what} on {percent(seen.share[-1])} of the "
                f"terminals alone, and {percent(LEAST_SEEN)} are wanted"
                + (
                    f"; of {probation.terminals} terminals the bounds are wide, more make them "
                    "closer"
                    if probation.extrapolated
                    else ""
                ),
            )
            return


def changed_groups(rows: Rows) -> list[Changed]:
    """Merchant categories with the most changed decisions, the most first."""
    there = rows.group >= 0
    values, code = np.unique(rows.group[there], return_inverse=True)
    change = (rows.own_advice != rows.parent_advice)[there]
    total, changed = np.bincount(code), np.bincount(code[change], minlength=len(values))
    return [
        Changed(
            value=f"{int(values[i]):04d}",
            rows=int(total[i]),
            changed=int(changed[i]),
            per_1000=1000.0 * int(changed[i]) / int(total[i]),
        )
        for i in np.argsort(-changed, kind="stable")[:_SHOWN_GROUPS].tolist()
        if changed[i]
    ]

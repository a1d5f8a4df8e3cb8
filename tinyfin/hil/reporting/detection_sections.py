# SPDX-License-Identifier: Apache-2.0
"""The report's sections on detection: tables of scorers, curves, alerts per scenario."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from tinyfin.pages import charts
from tinyfin.pages.blocks import Block, count, figure, fixed, number, percent, table, text
from tinyfin.pages.scenarios import scenario_blocks
from tinyfin.pages.scorers import SCORERS, population_name, scorer_name
from tinyfin.pages.threshold_table import interval_words, threshold_table
from tinyfin.results.evaluation import ScenarioFigures
from tinyfin.results.metrics import DecisionFacts

__all__ = ["alerts", "detection", "scorers"]

Facts = Mapping[str, Any]

_FEWEST = 50
"""A bin of fewer transactions says too little to be drawn."""


def scorers(facts: Facts, population: str = "all") -> Mapping[str, Any]:
    metrics = facts["metrics"] or {}
    found = (metrics.get("populations") or {}).get(population) or {}
    return found if isinstance(found, Mapping) else {}


def detection(facts: Facts) -> list[Block]:
    out: list[Block] = []
    for population in (facts["metrics"] or {}).get("populations") or {}:
        found = scorers(facts, population)
        if not found:
            continue
        first = next(iter(found.values()))
        rows = [
            [
                scorer_name(name),
                fixed(m.get("average_precision")),
                percent(m.get("recall_at_0.1%")),
                percent(m.get("recall_at_1%")),
                fixed(m.get("roc_auc")),
                fixed(m.get("calibration_error"), 4),
                fixed(m.get("brier_skill")),
                _expected(m),
            ]
            for name, m in sorted(found.items(), key=lambda item: _order(item[0]))
        ]
        out.append(
            table(
                f"Models and rules on the same transactions: {population_name(population)}, "
                f"{count(first.get('rows'))} with {count(first.get('frauds'))} frauds",
                [
                    "scorer",
                    "average precision",
                    "recall at 0.1 % FP",
                    "recall at 1 % FP",
                    "ROC AUC",
                    "calibration error",
                    "Brier skill",
                    "frauds expected / observed",
                ],
                rows,
            )
        )
    out += _recalls(facts)
    if told := (facts["metrics"] or {}).get("decision"):
        decision = DecisionFacts.model_validate(told)
        out += threshold_table(
            f"At the thresholds in force, test period; {interval_words(decision.drawn)}",
            decision.thresholds,
        )
    period = facts["test_period"]
    if period:
        out += _curves(period, _thresholds(facts))
    return out


def _recalls(facts: Facts) -> list[Block]:
    """Recall of each scenario at the false-positive rate of the first column."""
    found = scorers(facts)
    key = "scenario_recall_at_0.1%"
    names = dict.fromkeys(s for m in found.values() for s in m.get(key) or {})
    order = sorted(found, key=_order)
    rows = []
    for name in names:
        cells = [(found[scorer].get(key) or {}).get(name) or {} for scorer in order]
        frauds = next((c["frauds"] for c in cells if "frauds" in c), None)
        rows.append([name, count(frauds), *(percent(c.get("recall")) for c in cells)])
    if not rows:
        return []
    return [
        table(
            "Recall per scenario at 0.1 % false positives",
            ["scenario", "frauds", *map(scorer_name, order)],
            rows,
        )
    ]


def _order(name: str) -> tuple[int, str]:
    known = list(SCORERS)
    return (known.index(name) if name in known else len(known), name)


def _expected(m: Facts) -> str:
    expected = m.get("expected_frauds")
    return "-" if expected is None else f"{expected:,.0f} / {count(m.get('frauds'))}"


def _thresholds(facts: Facts) -> list[tuple[str, float]]:
    decision = (facts["pack"] or {}).get("decision") or {}
    return [
        (name, math.log10(decision[key]))
        for key, name in (("go_online", "go online"), ("decline", "decline"))
        if isinstance(decision.get(key), float) and decision[key] > 0
    ]


def _curves(period: Facts, thresholds: Sequence[tuple[str, float]]) -> list[Block]:
    out = []
    if period.get("scores"):
        out.append(
            _scores(
                "scores",
                period["scores"],
                thresholds,
                f"Scores of the test period, {scorer_name(period['scores_of'])}. Lines are the "
                "pack's thresholds.",
            )
        )
    curves = period.get("precision_recall")
    if curves:
        styles = {name: i for i, name in enumerate(sorted(curves, key=_order))}
        out.append(
            figure(
                charts.precision_recall(curves, styles),
                "Precision and recall in the test period, best average precision (AP) first.",
                legend=[
                    (f"{scorer_name(name)} (AP {c['average_precision']:.3f})", styles[name])
                    for name, c in curves.items()
                ],
            )
        )
    bins = period.get("calibration")
    if bins:
        out.append(
            figure(
                charts.calibration(
                    {name: [p for p in rows if p["rows"] >= _FEWEST] for name, rows in bins.items()}
                ),
                "Calibration in the test period: three bins per power of ten, 95 % intervals; bins "
                f"of fewer than {_FEWEST} transactions are left to the numbers."
                + (" Filled points are the first of the legend." if len(bins) > 1 else ""),
                legend=[(scorer_name(name), i) for i, name in enumerate(bins)],
                numbers=table(
                    "Calibration bins",
                    ["scorer", "predicted", "observed", "from", "to", "rows"],
                    [
                        [
                            scorer_name(name),
                            *(number(p[k], 3) for k in ("mean", "share", "low", "high")),
                            count(p["rows"]),
                        ]
                        for name, rows in bins.items()
                        for p in rows
                    ],
                ),
            )
        )
    return out


def _scores(
    ident: str, found: charts.ScoreHistogram, thresholds: Sequence[tuple[str, float]], caption: str
) -> Block:
    edges = found["edges"]
    rows = [
        [f"{10 ** edges[i]:.2e} to {10 ** edges[i + 1]:.2e}", count(g), count(f)]
        for i, (g, f) in enumerate(zip(found["genuine"], found["fraud"], strict=True))
        if g or f
    ]
    return figure(
        charts.scores(ident, found, [t for t in thresholds if t[1] >= edges[0]]),
        caption,
        numbers=table("Transactions per bin", ["probability", "genuine", "fraud"], rows),
    )


def alerts(facts: Facts) -> list[Block]:
    found = facts["replayed"]
    if not found:
        return []
    if found["only_later"]:
        period = (
            f"{found['later_than_learning']:,} of {found['verdicts']:,} verdicts are later "
            f"than {found['learned_until']}, the end of training; only those count here."
        )
    elif found["learned_until"]:
        period = (
            f"All {found['verdicts']:,} verdicts are from before {found['learned_until']}, "
            "the end of training: they say nothing about detection."
        )
    else:
        period = (
            f"It is not known which of the {found['verdicts']:,} transactions the model "
            "was trained on."
        )
    c = found["caught"]
    out: list[Block] = [
        text(f"Verdicts of {found['target']}. {period} An alert is any action but accept.")
    ]
    out.append(
        table(
            "Alerts",
            ["", ""],
            [
                [
                    "transactions",
                    f"{c['rows']:,} on {c['terminals']:,} terminals, {c['weeks']:.1f} weeks",
                ],
                ["alerts", f"{c['alerts']:,}"],
                ["frauds with an alert", f"{c['frauds_alerted']:,} of {c['frauds']:,}"],
                ["false alerts", f"{c['false_alerts']:,} of {c['genuine']:,} genuine"],
                ["false alerts per 1,000 genuine", number(c["false_alerts_per_1000"])],
                ["false alerts per terminal and week", number(c["false_alerts_per_terminal_week"])],
                *([["transactions of unknown label", f"{c['unknown']:,}"]] if c["unknown"] else []),
            ],
        )
    )
    out += scenario_blocks(
        [ScenarioFigures.model_validate(row) for row in c["scenarios"]], gap_s=c["attack_gap_s"]
    )
    if found.get("scores"):
        out.append(
            _scores(
                "replayed-scores",
                found["scores"],
                _thresholds(facts),
                f"Scores that {found['target']} gave. Lines are the pack's thresholds.",
            )
        )
    return out

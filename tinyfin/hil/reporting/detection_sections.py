# SPDX-License-Identifier: Apache-2.0
"""The report's sections on detection: tables of scorers, curves, alerts per scenario."""

from __future__ import annotations

from tinyfin.hil.reporting.report import Replayed, ReplayReport, TestPeriod
from tinyfin.pages import detection as figures
from tinyfin.pages.blocks import Block, count, fixed, number, percent, table, text
from tinyfin.pages.scenarios import scenario_blocks
from tinyfin.pages.scorers import in_order, population_name, scorer_name
from tinyfin.pages.threshold_table import interval_words, threshold_table
from tinyfin.results.metrics import ScorerFigures

__all__ = ["alerts", "detection"]


def detection(report: ReplayReport) -> list[Block]:
    """How well models and rules find fraud in the test period."""
    metrics = report.metrics
    out: list[Block] = []
    if metrics:
        for population, found in metrics.populations.items():
            out += _scorers(population, found)
        out += _recalls(metrics.populations.get("all", {}))
        if metrics.decision:
            out += threshold_table(
                "At the thresholds in force, test period; "
                f"{interval_words(metrics.decision.drawn)}",
                metrics.decision.thresholds,
            )
    if report.test_period:
        out += _curves(report.test_period, _thresholds(report))
    return out


def _scorers(population: str, found: dict[str, ScorerFigures]) -> list[Block]:
    if not found:
        return []
    first = next(iter(found.values()))
    return [
        table(
            f"Models and rules on the same transactions: {population_name(population)}, "
            f"{count(first.rows)} with {count(first.frauds)} frauds",
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
            [[scorer_name(name), *_figures(found[name])] for name in in_order(found)],
        )
    ]


def _figures(m: ScorerFigures) -> list[str]:
    return [
        fixed(m.average_precision),
        percent(m.recall_at_0_1_percent),
        percent(m.recall_at_1_percent),
        fixed(m.roc_auc),
        fixed(m.calibration_error, 4),
        fixed(m.brier_skill),
        f"{count(m.expected_frauds)} / {count(m.frauds)}" if m.has_probabilities else "-",
    ]


def _recalls(found: dict[str, ScorerFigures]) -> list[Block]:
    """Recall of each scenario at the false-positive rate of the first column."""
    order = in_order(found)
    rows = []
    for name in dict.fromkeys(s for m in found.values() for s in m.scenario_recall):
        cells = [found[scorer].scenario_recall.get(name) for scorer in order]
        frauds = next((cell.frauds for cell in cells if cell), None)
        rows.append([name, count(frauds), *(percent(cell and cell.recall) for cell in cells)])
    if not rows:
        return []
    return [
        table(
            "Recall per scenario at 0.1 % false positives",
            ["scenario", "frauds", *map(scorer_name, order)],
            rows,
        )
    ]


def _thresholds(report: ReplayReport) -> list[tuple[str, float]]:
    decision = report.pack.decision if report.pack else None
    if decision is None:
        return []
    return figures.thresholds(decision.go_online, decision.verify, decision.decline)


def _curves(period: TestPeriod, marks: list[tuple[str, float]]) -> list[Block]:
    out: list[Block] = []
    if period.scores:
        caption = (
            f"Scores of the test period, {scorer_name(period.scores_of)}. Lines are the pack's "
            "thresholds."
        )
        out.append(figures.scores(period.scores, caption, marks))
    if period.precision_recall:
        out.append(
            figures.precision_recall(
                period.precision_recall,
                "Precision and recall in the test period, best average precision (AP) first.",
            )
        )
    if period.calibration:
        out.append(figures.calibration(period.calibration, "in the test period"))
    return out


def alerts(report: ReplayReport) -> list[Block]:
    """What the terminal's own verdicts caught."""
    found = report.replayed
    if not found:
        return []
    c = found.caught
    out: list[Block] = [
        text(f"Verdicts of {found.target}. {_period(found)} An alert is any action but accept."),
        table(
            "Alerts",
            ["", ""],
            [
                ["transactions", f"{c.rows:,} on {c.terminals:,} terminals, {c.weeks:.1f} weeks"],
                ["alerts", f"{c.alerts:,}"],
                ["frauds with an alert", f"{c.frauds_alerted:,} of {c.frauds:,}"],
                ["false alerts", f"{c.false_alerts:,} of {c.genuine:,} genuine"],
                ["false alerts per 1,000 genuine", number(c.false_alerts_per_1000)],
                ["false alerts per terminal and week", number(c.false_alerts_per_terminal_week)],
                *([["transactions of unknown label", f"{c.unknown:,}"]] if c.unknown else []),
            ],
        ),
        *scenario_blocks(c.scenarios, gap_s=c.attack_gap_s),
    ]
    if found.scores:
        caption = f"Scores that {found.target} gave. Lines are the pack's thresholds."
        out.append(
            figures.scores(found.scores, caption, _thresholds(report), ident="replayed-scores")
        )
    return out


def _period(found: Replayed) -> str:
    if found.only_later:
        return (
            f"{found.later_than_learning:,} of {found.verdicts:,} verdicts are later than "
            f"{found.learned_until}, the end of training; only those count here."
        )
    if found.learned_until:
        return (
            f"All {found.verdicts:,} verdicts are from before {found.learned_until}, the end of "
            "training: they say nothing about detection."
        )
    return f"It is not known which of the {found.verdicts:,} transactions the model was trained on."

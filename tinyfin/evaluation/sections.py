# SPDX-License-Identifier: Apache-2.0
"""The page's sections, from the facts of an evaluation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tinyfin.evaluation.card_sections import given, responsible, risk_sections
from tinyfin.evaluation.data_card import data_sections
from tinyfin.evaluation.data_remarks import drawn as drawn_anew
from tinyfin.evaluation.data_remarks import limits
from tinyfin.evaluation.data_sections import doubted_labels, scenarios
from tinyfin.evaluation.family_comparison import family_sections
from tinyfin.evaluation.fold_metrics import MAIN
from tinyfin.evaluation.group_sections import group_blocks
from tinyfin.evaluation.model_card import INTENDED, LIMITS, OUT_OF_SCOPE, ranked
from tinyfin.pages import charts, detection
from tinyfin.pages.blocks import (
    Block,
    code,
    count,
    figure,
    fixed,
    number,
    percent,
    spread,
    table,
    text,
)
from tinyfin.pages.render import PageSection
from tinyfin.pages.savings import signed_spread
from tinyfin.pages.scorers import POPULATIONS, population_name, scorer_name
from tinyfin.pages.threshold_table import interval_words, threshold_table
from tinyfin.results.evaluation import Evaluation, FoldFigures, MeanFigures, Spans
from tinyfin.results.metrics import Action, Budget, BudgetPromise, Savings
from tinyfin.results.run import SliceSize
from tinyfin.training.confusion import ACTION_LEVELS

__all__ = ["sections_of", "spoken"]

if TYPE_CHECKING:
    from tinyfin.evaluation.page import Pictures


def spoken(name: str) -> str:
    """The name of a scorer or population for people."""
    return population_name(name) if name in POPULATIONS else scorer_name(name)


def sections_of(
    facts: Evaluation, drawn: Pictures, made: Sequence[tuple[str, str]]
) -> list[PageSection]:
    """The sections; empty ones are left out."""
    found = [
        ("Model card", _card(facts, made)),
        ("Figures", _figures(facts)),
        ("Pictures", _pictures(facts, drawn)),
        ("Week by week", _folds(facts)),
        ("Trust in the probabilities", _trust(facts)),
        ("Decisions", _decisions(facts)),
        ("By kind of transaction", _slices(facts)),
        ("By group of your own", group_blocks(facts)),
        ("By scenario", scenarios(facts)),
        ("Families", family_sections(facts)),
        ("Label delay", _delays(facts)),
        *risk_sections(facts),
        *data_sections(facts),
        ("Labels that models doubt", doubted_labels(facts)),
    ]
    return [
        PageSection(title.lower().replace(" ", "-"), title, blocks)
        for title, blocks in found
        if blocks
    ]


def _card(facts: Evaluation, made: Sequence[tuple[str, str]]) -> list[Block]:
    split, model = facts.folds[-1].split, facts.folds[-1].model
    recent = split.too_recent
    late = split.immature_refused - recent
    return [
        text("As plain text: MODEL_CARD.md and DATA_CARD.md, next to this page."),
        *responsible(facts),
        table(
            "What it is for, and what not",
            ["", ""],
            [
                ["intended use", given(facts.card, "intended_use")],
                *[["intended use", t] for t in INTENDED],
                *[["out of scope", t] for t in OUT_OF_SCOPE],
                *[["limit", t] for t in limits(facts, LIMITS)],
            ],
        ),
        table(
            "How it was made",
            ["", ""],
            [
                ["family", f"{model.family}, read-out {model.readout}"],
                ["calibrated on, thresholds set on (last part)", _rows(split.calibration)],
                ["left out: label not known in time", count(late)],
                ["left out: too recent for fraud reports", count(recent)],
                *[[name, value] for name, value in made],
            ],
        ),
        code(
            [
                f"tinyfin train DATA --config tinyfin.toml --name {facts.run}",
                f"tinyfin quantize runs/{facts.run}",
                f"tinyfin evaluate runs/{facts.run} --protocol {facts.protocol}",
            ]
        ),
    ]


def _rows(size: SliceSize) -> str:
    return f"{size.rows:,} transactions with {size.frauds:,} frauds"


def _figures(facts: Evaluation) -> list[Block]:
    out = []
    for state, means in (("", facts.means), ("COLD, ", facts.cold)):
        for population, scorers in means.items():
            told = not state or not facts.means
            spans = facts.intervals.get(population, {}) if told else {}
            saved = facts.savings.get(population, {}) if told else {}
            out += _tables(f"{state}{spoken(population)}", scorers, spans, saved)
    out.append(
        text(
            "Work and money: the pack's own alerts for the int8 model, as many of the highest "
            "scores for every other. Savings: a missed fraud costs its amount, an alert "
            f"{facts.false_alert_minor:g} minor units. CP@100: of the 100 cards with the "
            f"highest score of each day the share with a fraud that day. Intervals: bootstrap over "
            f"{drawn_anew(facts)}, the same resamples for all scorers, so a lead is a paired "
            "comparison."
        )
    )
    for population, seeds in facts.seeds.items():
        values = ", ".join(f"{s}: {fixed(v)}" for s, v in seeds.average_precision.items())
        out.append(
            text(
                f"Seeds, {spoken(population)}: {values}; standard deviation "
                f"{fixed(seeds.standard_deviation, 4)}. Float against int8: "
                f"{fixed(facts.int8_loss[population], 4)} AP lost."
            )
        )
    return out


def _tables(
    name: str,
    scorers: Mapping[str, MeanFigures],
    spans: Mapping[str, Spans],
    saved: Mapping[str, Savings],
) -> list[Block]:
    """How well each scorer ranks, and what that is worth."""
    ranks, worth = [], []
    for scorer, m in ranked(scorers):
        span = spans.get(scorer)
        ranks.append(
            [
                spoken(scorer),
                fixed(m.average_precision),
                "" if span is None else spread(*span.average_precision),
                "" if span is None or scorer == MAIN else _lead(span),
                fixed(m.roc_auc),
                percent(m.recall_at_0_1_percent),
                percent(m.precision_at_0_1_percent),
                percent(m.recall_at_1_percent),
                percent(m.precision_at_1_percent),
            ]
        )
        alerts = m.alerts
        worth.append(
            [
                spoken(scorer),
                percent(m.precision_at_100),
                _card_precision(m),
                number(alerts.alerts_per_terminal_day, 2),
                percent(alerts.precision),
                percent(alerts.recall),
                percent(alerts.value_detected),
                fixed(alerts.savings),
                spread(*saved[scorer].interval) if scorer in saved else "",
                signed_spread(saved[scorer]) if scorer in saved and scorer != MAIN else "",
                fixed(m.calibration_error, 4),
                fixed(m.brier_skill),
            ]
        )
    n = next(iter(scorers.values())).folds
    folds = f"mean of {n} part{'s' if n > 1 else ''}"
    name = name[:1].upper() + name[1:]
    return [
        table(
            f"{name}: ranking, {folds}; all scorers on the same rows",
            [
                "scorer",
                "average precision",
                "95 % interval",
                "int8 leads by",
                "ROC AUC",
                "recall at 0.1 % FP",
                "precision there",
                "recall at 1 % FP",
                "precision there",
            ],
            ranks,
        ),
        table(
            f"{name}: work and money, {folds}",
            [
                "scorer",
                "precision at 100",
                "CP@100 (ceiling)",
                "alerts per terminal and day",
                "precision of alerts",
                "recall",
                "value detected",
                "savings",
                "95 % interval",
                "int8 saves more by",
                "calibration error",
                "Brier skill",
            ],
            worth,
        ),
    ]


def _lead(span: Spans) -> str:
    low, high = span.int8_leads_by
    return f"{low:+.3f} to {high:+.3f}" if math.isfinite(low) else "-"


def _card_precision(m: FoldFigures) -> str:
    if not m.has_cards:
        return "-"
    return f"{m.card_precision_100:.3f} ({m.card_precision_100_ceiling:.3f})"


def _pictures(facts: Evaluation, drawn: Pictures) -> list[Block]:
    out: list[Block] = []
    found = drawn["precision_recall"]
    if found:
        order = sorted(found, key=lambda n: (n != MAIN, -found[n].average_precision))
        out.append(
            detection.precision_recall(
                {name: found[name] for name in order},
                f"Precision and recall, all cards, part {drawn['fold']}.",
            )
        )
    for population, spans in facts.intervals.items():
        means = facts.judged[population]
        rows = [
            (spoken(name), means[name].average_precision, *spans[name].average_precision)
            for name, _ in ranked(means)
            if name in spans
        ]
        if len(rows) > 1:
            out.append(
                figure(
                    charts.whiskers(
                        "intervals",
                        "Average precision with 95 % intervals",
                        rows,
                        "average precision",
                    ),
                    f"Mean average precision and its 95 % interval, {spoken(population)}.",
                )
            )
    if drawn["calibration"]:
        out.append(detection.calibration(drawn["calibration"], "over all parts"))
    if drawn["scores"]:
        decision = facts.folds[-1].decision
        out.append(
            detection.scores(
                drawn["scores"],
                "Scores of all parts, int8. The lines are the thresholds of the last part.",
                detection.thresholds(decision.go_online, decision.verify, decision.decline)
                if decision
                else (),
            )
        )
    return out


def _folds(facts: Evaluation) -> list[Block]:
    folds = facts.folds
    out: list[Block] = []
    tables: list[Block] = []
    for population in folds[0].populations:
        first = folds[0].populations[population]
        names = sorted((n for n, _ in ranked(first)), key=lambda n: n != MAIN)[:6]
        styles = {name: i for i, name in enumerate(names)}
        if len(folds) > 1:
            out.append(
                figure(
                    charts.folds(
                        f"parts-{population}",
                        f"Average precision by part, {spoken(population)}",
                        [fold.name[5:] if fold.name[4:5] == "-" else fold.name for fold in folds],
                        {
                            n: [fold.populations[population][n].average_precision for fold in folds]
                            for n in names
                        },
                        styles,
                        "average precision",
                        f"Average precision of each part, {spoken(population)}.",
                    ),
                    f"Average precision by part, {spoken(population)}.",
                    legend=[(spoken(n), styles[n]) for n in names],
                )
            )
        tables.append(
            table(
                f"{spoken(population).capitalize()}, average precision by part",
                ["part", "state", "days of history", "rows", "frauds", *map(spoken, first)],
                [
                    [
                        fold.name,
                        "COLD" if fold.cold else "warm",
                        number(fold.history_days, 3),
                        count(fold.populations[population][MAIN].rows),
                        count(fold.populations[population][MAIN].frauds),
                        *(fixed(fold.populations[population][n].average_precision) for n in first),
                    ]
                    for fold in folds
                ],
            )
        )
    return out + tables


def _trust(facts: Evaluation) -> list[Block]:
    rows = []
    for population, found in facts.pooled.expected_and_observed.items():
        m = facts.judged[population][MAIN]
        told = {"above the alert threshold": found.above_threshold, "all": found.overall}
        for name, e in told.items():
            rows.append(
                [
                    spoken(population),
                    name,
                    count(e.rows),
                    fixed(e.expected, 1),
                    f"{e.low:.1f} to {e.high:.1f}",
                    count(e.observed),
                    "inside" if e.within else "outside",
                    f"{e.independent_low:.1f} to {e.independent_high:.1f}",
                    fixed(m.calibration_error, 4),
                    fixed(m.brier_skill),
                ]
            )
    if facts.prevalence is not None or not rows:
        return []
    return [
        table(
            "Frauds that the probabilities promise, and those that came, over all parts",
            [
                "population",
                "rows",
                "n",
                "expected",
                "95 % interval",
                "observed",
                "",
                "were rows independent",
                "calibration error",
                "Brier skill",
            ],
            rows,
        ),
        text(
            "The calibration error is the mean over the parts, in 15 bins of equal mass. The "
            "interval lets frauds of one card and of one terminal come together, and knows that "
            "the table of probabilities was fitted to a sample; next to it is the narrower one "
            "that independent rows and exact probabilities would have."
        ),
    ]


def _decisions(facts: Evaluation) -> list[Block]:
    rows = []
    for fold in facts.folds:
        d = fold.decision
        if d is None or d.budget is None:
            continue
        rows.append(
            [
                fold.name + (" (COLD)" if fold.cold else ""),
                _budget(d.budget),
                number(d.go_online, 3),
                number(d.verify, 3),
                number(d.decline, 3),
                number(d.calibration.false_alerts_per_1000, 3),
                _promised(d.promise),
                number(d.test.false_alerts_per_1000, 3),
                number(d.test.false_alerts_per_terminal_week, 3),
                percent(d.test.precision),
                percent(d.test.recall),
                percent(d.test.value_detected),
            ]
        )
    out = threshold_table(
        "At the thresholds in force, all parts together, int8; "
        f"{interval_words(drawn_anew(facts))}",
        facts.pooled.thresholds,
    )
    if not rows:
        return out
    return [
        *out,
        table(
            "Budgeted and realised: thresholds were set before the part began; all cards",
            [
                "part",
                "budget",
                "go online from",
                "verify from",
                "decline from",
                "false alerts per 1,000 where set",
                "promised at most",
                "realised",
                "per terminal and week",
                "precision",
                "recall",
                "value detected",
            ],
            rows,
        ),
    ]


def _promised(promise: Mapping[Action, BudgetPromise]) -> str:
    """What the calibration rows promise of false alerts per 1,000."""
    return (
        ", ".join(f"{p.at_most_per_1000:.3g} ({100 * p.confidence:g} %)" for p in promise.values())
        or "-"
    )


def _budget(budget: Budget) -> str:
    return "; ".join(words for action in ACTION_LEVELS for words in budget.text(action)) or "never"


def _slices(facts: Evaluation) -> list[Block]:
    rows = [
        [
            f"{s.kind}: {s.slice}",
            count(s.rows),
            count(s.frauds),
            percent(s.recall),
            number(s.false_alerts_per_1000, 3),
            fixed(s.expected, 1),
            ", ".join(s.behind) or "",
        ]
        for s in facts.pooled.slices
    ]
    return (
        [
            table(
                "The pack's alerts by slice, all parts and cards; a slice is behind when its "
                "recall or its calibration is, beyond chance",
                [
                    "slice",
                    "rows",
                    "frauds",
                    "recall",
                    "false alerts per 1,000",
                    "frauds expected",
                    "behind",
                ],
                rows,
            )
        ]
        if rows
        else []
    )


def _delays(facts: Evaluation) -> list[Block]:
    if not facts.delays:
        return []
    population, means = next(iter(facts.judged.items()))
    own = {n: m.average_precision for n, m in means.items()}
    rows = [(float(facts.label_delay_s or 0) / 86_400, own)]
    rows += [(d.delay_s / 86_400, d.average_precision[population]) for d in facts.delays]
    rows.sort(key=lambda row: row[0])
    names = [n for n in (MAIN, "rule_b", "rule_a", "amount") if all(n in by for _, by in rows)]
    styles = {name: i for i, name in enumerate(names)}
    return [
        figure(
            charts.delays("delays", rows, styles),
            f"Average precision over label delay, {spoken(population)}: every week trained again "
            "on what is known then.",
            legend=[(spoken(n), styles[n]) for n in names],
        ),
        table(
            "Average precision by label delay",
            ["days", *map(spoken, names)],
            [[f"{day:g}", *(fixed(by[n]) for n in names)] for day, by in rows],
        ),
    ]

# SPDX-License-Identifier: Apache-2.0
"""The evaluation as one HTML file: model card, tables, pictures, data quality."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import numpy as np

from tinyfin import files
from tinyfin.evaluation.data_remarks import beaten_by, delay_words, drawn, money, warnings
from tinyfin.evaluation.fold_metrics import MAIN
from tinyfin.evaluation.sections import sections_of, spoken
from tinyfin.pages.blocks import fixed, number, percent, spread
from tinyfin.pages.charts import CalibrationBin, PrecisionRecall, ScoreHistogram
from tinyfin.pages.render import Check, Headline, page
from tinyfin.pages.savings import best_rule
from tinyfin.results.evaluation import Evaluation
from tinyfin.training.curves import curves, score_histogram

if TYPE_CHECKING:
    from tinyfin.evaluation.workflow import Evaluated

__all__ = ["render", "write_page"]

_CURVES = 6


class Pictures(TypedDict):
    """Data of the pictures: curves of the last fold, of its best scorers, and scores of all folds;
    None of what cannot be drawn."""

    fold: str
    precision_recall: dict[str, PrecisionRecall]
    calibration: dict[str, list[CalibrationBin]] | None
    scores: ScoreHistogram | None


def write_page(path: Path, found: Evaluated) -> Path:
    """Write the page; its facts are in ``found``. Raises InputError when it cannot be written."""
    from tinyfin.evaluation.model_card import made_from, trained_on

    made = [*trained_on(found.facts, found.run), *made_from(found.facts, found.run)]
    text = render(found.facts, pictures(found), made)
    return files.write(path, text)


def pictures(found: Evaluated) -> Pictures:
    """The pictures of an evaluation."""
    last = found.scored[-1]
    label = found.tx.label[last.rows]
    p = np.concatenate([s.probability[MAIN] for s in found.scored])
    all_labels = np.concatenate([found.tx.label[s.rows] for s in found.scored])
    made = curves(label, last.scores, {})
    every = made.precision_recall if made else {}
    best = dict(list(every.items())[:_CURVES])
    if MAIN in every:
        best.setdefault(MAIN, every[MAIN])
    calibrated = (
        found.facts.prevalence is None
        and bool(np.any(all_labels == 1))
        and all(s.calibrated for s in found.scored)
    )
    bins = curves(all_labels, {}, {MAIN: p}) if calibrated else None
    return {
        "fold": last.fold.name,
        "precision_recall": best,
        "calibration": bins.calibration if bins else None,
        "scores": score_histogram(p, all_labels),
    }


def render(facts: Evaluation, drawn: Pictures, made: list[tuple[str, str]]) -> str:
    """The HTML of an evaluation's facts."""
    return page(
        f"{facts.run}: {facts.family}, {facts.protocol}",
        subtitle=_subtitle(facts),
        verdict=_verdict(facts),
        headline=_headline(facts),
        sections=sections_of(facts, drawn, made),
        facts_file="evaluation.json",
    )


def _subtitle(facts: Evaluation) -> str:
    quality = facts.quality
    folds = len(facts.folds)
    return (
        f"{quality.rows:,} transactions of {quality.terminals:,} terminals, "
        f"{quality.from_[:10]} to {quality.to[:10]} · {folds} part{'s' * (folds > 1)} · "
        f"{delay_words(facts)} · state {facts.state}"
    )


def _verdict(facts: Evaluation) -> Headline:
    checks = [Check(row.name, row.wanted, number(row.found, 4), row.ok) for row in facts.gate]
    lines = []
    for population, scorers in facts.judged.items():
        others = {n: m for n, m in scorers.items() if not n.startswith("model")}
        best = max(others, key=lambda n: others[n].average_precision, default=None)
        text = (
            f"{spoken(population).capitalize()}: average precision "
            f"{fixed(scorers[MAIN].average_precision)}"
        )
        if best is not None:
            text += (
                f"; the best that is not in the terminal's pack is {spoken(best)} with "
                f"{fixed(others[best].average_precision)}"
            )
        if "rule_a" in others:
            text += f"; rule A {fixed(others['rule_a'].average_precision)}"
        lines.append(text + ".")
        lines += [f"{said[0].upper()}{said[1:]}." for said in money(facts, population)]
    behind = [s for s in facts.pooled.slices if s.behind]
    if behind:
        names = ", ".join(f"{s.kind} {s.slice}" for s in behind)
        lines.append(f"Falls behind: {names}.")
    told = [*beaten_by(facts), *warnings(facts)]
    lines += [f"{text[0].upper()}{text[1:]}." for text in told]
    if facts.state == "COLD":
        lines.append(
            "COLD: the state had not seen enough; these are not the figures of a terminal "
            "in service."
        )
    if not checks:
        return Headline("No gate was given", None, lines)
    good = all(row.ok for row in facts.gate)
    title = "The gate holds" if good else "The gate fails"
    return Headline(title, good, lines, checks, "bound")


def _headline(facts: Evaluation) -> list[tuple[str, str]]:
    population, scorers = next(iter(facts.judged.items()))
    m = scorers[MAIN]
    span = facts.intervals.get(population, {}).get(MAIN)
    cold = " (COLD)" if facts.state == "COLD" else ""
    rows = [(f"average precision{cold}", fixed(m.average_precision))]
    if span is not None:
        rows.append((f"95 % interval, by {drawn(facts)[:-1]}", spread(*span.average_precision)))
    saved = facts.savings.get(population)
    if saved is not None:
        rows.append((f"savings{cold}", fixed(saved[MAIN].savings)))
        rows.append(("savings, 95 % interval", spread(*saved[MAIN].interval)))
        if (rule := best_rule(saved)) is not None:
            rows.append((f"savings of {spoken(rule)}", fixed(saved[rule].savings)))
    rows += [
        ("recall at 0.1 % false positives", percent(m.recall_at_0_1_percent)),
        ("AP lost by int8", fixed(facts.int8_loss[population], 4)),
    ]
    if m.has_probabilities and facts.prevalence is None:
        rows.append(("calibration error", fixed(m.calibration_error, 4)))
    alerts = m.alerts
    rows += [
        ("alerts per terminal and day", number(alerts.alerts_per_terminal_day, 2)),
        ("false alerts per 1,000 genuine", number(alerts.false_alerts_per_1000, 3)),
        ("value detected", percent(alerts.value_detected)),
    ]
    return rows

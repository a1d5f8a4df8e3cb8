# SPDX-License-Identifier: Apache-2.0
"""What card and page say of the data in words, the same on both."""

from __future__ import annotations

from tinyfin.evaluation.fold_metrics import MAIN
from tinyfin.pages.blocks import fixed
from tinyfin.pages.savings import saved_more, savings_line
from tinyfin.pages.scorers import RULES, population_name, scorer_name
from tinyfin.results.evaluation import Evaluation
from tinyfin.results.metrics import Population
from tinyfin.training.notices import FEW
from tinyfin.training.split import unreported, untested

__all__ = ["beaten_by", "delay_words", "drawn", "limits", "money", "warnings"]


def drawn(facts: Evaluation) -> str:
    """What intervals resample: cards, terminals, or transactions."""
    return facts.drawn


def delay_words(facts: Evaluation) -> str:
    """How late labels came in the data: one number where all took as long."""
    delay = facts.quality.label_delay_days
    if not delay:
        return "no labels"
    if delay["most"] - delay["least"] < 0.01:
        return f"labels {delay['median']:.4g} days late"
    return (
        f"labels {delay['least']:.3g} to {delay['most']:.3g} days late, "
        f"half of them at most {delay['median']:.3g}"
    )


def limits(facts: Evaluation, these: tuple[str, ...]) -> tuple[str, ...]:
    """The limits, with what intervals resample."""
    return tuple(text.format(drawn=drawn(facts)) for text in these)


def warnings(facts: Evaluation) -> list[str]:
    """Rows that lacked fraud reports when the data was written, and folds whose test rows lacked
    the notices that their model was calibrated with."""
    out = []
    for fold in facts.folds[-1:]:
        if later := untested(fold.split):
            out.append(later)
    for fold in facts.folds:
        if late := unreported(fold.split):
            out.append(f"part {fold.name}: {late}")
        counts = fold.notices
        if counts["missing"] > FEW * sum(counts.values()):
            out.append(
                f"part {fold.name}: {counts['missing']:,} of {sum(counts.values()):,} test "
                "transactions had no notices as the calibration rows had, so probabilities and "
                "budgets do not hold for them"
            )
    return out


def beaten_by(facts: Evaluation) -> list[str]:
    """Rules of one or two lines that rank better than the int8 model, beyond chance."""
    out = []
    for population, scorers in facts.judged.items():
        for name in RULES:
            spans = facts.intervals.get(population, {}).get(name)
            if name in scorers and spans is not None and spans.int8_leads_by[1] < 0:
                out.append(
                    f"{population_name(population)}: the rule {name} ranks better beyond chance, "
                    f"AP {scorers[name].average_precision:.3f}"
                )
    return out


def money(facts: Evaluation, population: Population) -> list[str]:
    """What the alerts save, next to rules and baselines that alert on as many rows: over all parts,
    and in each part where one of them saves more. Empty where no fraudulent amount is tested."""
    found = facts.savings.get(population)
    if found is None:
        return []
    out = [savings_line(found, MAIN, facts.false_alert_minor)]
    if more := saved_more(found, MAIN):
        out.append(more)
    parts = [fold for fold in facts.folds if facts.state == "COLD" or not fold.cold]
    for fold in parts if len(parts) > 1 else ():
        saved = {
            name: m.alerts.savings
            for name, m in fold.populations[population].items()
            if name == MAIN or not name.startswith("model")
        }
        best = max(saved, key=lambda name: saved[name])
        if saved[best] > saved[MAIN]:
            out.append(
                f"in part {fold.name} {scorer_name(best)} saves {fixed(saved[best])}, the model "
                f"{fixed(saved[MAIN])}"
            )
    return out

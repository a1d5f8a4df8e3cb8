# SPDX-License-Identifier: Apache-2.0
"""What card and page say of the data in words, the same on both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tinyfin.pages.scorers import population_name
from tinyfin.training.notices import FEW
from tinyfin.training.split import unreported, untested

__all__ = ["beaten_by", "delay_words", "drawn", "limits", "warnings"]

_SIMPLE = ("amount", "rate", "rule_a", "rule_b", "amount_over_card_mean")


def drawn(facts: Mapping[str, Any]) -> str:
    """What intervals resample: cards, terminals, or transactions."""
    return str(facts["drawn"])


def delay_words(facts: Mapping[str, Any]) -> str:
    """How late labels came in the data: one number where all took as long."""
    delay = facts["quality"]["label_delay_days"]
    if not delay:
        return "no labels"
    if delay["most"] - delay["least"] < 0.01:
        return f"labels {delay['median']:.4g} days late"
    return (
        f"labels {delay['least']:.3g} to {delay['most']:.3g} days late, "
        f"half of them at most {delay['median']:.3g}"
    )


def limits(facts: Mapping[str, Any], these: tuple[str, ...]) -> tuple[str, ...]:
    """The limits, with what intervals resample."""
    return tuple(text.format(drawn=drawn(facts)) for text in these)


def warnings(facts: Mapping[str, Any]) -> list[str]:
    """Rows that lacked fraud reports when the data was written, and parts whose test rows lacked
    the notices that their model was calibrated with."""
    out = []
    for part in facts["parts"][-1:]:
        if later := untested(part.get("split", {})):
            out.append(later)
    for part in facts["parts"]:
        if late := unreported(part.get("split", {})):
            out.append(f"part {part['name']}: {late}")
        counts = part["notices"]
        if counts["missing"] > FEW * sum(counts.values()):
            out.append(
                f"part {part['name']}: {counts['missing']:,} of {sum(counts.values()):,} test "
                "transactions had no notices as the calibration rows had, so probabilities and "
                "budgets do not hold for them"
            )
    return out


def beaten_by(facts: Mapping[str, Any]) -> list[str]:
    """Rules of one or two lines that rank better than the int8 model, beyond chance."""
    out = []
    for population, scorers in (facts["means"] or facts["cold"]).items():
        for name in _SIMPLE:
            spans = facts["intervals"].get(population, {}).get(name)
            if name in scorers and spans is not None and spans["int8_leads_by"][1] < 0:
                out.append(
                    f"{population_name(population)}: the rule {name} ranks better beyond chance, "
                    f"AP {scorers[name]['average_precision']:.3f}"
                )
    return out

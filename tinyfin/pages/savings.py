# SPDX-License-Identifier: Apache-2.0
"""What alerts save, in words: the model, the best rule, and whatever saves more than the model."""

from __future__ import annotations

from collections.abc import Mapping

from tinyfin.pages.blocks import fixed, spread
from tinyfin.pages.scorers import RULES, scorer_name
from tinyfin.results.metrics import Savings

__all__ = ["best_rule", "saved_more", "savings_line", "signed", "signed_spread"]


def best_rule(found: Mapping[str, Savings]) -> str | None:
    """The rule that saves most; None where none was scored."""
    rules = [name for name in found if name in RULES]
    return max(rules, key=lambda name: found[name].savings, default=None)


def savings_line(found: Mapping[str, Savings], model: str, alert_minor: float) -> str:
    """Of the model's alerts, and of as many by the best rule."""
    own = found[model]
    line = (
        f"savings at the thresholds in force, where an alert costs {alert_minor:g} minor units: "
        f"{scorer_name(model)} {fixed(own.savings)} ({spread(*own.interval)})"
    )
    rule = best_rule(found)
    if rule is None:
        return line
    other = found[rule]
    return (
        f"{line}; as many alerts by the best rule, {scorer_name(rule)}: {fixed(other.savings)} "
        f"({spread(*other.interval)}), the model leads by {signed(other.model_saves_more_by)} "
        f"({signed_spread(other)})"
    )


def saved_more(found: Mapping[str, Savings], model: str) -> str | None:
    """The rules and baselines that save more than the model; None when there is none."""
    more = [
        f"{scorer_name(name)} ({fixed(other.savings)}, "
        + ("beyond chance)" if other.model_saves_more_by_interval[1] < 0 else "within chance)")
        for name, other in sorted(found.items(), key=lambda item: -item[1].savings)
        if not name.startswith("model") and other.model_saves_more_by < 0
    ]
    if not more:
        return None
    return (
        f"with as many alerts, more than the model's {fixed(found[model].savings)} is saved by "
        + ", ".join(more)
    )


def signed(value: float) -> str:
    """With its sign; - if there is none."""
    return f"{value:+z.3f}" if value == value else "-"


def signed_spread(other: Savings) -> str:
    """The interval of the model's lead."""
    low, high = other.model_saves_more_by_interval
    return f"{signed(low)} to {signed(high)}"

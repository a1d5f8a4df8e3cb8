# SPDX-License-Identifier: Apache-2.0
"""What pages call the models and rules that are scored together, and on what."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["POPULATIONS", "RULES", "SCORERS", "in_order", "population_name", "scorer_name"]

SCORERS = {
    "model_int8": "model, int8",
    "model_float": "model, float",
    "amount": "amount alone",
    "amount_over_card_mean": "amount / the card's mean",
    "rule_a": "rule A (terminal only)",
    "rule_b": "rule B (with card means)",
    "rate": "rate of the terminal",
    "logistic_regression": "logistic regression",
    "random_forest": "random forest",
    "xgboost": "XGBoost",
    "isolation_forest": "isolation forest",
}
"""In the order of the tables."""

RULES = ("amount", "rate", "rule_a", "rule_b", "amount_over_card_mean")
"""Scorers of one or two lines; every other one that is no model is learned."""

POPULATIONS = {
    "known_cards_removed": "cards with a known fraud removed, looking back 14 days",
    "all": "all cards",
}


def in_order(names: Iterable[str]) -> list[str]:
    """Scorers in the order of the tables, others after them."""
    known = list(SCORERS)
    return sorted(names, key=lambda n: (known.index(n) if n in known else len(known), n))


def scorer_name(name: str) -> str:
    """A scorer in words; one that is not in SCORERS by its own name, without underscores."""
    return SCORERS.get(name, name.replace("_", " "))


def population_name(name: str) -> str:
    """A population in words; another one by its own name."""
    return POPULATIONS.get(name, name)

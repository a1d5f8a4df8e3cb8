# SPDX-License-Identifier: Apache-2.0
"""What pages call the models and rules that are scored beside one another."""

from __future__ import annotations

__all__ = ["SCORERS", "scorer_name"]

SCORERS = {
    "model_int8": "model, int8", "model_float": "model, float", "amount": "amount alone",
    "amount_over_card_mean": "amount / the card's mean", "rule_a": "rule A (terminal only)",
    "rule_b": "rule B (with card means)", "rate": "rate of the terminal",
    "logistic_regression": "logistic regression", "random_forest": "random forest",
    "xgboost": "XGBoost", "isolation_forest": "isolation forest",
}  # fmt: skip
"""In the order of the tables."""


def scorer_name(name: str) -> str:
    """A scorer in words; one that is not in SCORERS by its own name, without underscores."""
    return SCORERS.get(name, name.replace("_", " "))

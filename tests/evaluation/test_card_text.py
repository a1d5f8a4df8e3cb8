# SPDX-License-Identifier: Apache-2.0
"""Card and page say what is true of data without cards, with labels of their own times, and where
a rule is better than the model."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyfin.evaluation.card_text import beaten_by, delay_words, drawn, limits
from tinyfin.evaluation.model_card import LIMITS
from tinyfin.evaluation.summary import means
from tinyfin.training.bootstrap import mean_of_parts


def facts(delay: dict[str, float], lead: float, unit: str) -> dict[str, Any]:
    return {
        "drawn": unit,
        "quality": {"label_delay_days": delay},
        "means": {
            "all": {
                "model_int8": {"average_precision": 0.3},
                "rule_a": {"average_precision": 0.5},
                "xgboost": {"average_precision": 0.6},
            }
        },
        "intervals": {
            "all": {
                name: {"int8_leads_by": [-0.3, lead]}
                for name in ("model_int8", "rule_a", "xgboost")
            }
        },
    }


def test_the_delay_is_the_data_s() -> None:
    constant = dict.fromkeys(("least", "median", "90 %", "most"), 7.0)
    assert delay_words(facts(constant, 0.1, "cards")) == "labels 7 days late"
    own = {"least": 2.0, "median": 29.5, "90 %": 30.0, "most": 30.0}
    assert delay_words(facts(own, 0.1, "cards")) == (
        "labels 2 to 30 days late, half of them at most 29.5"
    )
    assert delay_words(facts({}, 0.1, "cards")) == "no labels"


def test_limits_name_what_was_drawn() -> None:
    for unit in ("cards", "terminals", "transactions"):
        said = facts({}, 0.1, unit)
        assert drawn(said) == unit
        assert limits(said, LIMITS)[-1].startswith(f"Intervals: bootstrap over {unit}; ")
        assert limits(said, LIMITS)[:-1] == LIMITS[:-1]


def test_a_rule_that_is_better_beyond_chance_is_named() -> None:
    assert beaten_by(facts({}, 0.1, "cards")) == []
    (text,) = beaten_by(facts({}, -0.01, "cards"))
    assert text == "all cards: the rule rule_a ranks better beyond chance, AP 0.500"


def test_a_week_without_fraud_leaves_figure_and_interval_of_the_others() -> None:
    none, some = float("nan"), np.array([0.4, 0.5, 0.6])
    np.testing.assert_array_equal(mean_of_parts([np.full(3, none), some]), some)
    np.testing.assert_array_equal(mean_of_parts([some, some + 0.2]), some + 0.1)
    lost = np.array([0.4, none, 0.6])
    assert np.isnan(mean_of_parts([lost, some])[1]), "a draw without fraud of a part is no draw"
    parts = [
        {"populations": {"all": {"model_int8": {"average_precision": value}}}}
        for value in (none, 0.4, 0.6)
    ]
    found = means(parts)["all"]["model_int8"]
    assert found == {"average_precision": 0.5, "worst_part": 0.4, "parts": 2}

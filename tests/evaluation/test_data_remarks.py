# SPDX-License-Identifier: Apache-2.0
"""Card and page say what is true of data without cards, with labels of their own times, and where
a rule is better than the model."""

from __future__ import annotations

import numpy as np

from tinyfin.evaluation.data_remarks import beaten_by, delay_words, drawn, limits
from tinyfin.evaluation.model_card import LIMITS
from tinyfin.evaluation.summary import means
from tinyfin.results.evaluation import (
    Evaluation,
    FoldFacts,
    FoldFigures,
    MeanFigures,
    Quality,
    Spans,
)
from tinyfin.results.facts import Facts
from tinyfin.results.metrics import AlertFigures
from tinyfin.training.bootstrap import mean_of_folds


def facts(delay: dict[str, float], lead: float, unit: str) -> Evaluation:
    precision = {"model_int8": 0.3, "rule_a": 0.5, "xgboost": 0.6}
    means = {n: MeanFigures.model_construct(average_precision=p) for n, p in precision.items()}
    span = Spans.model_construct(int8_leads_by=(-0.3, lead))
    return Evaluation.model_construct(
        drawn=unit,
        quality=Quality.model_construct(label_delay_days=delay),
        means={"all": means},
        intervals={"all": dict.fromkeys(precision, span)},
    )


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


def numbers(kind: type[Facts]) -> dict[str, float]:
    """A number for each that an object of this kind must have."""
    fields = kind.model_fields.items()
    return {key: 7.0 for key, field in fields if field.is_required()}


def test_a_week_without_fraud_leaves_figure_and_interval_of_the_others() -> None:
    none, some = float("nan"), np.array([0.4, 0.5, 0.6])
    np.testing.assert_array_equal(mean_of_folds([np.full(3, none), some]), some)
    np.testing.assert_array_equal(mean_of_folds([some, some + 0.2]), some + 0.1)
    lost = np.array([0.4, none, 0.6])
    assert np.isnan(mean_of_folds([lost, some])[1]), "a draw without fraud of a part is no draw"
    folds = []
    for value in (none, 0.4, 0.6):
        figures = FoldFigures(**numbers(FoldFigures) | {"alerts": numbers(AlertFigures)})
        figures.average_precision = value
        folds.append(FoldFacts.model_construct(populations={"all": {"model_int8": figures}}))
    found = means(folds)["all"]["model_int8"].as_json()
    assert {key: found[key] for key in ("average_precision", "worst_part", "parts")} == {
        "average_precision": 0.5,
        "worst_part": 0.4,
        "parts": 2,
    }

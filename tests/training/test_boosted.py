# SPDX-License-Identifier: Apache-2.0
"""Boosted trees in integers: what XGBoost itself says of the same rows, splits on every code, and
features that may only raise the score."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from numpy.typing import NDArray

from tinyfin.config import Model
from tinyfin.errors import ConfigError
from tinyfin.oracle.terms import terms_network
from tinyfin.pack.integer_model import Forest
from tinyfin.training.families import FittedIntegers, Problem, family

NAMES = ("a", "b", "c")


def problem(seed: int = 1, rows: int = 4000) -> Problem:
    """Fraud where a is high, but not at its highest; b matters on one code alone; c is noise."""
    rng = np.random.default_rng(seed)
    x = rng.integers(-128, 128, (rows, 3)).astype(np.int8)
    x[::7, 1] = 5
    odds = 4.0 * (x[:, 0] > 60) - 3.0 * (x[:, 0] > 110) + 2.0 * (x[:, 1] == 5) - 3.0
    label = (rng.random(rows) < 1 / (1 + np.exp(-odds))).astype(np.int8)
    cut = rows * 3 // 4
    return Problem(x[:cut], label[:cut], x[cut:], label[cut:], NAMES)


def boosted(of: Problem, **options: object) -> FittedIntegers:
    model = Model.model_validate(
        {"family": "boosted", "seed": 3, "options": {"trees": 40, "depth": 3, **options}}
    )
    found = family("boosted").fit(of, model, lambda done, total, text: None)
    assert isinstance(found, FittedIntegers)
    return found


def sums(found: FittedIntegers, x: NDArray[np.int8]) -> NDArray[np.float64]:
    """The oracle's, row by row."""
    network = terms_network(found.model.encode())
    return np.array([network(row.tolist())[1][0] for row in x], np.float64)


def every_code() -> NDArray[np.int8]:
    """Each code of each feature, the others at the codes that matter."""
    codes = np.arange(-128, 128)
    rows = []
    for j in range(3):
        for others in ((70, 5, 0), (-128, -128, -128), (127, 127, 127)):
            x = np.tile(np.array(others), (256, 1))
            x[:, j] = codes
            rows.append(x)
    return np.concatenate(rows).astype(np.int8)


def scaled(raw: NDArray[np.float64], like: NDArray[np.floating]) -> NDArray[np.float64]:
    """``raw`` with the scale and the place of ``like``, by least squares."""
    slope, place = np.polyfit(raw, like.astype(np.float64), 1)
    return np.asarray(slope * raw + place)


def test_the_integers_say_what_xgboost_says() -> None:
    found, x = boosted(problem()), every_code()
    margin = found.score(x)
    assert isinstance(found.model, Forest)
    assert np.ptp(margin) > 3
    # a leaf is half a step from its byte at most, and errors of 40 leaves do not add up alike
    assert np.abs(scaled(sums(found, x), margin) - margin).max() < 0.05


@pytest.mark.parametrize("by", [-1, 1])
def test_a_split_one_code_aside_is_noticed(by: int) -> None:
    found, x = boosted(problem()), every_code()
    forest = found.model
    assert isinstance(forest, Forest)
    moved = np.clip(forest.threshold.astype(int) + by, -128, 127).astype(np.int8)
    aside = Forest(forest.inputs, forest.feature, moved, forest.leaf)
    wrong = sums(FittedIntegers(aside, found.float_score, found.history), x)
    assert np.abs(scaled(wrong, found.score(x)) - found.score(x)).max() > 0.2


def test_what_may_only_rise_never_falls() -> None:
    codes = np.tile(np.array([0, 5, 0], np.int8), (256, 1))
    codes[:, 0] = np.arange(-128, 128)
    free = np.diff(sums(boosted(problem()), codes))
    bound = np.diff(sums(boosted(problem(), rising=["a"]), codes))
    other = np.diff(sums(boosted(problem(), falling=["a"]), codes))
    assert free.min() < 0 < free.max()
    assert 0 <= bound.min() < bound.max()
    assert other.min() < other.max() <= 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"rising": ["amount"]}, "no feature is called 'amount'; there are a, b, c"),
        ({"rising": ["a"], "falling": ["a", "b"]}, "a cannot be both rising and falling"),
        ({"depth": 11}, "model.options.depth"),
    ],
)
def test_options_that_cannot_be(options: Mapping[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        boosted(problem(), **options)

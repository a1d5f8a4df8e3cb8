# SPDX-License-Identifier: Apache-2.0
"""Frauds that weigh by their amounts: the formula in plain Python, and what a family learns."""

from __future__ import annotations

import statistics

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyfin.config import Model
from tinyfin.errors import ConfigError
from tinyfin.training.amount_weights import amount_weights
from tinyfin.training.calibration import fit_scores, probability
from tinyfin.training.families import Problem, family
from tinyfin.training.run_metrics import FloatScale


def quantile(values: list[int], share: float) -> float:
    """Linear between the two nearest ranks."""
    ordered = sorted(values)
    at = share * (len(ordered) - 1)
    low = int(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (at - low) * (ordered[high] - ordered[low])


@settings(max_examples=100, deadline=None)
@given(
    rows=st.lists(st.tuples(st.booleans(), st.integers(1, 10**7)), min_size=1, max_size=50),
    power=st.floats(0.05, 1),
)
def test_the_weights_are_the_formulas(rows: list[tuple[bool, int]], power: float) -> None:
    fraud, amount = (np.array(column) for column in zip(*rows, strict=True))
    found = amount_weights(fraud, amount, power)
    own = [a for f, a in rows if f]
    assert np.all(found[~fraud] == 1)
    if own:
        low, high = quantile(own, 0.05), quantile(own, 0.95)
        raised = [min(max(a, low), high) ** power for a in own]
        expected = [x / statistics.fmean(raised) for x in raised]
        assert found[fraud].tolist() == pytest.approx(expected)
        assert found[fraud].mean() == pytest.approx(1)
    assert np.all(amount_weights(fraud, amount, 0.0) == 1)


def test_frauds_without_an_amount_still_count() -> None:
    fraud = np.array([True, True, False])
    assert np.all(amount_weights(fraud, np.array([0, 0, 5]), 1.0) == 1)
    assert np.all(np.isfinite(amount_weights(fraud, np.array([0, -50, 5]), 0.5)))
    with pytest.raises(ConfigError, match=r"amount_power = 0\.5: .* no amount_minor"):
        amount_weights(fraud, None, 0.5)
    assert np.all(amount_weights(fraud, None, 0.0) == 1)


def rows(n: int, seed: int) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.int8], npt.NDArray]:
    """Three inputs. One row in 5 where the first is high is fraud of 5 units, one in 10 where the
    second is high of 500; elsewhere there is none."""
    rng = np.random.default_rng(seed)
    inputs = np.zeros((n, 3), np.int8)
    kind = rng.integers(0, 6, n)
    inputs[kind == 0, 0] = 64
    inputs[kind == 1, 1] = 64
    inputs[:, 2] = rng.integers(-20, 20, n)
    chance = np.select([kind == 0, kind == 1], [1 / 5, 1 / 10], 0.0)
    label = (rng.random(n) < chance).astype(np.int8)
    return inputs, label, np.where(kind == 1, 500, 5).astype(np.int64)


def quiet(done: int, of: int, text: str) -> None:
    """Nobody watches."""


@pytest.mark.parametrize("name", ["mlp", "distilled", "boosted"])
def test_dear_frauds_go_first_and_probabilities_stay_right(name: str) -> None:
    """The cheap kind is likelier, so it ranks first without weights, the negative control. The
    table of probabilities is fitted to rows without weights and promises as many frauds as there
    are; a sigmoid of the weighted score would promise others."""
    inputs, label, amount = rows(4000, 1)
    later, later_label, later_amount = rows(1000, 2)
    problem = Problem(
        inputs, label, later, later_label, ("cheap", "dear", "noise"), amount, later_amount
    )
    probe = np.array([[64, 0, 0], [0, 64, 0]], np.int8)
    ranks = {}
    for power in (0.0, 1.0):
        options: dict[str, object] = {"amount_power": power}
        options |= {"fraud_weight": 1.0} if name == "mlp" else {"trees": 40}
        model = Model(family=name, hidden=[8], epochs=8, batch_size=32, patience=0, options=options)
        fitted = family(name).fit(problem, model, quiet)
        cheap, dear = fitted.score(probe).tolist()
        ranks[power] = dear > cheap
        assert fitted.history.amount_power == power
    assert ranks == {0.0: False, 1.0: True}
    held, held_label, _ = rows(20_000, 3)
    fresh, fresh_label, _ = rows(20_000, 4)
    score = fitted.score(held)
    scale = FloatScale.of(score)
    table = fit_scores(scale(score), held_label, scale.bounds)
    dear_rows = fresh[:, 1] == 64
    score = fitted.score(fresh)
    observed = int(fresh_label.sum())
    assert abs(probability(table, scale(score)).sum() - observed) < 4 * np.sqrt(observed)
    observed = int(fresh_label[dear_rows].sum())
    alone = 1 / (1 + np.exp(-score[dear_rows].astype(float)))
    assert alone.sum() - observed > 4 * np.sqrt(observed)


@pytest.mark.parametrize("name", ["mlp", "distilled", "boosted"])
def test_without_the_option_amounts_change_nothing(name: str) -> None:
    inputs, label, amount = rows(1500, 1)
    names = ("cheap", "dear", "noise")
    options: dict[str, object] = {} if name == "mlp" else {"trees": 3}
    model = Model(family=name, hidden=[4], epochs=2, options=options)
    plain = family(name).fit(Problem(inputs, label, inputs, label, names), model, quiet)
    known = Problem(inputs, label, inputs, label, names, amount, amount)
    same = family(name).fit(known, model, quiet)
    for a, b in zip(plain.weights(), same.weights(), strict=True):
        assert np.array_equal(a, b)
    by_amount = model.model_copy(update={"options": {**options, "amount_power": 1.0}})
    other = family(name).fit(known, by_amount, quiet)
    assert any(
        not np.array_equal(a, b) for a, b in zip(plain.weights(), other.weights(), strict=True)
    )

# SPDX-License-Identifier: Apache-2.0
"""The calibrated score ranks as the raw score does and is right on average."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyfin.pack.calibration import Calibration
from tinyfin.training.calibration import MAX_KNOTS, fit_table, probability
from tinyfin.training.metrics import average_precision, calibration_error
from tinyfin.training.table import float_probability

BOUNDS = (-60_000, 60_000)


def sample(seed: int, n: int = 20_000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    logit = rng.normal(-5, 2, n)
    truth = 1 / (1 + np.exp(-logit))
    label = (rng.random(n) < truth).astype(np.int8)
    return np.rint(logit * 4000).astype(np.int32), label, truth


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), frauds=st.integers(1, 40), rows=st.integers(60, 400))
def test_strictly_increasing_over_every_possible_raw_score(
    seed: int, frauds: int, rows: int
) -> None:
    rng = np.random.default_rng(seed)
    raw = rng.integers(-50, 50, rows).astype(np.int32) * int(rng.integers(1, 900))
    label = np.zeros(rows, np.int8)
    label[rng.choice(rows, frauds, replace=False)] = 1
    table = fit_table(raw, label, BOUNDS)
    assert len(table.raw) <= MAX_KNOTS
    assert table.raw[0] <= BOUNDS[0]
    assert table.raw[-1] >= BOUNDS[1]
    every = np.arange(BOUNDS[0], BOUNDS[1] + 1, dtype=np.int32)
    assert np.all(np.diff(table.evaluate(every).astype(np.int64)) >= 1)


def test_ranking_by_probability_is_ranking_by_raw_score() -> None:
    raw, label, _ = sample(1)
    table = fit_table(raw, label, BOUNDS)
    order = np.argsort(raw, kind="stable")
    np.testing.assert_array_equal(order, np.argsort(table.evaluate(raw), kind="stable"))
    assert average_precision(raw, label) == average_precision(probability(table, raw), label)


def test_plain_isotonic_steps_fail_the_ranking_test() -> None:
    from sklearn.isotonic import IsotonicRegression

    raw, label, _ = sample(1)
    steps = IsotonicRegression().fit(raw, label).predict(raw)
    assert average_precision(steps, label) != average_precision(raw, label)


def test_mean_probability_is_the_prevalence_and_the_curve_is_close() -> None:
    raw, label, _ = sample(2)
    table = fit_table(raw, label, BOUNDS)
    assert abs(probability(table, raw).mean() / label.mean() - 1) < 0.01
    fresh, fresh_label, truth = sample(3)
    p = probability(table, fresh)
    assert calibration_error(p, fresh_label) < calibration_error(truth, fresh_label) + 0.002
    assert np.mean(np.abs(p - truth)) < 0.01


def test_float_probabilities_do_not_depend_on_the_test_rows() -> None:
    rng = np.random.default_rng(6)
    raw, label, _ = sample(6, 6000)
    score = (raw / 4000).astype(np.float32)
    few = {"calibration_float": score, "calibration_label": label, "test_float": score[:50]}
    more = np.r_[score[:50], rng.normal(0, 100, 20).astype(np.float32)]
    p = float_probability({**few, "test_float": more})
    np.testing.assert_array_equal(p[:50], float_probability(few))
    assert np.all((p > 0) & (p < 1))


def test_the_table_is_one_that_a_pack_takes() -> None:
    raw, label, _ = sample(5)
    table = fit_table(raw, label, BOUNDS)
    assert Calibration.decode(table.encode()) == table

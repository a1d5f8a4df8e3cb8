# SPDX-License-Identifier: Apache-2.0
"""The calibrated score ranks as the raw score does and is right on average."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyfin.pack.calibration import Calibration
from tinyfin.training.calibration import MAX_KNOTS, fit_table, probability
from tinyfin.training.metrics import average_precision, calibration_error
from tinyfin.training.monotone_curve import fit_curve
from tinyfin.training.run_metrics import float_probability

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


def bend(seed: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Most rows say nothing, few are sure, few lie between: the odds leap within a short way."""
    rng = np.random.default_rng(seed)
    score = np.where(rng.random(n) < 0.97, rng.normal(-5, 0.3, n), rng.uniform(-5, 6, n))
    odds = np.exp(np.interp(score, [-6, -4.5, -1.5, 0, 6], [-7, -6.5, -4, 3, 6]))
    label = rng.random(n) < odds / (1 + odds)
    return np.rint(score * 1000).astype(np.int32), label.astype(np.int8)


def farthest(p: np.ndarray, label: np.ndarray) -> float:
    """Over bins of p: standard deviations between the frauds promised and those that came."""
    at = np.digitize(p, [0.002, 0.005, 0.02, 0.1, 0.5, 0.9, 0.97])
    off = np.bincount(at, label - p) / np.sqrt(np.bincount(at, p * (1 - p)))
    return float(np.max(np.abs(off)))


def test_no_bin_promises_more_than_comes_where_the_curve_bends() -> None:
    table = fit_table(*bend(1, 60_000), BOUNDS)
    raw, label = bend(2, 60_000)
    assert farthest(probability(table, raw), label) < 4.5
    # means of blocks, joined by lines, promise frauds that do not come
    known, told = (x[np.argsort(bend(1, 60_000)[0])] for x in bend(1, 60_000))
    frauds = np.flatnonzero(told)
    parts = np.array_split(np.arange(len(known)), 15) + np.array_split(
        np.arange(frauds[len(frauds) // 15], len(known)), 15
    )
    means = sorted((float(known[part].mean()), float(told[part].mean())) for part in parts)
    assert farthest(np.interp(raw, *zip(*means, strict=True)), label) > 6


def test_what_a_label_adds_to_a_sum_of_probabilities_is_what_a_new_fit_says() -> None:
    raw, label, _ = sample(8, 4000)
    at = raw[raw > -8000]
    curve = fit_curve(raw, label == 1)
    told = curve.sensitivity(raw, at)
    rows = np.flatnonzero(label == 0)
    for row in rows[np.argsort(raw[rows])][[5, 2000, -300, -20]]:
        other = label.copy()
        other[row] = 1
        found = float(np.sum(fit_curve(raw, other == 1)(at)) - np.sum(curve(at)))
        assert found == pytest.approx(told[row], abs=0.15)
    assert np.ptp(told) > 0.5


def test_a_very_wide_range_of_scores_leaves_the_high_probabilities() -> None:
    raw, label, _ = sample(9)
    wide = probability(fit_table(raw, label, (-(2**25), 2**25)), raw)
    narrow = probability(fit_table(raw, label, BOUNDS), raw)
    sure = narrow > 0.3
    assert np.count_nonzero(sure) > 100
    assert np.max(np.abs(wide[sure] - narrow[sure])) < 0.01


def test_few_frauds_that_stand_apart_give_no_certainty() -> None:
    raw = np.r_[np.arange(-2000, 0), np.arange(1000, 1005)].astype(np.int32)
    label = (raw > 500).astype(np.int8)
    p = probability(fit_table(raw, label, BOUNDS), raw)
    assert 0.6 < p[label == 1].mean() < 0.95
    assert p[label == 0].max() < 0.2


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

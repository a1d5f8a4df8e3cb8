# SPDX-License-Identifier: Apache-2.0
"""Figures equal scikit-learn's; rules see what a terminal sees."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from tests.support.transactions import labelled
from tinyfin.training.input_maps import fit_maps
from tinyfin.training.metrics import (
    at_false_positive_rate,
    average_precision,
    calibration_error,
    evaluate,
    roc_auc,
)
from tinyfin.training.rules import known_fraud_run, mean_before, rate


@pytest.mark.parametrize("levels", [3, 1000])
def test_equal_to_scikit_learn(levels: int) -> None:
    rng = np.random.default_rng(levels)
    score = rng.integers(0, levels, 3000)
    label = (rng.random(3000) < 0.05 + 0.3 * score / levels).astype(np.int8)
    weight = rng.random(3000) + 0.1
    assert average_precision(score, label) == pytest.approx(average_precision_score(label, score))
    assert roc_auc(score, label) == pytest.approx(roc_auc_score(label, score))
    assert average_precision(score, label, weight) == pytest.approx(
        average_precision_score(label, score, sample_weight=weight)
    )


def test_false_positives_stay_within_their_rate() -> None:
    score = np.arange(2000)
    label = (score >= 1990).astype(np.int8)
    label[1500] = 1
    recall, precision, threshold = at_false_positive_rate(score, label, 0.001)
    assert recall == pytest.approx(10 / 11)
    assert precision == pytest.approx(10 / 11)
    assert threshold == 1989


def test_no_fraud_gives_no_figure_and_no_error() -> None:
    found = evaluate(np.arange(10), np.zeros(10, np.int8), probability=np.zeros(10))
    assert np.isnan(found.average_precision)
    assert calibration_error(np.zeros(10), np.zeros(10, np.int8)) == 0


def test_mean_before_is_causal() -> None:
    key = np.array([1, 2, 1, 1, 2])
    value = np.array([10.0, 5.0, 30.0, 99.0, 7.0])
    t = np.array([0, 1, 2, 3, 4])
    np.testing.assert_allclose(mean_before(key, value, t), [10, 5, 10, 20, 5])


def test_rate_counts_one_terminals_window() -> None:
    t = np.array([0, 599, 600, 600, 1300, 5])
    tx = labelled(t, np.zeros(6), t)
    tx.terminal[5] = 1
    np.testing.assert_array_equal(rate(tx, 600), [1, 2, 2, 3, 1, 1])


def test_known_fraud_run_waits_for_labels_and_counts_where_they_were() -> None:
    t = np.array([0, 10, 20, 30, 100, 200])
    label = np.array([1, 0, 1, 1, 0, 0])
    # the label of row 1 comes last: until then rows 0, 2 and 3 make a run of three
    known = np.array([50, 150, 40, 60, 1000, 1000])
    run, age = known_fraud_run(labelled(t, label, known))
    np.testing.assert_array_equal(run, [0, 0, 0, 0, 3, 2])
    np.testing.assert_array_equal(age, [0, 0, 0, 0, 100, 180])


def test_input_maps_ascend_and_reach_both_ends() -> None:
    rng = np.random.default_rng(0)
    features = np.stack(
        [
            rng.normal(0, 3000, 4000).clip(-32768, 32767),
            rng.integers(0, 2, 4000),
            np.full(4000, 32767),
            rng.integers(0, 5, 4000) * 100,
            np.full(4000, -5),
        ],
        axis=1,
    ).astype(np.int16)
    label = (rng.random(4000) < 0.02).astype(np.int8)
    maps = fit_maps(features, label)
    for i in (0, 1, 3):
        assert maps[i].y[0] == -128
        assert maps[i].y[-1] == 127
    every = np.arange(-32768, 32768).astype(np.int16)
    for i, one in enumerate(maps):
        codes = one.evaluate(every).astype(int)
        assert np.all(np.diff(codes) >= 0), i
    assert len(np.unique(maps[3].evaluate(features[:, 3]))) == 5
    assert len(np.unique(maps[2].evaluate(every))) == 1

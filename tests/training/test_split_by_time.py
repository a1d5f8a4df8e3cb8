# SPDX-License-Identifier: Apache-2.0
"""Nothing later than the moment a model goes live is learned from."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.transactions import labelled
from tinyfin.errors import DataError
from tinyfin.training.network_inputs import PARTS, Partition
from tinyfin.training.split import known_labels, split_by_time


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), until=st.integers(3000, 9000), delay=st.integers(0, 3000))
def test_no_slice_sees_later_than_it_may(seed: int, until: int, delay: int) -> None:
    rng = np.random.default_rng(seed)
    n = 400
    t = rng.integers(0, 10_000, n)
    label = rng.choice([-1, 0, 1], n, p=[0.1, 0.5, 0.4])
    tx = labelled(t, label, t + rng.integers(0, delay + 1, n))
    try:
        split = split_by_time(tx, until_s=until)
    except DataError:
        return
    learned = np.concatenate([split.fit, split.validation, split.calibration])
    assert np.all(tx.label_known_s[learned] <= until)
    assert np.all(t[learned] < until)
    assert np.all(label[learned] >= 0)
    for a, b in pairwise([split.fit, split.validation, split.calibration]):
        assert not len(a) or not len(b) or t[a].max() < t[b].min()
    assert len(set(learned)) == len(learned)
    assert np.all(t[split.test] >= until)
    assert np.all(np.diff(t[split.fit]) >= 0)
    left = (t < until) & (label >= 0) & (tx.label_known_s > until)
    assert split.immature >= np.count_nonzero(left)
    assert not set(learned) & set(np.flatnonzero(left))
    assert len(learned) + split.immature + np.count_nonzero((t < until) & (label < 0)) == (
        np.count_nonzero(t < until)
    )


def test_labels_known_later_change_no_slice_to_learn_from() -> None:
    rng = np.random.default_rng(0)
    t = np.sort(rng.integers(0, 10_000, 500))
    label = rng.integers(0, 2, 500)
    known = t + 1500
    first = split_by_time(labelled(t, label, known), until_s=6000)
    flipped = np.where(known > 6000, 1 - label, label)
    second = split_by_time(labelled(t, flipped, known), until_s=6000)
    np.testing.assert_array_equal(first.fit, second.fit)
    np.testing.assert_array_equal(first.validation, second.validation)
    np.testing.assert_array_equal(first.calibration, second.calibration)
    assert first.immature == second.immature > 0


@pytest.mark.parametrize(("of_fraud", "of_genuine"), [(1500, 100), (100, 1500), (1500, 1500)])
def test_labels_of_one_kind_that_come_late_do_not_change_the_share_of_fraud(
    of_fraud: int, of_genuine: int
) -> None:
    rng = np.random.default_rng(1)
    t = np.sort(rng.integers(0, 10_000, 20_000))
    label = (rng.random(20_000) < 0.1).astype(np.int8)
    tx = labelled(t, label, t + np.where(label == 1, of_fraud, of_genuine))
    split = split_by_time(tx, until_s=6000)
    for rows in (split.fit, split.validation, split.calibration):
        assert np.mean(label[rows]) == pytest.approx(0.1, abs=0.03)
    # control: of what was known, the last part would be of the prompt kind alone
    known = np.flatnonzero((tx.label_known_s <= 6000) & (t < 6000))[-100:]
    alone = {1500: 0.0, 100: 1.0}[of_fraud]
    assert of_fraud == of_genuine or np.mean(label[known]) == alone


def test_a_slice_without_frauds_is_refused_with_counts() -> None:
    t = np.arange(1000)
    with pytest.raises(DataError, match=r"1000 refused|at least 5 frauds"):
        split_by_time(labelled(t, t % 2, t + 5000), until_s=900)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    until=st.integers(3000, 9000),
    fraud=st.sampled_from([0.02, 0.3]),
    supervised=st.booleans(),
)
def test_rows_are_parted_as_they_were_split(
    seed: int, until: int, fraud: float, supervised: bool
) -> None:
    rng = np.random.default_rng(seed)
    n = 400
    t = rng.integers(0, 10_000, n)
    label = rng.choice([-1, 0, 1], n, p=[0.1, 0.9 - fraud, fraud])
    tx = labelled(t, label, t + rng.integers(0, 1500, n))
    try:
        split = split_by_time(
            tx, since_s=500, until_s=until, test_until_s=9500, supervised=supervised
        )
    except DataError:
        return
    frauds = split.summary(known_labels(tx, split.until_s)).calibration.frauds
    bounds = split.since_s, split.validation_s, split.calibration_s, split.until_s
    learns = supervised, supervised or frauds >= 5
    parting = Partition(*bounds, split.test_until_s, *learns, split.young_s)
    part = parting.part(tx)
    for i, name in enumerate(PARTS):
        assert set(np.flatnonzero(part == i)) == set(getattr(split, name)), name

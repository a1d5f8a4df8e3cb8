# SPDX-License-Identifier: Apache-2.0
"""The statistics of drift against a plain oracle, scipy and what chance gives; bins by hand."""

from __future__ import annotations

import datetime as dt
import math
from collections import Counter
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.stats import chi2, entropy

from tinyfin.results.reference import ColumnBins
from tinyfin.training.drift import (
    chance_index,
    jensen_shannon,
    stability_index,
    week_begin_s,
    week_of,
)
from tinyfin.training.reference import Binning, category_bins, number_bins

COUNTS = st.lists(st.tuples(st.integers(0, 500), st.integers(0, 500)), min_size=1, max_size=12)


def by_hand(before: list[int], after: list[int]) -> float:
    """The index in plain Python: empty on one side is half a row, on both is left out."""
    total = 0.0
    for p, q in zip(before, after, strict=True):
        if p or q:
            p_share = (p if p else 0.5) / sum(before)
            q_share = (q if q else 0.5) / sum(after)
            total += (q_share - p_share) * (math.log(q_share) - math.log(p_share))
    return total


@given(COUNTS)
def test_both_statistics_are_those_of_an_oracle(pairs: list[tuple[int, int]]) -> None:
    before, after = (list(column) for column in zip(*pairs, strict=True))
    index, distance = stability_index(before, after), jensen_shannon(before, after)
    if not sum(before) or not sum(after):
        assert math.isnan(index)
        assert math.isnan(distance)
        return
    assert index == pytest.approx(by_hand(before, after), abs=1e-12)
    assert distance == pytest.approx(jensenshannon(before, after, base=2), abs=1e-7)
    if all(before) and all(after):  # the divergence of Jeffreys
        both = entropy(before, after) + entropy(after, before)
        assert index == pytest.approx(both, abs=1e-9)
    assert 0 <= distance <= 1 + 1e-12
    assert index >= -1e-12
    assert stability_index(after, before) == pytest.approx(index, abs=1e-12)
    assert stability_index(before[::-1], after[::-1]) == pytest.approx(index, abs=1e-12)


def test_values_that_can_be_checked_on_paper() -> None:
    """Half against a quarter and three quarters: 0.25 ln 3; nothing in common: one bit."""
    assert stability_index([50, 50], [25, 75]) == pytest.approx(0.25 * math.log(3))
    assert jensen_shannon([7, 0], [0, 9]) == pytest.approx(1)
    assert stability_index([1, 2, 3], [10, 20, 30]) == pytest.approx(0)
    assert jensen_shannon([1, 2, 3], [10, 20, 30]) == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize("rows", [1000, 20_000])
def test_the_same_distribution_passes_the_bound_of_chance_once_in_a_hundred(rows: int) -> None:
    """Of 400 pairs more than 12 are above it once in 1,000 times (binomial)."""
    share = np.array([0.3, 0.2, 0.1, 0.1, 0.08, 0.07, 0.05, 0.04, 0.03, 0.03])
    bound = chance_index(len(share), 5000, rows)
    for bins in range(2, 20):
        exact = chi2.ppf(0.99, bins - 1) * (1 / 5000 + 1 / rows)
        assert chance_index(bins, 5000, rows) == pytest.approx(exact, rel=0.01)
    rng = np.random.default_rng(5)

    def above(later: np.ndarray) -> int:
        return sum(
            stability_index(rng.multinomial(5000, share), rng.multinomial(rows, later)) > bound
            for _ in range(400)
        )

    assert above(share) <= 12
    moved = share + np.array([-0.06, 0.06, *[0.0] * 8])
    assert above(moved) > 200  # the control


@given(st.lists(st.integers(-40, 40), min_size=1, max_size=300), st.randoms())
def test_bins_of_numbers_count_each_value_once_in_any_order(
    values: list[int], random: Random
) -> None:
    column = number_bins("x", "input", np.array(values))
    edges = [-math.inf, *column.edges, math.inf]
    for i, rows in enumerate(column.rows):
        assert rows == sum(edges[i] < v <= edges[i + 1] for v in values)
    assert sum(column.rows) == len(values)
    random.shuffle(values)
    assert number_bins("x", "input", np.array(values)) == column
    # no bin but one of equal values holds much more than a tenth
    for i, rows in enumerate(column.rows):
        inside = Counter(v for v in values if edges[i] < v <= edges[i + 1])
        assert rows <= len(values) / 10 + 1 + max(inside.values(), default=0)


def test_missing_rare_and_unseen_values_have_bins() -> None:
    values = np.repeat(np.arange(15), np.arange(15, 0, -1))
    there = np.ones(len(values), bool)
    there[:4] = False
    column = category_bins("mcc", "field", values, there)
    assert column.rare == [12, 13, 14]
    assert column.rows == [11, *range(14, 3, -1), 6, 0, 4]
    found = Binning(column).of(np.array([0, 14, 99, 0]), np.array([True, True, True, False]))
    assert found.tolist() == [0, 12, 13, 14]


def test_an_enum_has_a_bin_for_each_of_its_values() -> None:
    column = category_bins("cvm", "field", np.array([1, 1]), np.array([True, True]), range(3))
    assert column.rows == [0, 2, 0, 0, 0, 0]
    only = ColumnBins(name="stan", kind="field", rows=[3, 1])
    assert Binning(only).of(np.array([7, 8]), np.array([True, False])).tolist() == [0, 1]


def test_weeks_begin_on_monday() -> None:
    monday = int((dt.datetime(2025, 1, 6) - dt.datetime(2000, 1, 1)).total_seconds())
    week = week_of(np.array([monday - 1, monday, monday + 7 * 86_400 - 1, monday + 7 * 86_400]))
    assert (week - week[1]).tolist() == [-1, 0, 0, 1]
    assert week_begin_s(int(week[1])) == monday

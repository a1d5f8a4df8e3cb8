# SPDX-License-Identifier: Apache-2.0
"""Drift of one terminal from its counts: windows, the test against its past, and its stratum."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyfin.pack.drift import DriftSection, FeatureHistogram, Histogram
from tinyfin.pack.monitor_image import MonitorCounts, split_counts, window
from tinyfin.training.terminal_drift import (
    FEWEST_OTHERS,
    against_past,
    against_stratum,
    baseline_line,
    last_window,
)

BINS = 8
DRIFT = DriftSection(
    Histogram(tuple(range(1, BINS)), (1,) * BINS), (FeatureHistogram((0, 5), (2, 1, 1), 256, 3),)
)


def counted(
    *histograms: list[int], events: int = 0, halvings: int = 0, boot: int = 0
) -> MonitorCounts:
    arrays = tuple(np.array(h, np.int64) for h in histograms)
    return MonitorCounts(events or int(arrays[0].sum()), halvings, 0, arrays, boot)


@given(
    st.lists(st.integers(0, 60_000), min_size=4, max_size=4),
    st.lists(st.integers(0, 60_000), min_size=4, max_size=4),
)
def test_a_window_is_what_was_added(before: list[int], more: list[int]) -> None:
    a = counted(before)
    b = counted([x + y for x, y in zip(before, more, strict=True)])
    assert window(a, b)[0].tolist() == more
    halved = counted(
        [(x + y) // 2 for x, y in zip(before, more, strict=True)],
        halvings=1,
        events=sum(before) + sum(more),
    )
    for found, added in zip(window(a, halved)[0], more, strict=True):
        assert added // 2 <= found <= added // 2 + 1, "half of it, for want of the moment"


def test_a_monitor_that_began_anew() -> None:
    before, anew = counted([500, 500]), counted([30, 20], boot=1)
    assert window(before, anew)[0].tolist() == [30, 20]
    assert window(None, anew)[0].tolist() == [30, 20]
    back = counted([520, 490], boot=1)
    assert window(before, back)[0].tolist() == [20, 0], "it lost a little at a restart"
    assert window(before, counted([10, 5]))[0].tolist() == [10, 5]
    assert window(counted([9, 9], halvings=2), before)[0].tolist() == [500, 500]


def test_counts_that_were_cut_off() -> None:
    assert [h.tolist() for h in split_counts(range(11), DRIFT)] == [[*range(8)], [8, 9, 10]]
    assert [h.tolist() for h in split_counts(range(10), DRIFT)] == [[*range(8)]]
    assert split_counts(range(10), None) == ()


def series(rng: np.random.Generator, *shares: np.ndarray, each: int = 200) -> list[MonitorCounts]:
    """Cumulative readings of draws from these shares, one behind the other."""
    total, out = np.zeros(len(shares[0]), np.int64), []
    for share in shares:
        total = total + rng.multinomial(each, share)
        out.append(MonitorCounts(int(total.sum()), 0, 0, (total,)))
    return out


def test_windows_of_readings() -> None:
    flat = np.full(BINS, 1 / BINS)
    readings = series(np.random.default_rng(1), *[flat] * 10)
    past, now = last_window(readings, 500)
    assert (past[0].sum(), now[0].sum()) == (800, 600), "the first 600 are left out"
    assert last_window(readings[:1], 500) == ((), ())
    assert last_window(readings[:3], 500) == ((), ())
    assert last_window([], 500) == ((), ())


def test_the_false_alarm_rate_is_alpha() -> None:
    """Equal distributions: p-values are uniform, so that one in twenty is below 0.05."""
    rng = np.random.default_rng(2)
    share = np.array([0.3, 0.2, 0.15, 0.1, 0.1, 0.05, 0.05, 0.05])
    p = []
    for _ in range(1000):
        past, now = last_window(series(rng, *[share] * 10), 500)
        p.append(against_past(DRIFT, past, now)[0].p_value)
    assert np.mean(np.array(p) < 0.05) == pytest.approx(0.05, abs=0.02)
    assert np.mean(np.array(p) < 0.5) == pytest.approx(0.5, abs=0.05)


def test_a_change_is_found_and_an_inflation_holds_it_back() -> None:
    rng = np.random.default_rng(3)
    flat = np.full(BINS, 1 / BINS)
    moved = flat * np.linspace(0.3, 1.7, BINS)
    past, now = last_window(series(rng, *[flat] * 7, *[moved] * 3), 500)
    [found] = against_past(DRIFT, past, now)
    assert found.drifted
    assert found.stability_index > 0.1
    inflated = Histogram(DRIFT.score.edges, DRIFT.score.weights, 12 * 256)
    [calm] = against_past(DriftSection(inflated), past, now)
    assert not calm.drifted
    assert calm.stability_index == found.stability_index


def test_certain_but_small_is_no_drift() -> None:
    past = (np.array([500_000, 500_000]),)
    now = (np.array([52_000, 48_000]),)
    section = DriftSection(Histogram((5,), (1, 1)))
    [found] = against_past(section, past, now)
    assert found.p_value < 1e-9
    assert not found.drifted


def test_too_few_events_give_no_verdict() -> None:
    [found] = against_past(DRIFT, (np.full(BINS, 90),), (np.eye(BINS, dtype=int)[0] * 99,))
    assert np.isnan(found.p_value)
    assert not found.drifted


def stratum(rng: np.random.Generator, terminals: int) -> dict[str, tuple[np.ndarray, ...]]:
    """Terminals that are alike, but not the same, with unlike numbers of events."""
    found = {}
    for i in range(terminals):
        share = rng.dirichlet(np.full(BINS, 40.0))
        found[f"t{i}"] = (rng.multinomial(int(rng.integers(200, 3000)), share),)
    return found


def test_the_odd_one_of_a_stratum() -> None:
    rng = np.random.default_rng(4)
    alarms = 0
    for _ in range(40):
        windows = stratum(rng, 25)
        alarms += sum(c.drifted for found in against_stratum(windows).values() for c in found)
    assert alarms <= 12, "of 1,000: terminals that differ as terminals do are no drift"
    windows = stratum(rng, 25)
    windows["odd"] = (rng.multinomial(500, np.eye(BINS)[0] * 0.8 + 0.2 / BINS),)
    found = against_stratum(windows)
    assert [name for name, row in found.items() if any(c.drifted for c in row)] == ["odd"]


def test_a_stratum_of_few_says_nothing() -> None:
    rng = np.random.default_rng(5)
    assert not any(against_stratum(stratum(rng, FEWEST_OTHERS)).values())
    assert all(against_stratum(stratum(rng, FEWEST_OTHERS + 1)).values())


def test_the_line_names_the_largest() -> None:
    counts = [np.full(BINS, 10), np.array([1, 1, 98])]
    names = ["a", "b", "c", "gap"]
    line = baseline_line(DRIFT, names, counts)
    assert line.startswith("drift from the pack's release: stability index 0.000 of the score")
    assert "of 1 features (gap)" in line
    assert "(feature 3)" in baseline_line(DRIFT, [], counts)
    assert "no events" in baseline_line(DRIFT, names, [np.zeros(BINS), np.zeros(3)])

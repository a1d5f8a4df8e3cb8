# SPDX-License-Identifier: Apache-2.0
"""Drift of a fleet, from simulated towns and from numpy; what the loops of one terminal find is the
oracle of what is found for all at once."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.terminal_drift import FIRST_DAY
from tests.fleet.conftest import DAYS, TERMINALS
from tests.support import drifting
from tests.support import fleet as bench
from tests.support.cli import tinyfin, tinyfin_json
from tinyfin.fleet import drift, requests
from tinyfin.fleet.lake import day_number
from tinyfin.fleet.monitors import (
    ALL,
    OTHERS,
    WINDOW,
    FleetCounts,
    _matrix,
    increments,
    read_counts,
    read_strata,
)
from tinyfin.fleet.views import connect
from tinyfin.pack.drift import DriftSection, FeatureHistogram, Histogram
from tinyfin.pack.monitor_image import MonitorCounts, read_monitor, split_counts, window
from tinyfin.pack.two_samples import chi_square, chi_square_tail
from tinyfin.training.terminal_drift import against_past, last_window

SECTION = DriftSection(Histogram((1, 2), (1, 1, 1)), (FeatureHistogram((0,), (1, 1), 256, 3),))
SHIFT = 45
FIRST = day_number(FIRST_DAY)


# ------------------------------------------------------------- all at once, as one by one

reading = st.tuples(
    st.booleans(),  # another terminal or pack before it
    st.integers(0, 1),  # boot
    st.integers(0, 2),  # halvings
    st.integers(0, 400),  # events
    st.lists(st.integers(0, 90), max_size=6),
)


@settings(deadline=None, max_examples=300)
@given(st.lists(reading, min_size=1, max_size=12))
def testincrements_are_those_of_window(rows: list[Any]) -> None:
    first, boot, halvings, events = (np.array([row[i] for row in rows]) for i in range(4))
    first[0] = True
    lists = pa.array([row[4] for row in rows], pa.list_(pa.uint16()))
    found = increments(*_matrix(lists, SECTION), 3, first, boot, halvings, events)
    before = None
    for i, row in enumerate(rows):
        now = MonitorCounts(row[3], row[2], 0, split_counts(row[4], SECTION), row[1])
        wanted = [int(x) for h in window(None if first[i] else before, now) for x in h]
        assert found[i].tolist() == wanted + [0] * (5 - len(wanted)), i
        before = now


@pytest.fixture(scope="module")
def place(calm: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Also a lake ``shifted``, where amounts double on a day, and an inventory."""
    folder = tmp_path_factory.mktemp("drift")
    start = (FIRST_DAY + timedelta(days=SHIFT)).isoformat()
    lake = bench.new_lake(folder / "shifted")
    tx = drifting.town(7, TERMINALS, DAYS, seasons=[{"start": start, "amounts": 2.0}])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda _: None)
        drifting.fill(lake, calm.path, tx)
    rows = [f"{bench.terminal(n).hex()},{'north' if n % 2 else 'south'}" for n in range(TERMINALS)]
    (folder / "terminals.csv").write_text("\n".join(["terminal,region", *rows]) + "\n")
    more = {"folder": folder, "calm": calm, "shifted": SimpleNamespace(lake=lake, tx=tx)}
    return SimpleNamespace(**{**vars(calm), **more})


def test_windows_are_those_of_one_terminal(place: SimpleNamespace) -> None:
    """The newest window and the past before it, against the loop of `tinyfin report drift`."""
    pack, lake, tx = place.pack, place.calm.lake, place.calm.tx
    with connect(lake, FIRST + DAYS - 1) as base:
        counts = read_counts(base, pack)
    past, now = (
        counts.by_terminal(rows) for rows in (counts.settled & ~counts.newest, counts.newest)
    )
    read: dict[bytes, list[MonitorCounts]] = {}
    for one in drifting.readings(pack, tx):
        if one.t_s // 86_400 - FIRST < DAYS:
            seen = read_monitor(one.monitor, pack.drift)
            boot = MonitorCounts(seen.events, seen.halvings, 0, seen.histograms, one.boot_nonce)
            read.setdefault(one.terminal, []).append(boot)
    some = 0
    for terminal, of in read.items():
        i = counts.terminals.index(lake.key.terminal(terminal))
        for row, wanted in zip((past[i], now[i]), last_window(of, WINDOW), strict=True):
            some += bool(wanted)
            assert row.tolist() == [int(x) for h in wanted for x in h] or not wanted
            assert row.any() == bool(wanted)
    assert some > TERMINALS
    found = drift.drift_of(lake, pack, FIRST + DAYS - 1, None)
    alarms = {
        lake.key.terminal(terminal)
        for terminal, of in read.items()
        if any(c.drifted for c in against_past(pack.drift, *last_window(of, WINDOW)))
    }
    assert {one.of for one in found.drifts} == alarms


# ----------------------------------------------------------------------------- the null


def fleet(
    rng: np.random.Generator, terminals: int, weeks: int, *, strata: int, moves: float
) -> FleetCounts:
    """Terminals that differ, whose shares of 8 bins move from week to week; daily rows."""
    share = rng.dirichlet(60 * np.array([0.3, 0.22, 0.15, 0.1, 0.08, 0.07, 0.05, 0.03]), terminals)
    busy = 40 * rng.lognormal(0, 0.6, terminals)
    counts = np.zeros((terminals, 7 * weeks, 8), np.int32)
    for week in range(weeks):
        for i in range(terminals):
            own = rng.dirichlet(moves * share[i] + 1e-3)
            counts[i, 7 * week : 7 * week + 7] = rng.multinomial(int(busy[i]), own, 7)
    days = np.tile(np.arange(7 * weeks), terminals)
    return FleetCounts(
        DriftSection(Histogram(tuple(range(1, 8)), (1,) * 8)),
        tuple(f"t{i}" for i in range(terminals)),
        tuple(f"s{i % strata}" for i in range(terminals)),
        np.repeat(np.arange(terminals), 7 * weeks),
        days,
        counts.reshape(-1, 8),
        np.full(len(days), -1),
    )


def naive(before: np.ndarray, now: np.ndarray) -> drift.Pooled:
    """The control: events as if they were independent."""
    kept = (before.sum(1) > 0) & (now.sum(1) > 0)
    a, b = before[kept].sum(0), now[kept].sum(0)
    index = drift.stability_index(a, b)
    return drift.Pooled(index, 0.0, chi_square_tail(*chi_square(a, b)), int(b.sum()), len(a))


@pytest.mark.parametrize(("terminals", "moves"), [(9, 30.0), (30, 300.0), (80, 1e6)])
def test_p_values_of_clusters_hold(terminals: int, moves: float) -> None:
    """Nothing has shifted: at most one in twenty is below 0.05, however much terminals move; by the
    chi-square of independent events it is one in a thousand fifty times as often."""
    rng = np.random.default_rng(5)
    p, control = [], []
    for _ in range(200):
        share = rng.dirichlet(np.full(8, 6.0), terminals)
        size = rng.poisson(200, terminals) + 1
        before, now = (
            np.array(
                [
                    rng.multinomial(k * n, rng.dirichlet(moves * s))
                    for n, s in zip(size, share, strict=True)
                ]
            )
            for k in (4, 1)
        )
        p.append(drift.pooled(before, now).p_value)
        control.append(naive(before, now).p_value)
    assert np.mean(np.array(p) < 0.05) <= 0.1
    assert np.mean(np.array(p) < 0.001) <= 0.01
    if moves < 1000:
        assert np.mean(np.array(control) < 0.001) > 0.05


def request_weeks(counts: FleetCounts, weeks: int) -> list[int]:
    """Weeks at whose end a histogram has drifted."""
    names = ["score"]
    ends = range(43, 7 * weeks, 7)
    return [day // 7 for day in ends if requests.drifted_histograms(counts, names, day)]


def test_false_requests_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """300 weeks of fleets that do not shift: at most one in a hundred asks for a candidate. With
    the naive null it is more than a fifth."""
    rng = np.random.default_rng(6)
    fleets = [fleet(rng, 30, 16, strata=3, moves=8.0) for _ in range(30)]
    weeks = sum(len(range(43, 112, 7)) for _ in fleets)
    false = sum(len(request_weeks(one, 16)) for one in fleets)
    monkeypatch.setattr(drift, "pooled", naive)
    control = sum(len(request_weeks(one, 16)) for one in fleets)
    assert weeks == 300
    assert false <= 3
    assert control > 60


@pytest.mark.parametrize("strata", [1, 2, 3])
def test_a_shift_is_asked_about_within_ten_days(strata: int) -> None:
    """Every terminal moves two fifths of its events by three bins on day 70."""
    rng = np.random.default_rng(7)
    counts = fleet(rng, 45, 13, strata=strata, moves=200.0)
    moved = counts.counts.copy()
    late = counts.day >= 70
    part = rng.binomial(moved[late], 0.4)
    moved[late] += np.roll(part, 3, axis=1) - part
    changed = FleetCounts(**{**vars(counts), "counts": moved})
    for day in range(60, 70):
        assert not requests.drifted_histograms(changed, ["score"], day)
    found = [d for d in range(70, 90) if requests.drifted_histograms(changed, ["score"], d)]
    assert 70 + requests.DRIFT_DAYS - 1 <= found[0] <= 80
    assert found == [*range(found[0], 90)]


def test_one_stratum_of_several_is_not_enough() -> None:
    counts = fleet(np.random.default_rng(8), 40, 10, strata=2, moves=500.0)
    moved = counts.counts.copy()
    rows = (counts.day >= 56) & (counts.terminal % 2 == 0)
    moved[rows] = np.roll(moved[rows], 4, axis=1)
    changed = FleetCounts(**{**vars(counts), "counts": moved})
    assert drift.strata_on(changed, 66)["s0"][0].stability_index > drift.LEAST_INDEX
    assert drift.strata_on(changed, 66)["s1"][0].stability_index < drift.LEAST_INDEX
    assert not requests.drifted_histograms(changed, ["score"], 66)


def test_terminals_that_get_busier_are_no_drift() -> None:
    """Sums of counts alone would shift: half of the terminals, of one kind, have ten times the
    events now."""
    rng = np.random.default_rng(9)
    low, high = np.linspace(8, 1, 8), np.linspace(1, 8, 8)
    shares = [x / x.sum() for x in [low] * 10 + [high] * 10]
    before = np.array([rng.multinomial(2000, s) for s in shares])
    now = np.array(
        [rng.multinomial(n, s) for n, s in zip([200] * 10 + [2000] * 10, shares, strict=True)]
    )
    assert drift.pooled(before, now).stability_index < 0.01
    assert naive(before, now).stability_index > drift.LEAST_INDEX


# ------------------------------------------------------------------------------ the verbs


def test_a_town_whose_amounts_double(place: SimpleNamespace) -> None:
    """The feature of amounts drifts in both strata and asks for a candidate; the calm town's does
    not."""
    day = str(FIRST_DAY + timedelta(days=DAYS - 1))
    words = ["--pack", place.path, "--inventory", place.folder / "terminals.csv", "--as-of", day]
    calm, shifted = (
        tinyfin_json("fleet", "drift", getattr(place, name).lake.path, *words)
        for name in ("calm", "shifted")
    )
    assert {one["of"] for one in calm["strata"]} == {"north", "south"}
    assert not any(one["drifted"] for one in calm["strata"])
    moved = {(one["of"], one["histogram"]) for one in shifted["strata"] if one["drifted"]}
    assert {("north", "amt_to_floor"), ("south", "amt_to_floor")} <= moved
    assert not any(histogram == "amt_dev" for _, histogram in moved)
    assert calm["drifted"] <= 3 < TERMINALS / 2 < shifted["drifted"]
    assert calm["expected_by_chance"] == pytest.approx(calm["compared"] / 1000)
    assert shifted["chance"] < 1e-9
    text = tinyfin("fleet", "drift", place.shifted.lake.path, *words).output
    assert "amt_to_floor" in text


def test_the_page(place: SimpleNamespace, tmp_path: Path) -> None:
    page = tmp_path / "drift.html"
    words = ["--pack", place.path, "--page", page]
    tinyfin("fleet", "drift", place.shifted.lake.path, *words)
    text = page.read_text()
    assert "<svg" in text
    assert text.count("<table") >= 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id,region\n", "line 1: name the column terminal"),
        ("terminal\n", "line 1: name the column terminal"),
        ("terminal,region\nzz,north\n", "line 2: "),
        ("terminal,region\na1b2c3d4e5f60001\n", "line 2: has not as many values"),
        ("terminal,region\na1b2c3d4e5f60001,a\na1b2c3d4e5f60001,b\n", "line 3: "),
    ],
)
def test_an_inventory_that_is_none(
    place: SimpleNamespace, tmp_path: Path, text: str, said: str
) -> None:
    path = tmp_path / "terminals.csv"
    path.write_text(text)
    words = ["--pack", place.path, "--inventory", path]
    assert said in tinyfin("fleet", "drift", place.calm.lake.path, *words, code=3).output


def test_terminals_that_no_inventory_names(place: SimpleNamespace, tmp_path: Path) -> None:
    path = tmp_path / "terminals.csv"
    path.write_text(f"terminal,mcc,town\n{bench.terminal(0).hex()},5411,A\n")
    lake = place.calm.lake
    strata = read_strata(lake, path)
    assert strata == {lake.key.terminal(bench.terminal(0)): "5411/A"}
    with connect(lake) as base:
        assert set(read_counts(base, place.pack, strata).stratum) == {"5411/A", OTHERS}
        assert set(read_counts(base, place.pack).stratum) == {ALL}


def test_packs_without_counts(place: SimpleNamespace, tmp_path: Path) -> None:
    lake = bench.new_lake(tmp_path / "lake")
    words = ["fleet", "drift", lake.path, "--pack"]
    assert "has no report yet" in tinyfin(*words, place.path, code=3).output
    bench.take(lake, *bench.fleet(2, 1))
    assert "no report up to" in tinyfin(*words, place.path, code=3).output
    assert "no section DRFT" in tinyfin(*words, bench.PACK, code=3).output

# SPDX-License-Identifier: Apache-2.0
"""An experiment over a lake: drawn, signed, read once it has ended, by the metric it began with."""

from __future__ import annotations

import csv
import dataclasses
import datetime as dt
import json
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import fleet as bench
from tests.support.cli import tinyfin, tinyfin_json
from tests.support.process import ROOT
from tinyfin.errors import InputError, MismatchError
from tinyfin.experiments.metrics import METRICS
from tinyfin.experiments.statistics import Arm, compare
from tinyfin.experiments.trial import Experiment, drawn, read, start
from tinyfin.field.report import COUNTERS
from tinyfin.fleet.labels import add_labels
from tinyfin.fleet.lake import Lake, date_of
from tinyfin.pack.container import open_pack
from tinyfin.pack.signing import generate_key

PACKS = {"control": bench.PACK, "treatment": ROOT / "models" / "label_free" / "model.tfpack"}
PERSON = generate_key()
TERMINALS, DAYS = 24, 4
STRATA = {bench.terminal(n): "abc"[n % 3] for n in range(TERMINALS)}
FIRST, LAST = date_of(bench.FIRST_DAY), date_of(bench.FIRST_DAY + DAYS - 1)


@pytest.fixture(autouse=True)
def _no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)


def plan(**changed: object) -> Experiment:
    given = {
        "name": "lower",
        "registered": f"{FIRST - dt.timedelta(days=1)}T12:00:00Z",
        "metric": "saturations",
        "smallest": 5.0,
        "alpha": 0.05,
        "power": 0.8,
        "packs": {a: open_pack(path).pack_id.hex()[:16] for a, path in PACKS.items()},
        "first_day": str(FIRST),
        "last_day": str(LAST),
        "terminals": {},
        "key": PERSON.public.hex(),
    }
    return Experiment.model_validate({**given, **changed})


def history(arms: dict[bytes, str], days: int) -> tuple[list[bytes], dict[bytes, tuple[int, int]]]:
    """Reports, and saturations and events of each terminal in the experiment's days. Saturations
    are 60 per 1,000 events in control, 20 in treatment."""
    draw = np.random.default_rng(7)
    readings: dict[str, list[bench.Reading]] = {arm: [] for arm in PACKS}
    sums: dict[bytes, tuple[int, int]] = {}
    for n in range(TERMINALS):
        scored = saturated = 0
        arm = arms[bench.terminal(n)]
        for day in range(days):
            scored += int(draw.integers(80, 200))
            saturated += int(draw.poisson((0.06 if arm == "control" else 0.02) * 140))
            one = bench.reading(n, day, scored)
            counters = list(one.counters)
            counters[COUNTERS.index("saturations")] = saturated
            readings[arm].append(dataclasses.replace(one, counters=tuple(counters)))
            if day < DAYS:
                sums[bench.terminal(n)] = (saturated, scored)
    return [data for arm in PACKS for data in bench.made(readings[arm], PACKS[arm])], sums


def lake_with(folder: Path, **changed: object) -> tuple[Lake, Experiment, dict[bytes, str]]:
    lake = bench.new_lake(folder / "lake")
    return lake, *start(lake, plan(**changed), STRATA, None, PERSON)


def test_what_it_finds(tmp_path: Path) -> None:
    lake, _, arms = lake_with(tmp_path)
    reports, sums = history(arms, DAYS + 1)
    bench.take(lake, *reports)
    found = read(lake, "lower", PERSON.public)
    own = {
        arm: Arm(
            np.array([1000.0 * sums[t][0] for t in sums if arms[t] == arm]),
            np.array([float(sums[t][1]) for t in sums if arms[t] == arm]),
        )
        for arm in PACKS
    }
    expected = compare(own["control"], own["treatment"], 0.05)
    assert found.difference == pytest.approx(expected.value)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.verdict == "difference"
    assert found.low < -40 < found.high
    for arm in PACKS:
        assert (found.arms[arm].terminals, found.arms[arm].under_pack) == (12, 1.0)
    (tmp_path / "person.pub").write_text(f"person-public {PERSON.public.hex()}\n")
    line = f"fleet experiment read {lake.path} lower --public-key {tmp_path / 'person.pub'}"
    assert "The arms differ" in tinyfin(line).output
    assert tinyfin_json(line)["verdict"] == "difference"


def test_too_few_terminals_say_so(tmp_path: Path) -> None:
    lake, _, arms = lake_with(tmp_path, metric="faults", smallest=0.01)
    bench.take(lake, *history(arms, DAYS + 1)[0])
    found = read(lake, "lower")
    assert found.verdict in ("underpowered", "no difference")
    assert found.difference == 0
    lake, _, arms = lake_with(tmp_path / "other", smallest=1.0)
    same = dict.fromkeys(arms, "control")
    bench.take(lake, *history(same, DAYS + 1)[0])  # A/A: what the arms do is the same
    found = read(lake, "lower")
    assert found.verdict == "underpowered"
    assert found.power < 0.8
    assert "Underpowered" in found.markdown()


def test_an_early_look_is_refused(tmp_path: Path) -> None:
    lake, _, arms = lake_with(tmp_path)
    bench.take(lake, *history(arms, DAYS)[0])
    said = tinyfin(f"fleet experiment read {lake.path} lower", code=3).output
    assert f"goes on until {LAST}" in said


def test_the_metric_stays_what_was_registered(tmp_path: Path) -> None:
    lake, _, arms = lake_with(tmp_path)
    bench.take(lake, *history(arms, DAYS + 1)[0])
    with pytest.raises(InputError, match="is registered already"):
        start(lake, plan(metric="faults"), STRATA, None, PERSON)
    path = lake.path / "experiments" / "lower.json"
    whole = path.read_text()
    for key, value in (("metric", "faults"), ("smallest", 1), ("last_day", str(FIRST))):
        path.write_text(json.dumps({**json.loads(whole), key: value}))
        with pytest.raises(MismatchError, match="was changed after it was registered"):
            read(lake, "lower")
    path.write_text(whole)
    stranger = generate_key()
    with pytest.raises(MismatchError, match="another key"):
        read(lake, "lower", stranger.public)
    for late in ({"first_day": plan().registered[:10]}, {"last_day": str(FIRST - dt.timedelta(9))}):
        with pytest.raises(InputError, match="begins after the day"):
            start(lake, plan(name="late", **late), STRATA, None, PERSON)


@given(
    st.dictionaries(
        st.binary(min_size=8, max_size=8), st.sampled_from("abc"), min_size=8, max_size=60
    ),
    st.data(),
)
def test_drawing(strata: dict[bytes, str], data: st.DataObject) -> None:
    """Halves of every stratum, the same ones each time, others under another id."""
    per_arm = data.draw(st.one_of(st.none(), st.integers(2, len(strata) // 2)))
    arms = drawn(b"x" * 16, strata, per_arm)
    assert arms == drawn(b"x" * 16, dict(reversed(strata.items())), per_arm)
    sizes = Counter(arms.values())
    assert sizes["control"] == sizes["treatment"] == (per_arm or len(strata) // 2)
    for stratum in "abc":
        members = [t for t in strata if strata[t] == stratum]
        here = Counter(arms[t] for t in members if t in arms)
        assert abs(here["control"] - here["treatment"]) <= 1
        share = len(arms) / len(strata) * len(members)
        assert abs(here.total() - share) <= 1 + 1e-9
    with pytest.raises(InputError, match="too few"):
        drawn(b"x" * 16, strata, len(strata))


def test_a_terminal_has_no_arm_of_its_own() -> None:
    """Over many experiments it is in each arm as often."""
    found = Counter(drawn(bytes([n]) * 16, STRATA, None)[bench.terminal(0)] for n in range(200))
    assert min(found.values()) > 60


def test_metrics_of_labels(tmp_path: Path) -> None:
    """Against counts by hand; a day whose labels are not mature is waited for."""
    lake, _, arms = lake_with(tmp_path, metric="precision", smallest=1.0)
    reports, _ = history(arms, DAYS + 1)
    bench.take(lake, *reports)
    at, rows = bench.FIRST_DAY * bench.DAY_S, []
    frauds, alerts = Counter[str](), Counter[str]()
    for n in range(TERMINALS):
        for i in range(8):
            fraud, alerted = (n + i) % 3 == 0, i % 4 != 3
            arm = arms[bench.terminal(n)]
            frauds[arm] += fraud and alerted
            alerts[arm] += alerted
            word, known = "fraud" if fraud else "cleared", at + 3600 * i + 90_000
            rows.append(
                f"{bench.terminal(n).hex()},{i + 1},{at + 3600 * i},{word},{known},{int(alerted)}"
            )
    path = tmp_path / "labels.csv"
    path.write_text("terminal,id,time,label,known,alerted\n" + "\n".join(rows) + "\n")
    with pytest.raises(InputError, match="not mature"):
        read(lake, "lower")
    add_labels(lake, [path])
    with pytest.raises(InputError, match="not mature"):
        read(lake, "lower")
    late = bench.reading(0, DAYS + 9, 9999, boot_nonce=7)
    bench.take(lake, *bench.made([late]))
    found = read(lake, "lower")
    for arm in PACKS:
        assert (found.arms[arm].count, found.arms[arm].exposure) == (frauds[arm], alerts[arm])


def test_from_the_command_line(tmp_path: Path) -> None:
    lake = bench.new_lake(tmp_path / "lake")
    arms = dict.fromkeys(STRATA, "control")
    bench.take(lake, *history(arms, DAYS)[0])
    asked = "--metric saturations --smallest 20 --days 4"
    facts = tinyfin_json(f"fleet experiment design {lake.path} {asked}")
    assert facts["terminals"] == TERMINALS
    assert 2 <= facts["terminals_per_arm"] <= TERMINALS
    inventory = tmp_path / "terminals.csv"
    inventory.write_text(
        "terminal,class\n" + "".join(f"{t.hex()},{name}\n" for t, name in STRATA.items())
    )
    tinyfin(f"keygen {tmp_path / 'me.key'} --kind person")
    words = " ".join(f"--{arm} {path}" for arm, path in PACKS.items())
    words += f" --terminals {inventory} --key {tmp_path / 'me.key'} --per-arm 5"
    out = tmp_path / "arms.csv"
    line = f"fleet experiment start {lake.path} {{}} {asked} {words} --out {out}"
    made = tinyfin_json(line.format("first"))
    with out.open() as file:
        rows = list(csv.DictReader(file))
    assert Counter(row["arm"] for row in rows) == {"control": 5, "treatment": 5}
    assert {row["pack"] for row in rows} == set(made["packs"].values())
    assert "begins after" in tinyfin(f"{line.format('x')} --first-day 2026-01-01", code=3).output
    inventory.write_text(inventory.read_text() + "zz,a\n")
    assert "line 26" in tinyfin(line.format("second"), code=3).output


def test_each_metric_has_its_option() -> None:
    said = tinyfin("fleet experiment design --help").output
    assert all(name in said for name in METRICS)

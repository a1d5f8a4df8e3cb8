# SPDX-License-Identifier: Apache-2.0
"""An experiment over a lake: drawn, signed, read once it has ended, by the metric it began with."""

from __future__ import annotations

import csv
import dataclasses
import datetime as dt
import json
import os
import struct
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
from tinyfin.experiments.statistics import Arm, compare
from tinyfin.experiments.trial import Experiment, Plan, drawn, read, start
from tinyfin.field.keys import terminal_keys
from tinyfin.field.report import COUNTERS, Report, Tag, encode
from tinyfin.fleet.inventory import Terminal
from tinyfin.fleet.labels import add_labels
from tinyfin.fleet.lake import Lake, date_of
from tinyfin.pack.signing import generate_key, key_from_seed

PACKS = {"control": bench.PACK, "treatment": ROOT / "models" / "label_free" / "model.tfpack"}
PERSON = key_from_seed(bytes(32))  # who is drawn follows from it
TERMINALS, DAYS = 24, 4
MEMBERS = [Terminal(bench.terminal(n).hex(), "abc"[n % 3]) for n in range(TERMINALS)]
FIRST, LAST = date_of(bench.FIRST_DAY), date_of(bench.FIRST_DAY + DAYS - 1)


@pytest.fixture(autouse=True)
def _no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)
    monkeypatch.chdir(ROOT)  # paths are in what is registered, and who is drawn follows from it


NOW = dt.datetime.combine(FIRST - dt.timedelta(days=1), dt.time(12), dt.UTC)


def plan(**changed: object) -> Plan:
    given = {"metric": "saturations", "smallest": 5.0, "days": DAYS, "first_day": FIRST}
    packs = {arm: str(path.relative_to(ROOT)) for arm, path in PACKS.items()}
    return Plan.model_validate({**given, **packs, **changed})


def history(arms: dict[str, str], days: int) -> tuple[list[bytes], dict[str, tuple[int, int]]]:
    """Reports, and saturations and events of each terminal in the experiment's days. Saturations
    are 60 per 1,000 events in control, 20 in treatment."""
    draw = np.random.default_rng(7)
    readings: dict[str, list[bench.Reading]] = {arm: [] for arm in PACKS}
    sums: dict[str, tuple[int, int]] = {}
    for n in range(TERMINALS):
        scored = saturated = 0
        arm = arms[bench.terminal(n).hex()]
        for day in range(days):
            scored += int(draw.integers(80, 200))
            saturated += int(draw.poisson((0.06 if arm == "control" else 0.02) * 140))
            one = bench.reading(n, day, scored)
            counters = list(one.counters)
            counters[COUNTERS.index("saturations")] = saturated
            readings[arm].append(dataclasses.replace(one, counters=tuple(counters)))
            if day < DAYS:
                sums[bench.terminal(n).hex()] = (saturated, scored)
    return [data for arm in PACKS for data in bench.made(readings[arm], PACKS[arm])], sums


def lake_with(folder: Path, **changed: object) -> tuple[Lake, dict[str, str]]:
    lake = bench.new_lake(folder / "lake")
    return lake, start(lake, "lower", plan(**changed), MEMBERS, PERSON, NOW)[1]


def test_what_it_finds(tmp_path: Path) -> None:
    lake, arms = lake_with(tmp_path)
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
    lake, arms = lake_with(tmp_path, metric="faults", smallest=0.01)
    bench.take(lake, *history(arms, DAYS + 1)[0])
    found = read(lake, "lower")
    assert found.verdict in ("underpowered", "no difference")
    assert found.difference == 0
    lake, arms = lake_with(tmp_path / "other", smallest=1.5)
    same = dict.fromkeys(arms, "control")
    bench.take(lake, *history(same, DAYS + 1)[0])  # A/A: what the arms do is the same
    found = read(lake, "lower")
    assert found.verdict == "underpowered"
    assert found.power < 0.8
    assert "Underpowered" in found.markdown()


def test_an_early_look_is_refused(tmp_path: Path) -> None:
    lake, arms = lake_with(tmp_path)
    bench.take(lake, *history(arms, DAYS)[0])
    said = tinyfin(f"fleet experiment read {lake.path} lower", code=3).output
    assert f"goes on until {LAST}" in said
    ahead = bench.reading(0, 36_524 - bench.FIRST_DAY, 9999, boot_nonce=7)  # a clock in 2100
    bench.take(lake, *bench.made([ahead]))
    with pytest.raises(InputError, match=f"goes on until {LAST}"):
        read(lake, "lower")


def test_the_metric_stays_what_was_registered(tmp_path: Path) -> None:
    lake, arms = lake_with(tmp_path)
    bench.take(lake, *history(arms, DAYS + 1)[0])
    with pytest.raises(InputError, match="is registered already"):
        start(lake, "lower", plan(metric="faults"), MEMBERS, PERSON, NOW)
    path = lake.path / "experiments" / "lower.json"
    whole = path.read_text()
    for key, value in (("metric", "faults"), ("smallest", 1), ("days", 1)):
        found = json.loads(whole)
        path.write_text(json.dumps({**found, "plan": {**found["plan"], key: value}}))
        with pytest.raises(MismatchError, match="was changed after it was registered"):
            read(lake, "lower")
    path.write_text(whole)
    stranger = generate_key()
    with pytest.raises(MismatchError, match="by another key"):
        read(lake, "lower", stranger.public)
    with pytest.raises(InputError, match="begins after the day"):
        start(lake, "late", plan(first_day=NOW.date()), MEMBERS, PERSON, NOW)
    with pytest.raises(InputError, match="small letters"):
        read(lake, "../lower")


@given(
    st.dictionaries(
        st.binary(min_size=8, max_size=8), st.sampled_from("abc"), min_size=8, max_size=60
    ),
    st.data(),
)
def test_drawing(strata: dict[bytes, str], data: st.DataObject) -> None:
    """Halves of every stratum, the same ones each time."""
    members = [Terminal(terminal.hex(), stratum) for terminal, stratum in strata.items()]
    per_arm = data.draw(st.one_of(st.none(), st.integers(2, len(members) // 2)))
    arms = drawn(b"x" * 16, members, per_arm)
    assert arms == drawn(b"x" * 16, members[::-1], per_arm)
    sizes = Counter(arms.values())
    assert sizes["control"] == sizes["treatment"] == (per_arm or len(members) // 2)
    for stratum in set(strata.values()):
        own = [one.terminal for one in members if one.stratum == stratum]
        here = Counter(arms[t] for t in own if t in arms)
        assert abs(here["control"] - here["treatment"]) <= 1
        assert abs(here.total() - len(arms) / len(members) * len(own)) <= 1 + 1e-9
    with pytest.raises(InputError, match="too few"):
        drawn(b"x" * 16, members, len(members))


def test_a_terminal_has_no_arm_of_its_own() -> None:
    """Over many experiments it is in each arm as often."""
    found = Counter(drawn(bytes([n]) * 16, MEMBERS, None)[MEMBERS[0].terminal] for n in range(200))
    assert min(found.values()) > 60


def test_metrics_of_labels(tmp_path: Path) -> None:
    """Against counts by hand; a day whose labels are not mature is waited for."""
    lake, arms = lake_with(tmp_path, metric="precision", smallest=1.0)
    for name in ("frauds", "frauds_caught"):
        bare = plan(metric=name)
        start(lake, name, bare, MEMBERS, PERSON, NOW)
    reports, sums = history(arms, DAYS + 1)
    bench.take(lake, *reports)
    at, rows = bench.FIRST_DAY * bench.DAY_S, []
    counts: dict[str, Counter[str]] = {t: Counter() for t in arms}
    for n, (terminal, mine) in enumerate(counts.items()):
        for i in range(8):
            fraud, alerted = (n + i) % 3 == 0, i % 4 != 3
            mine.update(frauds=fraud, frauds_caught=fraud and alerted, alerts=alerted)
            word, known = "fraud" if fraud else "cleared", at + 3600 * i + 90_000
            row = (terminal, i + 1, at + 3600 * i, word, known, int(alerted))
            rows.append(",".join(map(str, row)))
    path = tmp_path / "labels.csv"
    path.write_text("terminal,id,time,label,known,alerted\n" + "\n".join(rows) + "\n")
    with pytest.raises(InputError, match="has no labels"):
        read(lake, "lower")
    add_labels(lake, [path])
    with pytest.raises(InputError, match="not mature"):
        read(lake, "lower")
    late = bench.reading(0, DAYS + 9, 9999, boot_nonce=7)
    bench.take(lake, *bench.made([late]))
    for name, count, exposure in (
        ("lower", "frauds_caught", "alerts"),
        ("frauds", "frauds", ""),
        ("frauds_caught", "frauds_caught", ""),
    ):
        found = read(lake, name)
        held = json.loads((lake.path / "experiments" / f"{name}.json").read_text())["terminals"]
        for arm in PACKS:
            own = [t for t in counts if lake.key.terminal(bytes.fromhex(t)) in held[arm]]
            assert found.arms[arm].count == sum(counts[t][count] for t in own)
            wanted = sum(counts[t][exposure] if exposure else sums[t][1] for t in own)
            assert found.arms[arm].exposure == wanted


def test_alerts_are_those_of_probations(tmp_path: Path) -> None:
    """Of shadow and trial together, and of no other pack."""
    lake, arms = lake_with(tmp_path, metric="alerts", smallest=1.0)
    bench.take(lake, *bench.made([bench.reading(0, DAYS + 1, 10)]))
    held = Experiment.read(lake.path / "experiments" / "lower.json").packs
    own = {arm: bytes.fromhex(held[arm][-1]) for arm in PACKS}
    reports = []
    for n, (terminal, arm) in enumerate(arms.items()):
        for day, phase, events in ((0, 1, 100), (1, 1, 200), (2, 2, 50), (3, 3, 70)):
            pack = own[arm] if phase < 3 else b"another."
            counts = (*[0] * 16, 0, events, 9, events // 10 + n, 0, min(phase, 2), 1, 0)
            body = struct.pack("<8s16HIHHHHBBH", pack, *counts)
            at = 86_400 * (bench.FIRST_DAY + day)
            id = bytes.fromhex(terminal)
            made = Report(id, 5, day + 1, pack, at, ((int(Tag.PROBATION), body),))
            reports.append(encode(made, terminal_keys(bench.FLEET, id).report).data)
    bench.take(lake, *reports)
    found = read(lake, "lower")
    for arm in PACKS:
        ranks = [n for n, one in enumerate(arms.values()) if one == arm]
        assert found.arms[arm].exposure == 250 * len(ranks)
        assert found.arms[arm].count == sum(20 + 5 + 2 * n for n in ranks)


def test_from_the_command_line(tmp_path: Path) -> None:
    lake = bench.new_lake(tmp_path / "lake")
    arms = dict.fromkeys((one.terminal for one in MEMBERS), "control")
    bench.take(lake, *history(arms, DAYS)[0])
    path = tmp_path / "plan.toml"
    packs = "".join(f'{arm} = "{path}"\n' for arm, path in PACKS.items())
    text = f'metric = "saturations"\nsmallest = 20\ndays = 4\nper_arm = 5\n{packs}'
    path.write_text(text)
    facts = tinyfin_json(f"fleet experiment design {path} --lake {lake.path}")
    assert facts["terminals"] == TERMINALS
    assert 2 <= facts["terminals_per_arm"] <= TERMINALS
    assert "needs --lake" in tinyfin(f"fleet experiment design {path}", code=3).output
    path.write_text(text.replace("saturations", "alerts"))
    said = tinyfin(f"fleet experiment design {path} --lake {lake.path}", code=3).output
    assert "0 terminals have data" in said
    path.write_text(text)
    inventory = tmp_path / "terminals.csv"
    inventory.write_text("terminal,class\n" + "".join(f"{t},{name}\n" for t, name in MEMBERS))
    tinyfin(f"keygen {tmp_path / 'me.key'} --kind person")
    words = f"--terminals {inventory} --key {tmp_path / 'me.key'}"
    out = tmp_path / "arms.csv"
    line = f"fleet experiment start {lake.path} {{}} {path} {words} --out {out}"
    tinyfin(line.format("first"))
    with out.open() as file:
        rows = list(csv.DictReader(file))
    assert Counter(row["arm"] for row in rows) == {"control": 5, "treatment": 5}
    assert {row["pack"] for row in rows} == {str(path) for path in PACKS.values()}
    path.write_text(f"first_day = 2026-01-01\n{text}")
    assert "begins after" in tinyfin(line.format("x"), code=3).output
    path.write_text(text.replace("saturations", "profit"))
    assert "is not one of alerts" in tinyfin(line.format("x"), code=3).output
    path.write_text(text)
    inventory.write_text(inventory.read_text() + "zz,a\n")
    assert "line 26" in tinyfin(line.format("second"), code=3).output

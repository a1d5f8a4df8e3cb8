# SPDX-License-Identifier: Apache-2.0
"""Simulated towns: the same for a seed, sane in their shares, with every scenario inside."""

from __future__ import annotations

import json
from datetime import date, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from tests.support.cli import tinyfin
from tinyfin import simulator
from tinyfin.config import Simulate, load
from tinyfin.data.readers import read
from tinyfin.errors import ConfigError
from tinyfin.schema import PAYMENT
from tinyfin.simulator.attacks import attacks
from tinyfin.simulator.merchants import PROFILES

BASE = {"terminals": 8, "days": 4, "seed": 3}
SMALL = Simulate(terminals=8, days=4, seed=3)
WANTED = {
    "card_testing",
    "fallback",
    "takeover",
    "distraction_refund",
    "offline_burst",
    "lunch_rush",
}


def rows_of(town: pa.Table, scenario: str) -> pa.Table:
    return town.filter(pc.equal(town["scenario"], scenario))


def share(column: pa.ChunkedArray, value: object) -> float:
    return float(pc.mean(pc.fill_null(pc.equal(column, value), False).cast(pa.int8())).as_py())


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.parquet", "b.parquet", "a.csv", "b.csv"):
        simulator.write(simulator.simulate(SMALL), tmp_path / name)
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    other = simulator.simulate(SMALL.model_copy(update={"seed": 4}))
    assert not other.equals(simulator.simulate(SMALL))


def test_a_scenario_begins_at_its_date() -> None:
    day = {"attacks": {"card_testing": 20.0}, "attacks_start": {"card_testing": "2025-01-08"}}
    town = simulator.simulate(Simulate.model_validate({**BASE, **day}))
    times = rows_of(town, "card_testing")["time"].to_pylist()
    assert min(times).date() == date(2025, 1, 8)
    columns = ["time", "terminal", "amount_minor", "token"]
    ordinary = rows_of(town, "genuine").select(columns)
    assert ordinary.equals(rows_of(simulator.simulate(SMALL), "genuine").select(columns))


def test_a_season_changes_amounts_and_numbers_from_its_date() -> None:
    quiet = Simulate.model_validate({**BASE, "attacks": dict.fromkeys(attacks(), 0)})
    season = {"start": "2025-01-08", "amounts": 3.0, "sales": 2.0}
    changed = quiet.model_copy(update={"seasons": Simulate(seasons=[season]).seasons})
    then = pa.scalar(datetime(2025, 1, 8), pa.timestamp("s"))
    before, after = (
        [
            town.filter(what(town["time"], then))
            for town in map(simulator.simulate, (quiet, changed))
        ]
        for what in (pc.less, pc.greater_equal)
    )
    assert len(before[0]) == pytest.approx(len(before[1]), rel=0.05)
    assert len(after[1]) == pytest.approx(2 * len(after[0]), rel=0.15)
    median = [float(pc.approximate_median(town["amount_minor"]).as_py()) for town in after]
    assert median[1] == pytest.approx(3 * median[0], rel=0.2)
    ended = {**season, "end": "2025-01-07", "start": "2025-01-06", "sales": 1.0}
    short = quiet.model_copy(update={"seasons": Simulate(seasons=[ended]).seasons})
    last = simulator.simulate(short)
    last = last.filter(pc.greater_equal(last["time"], then))
    over = float(pc.approximate_median(last["amount_minor"]).as_py())
    assert over == pytest.approx(median[0], rel=0.05)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"attacks_start": {"nonsense": "2025-01-08"}}, "attacks_start: unknown scenario"),
        ({"attacks_start": {"fallback": "2026-01-08"}}, "fallback begins outside of the 4 days"),
    ],
)
def test_dates_that_cannot_be(keys: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        simulator.simulate(Simulate.model_validate({**BASE, **keys}))


def test_scenarios_do_not_disturb_one_another() -> None:
    without = simulator.simulate(SMALL.model_copy(update={"attacks": {"takeover": 0.0}}))
    with_it = simulator.simulate(SMALL)
    assert "takeover" not in set(without["scenario"].to_pylist())
    for scenario in ("genuine", "card_testing"):
        columns = ["time", "terminal", "amount_minor", "entry_mode", "token"]
        first = rows_of(without, scenario).select(columns)
        assert first.equals(rows_of(with_it, scenario).select(columns))


def test_every_scenario_happens(town: pa.Table) -> None:
    assert set(attacks()) >= WANTED
    counts = simulator.counts(town)
    common = {name: attack for name, attack in attacks().items() if not attack.on_demand}
    assert set(counts) == {"genuine", *common}
    for name, attack in common.items():
        assert counts[name]["frauds"] == counts[name]["transactions"] * attack.label
    assert counts["genuine"]["frauds"] == 0
    assert counts["lunch_rush"]["frauds"] == 0


def test_some_happen_only_where_they_are_asked_for() -> None:
    asked = SMALL.model_copy(update={"attacks": {"expiry_guessing": 5.0}})
    guesses = rows_of(simulator.simulate(asked), "expiry_guessing")
    assert len(guesses) >= 5
    assert len(set(guesses["expiry_hash"].to_pylist())) == len(guesses)
    assert share(guesses["result"], "declined") > 0.8


def test_genuine_business_is_like_real_business(town: pa.Table) -> None:
    genuine = rows_of(town, "genuine")
    assert 0.02 < share(genuine["result"], "declined") < 0.06
    assert 0.002 < share(genuine["entry_mode"], "fallback") < 0.008
    assert 0.004 < share(genuine["transaction_type"], "refund") < 0.02
    assert share(genuine["entry_mode"], "contactless_chip") > 0.5
    assert pc.min(genuine["amount_minor"]).as_py() >= 50
    fraud = pc.mean(town["label"]).as_py()
    assert 0.003 < fraud < 0.03
    night = pc.less(pc.hour(genuine["time"]), 5)
    assert pc.mean(night.cast(pa.int8())).as_py() < 0.03


def test_attacks_look_as_described(town: pa.Table) -> None:
    testing = rows_of(town, "card_testing")
    assert pc.max(testing["amount_minor"]).as_py() <= 200
    assert 0.5 < share(testing["result"], "declined") < 1.0
    assert pc.count_distinct(testing["token"]).as_py() == testing.num_rows
    fallback = rows_of(town, "fallback")
    assert set(fallback["entry_mode"].to_pylist()) == {"fallback"}
    assert pc.min(fallback["chip_failures"]).as_py() >= 1
    assert set(rows_of(town, "takeover")["entry_mode"].to_pylist()) == {"keyed"}
    assert set(rows_of(town, "distraction_refund")["transaction_type"].to_pylist()) == {"refund"}
    burst = rows_of(town, "offline_burst")
    assert set(burst["offline"].to_pylist()) == {"yes"}
    assert pc.all(pc.less_equal(burst["amount_minor"], burst["floor_limit_minor"])).as_py()
    assert pc.max(burst["queued_minor"]).as_py() > pc.max(burst["amount_minor"]).as_py()


def test_counters_behave_like_counters(town: pa.Table) -> None:
    terminal = np.array(town["terminal"].to_pylist())
    for name in np.unique(terminal):
        mask = terminal == name
        for counter in ("boots", "link_downs"):
            column = np.array(town[counter])[mask]
            assert (np.diff(column) >= 0).all()
        boots = np.array(town["boots"])[mask]
        assert boots[-1] - boots[0] >= 10  # once a day
    chip = town.filter(pc.is_valid(town["atc"]))
    order = np.lexsort((np.arange(chip.num_rows), np.array(chip["token"])))
    token = np.array(chip["token"])[order]
    steps = np.diff(np.array(chip["atc"])[order])
    assert (steps[token[1:] == token[:-1]] > 0).all()


def test_the_reader_takes_it_as_it_is(town: pa.Table, tmp_path: Path) -> None:
    simulator.write(town, tmp_path / "town.parquet")
    tx = read(tmp_path / "town.parquet", load())
    assert len(tx) == town.num_rows
    assert tx.terminals[0] in town["terminal"].to_pylist()
    assert {name for name in PAYMENT.names if tx.has(name).any()} == set(PAYMENT.names)
    assert (tx.outcome_t_mono_s >= tx.t_mono_s).all()


def test_one_terminal_one_day() -> None:
    table = simulator.simulate(Simulate(terminals=1, days=1))
    assert set(table["terminal"].to_pylist()) == {"T0000000"}


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"simulate\.attacks: .*'tackover'.*takeover"):
        simulator.simulate(SMALL.model_copy(update={"attacks": {"tackover": 1.0}}))
    with pytest.raises(ConfigError, match=r"simulate\.merchants: .*'bank'.*cafe"):
        simulator.simulate(SMALL.model_copy(update={"merchants": {"bank": 1.0}}))


def test_merchant_weights() -> None:
    settings = SMALL.model_copy(update={"merchants": {"cafe": 3.0, "hotel": 1.0}})
    codes = set(simulator.simulate(settings)["mcc"].to_pylist())
    assert codes == {PROFILES["cafe"].mcc, PROFILES["hotel"].mcc}


def test_the_verb(tmp_path: Path) -> None:
    out = tmp_path / "town.csv"
    args = ["simulate", "--out", str(out), "--terminals", "3", "--days", "2", "--seed", "9"]
    result = tinyfin(*args, "--json")
    report = json.loads(result.stdout)
    assert report["transactions"] == sum(
        row["transactions"] for row in report["scenarios"].values()
    )
    assert set(report["scenarios"]) >= WANTED
    assert len(read(out, load())) == report["transactions"]
    text = tinyfin(*args).stdout
    assert "card_testing" in text
    assert str(out) in text


def test_the_verb_refuses_other_formats(tmp_path: Path) -> None:
    args = ["simulate", "--out", str(tmp_path / "town.xlsx"), "--terminals", "1", "--days", "1"]
    tinyfin(*args, code=3)

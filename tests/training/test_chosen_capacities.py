# SPDX-License-Identifier: Apache-2.0
"""Capacities that the data chooses: nothing is lost where there is space, the space is kept where
there is not, and what is given stays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.cli import tinyfin
from tinyfin import simulator
from tinyfin.config import Config, from_table
from tinyfin.config.sections import Simulate
from tinyfin.data.readers import read
from tinyfin.data.transactions import Transactions
from tinyfin.errors import ConfigError
from tinyfin.features.compiler import compile_program
from tinyfin.training.chosen_capacities import choose_capacities
from tinyfin.training.chunks import computed_features
from tinyfin.training.run_folder import open_run

NAMES = ["amt_log", "known_labels_28d", "amt_to_card_mean"]


@pytest.fixture(scope="module")
def tx(tmp_path_factory: pytest.TempPathFactory) -> Transactions:
    path = tmp_path_factory.mktemp("capacities") / "t.parquet"
    simulator.write(simulator.simulate(Simulate(terminals=4, days=12, seed=3)), path)
    return read([path], config())


def config(**features: object) -> Config:
    return from_table({"features": {"names": NAMES, **features}})


def chosen(tx: Transactions, most: int, **features: object) -> dict[str, int]:
    section = config(max_state=most, **features)
    return choose_capacities(section.features, section.schema, tx, "both")


def lost(tx: Transactions, capacities: dict[str, int]) -> tuple[int, int, int]:
    """Bytes of state; labels and cards that the engine itself counts as pushed out."""
    section = config(**capacities)
    program = compile_program(section.features, section.schema, **section.features.capacities)
    _, counters = computed_features(tx, section, program, "features")
    return program.state_bytes, counters["label_overflows"], counters["evictions"]


def test_with_space_enough_no_card_is_evicted(tx: Transactions) -> None:
    found = chosen(tx, 1 << 20)
    assert lost(tx, found)[2] == 0
    assert lost(tx, {})[2] > 0, "the usual table is too small here, or this shows nothing"
    fewer = {**found, "card_ways": found["card_ways"] - 1}
    assert lost(tx, fewer)[2] > 0, "one way less would not be enough"


@pytest.mark.parametrize("most", [3000, 5000, 9000])
def test_what_is_there_is_used_and_no_more(tx: Transactions, most: int) -> None:
    found = chosen(tx, most)
    state, _, evicted = lost(tx, found)
    assert state <= most
    assert state > 0.8 * most, "space is left over, and cards are evicted"
    assert evicted > 0
    assert found["card_sets"] & (found["card_sets"] - 1) == 0


def test_more_space_never_loses_more(tx: Transactions) -> None:
    evicted = [lost(tx, chosen(tx, most))[2] for most in (2000, 4000, 8000, 16_000, 32_000)]
    assert evicted == sorted(evicted, reverse=True)
    assert evicted[0] > evicted[-1]


def test_what_is_given_stays(tx: Transactions) -> None:
    given = {"terminal_labels": 5, "card_sets": 2, "card_ways": 2}
    assert chosen(tx, 1 << 20, **given) == {}
    assert set(chosen(tx, 1 << 20, terminal_labels=5)) == {"card_sets", "card_ways"}
    assert set(chosen(tx, 1 << 20, card_ways=2)) == {"terminal_labels"}


def test_too_little_is_an_error_that_says_what_to_do(tx: Transactions) -> None:
    with pytest.raises(ConfigError, match=r"3 features take .* of state, more than 300; name"):
        chosen(tx, 300)


def test_without_a_limit_of_the_users_own_a_large_state_is_no_error(tx: Transactions) -> None:
    """With ``names = "auto"`` nobody asked for 16 kB: tables that were given may take more."""

    def usual(**features: object) -> dict[str, int]:
        section = config(**features)
        return choose_capacities(section.features, section.schema, tx, "both")

    assert usual(card_sets=512, card_ways=8) == {}
    assert usual() == chosen(tx, 16 << 10)
    with pytest.raises(ConfigError, match="more than 16,384; name fewer"):
        chosen(tx, 16 << 10, card_sets=512, card_ways=8)


def test_the_run_keeps_what_was_chosen(tmp_path: Path) -> None:
    data = tmp_path / "t.parquet"
    simulator.write(simulator.simulate(Simulate(terminals=3, days=40, seed=3)), data)
    path = tmp_path / "c.toml"
    path.write_text(
        '[features]\nnames = ["amt_log", "tok_seen_cnt"]\nmax_state = "2k"\n'
        '[model]\nfamily = "density"\n[evaluate]\nbaselines = []\n'
    )
    said = tinyfin("train", data, "--config", path, "--name", "a", "--out", tmp_path).output
    assert "bytes, at most 2,048, card_sets = " in said
    run = open_run(tmp_path / "a")
    features = run.config().features
    assert features.names == ["amt_log", "tok_seen_cnt"]
    assert 1000 < run.facts().features.state_bytes <= 2048
    program = compile_program(features, run.config().schema, **features.capacities)
    assert np.array_equal(program.payload, run.file("program.bin").read_bytes())
    known = "card_sets, card_ways have their defaults here, training chooses them"
    out = tmp_path / "f.parquet"
    assert known in tinyfin("features", data, "--config", path, "--out", out).output
    same = tinyfin("features", data, "--config", run.path / "config.toml", "--out", out)
    assert "have their defaults" not in same.output
    again = ("train", data, "--config", run.path / "config.toml", "--name", "b", "--out", tmp_path)
    tinyfin(*again)
    assert (tmp_path / "b/program.bin").read_bytes() == program.payload

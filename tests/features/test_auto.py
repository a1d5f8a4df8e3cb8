# SPDX-License-Identifier: Apache-2.0
"""`names = "auto"`: a file gets the features that it can feed, and no others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from tinyfin import simulator
from tinyfin.config import Config, Simulate, from_table
from tinyfin.data.readers import read
from tinyfin.features.auto import fed_names, resolve_names
from tinyfin.features.catalogue import AUTO, COMPROMISED, DEFAULT, STREAM
from tinyfin.features.compiler import compile_program
from tinyfin.features.selection import select
from tinyfin.training.dataset import compute_features

LITTLE = {"time": "T", "amount": "A", "token": "C", "label": "F"}


def config_of(data: dict[str, Any], **more: Any) -> Config:
    return from_table({"data": data, **more})


def names_of(data: dict[str, Any], *, labels: bool = True, **more: Any) -> list[str]:
    config = config_of(data, **more)
    columns = [how.column for how in config.data.columns.values() if how.column]
    names = resolve_names(config, columns, labels=labels).names
    assert isinstance(names, list)
    return names


def test_a_file_with_everything_gets_everything() -> None:
    columns = simulator.simulate(Simulate(terminals=2, days=4)).column_names
    assert tuple(resolve_names(from_table({}), columns).names) == (*AUTO, "mcc_risk")
    assert set(AUTO) == {*DEFAULT, *STREAM, *COMPROMISED}
    assert [feature.name for feature in select("auto")] == list(AUTO)


def test_amount_card_and_label_give_at_least_the_stream() -> None:
    names = names_of(LITTLE)
    assert set(STREAM) <= set(names)
    assert {"amt_dev", "hour_rare", "tok_distinct_300", "new_tok_share"} <= set(names)
    never = {"amt_to_floor", "decl_run", "entry_risk", "refund_ratio", "saf_fill", "link_flap"}
    assert not never & set(names)


@pytest.mark.parametrize(
    ("without", "gone", "kept"),
    [
        ("token", {"tok_known", "card_visits", "tok_gap_s", "card_known_last"}, {"known_last"}),
        ("label", {"known_last", "known_run", "card_known_last"}, {"tok_known", "amt_log"}),
        ("amount", {"amt_log", "amt_dev", "amt_to_avg"}, {"gap_s", "known_last", "tok_known"}),
    ],
)
def test_what_needs_a_column_goes_with_it(without: str, gone: set[str], kept: set[str]) -> None:
    left = names_of({key: value for key, value in LITTLE.items() if key != without})
    assert not gone & set(left)
    assert kept <= set(left)
    assert gone <= set(names_of(LITTLE))


def test_responses_types_and_constants() -> None:
    assert "decl_run" in names_of({**LITTLE, "response": "R"})
    assert "refund_ratio" in names_of({**LITTLE, "transaction_type": "K"})
    assert "entry_risk" in names_of({**LITTLE, "entry_mode": "E"})
    assert "entry_risk" not in names_of({**LITTLE, "entry_mode": {"constant": "chip"}})


def test_nothing_is_learned_from_notices_that_do_not_come() -> None:
    for names in (names_of(LITTLE, labels=False), names_of({**LITTLE, "notices": "none"})):
        assert not [name for name in names if "known_" in name.replace("tok_known", "")]


def test_own_features_and_appended_fields_follow() -> None:
    fields = [{"name": "balance", "type": "i64", "unit": "minor"}, {"name": "age", "type": "i32"}]
    config = config_of(
        {**LITTLE, "balance": "B", "age": "G"},
        schema={"extends": "payment", "fields": fields},
        features={"mine": {"expression": "age * 2"}},
    )
    found = resolve_names(config, ["T", "A", "C", "F", "B", "G"])
    assert found.names[-3:] == ["balance", "age", "mine"]
    compile_program(found, config.schema, **found.capacities)
    assert resolve_names(config, ["T", "A", "C", "F", "G"]).names[-2:] == ["age", "mine"]


def test_a_schema_of_ones_own_gives_its_fields() -> None:
    fields = [{"name": "v", "type": "i32"}, {"name": "door", "type": "enum", "values": ["a", "b"]}]
    config = config_of(
        {"plain": True, "v": "V", "door": "D"}, schema={"name": "x", "fields": fields}
    )
    assert resolve_names(config, ["V", "D"]).names == ["v", "door"]


def test_names_that_are_given_stay() -> None:
    config = config_of(LITTLE, features={"names": ["saf_fill"]})
    assert resolve_names(config, []) is config.features


def test_all_columns_of_a_field_have_to_be_there() -> None:
    mapping = config_of({"time": "T", "token": {"columns": ["U", "C"]}}).data.columns
    assert fed_names(mapping, ["T", "U"]) == {"time"}
    assert fed_names(mapping, ["U", "C"]) == {"token"}


def test_what_is_left_out_would_have_said_nothing(tmp_path: Path) -> None:
    """On a file with the stream's columns alone, what is not chosen is constant, and no more."""
    columns = ["time", "terminal", "token", "amount_minor", "label"]
    path = tmp_path / "little.parquet"
    pq.write_table(simulator.simulate(Simulate(terminals=3, days=40, seed=4)).select(columns), path)
    config = from_table({})
    chosen = set(resolve_names(config, columns).names)
    tx = read([path], config)
    program = compile_program(list(AUTO), config.schema, **config.features.capacities)
    found = compute_features(tx, config, program)
    constant = {name for i, name in enumerate(program.feature_names) if np.ptp(found[:, i]) == 0}
    assert set(AUTO) - chosen <= constant
    rare = {"card_known_last", "card_known_frauds_28d"}  # no card comes back after its fraud here
    assert constant & chosen <= rare

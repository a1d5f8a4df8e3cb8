# SPDX-License-Identifier: Apache-2.0
"""`names = "auto"`: a file gets the features that it can feed, and no others."""

from __future__ import annotations

from math import log2
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from tinyfin import simulator
from tinyfin.config import Config, Simulate, from_table, load
from tinyfin.data.readers import read
from tinyfin.features.auto import fed_names, resolve_names
from tinyfin.features.catalogue import (
    AUTO,
    BY_NAME,
    COMPROMISED,
    DEFAULT,
    HOST,
    HOST_ODDS,
    OVER_DAYS,
    STREAM,
)
from tinyfin.features.compiler import compile_program
from tinyfin.features.definition import OWN_FEATURE_ID
from tinyfin.features.selection import select
from tinyfin.oracle import OracleEngine
from tinyfin.schema import HOST_FIELDS, HOST_ODDS_FIELDS
from tinyfin.training.dataset import compute_features
from tinyfin.training.run_folder import RunFolder

HOSTED = {"schema": {"extends": "payment_host"}}
HOST_COLUMNS = {field.name: field.name for field in HOST_FIELDS}
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
    assert set(AUTO) == {*DEFAULT, *STREAM, *COMPROMISED, *OVER_DAYS}
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
    assert found.names[-4:] == ["balance", "amount_to_balance", "age", "mine"]
    compile_program(found, config.schema, **found.capacities)
    assert resolve_names(config, ["T", "A", "C", "F", "G"]).names[-2:] == ["age", "mine"]


def test_no_feature_of_a_field_takes_the_name_of_another(tmp_path: Path) -> None:
    """Of the catalogue, of a key of [features], of another field, or of what is made of one."""
    names = ["rent", "amount_to_rent", "gap_s", "gap_s_field", "pending", "mcc_risk"]
    units = {"rent": "minor", "gap_s": "s"}
    fields = [{"name": n, "type": "i64", "unit": units.get(n, "")} for n in names]
    config = config_of(
        {**LITTLE, "mcc": "M", **{n: n for n in names}},
        schema={"extends": "payment", "fields": fields},
    )
    found = resolve_names(config, [*LITTLE.values(), "M", *names])
    made = {
        "mcc_risk": "mcc",
        "rent": "log2(field(rent))",
        "amount_to_rent_field": found.define["amount_to_rent_field"]["expression"],
        "amount_to_rent": "amount_to_rent",
        "gap_s_field_field": "log2(field(gap_s))",
        "gap_s_field": "gap_s_field",
        "pending_field": "pending",
        "mcc_risk_field": "mcc_risk",
    }
    assert {k: v.get("expression", v.get("name")) for k, v in found.define.items()} == made
    path = tmp_path / "run"
    path.mkdir()
    (path / "config.toml").write_text("")
    run = RunFolder(path)
    run.add_features(found.names, {}, found.define)
    assert run.config().features.names == found.names


def test_a_schema_of_ones_own_gives_its_fields() -> None:
    fields = [{"name": "v", "type": "i32"}, {"name": "door", "type": "enum", "values": ["a", "b"]}]
    config = config_of(
        {"plain": True, "v": "V", "door": "D"}, schema={"name": "x", "fields": fields}
    )
    found = resolve_names(config, ["V", "D"])
    assert found.names == ["v", "door"]
    assert {feature.texts[feature.reason] for feature in select(found)} == {
        "unusual or missing: v",
        "unusual or missing: door",
    }


def test_a_hosts_fields_give_the_catalogues_features() -> None:
    columns = [*LITTLE.values(), *HOST_COLUMNS]
    found = resolve_names(config_of({**LITTLE, **HOST_COLUMNS}, **HOSTED), columns)
    assert found.names[-len(HOST) :] == list(HOST)
    assert not found.define
    assert 38 not in {feature.reason for feature in select(found)}
    without = resolve_names(config_of(LITTLE, **HOSTED), list(LITTLE.values()))
    assert not set(HOST) & set(without.names)
    odds = {field.name: field.name for field in HOST_ODDS_FIELDS}
    more = config_of({**LITTLE, **HOST_COLUMNS, **odds}, schema={"extends": "payment_host_odds"})
    found = resolve_names(more, [*columns, *odds])
    assert found.names[-2:] == list(HOST_ODDS)
    assert not found.define
    # a host that knows the week only
    week = ["host_card_mean_7d_minor", "host_card_count_7d"]
    data = {**LITTLE, **{name: name for name in week}}
    found = resolve_names(config_of(data, **HOSTED), [*LITTLE.values(), *week])
    assert found.names[-2:] == ["amt_to_host_week", "host_7d"]
    assert not found.define


def test_a_table_of_ones_own_takes_the_catalogues_place() -> None:
    own = {"host_1d": {"expression": "host_card_count_1d > 3", "reason": 7}}
    config = config_of({**LITTLE, **HOST_COLUMNS}, **HOSTED, features=own)
    found = resolve_names(config, [*LITTLE.values(), *HOST_COLUMNS])
    assert found.names.count("host_1d") == 1
    made = {feature.name: feature for feature in select(found)}
    assert made["host_1d"].id == OWN_FEATURE_ID
    assert made["host_1d"].definition == "host_card_count_1d > 3"
    assert made["host_7d"] is BY_NAME["host_7d"]
    in_a_set = from_table({"features": {"names": "host", **own}, **HOSTED}).features
    assert [feature.name for feature in select(in_a_set)] == list(HOST)
    assert select(in_a_set)[HOST.index("host_1d")].id == OWN_FEATURE_ID
    listed = from_table({"features": {"names": ["host"], **own}, **HOSTED}).features
    assert [f.id for f in select(listed)] == [f.id for f in select(in_a_set)]


UNITS = [
    {"name": "limit", "type": "i64", "unit": "minor", "doc": "credit limit of the card"},
    {"name": "odd", "type": "i64", "unit": "minor", "missing": 500},
    {"name": "since_visit", "type": "i64", "unit": "s", "doc": "x" * 71},
    {"name": "gap_s", "type": "i32", "doc": "two\nlines"},
]


def test_units_say_what_becomes_of_a_field() -> None:
    names = [str(field["name"]) for field in UNITS]
    data = {**LITTLE, **{name: name for name in names}}
    schema = {"extends": "payment", "fields": UNITS}
    found = resolve_names(config_of(data, schema=schema), [*LITTLE.values(), *names])
    texts = {f.name: f.texts.get(f.reason) for f in select(found) if f.name in found.define}
    assert texts == {
        "limit": "unusual or missing: credit limit of the card",
        "amount_to_limit": "unusual amount against: credit limit of the card",
        "odd": "unusual or missing: odd",  # a missing one would be an amount of 500
        "since_visit": "unusual or missing: since visit",
        "gap_s_field": "unusual or missing: gap s",
    }
    assert "gap_s" in found.names
    program = compile_program(found, config_of(data, schema=schema).schema)
    oracle = OracleEngine(program.payload, config_of(data, schema=schema).schema)

    def values(*own: int, present: int = 2**25 - 1) -> list[int]:
        oracle.score(1, 0, 0, [*(0,) * 21, *own], present & ~(2**21) if own[0] < 0 else present)
        return list(oracle.features()[-5:])

    assert values(0, 1, 70_000, 5) == [0, 64, 256, round(256 * log2(70_001)), 5]
    no_amount = round(256 * log2(1001))
    assert values(1000, 0, 0, 0)[:2] == [no_amount, 0]
    assert values(-1, 0, 0, 0)[:2] == [0, 64]


def test_a_runs_configuration_gives_the_same_program(tmp_path: Path) -> None:
    """What was found is written after what was given, and ids of own features and reasons go by
    order."""
    text = """[schema]
extends = "payment"
fields = [{name = "limit", type = "i64", unit = "minor"}, {name = "age", type = "i32"}]
[data]
time = "time"
amount = "amount_minor"
label = "label"
mcc = "mcc"
limit = "limit"
age = "age"
[features.mine]
expression = "age * 2"
reason = "older than most"
"""
    (tmp_path / "config.toml").write_text(text)
    config = load(tmp_path / "config.toml")
    columns = ["time", "terminal", "token", "amount_minor", "label", "mcc", "limit", "age"]
    found = resolve_names(config, columns)
    added = {k: v for k, v in found.define.items() if k not in config.features.define}
    assert list(added) == ["mcc_risk", "limit", "amount_to_limit", "age"]
    RunFolder(tmp_path).add_features(found.names, {}, added)
    again = compile_program(load(tmp_path / "config.toml").features, config.schema)
    program = compile_program(found, config.schema)
    assert again == program
    assert program.reason_texts[128] == "older than most"
    # the negative control: another order is another program
    turned = found.model_copy(update={"define": dict(reversed(found.define.items()))})
    assert compile_program(turned, config.schema).payload != program.payload


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

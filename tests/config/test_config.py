# SPDX-License-Identifier: Apache-2.0
"""tinyfin.toml: defaults, and errors that name file, key, value, rule and fix."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyfin.config import format_duration, from_table, load, parse_duration, parse_moment
from tinyfin.errors import ConfigError
from tinyfin.schema import PAYMENT


def test_defaults() -> None:
    config = load()
    assert config.schema is PAYMENT
    assert config.data.label_delay_s == 7 * 86400
    assert config.data.notices == "both"
    assert config.model.family == "auto"
    assert config.features.names == "auto"
    assert config.data.resolved(PAYMENT)["amount_minor"].column == "amount_minor"


def test_a_mapping_replaces_the_native_names() -> None:
    config = from_table({"data": {"time": "T", "amount": {"column": "A", "unit": "major"}}})
    assert set(config.data.resolved(PAYMENT)) == {"time", "amount_minor"}


def test_user_features_are_kept_as_written() -> None:
    table = {"features": {"names": ["amount_log"], "busy": {"op": "count", "window": "1h"}}}
    features = from_table(table).features
    assert features.names == ["amount_log"]
    assert features.define == {"busy": {"op": "count", "window": "1h"}}


def test_own_schema() -> None:
    table = {
        "schema": {"name": "health", "fields": [{"name": "volts", "type": "i32"}]},
        "data": {"time": "t", "volts": "V"},
    }
    assert from_table(table).schema.names == ("volts",)
    with pytest.raises(ConfigError, match=r"data\.amount"):
        from_table({**table, "data": {"amount": "A"}})


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({"dtaa": {}}, ["dtaa", "did you mean 'data'"]),
        ({"data": {"amuont": "X"}}, ["data.amuont", "did you mean 'amount'"]),
        ({"data": {"amount": {"colum": "X"}}}, ["data.amount.colum", "did you mean 'column'"]),
        ({"data": {"amount": {"column": "X", "unit": "euro"}}}, ["data.amount.unit", "'euro'"]),
        ({"data": {"amount": {}}}, ["data.amount", "column", "constant"]),
        ({"data": {"amount": "A", "amount_minor": "B"}}, ["same field"]),
        ({"data": {"mcc": {"column": "X", "unit": "major"}}}, ["data.mcc", "amounts only"]),
        ({"data": {"amount": {"column": "X", "exponent": 2}}}, ["data.amount", "major"]),
        ({"data": {"mcc": {"column": "X", "epoch": "2018-04-01"}}}, ["data.mcc", "times only"]),
        ({"data": {"time": {"column": "X", "epoch": "1.4.18"}}}, ["data.time.epoch", "'1.4.18'"]),
        ({"data": {"id": {"column": "X", "values": {"a": "b"}}}}, ["data.id", "values"]),
        ({"data": {"label_delay": "7 days"}}, ["data.label_delay", "'7 days'", '"7d"']),
        ({"data": {"label_delay": "-1d"}}, ["label_delay", "negative"]),
        ({"data": {"notices": "all"}}, ["data.notices", "'all'", "fraud_only"]),
        ({"model": {"hiden": [3]}}, ["model.hiden", "did you mean 'hidden'"]),
        ({"model": {"epochs": 0}}, ["model.epochs = 0"]),
        ({"simulate": {"days": -2}}, ["simulate.days = -2"]),
        ({"decision": {"go_online": 0.9, "decline": 0.5}}, ["decision", "must not exceed"]),
        (
            {"decision": {"verify": 0.9, "decline": 0.5}},
            ["decision", "verify must not exceed decline"],
        ),
        (
            {"decision": {"verify_per_1000": 2.0}},
            ["decision", "verify_per_1000 must not exceed go_online_per_1000"],
        ),
        (
            {"decision": {"decline_per_1000": 0.6, "verify_per_1000": 0.5}},
            ["decision", "decline_per_1000 must not exceed verify_per_1000"],
        ),
        ({"decision": {"control_share": 2}}, ["decision.control_share = 2"]),
        ({"train": {"train": 0.9}}, ["train", "must be 1"]),
        ({"train": {"since": "2020-01-02", "until": "2020-01-01"}}, ["since must be before"]),
        ({"schema": {"name": "k", "fields": []}}, ["[schema]", "1 to 32"]),
    ],
)
def test_errors_name_key_and_fix(table: dict[str, Any], says: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        from_table(table, path=Path("my.toml"))
    message = str(caught.value)
    assert message.startswith("my.toml: ")
    for part in says:
        assert part in message


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml"):
        load(tmp_path / "none.toml")
    broken = tmp_path / "broken.toml"
    broken.write_text("[data\n")
    with pytest.raises(ConfigError, match="line 1"):
        load(broken)


@given(st.integers(0, 10**9))
def test_durations_round_trip(seconds: int) -> None:
    assert parse_duration(format_duration(seconds)) == seconds


def test_moments() -> None:
    assert parse_moment("2000-01-02") == 86400
    assert parse_moment("2000-01-01T01:00:00+01:00") == 0
    with pytest.raises(ValueError, match="moment"):
        parse_moment("yesterday")

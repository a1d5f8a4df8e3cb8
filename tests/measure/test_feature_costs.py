# SPDX-License-Identifier: Apache-2.0
"""`tinyfin features --target`: instructions of each feature, counted in the emulator."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.support.cli import tinyfin
from tests.support.process import needs_cortex_m
from tinyfin.config import from_table
from tinyfin.errors import InputError
from tinyfin.features.selection import select
from tinyfin.measure.feature_costs import _with_fields, default_data, feature_instructions

pytestmark = [pytest.mark.xdist_group("target-cortex-m4"), needs_cortex_m]


def test_what_does_more_costs_more() -> None:
    words = ["features", "hour_of_day", "amt_log", "amt_dev", "--target", "cortex-m4", "--json"]
    answer = tinyfin(*words)
    cost = {row["name"]: row["instructions"] for row in json.loads(answer.stdout)["features"]}
    assert 0 < cost["hour_of_day"] < cost["amt_log"] < cost["amt_dev"] < 5000


def test_fields_that_a_host_sends_are_there() -> None:
    answer = tinyfin("features", "host_1d", "host_rise", "--target", "cortex-m4", "--json")
    cost = {row["name"]: row["instructions"] for row in json.loads(answer.stdout)["features"]}
    assert 0 < cost["host_1d"] < cost["host_rise"] < 1000


@pytest.mark.parametrize("type_", ["i32", "i64", "u64"])
def test_appended_fields_of_each_type_are_there(type_: str) -> None:
    field = {"name": "rent", "type": type_, "unit": "minor"}
    schema = from_table({"schema": {"extends": "payment", "fields": [field]}}).schema
    tx = _with_fields(default_data(), schema)
    assert tx.has("rent").all()
    assert np.array_equal(tx.column("rent"), tx.column("amount_minor"))


def test_only_payments_are_simulated() -> None:
    schema = from_table({"schema": {"name": "x", "fields": [{"name": "a", "type": "i32"}]}}).schema
    with pytest.raises(InputError, match="simulated payments"):
        feature_instructions(select(["amt_log"]), schema, "cortex-m4")

# SPDX-License-Identifier: Apache-2.0
"""Columns with fractions, one-hot columns, and features that are the fields themselves."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from tinyfin.config import Config, from_table
from tinyfin.data.readers import read
from tinyfin.errors import ConfigError, DataError
from tinyfin.features.compiler import compile_program

VALUES = [0.0, -36.80232, 1e-4, 2.5, -2.5, 3.0, 17.0049, 0.003]
HOT = {
    "is_a": [1, 0, 0, 0, 0, 1, 0, 0],
    "is_b": [0, 1, 0, 0, 1, 0, 0, 0],
    "is_c": [0, 0, 1, 0, 0, 0, 1, 0],
}


def config(**data: Any) -> Config:
    return from_table(
        {
            "schema": {
                "name": "row",
                "fields": [
                    {"name": "v", "type": "i32"},
                    {"name": "kind", "type": "i32", "missing": -1},
                ],
            },
            "data": {"plain": True, **data},
            "features": {"names": "fields"},
        }
    )


MAPPED = {"v": {"column": "V", "scale": 500}, "kind": {"one_hot": list(HOT)}}


@pytest.mark.parametrize("kind", ["parquet", "csv", "float32"])
def test_scaled_and_one_hot_columns(tmp_path: Path, kind: str) -> None:
    table = pa.table({"V": pa.array(VALUES), **HOT})
    path = tmp_path / ("t.csv" if kind == "csv" else "t.parquet")
    if kind == "csv":
        pacsv.write_csv(table, path)
    else:
        if kind == "float32":
            table = table.set_column(0, "V", table["V"].cast(pa.float32()))
        pq.write_table(table, path)
    tx = read(path, config(**MAPPED))
    exact = [int((Decimal(str(v)) * 500).to_integral_value(ROUND_HALF_EVEN)) for v in VALUES]
    assert tx.column("v").tolist() == exact
    assert tx.column("kind").tolist() == [0, 1, 2, -1, 1, 0, 2, -1]
    assert tx.has("kind").tolist() == [True, True, True, False, True, True, True, False]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"V": ["1.5"] * 7 + ["1,5"]}, "must be a number"),
        ({"V": [1e9] * 8}, r"times scale = 500 must be -2147483648\.\.2147483647"),
        ({"is_a": [1] * 8}, "a single 1 among its columns"),
        ({"is_b": [2] + [0] * 7}, "must be 0 or 1"),
    ],
)
def test_bad_values_are_named(tmp_path: Path, change: dict[str, Any], told: str) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"V": VALUES, **HOT, **change}), path)
    with pytest.raises(DataError, match=told):
        read(path, config(**MAPPED))


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ({"v": {"column": "V", "scale": 0}}, "greater than 0"),
        ({"v": {"column": "V", "one_hot": ["a", "b"]}}, "give one of"),
        ({"v": {"one_hot": ["a", "a"]}}, "twice"),
        ({"v": {"one_hot": ["a", "b"], "scale": 2}}, "one_hot fills"),
        ({"label": {"column": "y", "scale": 2}}, "scale makes whole numbers"),
    ],
)
def test_misfits_are_named(entry: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        config(**entry)


def test_fields_are_features_unless_one_takes_their_place() -> None:
    settings = from_table(
        {
            "schema": {"extends": "payment", "fields": [{"name": "v", "type": "i32"}]},
            "features": {"names": ["v"], "v": {"op": "field", "name": "v"}},
        }
    )
    assert settings.features.names == ["v"]
    plain = config()
    assert plain.features.names == ["v", "kind"]
    program = compile_program(plain.features, plain.schema, **plain.features.capacities)
    assert program.feature_names == ("v", "kind")
    own = from_table(
        {
            "schema": {
                "name": "row",
                "fields": [
                    {"name": "v", "type": "i32"},
                    {"name": "card", "type": "u64", "unit": "token"},
                ],
            },
            "features": {
                "names": "fields",
                "v": {"expression": "log2(v)"},
                "twice": {"expression": "v + v"},
            },
        }
    )
    assert own.features.names == ["v", "twice"]
    assert own.features.define["v"] == {"expression": "log2(v)"}
    assert np.all([name in own.features.define for name in own.features.names])

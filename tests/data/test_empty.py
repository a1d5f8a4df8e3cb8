# SPDX-License-Identifier: Apache-2.0
"""Spellings of "no value" that a mapping names are no values, in every kind of column."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tinyfin.config import from_table
from tinyfin.data.readers import read
from tinyfin.errors import ConfigError, DataError

NEVER = dt.datetime(9999, 12, 31)
DAY = dt.datetime(2026, 1, 2)
FORMS = {
    "text": pa.array(["2026-01-02", "9999-12-31", None]),
    "text with a time": pa.array(["2026-01-02 00:00:00", "9999-12-31T00:00:00", None]),
    "timestamp": pa.array([DAY, NEVER, None], pa.timestamp("ms")),
    "with a zone": pa.array([DAY, NEVER, None], pa.timestamp("s", "UTC")),
    "date": pa.array([DAY.date(), NEVER.date(), None]),
}


def reported(tmp_path: Path, column: pa.Array, **how: Any) -> list[int]:
    table = pa.table({"t": ["2026-01-01"] * len(column), "x": column, "l": [1] * len(column)})
    pq.write_table(table, tmp_path / "a.parquet")
    data = {"time": "t", "label": "l", "label_time": {"column": "x", **how}}
    tx = read(tmp_path / "a.parquet", from_table({"data": data}))
    return (tx.label_known_s - tx.t_mono_s).tolist()


@pytest.mark.parametrize("form", FORMS)
def test_a_day_that_never_comes(tmp_path: Path, form: str) -> None:
    week = 7 * 86_400
    found = reported(tmp_path, FORMS[form], empty=["9999-12-31"])
    assert found == [86_400, week, week]
    with pytest.raises(DataError, match=r'if it means no time: empty = \["9999-12-31"'):
        reported(tmp_path, FORMS[form])


@pytest.mark.parametrize("word", ["0000-00-00", "-", "n.a."])
def test_words_that_are_no_times(tmp_path: Path, word: str) -> None:
    column = pa.array(["2026-01-02", word])
    assert reported(tmp_path, column, empty=["?", word]) == [86_400, 7 * 86_400]
    with pytest.raises(DataError):
        reported(tmp_path, column, empty=["?"])


def test_numbers_and_amounts(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [5, -1], "m": [5411, 9999]}), tmp_path / "a.parquet")
    data = {
        "plain": True,
        "amount": {"column": "a", "empty": ["-1"]},
        "mcc": {"column": "m", "empty": ["9999"]},
    }
    tx = read(tmp_path / "a.parquet", from_table({"data": data}))
    assert tx.has("amount_minor").tolist() == tx.has("mcc").tolist() == [True, False]


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({"time": {"constant": 0, "empty": ["x"]}}, "empty goes with column"),
        (
            {"time": "t", "label_time": "when"},
            'no label is mapped; where a date alone marks a fraud: label = {column = "when", '
            'values = {"" = 0, "*" = 1}}',
        ),
    ],
)
def test_mappings_that_cannot_be_meant(data: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_table({"data": data})
    assert text in str(caught.value)

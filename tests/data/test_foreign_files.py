# SPDX-License-Identifier: Apache-2.0
"""Files as other people write them come in by their mapping alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.cli import tinyfin
from tinyfin.config import from_table
from tinyfin.data import tables
from tinyfin.data.readers import read
from tinyfin.data.tokens import hash_of, token_of
from tinyfin.data.transactions import Transactions, format_time
from tinyfin.errors import ConfigError, DataError


def read_as(tmp_path: Path, text: str, data: dict[str, Any]) -> Transactions:
    path = tmp_path / "foreign.csv"
    path.write_text(text)
    return read([path], from_table({"data": data}))


def test_a_time_in_parts_a_dollar_sign_and_refunds_below_zero(tmp_path: Path) -> None:
    tx = read_as(
        tmp_path,
        "User,Card,Year,Month,Day,Time,Amount,Use Chip,Errors\n"
        "7,0,2019,2,3,09:05,$134.09,Swipe,\n"
        '7,1,2019,12,31,23:59,"$-1,099.00",Online,Bad PIN\n'
        "12,0,2020,2,29,00:00,-$0.50,Chip,\n",
        {
            "time": {"columns": ["Year", "Month", "Day", "Time"], "pattern": "%Y %m %d %H:%M"},
            "token": {"columns": ["User", "Card"]},
            "amount": {"column": "Amount", "unit": "major", "strip": "$,", "negative": "refund"},
            "mcc": {"column": "Use Chip", "hash": True},
            "response": {"column": "Errors", "values": {"Bad PIN": 55}},
        },
    )
    assert [format_time(t) for t in tx.t_mono_s] == [
        "2019-02-03T09:05:00",
        "2019-12-31T23:59:00",
        "2020-02-29T00:00:00",
    ]
    assert tx.column("amount_minor").tolist() == [13409, 109900, 50]
    assert tx.column("token").tolist() == [token_of("7 0"), token_of("7 1"), token_of("12 0")]
    types = tx.schema.fields[tx.schema.index("transaction_type")].values
    assert [types[i] for i in tx.column("transaction_type")] == ["purchase", "refund", "refund"]
    assert tx.has("transaction_type").tolist() == [False, True, True]
    assert tx.column("mcc").tolist() == [hash_of("Swipe"), hash_of("Online"), hash_of("Chip")]
    assert tx.result.tolist() == [0, 1, 0]


def test_a_type_that_the_row_names_stays(tmp_path: Path) -> None:
    tx = read_as(
        tmp_path,
        "t,a,k\n2020-01-01,-5,void\n2020-01-02,-5,\n",
        {"time": "t", "amount": {"column": "a", "negative": "refund"}, "transaction_type": "k"},
    )
    types = tx.schema.fields[tx.schema.index("transaction_type")].values
    assert [types[i] for i in tx.column("transaction_type")] == ["void", "refund"]


@pytest.mark.parametrize(
    ("text", "pattern", "moment"),
    [
        ("06.05.2024 18:03:09", "%d.%m.%Y %H:%M:%S", "2024-05-06T18:03:09"),
        ("01/02/2019 03:04 PM", "%m/%d/%Y %I:%M %p", "2019-01-02T15:04:00"),
        ("01/02/2019 12:04 AM", "%m/%d/%Y %I:%M %p", "2019-01-02T00:04:00"),
        ("3 Mar 21", "%d %b %y", "2021-03-03T00:00:00"),
    ],
)
def test_patterns_of_times(tmp_path: Path, text: str, pattern: str, moment: str) -> None:
    tx = read_as(tmp_path, f"t\n{text}\n", {"time": {"column": "t", "pattern": pattern}})
    assert format_time(int(tx.t_mono_s[0])) == moment


@pytest.mark.parametrize("text", ["30.02.2024", "31.04.2024", "29.02.2023", "1.13.2024", "x", ""])
def test_days_that_do_not_exist_are_refused(tmp_path: Path, text: str) -> None:
    data = {"time": {"column": "t", "pattern": "%d.%m.%Y"}, "id": "i"}
    with pytest.raises(DataError, match="1 bad row of 3"):
        read_as(tmp_path, f"t,i\n01.03.2024,1\n{text},2\n29.02.2024,3\n", data)


def test_steps_in_hours_and_a_decimal_comma(tmp_path: Path) -> None:
    tx = read_as(
        tmp_path,
        "step;amount\n1;1.234,5\n743;0,01\n",
        {
            "time": {"column": "step", "format": "hours", "epoch": "2020-01-01"},
            "amount": {"column": "amount", "unit": "major", "strip": ".", "decimal": ","},
        },
    )
    assert [format_time(t) for t in tx.t_mono_s] == ["2020-01-01T01:00:00", "2020-01-31T23:00:00"]
    assert tx.column("amount_minor").tolist() == [123450, 1]


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ({"time": {"column": "t", "pattern": "%Q"}}, "%Q is not known"),
        ({"time": {"column": "t", "pattern": "Y"}}, "names parts of a time"),
        ({"time": {"column": "t", "pattern": "%Y", "format": "iso"}}, "remove one of them"),
        ({"time": "t", "mcc": {"columns": ["a", "b"]}}, "columns are joined"),
        ({"time": "t", "token": {"column": "a", "negative": "refund"}}, "fits amounts only"),
        ({"time": "t", "token": {"column": "a", "hash": True}}, "hash makes a number"),
        ({"time": "t", "token": {"column": "a", "strip": "$"}}, "fit amounts and other numbers"),
        ({"time": "t", "mcc": {"column": "a", "hash": True, "decimal": ","}}, "fit amounts and"),
    ],
)
def test_options_that_do_not_fit_are_refused(data: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        from_table({"data": data})


@pytest.mark.parametrize("rows", [1, 7, 10_000])
def test_a_csv_file_in_chunks_is_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    path = tmp_path / "ragged.csv"
    lines = [f"{i},{i * 3}" if i % 11 else f"{i},{i},{i}" for i in range(1, 3001)]
    path.write_text("a,b\n" + "\n".join([*lines, "1,2,3"]) + "\n")
    options = tables.pacsv.ReadOptions
    monkeypatch.setattr(
        tables.pacsv, "ReadOptions", lambda **more: options(block_size=1000, **more)
    )
    wanted = {"b": "b"}
    table, bad = tables.read_table(path, wanted, False)
    chunks = list(tables.read_table_chunks(path, wanted, False, rows))
    assert max(chunk.num_rows for chunk, _ in chunks) <= rows
    joined = [x for chunk, _ in chunks for x in chunk.column("b").to_pylist()]
    assert joined == table.column("b").to_pylist()
    assert np.concatenate([b.rows for _, b in chunks]).tolist() == bad.rows.tolist()
    assert [line for _, b in chunks for line in b.ragged] == list(bad.ragged)
    assert len(bad.ragged) == 273
    assert bad.ragged[-1].row == 3001


def test_an_empty_csv_file_has_one_empty_chunk(tmp_path: Path) -> None:
    path = tmp_path / "empty.csv"
    path.write_text("a\n")
    chunks = list(tables.read_table_chunks(path, {"a": "a"}, False, 10))
    assert [chunk.num_rows for chunk, _ in chunks] == [0]


def test_a_replay_sets_bad_rows_aside(tmp_path: Path) -> None:
    pack = Path(__file__).parents[2] / "models" / "payment" / "model.tfpack"
    data, aside = tmp_path / "two.csv", tmp_path / "bad.csv"
    data.write_text("time,amount_minor\n2024-01-01,5\n2024-01-02,-5\n")
    words = ["replay", str(pack), str(data), "--port", "exec:/bin/false"]
    tinyfin(*words, code=3)
    tinyfin(*words, "--skip-bad-rows", aside, code=5)  # the rows are read, and no terminal answers
    assert aside.read_text().count("\n") == 2

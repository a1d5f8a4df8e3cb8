# SPDX-License-Identifier: Apache-2.0
"""Bad rows: named, counted, shown, and set aside only when asked."""

from __future__ import annotations

import csv as csvlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tinyfin.config import from_table, load
from tinyfin.data.readers import read
from tinyfin.errors import DataError

Write = Callable[..., Path]

T = "1514808000"


def major(**options: Any) -> Any:
    return from_table({"data": {"time": "time", "amount": {"column": "A", "unit": "major"}}})


@pytest.mark.parametrize(
    ("header", "cell", "rule"),
    [
        ("amount_minor", "12.5", "whole minor units"),
        ("amount_minor", "-1", "0..999999999999"),
        ("amount_minor", "1000000000000", "0..999999999999"),
        ("amount_minor", "99999999999999999999999", "0..999999999999"),
        ("amount_minor", "abc", "whole minor units"),
        ("token", "18446744073709551616", "64-bit token"),
        ("token", "-9223372036854775809", "64-bit token"),
        ("entry_mode", "swipe", "contactless_chip, chip"),
        ("mcc", "2147483648", "-2147483648..2147483647"),
        ("tvr", "8000048000h", "whole number (i64)"),
        ("result", "maybe", "approved, declined"),
        ("response", "100", "0..99"),
        ("response", "N7", "DE39"),
        ("action", "approve", "accept, go_online, verify, decline or 0..2"),
        ("action", "3", "accept, go_online, verify, decline or 0..2"),
        ("label", "2", "0 (genuine), 1 (fraud) or empty"),
        ("outcome_time", "1514807999", "before the transaction's time"),
        ("label_time", "1514807999", "before the transaction's time"),
        ("terminal", "", "terminal id is needed"),
        ("id", "", "transaction id is needed"),
    ],
)
def test_each_rule_names_file_row_column_and_value(
    csv: Write, header: str, cell: str, rule: str
) -> None:
    good = {"terminal": "t", "id": "5"}.get(header, "")
    path = csv(f"time,{header}", f"{T},{good}", f"{T},{cell}")
    with pytest.raises(DataError) as caught:
        read(path, load())
    message = str(caught.value)
    assert message.startswith("1 bad row of 2:")
    assert f"a.csv, row 2 (line 3), column {header}, value " in message
    assert (repr(cell) if cell else "(empty)") in message
    assert rule in message
    assert "--skip-bad-rows" in message


@pytest.mark.parametrize(
    ("cell", "rule"),
    [
        ("12.345", "at most 2 decimals"),
        ("12,34", "like"),
        ("twelve", "like"),
        ("1.23E+08", "its last digits are cut"),
        ("-0.01", "a refund is known by its type"),
        ("10000000000.00", "major units"),
    ],
)
def test_major_amounts(csv: Write, cell: str, rule: str) -> None:
    with pytest.raises(DataError, match=rule):
        read(csv("time,A", f"{T},1.00", f'{T},"{cell}"'), major())


@pytest.mark.parametrize(
    ("cell", "rule"),
    [
        ("noon", "ISO 8601"),
        ("2018-02-30T00:00:00", "ISO 8601"),
        ("1999-12-31T23:59:59", "2000-01-01"),
        ("2137-01-01", "2136-02-07"),
        ("", "a time is needed"),
    ],
)
def test_iso_times(csv: Write, cell: str, rule: str) -> None:
    lines = ["time,x", "2018-01-01,1", "2018-01-02,1", f"{cell},1"]
    with pytest.raises(DataError, match=rule) as caught:
        read(csv(*lines), load())
    assert "row 3 (line 4), column time" in str(caught.value)


def test_small_numbers_ask_for_an_epoch(csv: Write) -> None:
    with pytest.raises(DataError, match="epoch ="):
        read(csv("time,x", "43200,1"), load())


def test_floats(parquet: Write) -> None:
    path = parquet({"time": [int(T)] * 3, "A": [0.1 + 0.2, 12.34, 12.345]})
    with pytest.raises(DataError, match=r"1 bad row of 3:\n.*row 3, column A, value 12.345"):
        read(path, major())
    path = parquet({"time": [int(T)] * 2, "token": [1.0, 2.0]})
    with pytest.raises(DataError, match="floating-point"):
        read(path, load())
    path = parquet({"time": [int(T)] * 2, "mcc": [5411.0, float("inf")]})
    with pytest.raises(DataError, match="row 2, column mcc, value inf"):
        read(path, load())


def test_ragged_lines_keep_the_row_numbers_right(csv: Write) -> None:
    path = csv("time,label,x", f"{T},0,1", f"{T},0", "", f"{T},7,1", f"{T},0,1,1")
    with pytest.raises(DataError) as caught:
        read(path, load())
    message = str(caught.value)
    assert "3 bad rows of 4:" in message
    assert "row 2 (line 3), column (all)" in message
    assert "has 2 fields, the header has 3" in message
    assert "row 3 (line 5), column label, value '7'" in message
    assert "row 4 (line 6), column (all)" in message


def test_duplicates_are_per_terminal_and_across_files(csv: Write) -> None:
    one = csv("time,terminal,id", f"{T},A,1", f"{T},B,1", name="1.csv")
    two = csv("time,terminal,id", f"{T},B,1", f"{T},A,2", name="2.csv")
    assert len(read(one, load())) == 2
    told = r"2\.csv, row 1 \(line 2\), column id.*unique per terminal"
    with pytest.raises(DataError, match=told):
        read([one, two], load())


def test_all_are_counted_and_five_are_shown(csv: Write) -> None:
    lines = [f"{T},{'x' if i % 2 else 0}" for i in range(40)]
    with pytest.raises(DataError) as caught:
        read(csv("time,label", *lines), load())
    message = str(caught.value)
    assert message.startswith("20 bad rows of 40:")
    assert message.count("a.csv, row") == 5
    assert "20 x label: must be 0" in message


def test_set_aside_keeps_every_row_somewhere(csv: Write, tmp_path: Path) -> None:
    lines = ["time,label,amount_minor", f"{T},0,5", f"{T},9,-5", f"{T},1", f"{T},1,6"]
    path = csv(*lines)
    said: list[str] = []
    aside = tmp_path / "bad.csv"
    tx = read(path, load(), skip_bad_rows=aside, progress=said.append)
    assert tx.row.tolist() == [0, 3]
    assert tx.column("amount_minor").tolist() == [5, 6]
    with open(aside, newline="") as file:
        bad = list(csvlib.DictReader(file))
    assert sorted(int(row["row"]) for row in bad) == [2, 3]
    whole = next(row for row in bad if row["row"] == "2")
    assert "label '9'" in whole["reasons"]
    assert "amount_minor '-5'" in whole["reasons"]
    assert whole["amount_minor"] == "-5"
    assert any("2 of 4 rows are bad" in line for line in said)


def test_nothing_bad_leaves_an_empty_list(csv: Write, tmp_path: Path) -> None:
    aside = tmp_path / "bad.csv"
    aside.write_text("from an earlier run")
    assert len(read(csv("time,x", f"{T},1"), load(), skip_bad_rows=aside)) == 1
    assert aside.read_text().startswith("file,row,reasons")
    assert "earlier" not in aside.read_text()


def test_a_file_of_bad_rows_only_is_an_error_all_the_same(csv: Write, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="1 bad row of 1"):
        read(csv("time,label", f"{T},9"), load(), skip_bad_rows=tmp_path / "bad.csv")


def test_dictionary_columns_report_values(parquet: Write) -> None:
    modes = pa.array(["chip", "swipe"]).dictionary_encode()
    with pytest.raises(DataError, match="row 2, column entry_mode, value 'swipe'"):
        read(parquet({"time": [int(T)] * 2, "entry_mode": modes}), load())

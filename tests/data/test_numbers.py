# SPDX-License-Identifier: Apache-2.0
"""Numbers as people, databases and spreadsheets write them: read right, or refused by name."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyfin.config import from_table
from tinyfin.data.parse import MAX_AMOUNT_MINOR, amounts
from tinyfin.data.readers import read, read_chunks, survey
from tinyfin.data.transactions import Transactions
from tinyfin.errors import ConfigError, DataError

Write = Callable[..., Path]
SCHEMA = {
    "extends": "payment",
    "fields": [{"name": "count", "type": "i32"}, {"name": "level", "type": "i32"}],
}


def cells(tmp_path: Path, column: str, values: list[Any], **how: Any) -> Transactions:
    """One text column of a CSV file that is parted by tabs, so that no mark needs quotes."""
    path = tmp_path / "n.csv"
    rows = "".join(f"2024-01-01\t{value}\n" for value in values)
    path.write_text(f"t\tx\n{rows}", encoding="utf-8")
    data = {"time": "t", column: {"column": "x", **how}}
    return read(path, from_table({"schema": SCHEMA, "data": data}))


def column_of(tmp_path: Path, array: pa.Array, column: str, **how: Any) -> Transactions:
    path = tmp_path / "n.parquet"
    pq.write_table(pa.table({"t": [1514808000] * len(array), "x": array}), path)
    data = {"time": "t", column: {"column": "x", **how}}
    return read(path, from_table({"schema": SCHEMA, "data": data}))


MAJOR = {"unit": "major"}
ACCEPTED = [
    ("12.34", {}, 1234),
    ("1.500", {"decimal": "."}, 150),
    ("1.500", {"decimal": ",", "strip": "."}, 150000),
    ("1.234.567,8", {"decimal": ",", "strip": "."}, 123456780),
    ("1,234.50", {"strip": ","}, 123450),
    ("1'234.50", {"strip": "'"}, 123450),
    ("1\u2019234.50", {"strip": "'"}, 123450),
    ("1 234,50", {"decimal": ",", "strip": " "}, 123450),
    ("1\u202f234\u00a0567,50 \u20ac", {"decimal": ",", "strip": " \u20ac"}, 123456750),
    ("1\u2009234,50", {"decimal": ",", "strip": "\u2009"}, 123450),
    ("CHF 1'234.50", {"strip": "CHF'"}, 123450),
    ("12.34 EUR", {"strip": "EUR"}, 1234),
    ("$1,099.00", {"strip": "$,"}, 109900),
    (".5", {}, 50),
    (",5", {"decimal": ","}, 50),
    ("5.", {}, 500),
    ("+7", {}, 700),
    ("1.25E7", {}, 1250000000),
    ("1,25E7", {"decimal": ","}, 1250000000),
    ("1e+05", {}, 10000000),
    ("1.14677809e+09", {}, 114677809000),
    ("1.146778090000000e+009", {}, 114677809000),
    ("12.3400", {}, 1234),
    ("12.339999999999998", {}, 1234),
    ("\uff11\uff12.\uff13\uff14", {}, 1234),
    ("0.000000000", {}, 0),
]
REFUSED = [
    ("1.500", {"decimal": ","}, 'strip = "."'),
    ("12.34", {"decimal": ","}, 'strip = "."'),
    ("1.50", {"decimal": ",", "strip": "."}, "'.' (strip) must be between groups of three"),
    ("1.5000", {"decimal": ",", "strip": "."}, "groups of three"),
    ("1234.567", {"decimal": ",", "strip": "."}, "groups of three"),
    ("1,5.000", {"decimal": ",", "strip": "."}, "before the decimal mark"),
    ("1,500", {}, 'strip = ","; if it is the decimal mark: decimal = ","'),
    ("12,34", {}, 'decimal = ","'),
    ("12,34", {"strip": ","}, 'decimal = ","'),
    ("0,123", {"strip": ","}, "groups of three"),
    ("1,23,456.00", {"strip": ","}, "groups of three"),
    ("1 234,50", {"decimal": ","}, 'strip = " "'),
    ("1'234.50", {}, 'strip = "\'"'),
    ("1.234.567", {}, 'strip = "."'),
    ("1.500", {}, 'decimal = "." or strip = "."'),
    ("1,50", {"strip": "."}, 'to read it: decimal = ","'),
    ("1.234,50", {}, 'to read it: strip = ".", decimal = ","'),
    ("$1,099.00", {}, 'to read it: strip = "$,"'),
    ("$1,099.00", {"strip": "$"}, 'to read it: strip = "$,"'),
    ("1.500 EUR", {}, 'to read it: strip = "EUR"'),
    ("1,500 EUR", {}, 'thousands: strip = "EUR,"; if it is the decimal mark: strip = "EUR", decim'),
    ("12.34 \u20ac", {}, 'strip = "\u20ac"'),
    ("1.23457E+09", {}, "its last digits are cut"),
    ("1,23E+09", {"decimal": ","}, "its last digits are cut"),
    ("1.23457e+009", {}, "its last digits are cut"),
    ("1e999", {}, "exponent"),
    ("0x10", {}, "like"),
    ("inf", {}, "like"),
    ("1_0", {}, "'_'"),
    ("--5", {}, "like"),
    ("9" * 80, {}, "too long"),
]


@pytest.mark.parametrize(("cell", "how", "minor"), ACCEPTED)
def test_amounts(tmp_path: Path, cell: str, how: dict[str, str], minor: int) -> None:
    tx = cells(tmp_path, "amount", [cell], unit="major", **how)
    assert tx.column("amount_minor").tolist() == [minor]


@pytest.mark.parametrize(("cell", "how", "told"), REFUSED)
def test_refused_amounts(tmp_path: Path, cell: str, how: dict[str, str], told: str) -> None:
    with pytest.raises(DataError) as caught:
        cells(tmp_path, "amount", ["1", cell], unit="major", **how)
    message = str(caught.value)
    assert "row 2 (line 3), column x, value " in message
    assert told in message


@pytest.mark.parametrize(
    ("column", "cell", "how", "value"),
    [
        ("count", "1,500", {"strip": ","}, 1500),
        ("count", "1.500", {"strip": "."}, 1500),
        ("count", "5.0", {}, 5),
        ("count", "5,0", {"decimal": ","}, 5),
        ("count", "True", {}, 1),
        ("count", "-1 500", {"strip": " "}, -1500),
        ("level", "1.500,25", {"scale": 2.0, "decimal": ",", "strip": "."}, 3000),
        ("level", "1e-05", {"scale": 1e6}, 10),
        ("level", "(2.5)", {"scale": 2.0}, -5),
    ],
)
def test_whole_numbers_and_fractions(
    tmp_path: Path, column: str, cell: str, how: dict[str, Any], value: int
) -> None:
    assert cells(tmp_path, column, [cell], **how).column(column).tolist() == [value]


@pytest.mark.parametrize(
    ("column", "cell", "how", "told"),
    [
        ("count", "1.000", {}, 'strip = "."'),
        ("count", "1.500", {}, 'strip = "."'),
        ("count", "1,500", {}, 'strip = ","'),
        ("count", "1.500", {"decimal": ","}, 'strip = "."'),
        ("count", "0x10", {}, "a whole number (i32)"),
        ("count", "1.2E+07", {}, "its last digits are cut"),
        ("level", "1.500,25", {"scale": 2.0}, 'decimal = ","'),
        ("level", "1,5", {"scale": 2.0}, 'decimal = ","'),
        ("level", "1.500", {"scale": 2.0, "decimal": ","}, 'strip = "."'),
        ("label", "1,0", {}, "must be 0 (genuine), 1 (fraud)"),
        ("response", "1.500", {}, "0..99"),
    ],
)
def test_other_numbers_follow_the_same_rules(
    tmp_path: Path, column: str, cell: str, how: dict[str, Any], told: str
) -> None:
    with pytest.raises(DataError) as caught:
        cells(tmp_path, column, ["1", cell], **how)
    assert "row 2 (line 3), column x" in str(caught.value)
    assert told in str(caught.value)


def test_a_column_that_shows_its_decimals_needs_no_option(tmp_path: Path) -> None:
    """numeric(18, 3) as text; and with three decimals by the currency."""
    tx = cells(tmp_path, "amount", ["1.500", "0.750", "12.340"], **MAJOR)
    assert tx.column("amount_minor").tolist() == [150, 75, 1234]
    tx = cells(tmp_path, "amount", ["1.500"], exponent=3, **MAJOR)
    assert tx.column("amount_minor").tolist() == [1500]


def test_a_later_chunk_need_not_show_its_decimals(tmp_path: Path) -> None:
    path = tmp_path / "n.csv"
    path.write_text("t,x\n2024-01-01,0.750\n2024-01-02,1.500\n")
    config = from_table({"data": {"time": "t", "amount": {"column": "x", **MAJOR}}})
    found = survey([path], config, chunk_rows=1)
    chunks = read_chunks([path], config, found, chunk_rows=1)
    assert [int(tx.column("amount_minor")[0]) for tx in chunks] == [75, 150]


@pytest.mark.parametrize("cell", ["-5.00", "(5.00)", "5.00-", "\u22125.00", "-$5.00", "$-5.00"])
def test_refunds(tmp_path: Path, cell: str) -> None:
    tx = cells(tmp_path, "amount", [cell, "7"], unit="major", strip="$", negative="refund")
    assert tx.column("amount_minor").tolist() == [500, 700]
    refund = tx.schema.fields[tx.schema.index("transaction_type")].values.index("refund")
    assert tx.column("transaction_type").tolist() == [refund, 0]
    with pytest.raises(DataError, match="a refund is known by its type"):
        cells(tmp_path, "amount", [cell], unit="major", strip="$")


@pytest.mark.parametrize("word", ["1", "true", "TRUE", "t", "yes", "Y", "1.0", "1.000"])
def test_labels(tmp_path: Path, word: str) -> None:
    no = {"1": "0", "true": "False", "TRUE": "FALSE", "t": "f", "yes": "no", "Y": "N"}
    tx = cells(tmp_path, "label", [word, no.get(word, "0.0"), "NULL", "\\N", ""])
    assert tx.label.tolist() == [1, 0, -1, -1, -1]


def test_marks_that_contradict_each_other() -> None:
    for how in ({"decimal": ",", "strip": "$,"}, {"decimal": "5"}, {"decimal": " "}):
        with pytest.raises(ConfigError, match="decimal mark"):
            from_table({"data": {"amount": {"column": "x", "unit": "major", **how}}})


@given(
    st.integers(-MAX_AMOUNT_MINOR, MAX_AMOUNT_MINOR),
    st.sampled_from(
        [("de", ".", ","), ("ch", "\u2019", "."), ("us", ",", "."), ("fr", "\u202f", ",")]
    ),
    st.integers(0, 3),
)
def test_grouped_amounts_are_what_was_grouped(
    tmp_path_factory: pytest.TempPathFactory,
    minor: int,
    locale: tuple[str, str, str],
    exponent: int,
) -> None:
    """Written by Python's own formatting."""
    _, group, mark = locale
    text = f"{Decimal(minor).scaleb(-exponent):,.{exponent}f}"
    text = text.replace(",", "G").replace(".", mark).replace("G", group)
    tmp_path = tmp_path_factory.mktemp("grouped")
    how = {"strip": group, "decimal": mark, "exponent": exponent, "negative": "absolute"}
    tx = cells(tmp_path, "amount", [text], unit="major", **how)
    assert tx.column("amount_minor").tolist() == [abs(minor)]


@given(st.integers(1, 10**9), st.integers(0, 12), st.sampled_from(".,' "))
def test_a_mark_in_the_wrong_place_is_never_a_number(whole: int, at: int, mark: str) -> None:
    """Whatever stands after it; with the mark named in strip."""
    digits = f"{whole:012d}".lstrip("0")
    at = at % (len(digits) + 1)
    text = f"{digits[:at]}{mark}{digits[at:]}"
    right = f"{whole:,}".replace(",", mark)
    from tinyfin.data.cells import flat
    from tinyfin.data.numerals import Style

    style = Style.of(mark, "." if mark == "," else ",")
    if not text.strip():
        return
    parsed = amounts(flat(pa.array([text])), 0, style)
    broken = any(mask.any() for mask, _ in parsed.broken)
    if text in (right, digits) or text.strip() == digits:
        assert (broken, parsed.values.tolist()) == (False, [whole])
    else:
        assert broken


def test_decimals_are_scaled_not_printed(tmp_path: Path) -> None:
    for kind in (
        pa.decimal128(38, 9),
        pa.decimal256(76, 30),
        pa.decimal32(9, 4),
        pa.decimal64(18, 6),
    ):
        values = [Decimal("0"), Decimal("12.34"), None, Decimal("0.01")]
        tx = column_of(tmp_path, pa.array(values, kind), "amount", **MAJOR)
        assert tx.column("amount_minor").tolist() == [0, 1234, 0, 1]
        tx = column_of(tmp_path, pa.array([Decimal(0), Decimal(7)], kind), "count")
        assert tx.column("count").tolist() == [0, 7]
    tokens = pa.array([Decimal(2**64 - 1), Decimal(0)], pa.decimal128(20, 0))
    tx = column_of(tmp_path, tokens, "token", unit="token")
    assert tx.column("token").tolist() == [2**64 - 1, 0]
    assert column_of(tmp_path, pa.array([Decimal(1)], pa.decimal128(38, 9)), "label").label[0] == 1


def test_floats_that_are_too_coarse_are_refused(tmp_path: Path) -> None:
    """From 131072 on, one 32-bit float stands for several amounts with two decimals."""
    fine = pa.array([131071.99, 0.1, 65535.37], pa.float32())
    assert column_of(tmp_path, fine, "amount", **MAJOR).column("amount_minor").tolist() == [
        13107199,
        10,
        6553537,
    ]
    assert np.float32(131072.01) == np.float32(131072.02)
    with pytest.raises(DataError, match="too large for a 32-bit floating-point number"):
        column_of(tmp_path, pa.array([131072.01], pa.float32()), "amount", **MAJOR)
    for column, value, kind in (
        ("count", 2.0**24, pa.float32()),
        ("amount", 2.0**24, pa.float32()),
        ("tvr", 2.0**53, pa.float64()),
    ):
        with pytest.raises(DataError, match="-bit floating-point number"):
            column_of(tmp_path, pa.array([value], kind), column)
        assert len(column_of(tmp_path, pa.array([value / 2 + 1], kind), column)) == 1
    with pytest.raises(DataError, match="column x: holds 16-bit floats"):
        column_of(tmp_path, pa.array(np.array([1.5], np.float16)), "amount", **MAJOR)


def test_major_units_have_the_decimals_of_their_currency(tmp_path: Path) -> None:
    """Against the table of ISO 4217, list one."""
    rows = {
        "CHF": (756, "45.78", 4578),
        "JPY": (392, "4578", 4578),
        "KWD": (414, "4.578", 4578),
        "CLF": (990, "0.4578", 4578),
        "unknown": (0, "45.78", 4578),
    }
    codes, major_units, minor = zip(*rows.values(), strict=True)
    table = pa.table(
        {"t": [1514808000] * 15, "a": major_units * 3, "c": codes * 3, "n": list(rows) * 3}
    )
    pq.write_table(table, tmp_path / "a.parquet")
    major = {"column": "a", **MAJOR}
    named = {"column": "n", "values": {name: row[0] for name, row in rows.items()}}
    for currency in ("c", named):
        config = from_table({"data": {"time": "t", "amount": major, "currency": currency}})
        tx = read(tmp_path / "a.parquet", config)
        assert tx.column("amount_minor").tolist() == list(minor) * 3
    fixed = {**major, "exponent": 4}
    config = from_table({"data": {"time": "t", "amount": fixed, "currency": "c"}})
    tx = read(tmp_path / "a.parquet", config)
    assert tx.column("amount_minor").tolist()[:2] == [457_800, 45_780_000]
    yen = {"constant": 392}
    config = from_table({"data": {"time": "t", "amount": major, "currency": yen}})
    with pytest.raises(DataError, match=r"at most 0 decimals .*; round amounts"):
        read(tmp_path / "a.parquet", config)

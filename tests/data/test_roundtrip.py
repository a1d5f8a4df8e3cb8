# SPDX-License-Identifier: Apache-2.0
"""Whatever a file can say of amounts and times is read back exactly."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from tinyfin.config import Column
from tinyfin.data.parse import MAX_AMOUNT_MINOR, amounts
from tinyfin.data.times import parse_times
from tinyfin.data.tokens import parse_tokens
from tinyfin.data.transactions import format_time

minor = st.lists(st.integers(0, MAX_AMOUNT_MINOR), min_size=1, max_size=8)
moments = st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=8)


def broken(parsed: object) -> bool:
    return any(mask.any() for mask, _ in parsed.broken)  # type: ignore[attr-defined]


@given(minor, st.integers(0, 4))
def test_amounts_from_text_and_decimals(values: list[int], exponent: int) -> None:
    decimals = [Decimal(value).scaleb(-exponent) for value in values]
    for array in (
        pa.array([f"{value:f}" for value in decimals]),
        pa.array([f" {value:f}0 " if exponent else f"{value:f}" for value in decimals]),
        pa.array(decimals, pa.decimal128(38, 6)),
    ):
        parsed = amounts(array, exponent)
        assert not broken(parsed)
        assert parsed.values.tolist() == values


@given(st.lists(st.integers(0, 10**11), min_size=1, max_size=8))
def test_amounts_from_floats(values: list[int]) -> None:
    parsed = amounts(pa.array([value / 100 for value in values], pa.float64()), 2)
    assert not broken(parsed)
    assert parsed.values.tolist() == values


@given(minor)
def test_amounts_in_minor_units(values: list[int]) -> None:
    for array in (pa.array(values), pa.array([str(value) for value in values])):
        parsed = amounts(array, None)
        assert not broken(parsed)
        assert parsed.values.tolist() == values


@given(st.integers(0, 10**9), st.integers(1, 9))
def test_a_third_decimal_is_refused(value: int, digit: int) -> None:
    whole, part = divmod(value, 100)
    assert broken(amounts(pa.array([f"{whole}.{part:02d}{digit}"]), 2))
    if value < 10**8:  # where a float still tells thousandths
        assert broken(amounts(pa.array([whole + part / 100 + digit / 1000]), 2)) == (digit != 0)


@given(moments, st.integers(-14 * 4, 14 * 4))
def test_times(values: list[int], quarters: int) -> None:
    unix = [value + 946684800 for value in values]
    zone = dt.timezone(dt.timedelta(minutes=15 * quarters))
    in_zone = [dt.datetime.fromtimestamp(value, zone).isoformat() for value in unix]
    forms = [
        (pa.array([format_time(value) for value in values]), Column(column="t")),
        (pa.array(unix), Column(column="t")),
        (pa.array([value * 1000 + 999 for value in unix]), Column(column="t")),
        (pa.array([str(value) for value in unix]), Column(column="t", format="seconds")),
        (pa.array(values), Column(column="t", epoch="2000-01-01")),
        (pa.array([value * 10**6 for value in unix], pa.timestamp("us")), Column(column="t")),
    ]
    for array, how in forms:
        times = parse_times(array, how)
        assert not broken(times)
        assert times.mono_s.tolist() == values
        assert times.local_s.tolist() == values
    shift = 15 * 60 * quarters
    times = parse_times(pa.array(in_zone), Column(column="t"))
    inside = [0 <= value + shift < 2**32 for value in values]
    assert times.mono_s.tolist() == values
    assert times.local_s.tolist() == [value + shift for value in values]
    assert broken(times) == (not all(inside))


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=8))
def test_tokens(values: list[int]) -> None:
    for array in (pa.array(values, pa.uint64()), pa.array([str(value) for value in values])):
        parsed = parse_tokens(array, ready=True)
        assert not broken(parsed)
        assert [value % 2**64 for value in parsed.values.tolist()] == values

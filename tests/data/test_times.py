# SPDX-License-Identifier: Apache-2.0
"""Times as databases, programs and spreadsheets export them."""

from __future__ import annotations

import datetime as dt
import zoneinfo
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyfin.config import Column, from_table
from tinyfin.data.readers import read
from tinyfin.data.times import parse_times
from tinyfin.data.transactions import EPOCH_UNIX_S, Transactions, format_time
from tinyfin.errors import ConfigError, DataError

Write = Callable[..., Path]
UNIX = 1719835200  # 2024-07-01T12:00:00Z


def cells(tmp_path: Path, values: list[str], **how: Any) -> Transactions:
    path = tmp_path / "t.csv"
    path.write_text("t\tx\n" + "".join(f"{value}\t1\n" for value in values), encoding="utf-8")
    return read(path, from_table({"data": {"time": {"column": "t", **how}}}))


def columns(tmp_path: Path, array: pa.Array, **how: Any) -> Transactions:
    pq.write_table(pa.table({"t": array}), tmp_path / "t.parquet")
    return read(tmp_path / "t.parquet", from_table({"data": {"time": {"column": "t", **how}}}))


NOON = "2024-07-01T12:00:00"
SUMMER = "2024-07-01T14:00:00"


@pytest.mark.parametrize(
    ("cell", "how", "utc", "local"),
    [
        # PostgreSQL, DuckDB, MySQL, SQL Server, Snowflake, BigQuery, Presto, Spark
        ("2024-07-01 12:00:00+00", {}, NOON, NOON),
        ("2024-07-01 14:00:00.123456+02", {}, NOON, SUMMER),
        ("2024-07-01 17:30:00+05:30", {}, NOON, "2024-07-01T17:30:00"),
        ("2024-07-01 14:00:00.0000000 +02:00", {}, NOON, SUMMER),
        ("2024-07-01 14:00:00.000 +0200", {}, NOON, SUMMER),
        ("2024-07-01 12:00:00 UTC", {}, NOON, NOON),
        ("2024-07-01 12:00:00.123456 UTC", {}, NOON, NOON),
        ("2024-07-01 14:00:00.000 Europe/Berlin", {}, NOON, SUMMER),
        ("2024-07-01T14:00:00+02:00[Europe/Berlin]", {}, NOON, SUMMER),
        ("2024-07-01T12:00:00.000Z", {}, NOON, NOON),
        ("2024-07-01T12:00:00z", {}, NOON, NOON),
        ("2024-07-01T12:00:00,5", {}, NOON, NOON),
        ("2024-07-01 10:00:00\u221202:00", {}, NOON, "2024-07-01T10:00:00"),
        ("2024/07/01 12:00:00", {}, NOON, NOON),
        ("2024-7-1 12:00", {}, NOON, NOON),
        ("2024-07-01 12:00 PM", {}, NOON, NOON),
        ("2024-07-01 12:00 a.m.", {}, "2024-07-01T00:00:00", "2024-07-01T00:00:00"),
        ("2024-06-30 24:00", {}, "2024-07-01T00:00:00", "2024-07-01T00:00:00"),
        ("2024-06-30T24:00:00Z", {}, "2024-07-01T00:00:00", "2024-07-01T00:00:00"),
        ("2024-07-01\u00a012:00\u202fPM", {}, NOON, NOON),
        ("2024-07-01 12:00:00 p. m.", {}, NOON, NOON),
        ("2024-07-01 12:00:00.5 +0000 UTC", {}, NOON, NOON),
        ("2024-07-01 14:00:00.5 +0200 CEST", {}, NOON, SUMMER),
        ("2024-07-01 14:00:00 GMT+02:00", {}, NOON, SUMMER),
        ("2024-07-01-12.00.00.000000", {}, NOON, NOON),
        ("20240701-12:00:00.123", {}, NOON, NOON),
        ("20240701T120000Z", {}, NOON, NOON),
        ("20240701 120000", {}, NOON, NOON),
        ("20240701 93000", {}, "2024-07-01T09:30:00", "2024-07-01T09:30:00"),
        ("20240701T1200", {}, NOON, NOON),
        ("20240701", {}, "2024-07-01T00:00:00", "2024-07-01T00:00:00"),
        ("20240701120000", {}, NOON, NOON),
        ("202407011200", {}, NOON, NOON),
        ("20240701120000123", {}, NOON, NOON),
        # Oracle, SAS, SQL Server's CONVERT, the web
        ("01-JUL-24 12.00.00.000000 PM", {}, NOON, NOON),
        ("01-JUL-2024 02.00.00.000000 PM +02:00", {}, NOON, SUMMER),
        ("01JUL2024:12:00:00", {}, NOON, NOON),
        ("01JUL24:12:00:00.000000", {}, NOON, NOON),
        ("Jul  1 2024 12:00PM", {}, NOON, NOON),
        ("July 1, 2024 12:00:00", {}, NOON, NOON),
        ("1 Jul 2024", {}, "2024-07-01T00:00:00", "2024-07-01T00:00:00"),
        ("Mon, 01 Jul 2024 12:00:00 GMT", {}, NOON, NOON),
        ("01/Jul/2024:14:00:00 +0200", {}, NOON, SUMMER),
        ("Mon Jul  1 12:00:00 2024", {}, NOON, NOON),
        ("Mon Jul  1 12:00:00 UTC 2024", {}, NOON, NOON),
        ("Mon Jul 01 2024 14:00:00 GMT+0200 (Central European Summer Time)", {}, NOON, SUMMER),
        # numbers
        (f"{UNIX}", {}, NOON, NOON),
        (f"{UNIX}.999999999", {}, NOON, NOON),
        (f"{UNIX}000", {}, NOON, NOON),
        (f"{UNIX}000000", {}, NOON, NOON),
        (f"{UNIX}999999999", {}, NOON, NOON),
        ("1.7198352E9", {}, NOON, NOON),
        (f"{UNIX}000999", {"format": "microseconds"}, NOON, NOON),
        (f"{UNIX}000000999", {"format": "nanoseconds"}, NOON, NOON),
        ("2035454400", {"epoch": "1960-01-01"}, "2024-07-01T12:00:00", NOON),
        # spreadsheets: days from 1899-12-30, from 1904-01-01 on old Macs; formatted by country
        ("45474.5", {"format": "days", "epoch": "1899-12-30"}, NOON, NOON),
        ("45474,5", {"format": "days", "epoch": "1899-12-30", "decimal": ","}, NOON, NOON),
        ("44012.5", {"format": "days", "epoch": "1904-01-01"}, NOON, NOON),
        ("45474.52083", {"format": "days", "epoch": "1899-12-30"}, "2024-07-01T12:30:00", None),
        ("01.07.2024 12:00", {"pattern": "%d.%m.%Y %H:%M"}, NOON, NOON),
        ("7/1/2024 12:00:00 PM", {"pattern": "%m/%d/%Y %I:%M:%S %p"}, NOON, NOON),
        ("7/1/2024, 12:00:00\u202fPM", {"pattern": "%m/%d/%Y, %I:%M:%S %p"}, NOON, NOON),
        ("01/07/24 12:00", {"pattern": "%d/%m/%y %R"}, NOON, NOON),
        ("Mon 01 Jul 2024 12:00:00.5 -0000", {"pattern": "%a %d %b %Y %T.%f %z"}, NOON, NOON),
        ("2024-183 12:00", {"pattern": "%Y-%j %H:%M"}, NOON, NOON),
    ],
)
def test_forms(tmp_path: Path, cell: str, how: dict[str, str], utc: str, local: str | None) -> None:
    tx = cells(tmp_path, [cell, cell], **how)
    assert [format_time(int(t)) for t in tx.t_mono_s] == [utc] * 2
    assert [format_time(int(t)) for t in tx.t_local_s] == [local or utc] * 2


@pytest.mark.parametrize("serial", ["45292.5208333333", "45292.52083", "45292.520833333336"])
def test_serials_of_a_spreadsheet_are_whole_seconds(tmp_path: Path, serial: str) -> None:
    days = {"format": "days", "epoch": "1899-12-30"}
    for tx in (
        cells(tmp_path, [serial], **days),
        columns(tmp_path, pa.array([serial]), **days),
        columns(tmp_path, pa.array([float(serial)]), **days),
    ):
        assert format_time(int(tx.t_mono_s[0])) == "2024-01-01T12:30:00"


@pytest.mark.parametrize(
    ("cell", "told"),
    [
        ("01.07.2024 12:00", 'pattern = "%d.%m.%Y %H:%M"'),
        ("7/1/2024 12:00 PM", 'pattern = "%m/%d/%Y %I:%M %p" or pattern = "%d/%m/%Y %I:%M %p"'),
        ("45292,52", 'decimal = ","'),
        ("45292.52", 'format = "days", epoch = "1899-12-30"'),
        ("1.71984E+09", "its last digits are cut"),
        ("2024-02-30", "ISO 8601"),
        ("2023-02-29 12:00", "ISO 8601"),
        ("2024-07-01 24:01", "ISO 8601"),
        ("2024-07-01 25:00", "ISO 8601"),
        ("2024-07-01 12:60", "ISO 8601"),
        ("2024-07-01 13:00 PM", "ISO 8601"),
        ("2024-07-01 12:00 Mars/Base", "ISO 8601"),
        ("2024-07-01 12:00 CEST", "several zones are called 'CEST': write the offset"),
        ("2024-07-01-05:00", "ISO 8601"),
        ("2024-07-01T12:00:00+99:00", "ISO 8601"),
        ("01-FOO-2024", "ISO 8601"),
        ("202412", "must be between"),
        ("20241301", "must be between"),
        ("1. Juli 2024", "read in English"),
        ("12:30", "ISO 8601"),
        ("9e18", "must be between"),
        ("1e20", "must be between"),
        ("99999999999999999999", "must be between"),
        ("-1e30", "must be between"),
    ],
)
def test_refused(tmp_path: Path, cell: str, told: str) -> None:
    with pytest.raises(DataError) as caught:
        cells(tmp_path, ["2024-01-01", cell, "2024-01-01 12:00"])
    assert "1 bad row of 3" in str(caught.value)
    assert "row 2 (line 3), column t, value" in str(caught.value)
    assert told in str(caught.value)


def test_the_last_nanoseconds_that_a_time_can_have(tmp_path: Path) -> None:
    last_s = 2**32 - 1 + EPOCH_UNIX_S
    for array in (pa.array([last_s * 10**9]), pa.array([last_s * 10**9], pa.uint64())):
        assert columns(tmp_path, array).t_mono_s.tolist() == [2**32 - 1]
    assert cells(tmp_path, [f"{last_s}000000000"]).t_mono_s.tolist() == [2**32 - 1]


@pytest.mark.parametrize("kind", [pa.float32(), pa.float64()])
def test_a_float_above_all_times_is_refused(tmp_path: Path, kind: pa.DataType) -> None:
    with np.errstate(invalid="raise"), pytest.raises(DataError, match="1 bad row of 1"):
        columns(tmp_path, pa.array([1e30], kind))


def test_patterns_name_each_part_once() -> None:
    with pytest.raises(ConfigError, match="each part of a time once"):
        from_table({"data": {"time": {"column": "t", "pattern": "%d.%m.%Y %m"}}})


def test_days_that_do_not_exist(tmp_path: Path) -> None:
    for text, how in (("366.2023", "%j.%Y"), ("31.04.2024", "%d.%m.%Y"), ("0.4.2024", "%d.%m.%Y")):
        with pytest.raises(DataError, match="pattern"):
            cells(tmp_path, [text], pattern=how)
    tx = cells(tmp_path, ["366.2024"], pattern="%j.%Y")
    assert format_time(int(tx.t_mono_s[0])) == "2024-12-31T00:00:00"


def test_a_date_and_a_time_in_two_columns(tmp_path: Path) -> None:
    table = pa.table(
        {
            "d": pa.array([dt.date(2024, 7, 1)]),
            "h": pa.array([dt.time(12, 0, 0, 250)]),
            "n": pa.array([20240701]),
            "m": pa.array([93000]),
        }
    )
    pq.write_table(table, tmp_path / "t.parquet")
    for parts, moment in ((["d", "h"], NOON), (["n", "m"], "2024-07-01T09:30:00")):
        config = from_table({"data": {"time": {"columns": parts}}})
        tx = read(tmp_path / "t.parquet", config)
        assert format_time(int(tx.t_mono_s[0])) == moment


ZONES = [
    "Europe/Berlin",
    "America/New_York",
    "Asia/Kolkata",
    "Australia/Lord_Howe",
    "UTC",
    "America/St_Johns",
    "+02:00",
    "-05:30",
]


@given(
    st.lists(st.integers(EPOCH_UNIX_S + 10**6, 2**32 + EPOCH_UNIX_S - 10**6), min_size=1),
    st.sampled_from(ZONES),
    st.sampled_from(["s", "ms", "us", "ns"]),
)
def test_a_column_with_a_zone_is_its_text_with_offsets(
    unix: list[int], zone: str, unit: str
) -> None:
    """The wall clocks are those of Python's zoneinfo."""
    sign = -1 if zone[0] == "-" else 1
    if zone[0] in "+-":
        there: dt.tzinfo = dt.timezone(
            sign * dt.timedelta(hours=int(zone[1:3]), minutes=int(zone[4:]))
        )
    else:
        there = zoneinfo.ZoneInfo(zone)
    moments = [dt.datetime.fromtimestamp(t, there) for t in unix]
    column = pa.array([round(m.timestamp()) for m in moments], pa.int64())
    column = column.cast(pa.timestamp("s", zone)).cast(pa.timestamp(unit, zone))
    how = Column(column="t")
    typed, text = (
        parse_times(column, how),
        parse_times(pa.array([m.isoformat() for m in moments], pa.string()), how),
    )
    assert typed.mono_s.tolist() == text.mono_s.tolist()
    assert typed.local_s.tolist() == text.local_s.tolist()
    walls = [round(m.replace(tzinfo=dt.UTC).timestamp()) - EPOCH_UNIX_S for m in moments]
    assert typed.local_s.tolist() == walls


@given(
    st.lists(st.integers(EPOCH_UNIX_S + 10**6, 2**32 + EPOCH_UNIX_S - 10**6), min_size=1),
    st.sampled_from([zone for zone in ZONES if "/" in zone]),
)
def test_clocks_on_the_wall_are_read_by_their_zone(unix: list[int], zone: str) -> None:
    there = zoneinfo.ZoneInfo(zone)
    how = Column(column="t", zone=zone)
    moments = [dt.datetime.fromtimestamp(t, there) for t in unix]
    walls = [m.replace(tzinfo=None) for m in moments]
    first = [round(m.replace(fold=0).timestamp()) - EPOCH_UNIX_S for m in moments]
    shown = [round(m.replace(tzinfo=dt.UTC).timestamp()) - EPOCH_UNIX_S for m in moments]
    forms = [pa.array([m.isoformat(sep) for m in walls]) for sep in "T "] + [
        pa.array(walls, pa.timestamp("us")),
        pa.array([m.strftime("%Y%m%d%H%M%S") for m in walls]),
    ]
    for form in forms:
        times = parse_times(form, how)
        assert times.mono_s.tolist() == first
        assert times.local_s.tolist() == shown
    exact = [t - EPOCH_UNIX_S for t in unix]
    in_utc = [dt.datetime.fromtimestamp(t, dt.UTC) for t in unix]
    told = [
        pa.array(unix),
        pa.array([m.isoformat() for m in in_utc]),
        pa.array([m.strftime("%Y-%m-%d %H:%M:%SZ") for m in in_utc]),
        pa.array([m.isoformat() for m in moments]),
    ]
    for form in told:
        times = parse_times(form, how)
        assert times.mono_s.tolist() == exact
        assert times.local_s.tolist() == shown


def test_a_zone_that_is_none(tmp_path: Path) -> None:
    for zone in ("Mars/Base", "", "../etc/passwd"):
        with pytest.raises(ConfigError, match=r"no such zone.*Europe/Zurich"):
            from_table({"data": {"time": {"column": "t", "zone": zone}}})
    with pytest.raises(ConfigError, match="remove one of them"):
        from_table({"data": {"time": {"column": "t", "zone": "UTC", "utc_offset": "1h"}}})


def test_an_unknown_zone_is_named(tmp_path: Path) -> None:
    column = pa.array([UNIX]).cast(pa.timestamp("s", "Mars/Base"))
    with pytest.raises(DataError, match=r"t\.parquet, column t: .*'Mars/Base'"):
        columns(tmp_path, column)


def test_floats_too_coarse_for_a_time_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="32-bit floating-point number is too coarse"):
        columns(tmp_path, pa.array([float(UNIX)], pa.float32()))
    assert np.spacing(np.float32(UNIX)) == 128
    tx = columns(tmp_path, pa.array([86_400.0], pa.float32()), epoch="2024-01-01")
    assert format_time(int(tx.t_mono_s[0])) == "2024-01-02T00:00:00"

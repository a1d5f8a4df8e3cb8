# SPDX-License-Identifier: Apache-2.0
"""Reports in any order, any number of times, in any batches: the lake is the same bytes."""

from __future__ import annotations

import contextlib
import os
import stat
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import fleet as bench
from tests.support.cli import tinyfin, tinyfin_json
from tinyfin.errors import InputError, TinyfinError
from tinyfin.field.keys import terminal_keys
from tinyfin.field.report import COUNTERS, parse_report
from tinyfin.fleet import tables
from tinyfin.fleet.lake import Lake, file_bytes, newest_day
from tinyfin.fleet.views import connect, rows_of

REPORTS = bench.fleet(6, 5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lakes")


@pytest.fixture(scope="module")
def expected(folder: Path) -> dict[str, bytes]:
    lake = bench.new_lake(folder / "expected")
    bench.take(lake, *REPORTS)
    return bench.lake_bytes(lake)


@settings(deadline=None, max_examples=8)
@given(
    order=st.permutations(REPORTS),
    again=st.lists(st.sampled_from(REPORTS), max_size=40),
    cuts=st.lists(st.integers(1, len(REPORTS) + 39), max_size=3),
)
def test_any_order_and_repetition(
    folder: Path,
    expected: dict[str, bytes],
    order: list[bytes],
    again: list[bytes],
    cuts: list[int],
) -> None:
    lake = bench.new_lake(folder / f"lake{len(list(folder.iterdir()))}")
    delivered = [*order, *again]
    for start, end in pairwise([0, *sorted(cuts), len(delivered)]):
        bench.take(lake, *delivered[start:end])
    assert bench.lake_bytes(lake) == expected
    assert lake.faults() == []


def test_a_merge_that_keeps_what_came_last_is_noticed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tables._MERGED["report"].replace("ORDER BY number DESC, digest DESC", "")
    monkeypatch.setitem(tables._MERGED, "report", kept)
    lake = bench.new_lake(folder / "control")
    newer, older = bench.made([bench.reading(0, 0, n, number=n, boot_nonce=1) for n in (3, 2)])
    bench.take(lake, newer)
    before = bench.lake_bytes(lake)
    bench.take(lake, older)
    assert bench.lake_bytes(lake) != before


def test_the_newest_report_of_a_boot_and_day_counts(tmp_path: Path) -> None:
    lake = bench.new_lake(tmp_path / "lake")
    four = [bench.reading(0, 0, 10 * n, number=n) for n in range(1, 5)]
    bench.take(lake, *bench.made([four[3], four[0], four[2], four[1]]))
    with connect(lake) as base:
        assert rows_of(base, "SELECT number, scored, conflict FROM report") == [
            {"number": 4, "scored": 40, "conflict": False}
        ]


@pytest.mark.parametrize("order", [(0, 1), (1, 0), (0, 1, 0)])
def test_two_reports_of_one_number_are_a_conflict(tmp_path: Path, order: tuple[int, ...]) -> None:
    """Whichever comes first; a report with a higher number ends it."""
    two = bench.made([bench.reading(0, 0, scored) for scored in (10, 20)])
    lake = bench.new_lake(tmp_path / "lake")
    for index in order:
        bench.take(lake, two[index])
    conflicts = "SELECT conflict, digest FROM report"
    with connect(lake) as base:
        (found,) = rows_of(base, conflicts)
    assert found["conflict"]
    assert found["digest"] == max(bench_digest(data) for data in two)
    bench.take(lake, *bench.made([bench.reading(0, 0, 30, number=2)]))
    with connect(lake) as base:
        assert not rows_of(base, conflicts)[0]["conflict"]


def bench_digest(data: bytes) -> str:
    return data[-16:-8].hex().translate(str.maketrans("0123456789abcdef", "abcdefghijklmnop"))


def test_a_row_says_what_the_report_says(tmp_path: Path) -> None:
    """Compared with the reader of `tinyfin report show`."""
    lake = bench.new_lake(tmp_path / "lake")
    (data,) = bench.made([bench.reading(3, 2, 55, cause=1, notice_page=9)])
    bench.take(lake, data)
    said = parse_report(data)
    with connect(lake) as base:
        (row,) = rows_of(base, "SELECT * FROM report")
    assert {name: row[name] for name in COUNTERS} == said.counters
    assert (row["boot"], row["number"]) == (said.boot_nonce, said.number)
    assert row["hour"] == said.t_s // 3600
    assert row["pack"] == said.pack.hex()
    assert (row["reset_cause"], row["notice_page"]) == ("fault", 9)
    assert row["terminal"] == lake.key.terminal(said.terminal)
    assert set(row) == set(tables.SCHEMAS["report"].names)


def test_everything_is_its_owners_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        lake = bench.new_lake(tmp_path / "deep" / "lake")
        bench.take(lake, *REPORTS[:3])
    finally:
        os.umask(before)
    for path in [lake.path, *lake.path.rglob("*"), tmp_path / "deep" / "shared.key"]:
        if path.parent.name not in ("processed", "inbox"):  # who put it there decides
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_an_encrypted_lake(tmp_path: Path) -> None:
    lake = bench.new_lake(tmp_path / "lake", encrypted=True)
    plain = bench.new_lake(tmp_path / "plain")
    for one in (lake, plain):
        bench.take(one, *REPORTS)
    assert Lake(lake.path).faults() == []
    query = "SELECT * FROM report ORDER BY ALL"
    with connect(lake) as base, connect(plain) as other:
        assert rows_of(base, query) == rows_of(other, query)
    alias = lake.key.terminal(bench.terminal(0)).encode()
    assert not any(alias in path.read_bytes() for path in bench.places(lake))
    assert [p.name for p in sorted((lake.path / "report").iterdir())] == [
        p.name for p in sorted((plain.path / "report").iterdir())
    ]


def test_verify_names_what_is_wrong(tmp_path: Path) -> None:
    lake = bench.new_lake(tmp_path / "lake")
    bench.take(lake, *REPORTS)
    assert tinyfin_json(f"fleet verify {lake.path}")["faults"] == []
    one, two, three, *_ = sorted((lake.path / "report").iterdir())
    data = bytearray(one.read_bytes())
    data[len(data) // 3] ^= 1
    one.write_bytes(data)
    two.chmod(0o644)
    three.unlink()
    said = tinyfin(f"fleet verify {lake.path}", code=4).output
    for path in (one, two, three):
        assert str(path) in said
    assert "other than its owner" in said


def test_a_lake_that_was_damaged_says_so(tmp_path: Path) -> None:
    lake = bench.new_lake(tmp_path / "lake")
    bench.take(lake, *REPORTS[:2])
    for name in ("manifest.json", "lake.json"):
        whole = (lake.path / name).read_bytes()
        for at in range(len(whole)):
            damaged = bytearray(whole)
            damaged[at] ^= 1
            (lake.path / name).write_bytes(damaged)
            with contextlib.suppress(TinyfinError):
                Lake(lake.path).faults()
        (lake.path / name).write_bytes(whole)
    next((lake.path / "report").iterdir()).unlink()
    for verb in ("status", "publish"):
        assert "cannot be read" in tinyfin(f"fleet {verb} {lake.path}", code=3).output


def test_lakes_that_are_none(tmp_path: Path) -> None:
    assert "is no lake" in tinyfin(f"fleet status {tmp_path / 'none'}", code=3).output
    lake = bench.new_lake(tmp_path / "lake")
    assert "not an empty folder" in tinyfin(f"fleet init {lake.path}", code=3).output
    key = tmp_path / "shared.key"
    key.chmod(0o644)
    assert "chmod 600" in tinyfin(f"fleet status {lake.path}", code=3).output
    key.unlink()
    assert "put it back" in tinyfin(f"fleet status {lake.path}", code=3).output
    with pytest.raises(InputError, match="no report keys"):
        Lake.create(tmp_path / "other").report_keys()


def test_report_keys_of_some_terminals(tmp_path: Path) -> None:
    """A file of report keys holds no fleet key, and knows no other terminal."""
    fleet = bench.key_file(tmp_path)
    (tmp_path / "ids").write_text(f"{bench.terminal(0).hex()}\n{bench.terminal(1).hex()}\n")
    tinyfin(f"fleet keys {tmp_path}/ids --fleet-key {fleet} --out {tmp_path}/report.keys")
    assert bench.FLEET.hex() not in (tmp_path / "report.keys").read_text()
    tinyfin(f"fleet init {tmp_path}/lake --report-keys {tmp_path}/report.keys")
    lake = Lake(tmp_path / "lake")
    assert (
        lake.report_keys().of(bench.terminal(1))
        == terminal_keys(bench.FLEET, bench.terminal(1)).report
    )
    for number, data in enumerate(bench.fleet(3, 1)):
        (lake.inbox / f"{number}").write_bytes(data)
    done = tinyfin_json(f"fleet ingest {lake.path}")
    assert (done["reports"], done["refused"]) == (2, {"terminal": 1})


def test_equal_rows_are_equal_bytes_however_they_came(tmp_path: Path) -> None:
    """Also through a file: a type that reading changes would be in the next file."""
    lake = bench.new_lake(tmp_path / "lake")
    bench.take(lake, *REPORTS)
    for part in lake.manifest().parts.values():
        table = lake.read(part)
        pieces = pa.concat_tables([table.slice(0, 1), table.slice(1)])
        assert file_bytes(pieces) == (lake.path / part.file).read_bytes()


def test_the_newest_day_is_none_to_come(tmp_path: Path) -> None:
    lake = bench.new_lake(tmp_path / "lake")
    ahead = bench.reading(1, 36_524 - bench.FIRST_DAY, 9, boot_nonce=7)  # a clock in 2100
    bench.take(lake, *bench.made([bench.reading(0, 2, 9, boot_nonce=7), ahead]))
    assert newest_day(lake) == bench.FIRST_DAY + 2

# SPDX-License-Identifier: Apache-2.0
"""What a lake refuses, by which name, and that it is kept aside and counted."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import fleet as bench
from tests.support.cli import tinyfin, tinyfin_json
from tinyfin.field.keys import terminal_keys
from tinyfin.field.report import Report, Tag, encode
from tinyfin.fleet.admission import Admission, Refused, Why, kept_aside
from tinyfin.fleet.lake import Lake
from tinyfin.fleet.secrets import ReportKeys
from tinyfin.fleet.upkeep import erase, retain

(GOOD,) = bench.fleet(1, 1)
ID = bench.terminal(5)
KEY = terminal_keys(bench.FLEET, ID).report
SHORT = encode(Report(ID, 1, 1, bytes(8), 0, ((Tag.SLOTS, b"short"),)), KEY).data
LARGE = encode(Report(ID, 1, 1, bytes(8), 0, ((Tag.COUNTERS, b"\xff" * 9 + b"\1"),)), KEY).data
FORGED = bench.forged(GOOD)
WRONG = {Why.SIZE: GOOD + bytes(600), Why.FORMAT: b"TFRQ" + GOOD[4:], Why.MAC: FORGED}
WRONG |= {Why.SECTION: SHORT}


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return bench.new_lake(tmp_path / "lake")


@pytest.mark.parametrize("why", WRONG)
def test_wrong_reports_are_kept_aside_by_name(lake: Lake, why: Why) -> None:
    data = WRONG[why]
    with pytest.raises(Refused) as refused:
        Admission(lake, bench.KEYS).deliver(data, "a.tfreport")
    assert refused.value.why == why
    assert str(refused.value).startswith("a.tfreport: ")
    assert kept_aside(lake) == {why: 1}
    done = bench.take(lake, data, GOOD)
    assert done.refused == {why: 1}
    assert done.reports == 1
    assert len(done.messages) == 1
    assert lake.manifest().parts


def test_counters_that_do_not_fit(lake: Lake) -> None:
    assert bench.take(lake, LARGE).refused == {Why.SECTION: 1}


def test_a_terminal_without_a_key(lake: Lake) -> None:
    with pytest.raises(Refused, match="not among the report keys"):
        Admission(lake, ReportKeys(None)).deliver(GOOD)
    assert kept_aside(lake) == {Why.TERMINAL: 1}


def test_old_and_erased_ones(lake: Lake) -> None:
    retain(lake, bench.FIRST_DAY + 1)
    assert bench.take(lake, GOOD).refused == {Why.OLD: 1}
    (newer,) = bench.made([bench.reading(0, 3, 5)])
    erase(lake, terminal=bench.terminal(0))
    assert bench.take(lake, newer).refused == {Why.ERASED: 1}
    assert Why.ERASED not in kept_aside(lake), "nothing of it is kept"


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=700), st.integers(0, len(GOOD)))
def test_any_bytes_are_taken_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, keep: int
) -> None:
    folder = tmp_path_factory.getbasetemp() / "any"
    lake = Lake(folder) if folder.exists() else bench.new_lake(folder)
    with pytest.raises(Refused):
        Admission(lake, bench.KEYS).row(GOOD[:keep] + data if data else FORGED)


def test_a_sender_of_rubbish_fills_no_disk(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tinyfin.fleet.admission._MOST_ASIDE", 3)
    door = Admission(lake, bench.KEYS)
    for number in range(9):
        with pytest.raises(Refused):
            door.deliver(bytes([number]) * 40)
    assert kept_aside(lake) == {Why.FORMAT: 3}


@pytest.mark.parametrize("wrap", [bytes, gzip.compress])
def test_an_archive(lake: Lake, tmp_path: Path, wrap: type[bytes]) -> None:
    reports = bench.fleet(2, 3)
    (lake.inbox / "a.tar").write_bytes(wrap(bench.tar(*reports, FORGED, bytes(600), *reports)))
    done = tinyfin_json(f"fleet ingest {lake.path} --report-keys {bench.key_file(tmp_path)}")
    assert (done["reports"], done["again"]) == (12, 6)
    assert done["refused"] == {"mac": 1, "size": 1}
    assert kept_aside(lake) == {"mac": 1, "size": 1}
    assert [p.name for p in (lake.path / "processed").iterdir()] == ["a.tar"]


@pytest.mark.parametrize("wrap", [bytes, gzip.compress])
@pytest.mark.parametrize("end", [7700, 7680, 7168])
def test_an_archive_that_is_cut_off(
    lake: Lake, tmp_path: Path, wrap: type[bytes], end: int
) -> None:
    """What can be read of it counts; the file is kept. Also at the end of a member."""
    whole = bench.tar(*bench.fleet(4, 6))
    whole = whole[:end] if wrap is bytes else wrap(whole)[: end // 8]
    (lake.inbox / "a.tar").write_bytes(whole)
    said = tinyfin(f"fleet ingest {lake.path} --report-keys {bench.key_file(tmp_path)}").output
    assert "a.tar: is cut off or damaged" in said
    assert kept_aside(lake) == {"archive": 1}
    assert lake.manifest().parts


def test_a_file_that_is_being_written_is_left_alone(lake: Lake) -> None:
    (lake.inbox / ".a.tfreport").write_bytes(GOOD[:50])
    assert bench.take(lake).files == 0
    assert (lake.inbox / ".a.tfreport").exists()


def test_a_writer_that_uses_a_name_again_loses_nothing(lake: Lake) -> None:
    """Between the claim and the end of the merge, too."""
    first, second = bench.fleet(1, 2)
    for data in (first, second):
        (lake.inbox / "report").write_bytes(data)
        bench.take(lake)
    assert sum(part.rows for part in lake.manifest().parts.values()) == 2
    assert len(list((lake.path / "processed").iterdir())) == 2


def test_another_folder(lake: Lake, tmp_path: Path) -> None:
    drop = tmp_path / "drop"
    drop.mkdir()
    (drop / "a.tfreport").write_bytes(GOOD)
    words = f"fleet ingest {lake.path} --report-keys {bench.key_file(tmp_path)} --from"
    assert tinyfin_json(f"{words} {drop}")["reports"] == 1
    assert list(drop.iterdir()) == []

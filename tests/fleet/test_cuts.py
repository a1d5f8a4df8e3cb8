# SPDX-License-Identifier: Apache-2.0
"""Killed, or without power, at any operation on the disk: nothing is lost and nothing is twice."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import fleet as bench
from tinyfin.fleet import durable
from tinyfin.fleet.admission import Admission, name_of
from tinyfin.fleet.ingest import _Run, ingest
from tinyfin.fleet.lake import Lake
from tinyfin.fleet.upkeep import erase, retain

REPORTS = bench.fleet(2, 2)
FIRST, SECOND = REPORTS[:2], REPORTS[2:]
FORGED = bench.forged(REPORTS[0])


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """A lake that holds some reports, and others in the inbox; one of them is forged."""
    lake = bench.new_lake(tmp_path / "world" / "lake")
    bench.take(lake, *FIRST)
    for data in [*SECOND, FORGED]:
        (lake.inbox / name_of(data)).write_bytes(data)
    return tmp_path / "world"


def cut_everywhere(
    world: Path, act: Callable[[Lake], object], *, fsync: bool = True
) -> list[tuple[int, Lake]]:
    """The lakes that are left when the power goes at each operation of ``act``."""
    found = []
    for at in range(10_000):
        copy = world.with_name(f"cut{at}")
        shutil.copytree(world, copy)
        lake = Lake(copy / "lake")
        lake.settings.key = str(copy / "shared.key")
        disk = bench.Disk(at, fsync=fsync)
        try:
            with disk.installed():
                act(lake)
            return found
        except bench.Cut:
            disk.crash()
            found.append((at, lake))
    raise AssertionError("it never ends")


def whole(world: Path, act: Callable[[Lake], object]) -> dict[str, bytes]:
    copy = world.with_name("whole")
    shutil.copytree(world, copy)
    lake = Lake(copy / "lake")
    act(lake)
    return bench.lake_bytes(lake)


def merge(lake: Lake) -> None:
    ingest(lake, bench.KEYS)


def test_a_merge(world: Path) -> None:
    expected = whole(world, merge)
    cut = cut_everywhere(world, merge)
    assert len(cut) > 30
    for at, lake in cut:
        assert Lake(lake.path).faults() == [], at
        merge(lake)
        assert bench.lake_bytes(lake) == expected, at
        put_away = list((lake.path / "processed").iterdir())
        assert {p.read_bytes() for p in put_away} == set(REPORTS), at
        (aside,) = (lake.path / "rejected" / "mac").iterdir()
        assert aside.read_bytes() == FORGED, at
        assert not durable.entries(lake.inbox) + durable.entries(lake.path / "claimed"), at


def violations(world: Path, *, fsync: bool = True) -> int:
    """How many cuts of a merge lose something."""
    expected, count = whole(world, merge), 0
    for _, lake in cut_everywhere(world, merge, fsync=fsync):
        try:
            merge(lake)
            count += bench.lake_bytes(lake) != expected
        except Exception:
            count += 1
    return count


def test_without_fsync_something_is_lost(world: Path) -> None:
    assert violations(world, fsync=False)


def test_files_that_are_put_away_too_early_are_lost(
    world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = _Run._store
    monkeypatch.setattr(_Run, "_store", lambda _: None)

    def early(run: _Run, files: list[tuple[Path, Path]]) -> None:
        for _, folder in files:
            durable.folder(folder)
        durable.move((path, folder / path.name) for path, folder in files)
        store(run)

    monkeypatch.setattr(_Run, "_commit", early)
    assert violations(world)


def test_a_manifest_that_is_written_in_place_is_lost(
    world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def in_place(path: Path, data: bytes, *, named: bool = True) -> None:
        descriptor = durable.os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        durable.os.write(descriptor, data)
        os.write(descriptor, data[max(1, len(data) // 2) :])
        durable.os.fsync(descriptor)
        os.close(descriptor)
        durable.sync(path.parent)

    monkeypatch.setattr(durable, "write", in_place)
    assert violations(world)


def test_a_report_that_is_acknowledged_is_in_the_inbox(world: Path) -> None:
    def deliver(lake: Lake) -> None:
        Admission(lake, bench.KEYS).deliver(bench.fleet(1, 9)[-1])

    cut = cut_everywhere(world, deliver)
    assert len(cut) >= 4
    for at, lake in cut:  # it was not acknowledged: it comes again
        deliver(lake)
        merge(lake)
        assert len(durable.entries(lake.path / "rejected" / "mac")) == 1, at


def test_an_erasure_and_a_retention(world: Path) -> None:
    """Called again they end as if they had not been cut."""

    def forget(lake: Lake) -> None:
        erase(lake, terminal=bench.terminal(0))

    def old(lake: Lake) -> None:
        retain(lake, bench.FIRST_DAY + 1)

    for act in (forget, old):
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(world.with_name("whole"))
        expected = whole(world, act)
        for at, lake in cut_everywhere(world, act):
            act(lake)
            assert bench.lake_bytes(lake) == expected, (act, at)
            shutil.rmtree(lake.path.parent)
        shutil.rmtree(next(world.parent.glob("cut*")))


@pytest.mark.live
def test_killed_for_good(world: Path) -> None:
    """SIGKILL, at moments of the clock: a process that merges, started until it has ended."""
    lake = Lake(world / "lake")
    expected = whole(world, merge)
    words = [sys.executable, "-c", "from tests.fleet.test_cuts import slow; slow()", str(world)]
    for pause_s in (0.0, 0.02, 0.05, 0.1, 0.2):
        with subprocess.Popen(words, stdout=subprocess.PIPE) as merging:
            assert merging.stdout is not None
            assert merging.stdout.readline() == b"begun\n"
            time.sleep(pause_s)
            merging.send_signal(signal.SIGKILL)
        assert Lake(lake.path).faults() == []
    merge(lake)
    found = bench.lake_bytes(lake)
    assert found == expected


def slow() -> None:
    """A merge that takes its time over each operation, for the test above."""

    class Slow(bench.Disk):
        def _step(self) -> None:
            time.sleep(0.01)

    lake = Lake(Path(sys.argv[1]) / "lake")
    print("begun", flush=True)
    with Slow(0).installed():
        merge(lake)

# SPDX-License-Identifier: Apache-2.0
"""Backups: the drill, a byte that was changed, a restore that is killed."""

from __future__ import annotations

import contextlib
import io
import os
import random
import shutil
import sqlite3
import stat
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import fleet as bench
from tests.support import registries
from tests.support.cli import tinyfin, tinyfin_json
from tinyfin import files
from tinyfin.errors import InputError, MismatchError, TinyfinError
from tinyfin.fleet import backup as backups
from tinyfin.fleet.backup import backup, restore
from tinyfin.fleet.ingest import ingest
from tinyfin.fleet.labels import add_labels
from tinyfin.fleet.lake import Lake

REPORTS = bench.fleet(3, 4)


def small_lake(folder: Path) -> Lake:
    lake = bench.new_lake(folder / "lake", report_keys=bench.key_file(folder))
    bench.take(lake, *REPORTS[:4], bench.forged(REPORTS[0]))
    return lake


def tree(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def test_the_drill(tmp_path: Path) -> None:
    """Backed up while reports are merged and a campaign is written; destroyed; restored; and the
    next merge goes on as if nothing had been."""
    lake = small_lake(tmp_path)
    add_labels(lake, [bench.label_file(tmp_path / "labels.csv")])
    registry = registries.registry(tmp_path / "registry")
    writer = sqlite3.connect(lake.path / "campaigns.sqlite")
    writer.executescript("PRAGMA journal_mode=WAL; CREATE TABLE tick (hour INTEGER)")
    writer.execute("INSERT INTO tick VALUES (7)")
    writer.commit()
    writer.execute("INSERT INTO tick VALUES (8)")  # not committed
    left = list(REPORTS[4:])
    over = threading.Event()

    def merge() -> None:
        while left and not over.is_set():
            bench.take(lake, left.pop())

    merging = threading.Thread(target=merge)
    merging.start()
    words = f"--registry {registry.path} --with-keys"
    said = tinyfin_json(f"fleet backup {lake.path} {tmp_path / 'a.tar'} {words}")
    over.set()
    merging.join(60)
    assert said["files"] > 10
    assert stat.S_IMODE((tmp_path / "a.tar").stat().st_mode) == 0o600
    with tarfile.open(tmp_path / "a.tar") as archive:  # others can read it, too
        assert len(archive.getnames()) == said["files"] + 1
    shutil.rmtree(lake.path)
    (tmp_path / "shared.key").unlink()
    (tmp_path / "fleet.key").unlink()

    back = tmp_path / "back"
    assert tinyfin_json(f"fleet restore {tmp_path / 'a.tar'} {back}")["keys_missing"] == []
    assert tinyfin_json(f"fleet verify {back / 'lake'}")["faults"] == []
    assert tinyfin_json(f"registry verify --registry {back / 'registry'}")
    with contextlib.closing(sqlite3.connect(back / "lake" / "campaigns.sqlite")) as base:
        assert base.execute("SELECT hour FROM tick").fetchall() == [(7,)]
    again = Lake(back / "lake")
    for at, data in enumerate(REPORTS):  # carriers bring all of them once more
        (again.inbox / f"{at}.tfreport").write_bytes(data)
    ingest(again, again.report_keys())
    never = bench.new_lake(tmp_path / "never")
    shutil.copy(back / "keys" / "lake.key", tmp_path / "shared.key")
    never = Lake(never.path)
    bench.take(never, *REPORTS)
    add_labels(never, [tmp_path / "labels.csv"])
    parts = again.manifest().parts
    assert parts == never.manifest().parts
    assert [p.read_bytes() for p in (again.path / "rejected" / "mac").iterdir()]


def test_keys_are_left_out_unless_they_are_asked_for(tmp_path: Path) -> None:
    lake = small_lake(tmp_path)
    made = tinyfin(f"fleet backup {lake.path} {tmp_path / 'a.tar'}")
    assert "keep that one, too" in made.output
    secrets = [(tmp_path / name).read_bytes().split()[1] for name in ("shared.key", "fleet.key")]
    assert not any(secret in (tmp_path / "a.tar").read_bytes() for secret in secrets)
    (tmp_path / "shared.key").unlink()
    said = tinyfin_json(f"fleet restore {tmp_path / 'a.tar'} {tmp_path / 'back'}")
    assert said["keys_missing"] == [str(tmp_path / "shared.key")]
    for path in (tmp_path / "back").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_what_cannot_be_backed_up_or_restored(tmp_path: Path) -> None:
    lake = small_lake(tmp_path)
    out, words = tmp_path / "a.tar", ("postgresql+psycopg://localhost/campaigns",)
    said = tinyfin(f"fleet backup {lake.path} {out} --campaigns", *words, code=3).output
    assert "pg_dump" in said
    with pytest.raises(InputError, match="is no registry"):
        backup(lake, out, registry=tmp_path)
    assert not out.exists()
    backup(lake, out)
    with pytest.raises(InputError, match="not an empty folder"):
        restore(out, tmp_path)


def at_fault(archive: Path, offset: int) -> str:
    """The member whose header, content or padding has this byte; empty: the end."""
    with tarfile.open(archive) as held:
        for member in held:
            if offset < member.offset_data + -(-member.size // 512) * 512:
                return member.name
    return ""


def changed(archive: Path, count: int) -> Iterator[tuple[int, bytes]]:
    """The archive with one byte changed, at places that are drawn, and every header's first and
    last of the checksum; then cut off and longer."""
    whole = archive.read_bytes()
    with tarfile.open(archive) as held:
        heads = [member.offset + at for member in held for at in (0, 155, 511)]
    draw = random.Random(1)
    for offset in [*heads, *draw.sample(range(len(whole)), count), len(whole) - 1]:
        data = bytearray(whole)
        data[offset] ^= draw.randrange(1, 256)
        yield offset, bytes(data)
    yield len(whole), whole[: len(whole) // 2]
    yield len(whole), whole[:-1]
    yield len(whole), whole + b"\0"


def test_a_byte_that_was_changed_is_named(tmp_path: Path) -> None:
    backup(small_lake(tmp_path), tmp_path / "a.tar")
    size = (tmp_path / "a.tar").stat().st_size
    for offset, data in changed(tmp_path / "a.tar", 80):
        (tmp_path / "b.tar").write_bytes(data)
        with pytest.raises((MismatchError, InputError)) as caught:
            restore(tmp_path / "b.tar", tmp_path / "back")
        assert not (tmp_path / "back").exists()
        if offset < size and at_fault(tmp_path / "a.tar", offset) != "backup.json":
            assert at_fault(tmp_path / "a.tar", offset) in str(caught.value), offset


def test_without_the_checks_changed_bytes_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backup(small_lake(tmp_path), tmp_path / "a.tar")
    monkeypatch.setattr(backups, "_expect", lambda path, data, wanted, what: data.read(len(wanted)))
    taken = 0
    for _, data in changed(tmp_path / "a.tar", 30):
        (tmp_path / "b.tar").write_bytes(data)
        with contextlib.suppress(TinyfinError):
            restore(tmp_path / "b.tar", tmp_path / "back")
            taken += 1
            shutil.rmtree(tmp_path / "back")
    assert taken > 15


def killed_at(count: int, archive: Path, folder: Path) -> bool:
    """Restore in a process that dies at this operation on the disk; whether it ended before."""
    child = os.fork()
    if not child:
        left = [count]

        def dies(name: str, place: object) -> None:
            real = getattr(place, name)

            def call(*words: object, **more: object) -> object:
                left[0] -= 1
                if left[0] < 0:
                    os._exit(9)
                return real(*words, **more)

            setattr(place, name, call)

        for name in ("open", "mkdir", "fsync", "replace"):
            dies(name, os)
        for place in ("rename", "mkdir", "unlink"):
            dies(place, Path)
        dies("_exchange", files)
        restore(archive, folder)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def half_restored(tmp_path: Path) -> int:
    """How many of all kills leave something that is neither nothing nor the whole."""
    backup(small_lake(tmp_path), tmp_path / "a.tar")
    restore(tmp_path / "a.tar", tmp_path / "whole")
    expected, halves, back = tree(tmp_path / "whole"), 0, tmp_path / "back"
    for count in range(10_000):
        if count % 2:
            back.mkdir()
        ended = killed_at(count, tmp_path / "a.tar", back)
        if tree(back) != expected:
            try:
                restore(tmp_path / "a.tar", back)
            except InputError:
                halves += 1
            else:
                assert tree(back) == expected
        shutil.rmtree(back, ignore_errors=True)
        if ended:
            return halves
    raise AssertionError("it never ends")


def test_a_restore_that_is_killed(tmp_path: Path) -> None:
    assert half_restored(tmp_path) == 0
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".back.")]


def test_a_restore_in_place_would_leave_half(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextlib.contextmanager
    def in_place(path: Path, **_: object) -> Iterator[Path]:
        path.mkdir(exist_ok=True)
        yield path

    monkeypatch.setattr(files, "folder", in_place)
    assert half_restored(tmp_path) > 0


def test_names_that_lead_elsewhere_are_refused(tmp_path: Path) -> None:
    """Of a list that was made by hand: nothing is written outside of the folder."""
    for name in ("../out", "/out", "a/../../out", "a//b"):
        made = backups.Backup(files={name: backups._facts(b"x")})
        to = io.BytesIO()
        backups._write(to, made, {name: b"x"})
        (tmp_path / "a.tar").write_bytes(to.getvalue())
        with pytest.raises(MismatchError, match="no place in a backup"):
            restore(tmp_path / "a.tar", tmp_path / "deep" / "back")


def test_a_size_that_no_tar_has_is_refused(tmp_path: Path) -> None:
    kept = backups.Kept.model_construct(bytes=10**40, sha256=64 * "0")
    text = backups.Backup.model_construct(files={"lake/x": kept}).text().encode()
    (tmp_path / "a.tar").write_bytes(backups._header("backup.json", len(text)) + text + bytes(999))
    with pytest.raises(MismatchError, match="was changed"):
        restore(tmp_path / "a.tar", tmp_path / "back")

# SPDX-License-Identifier: Apache-2.0
"""Files at names that others can guess, in folders where others may write."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from tinyfin import cache, output_claims, paths
from tinyfin.errors import InputError, TinyfinError
from tinyfin.targets import build

Lock = Callable[[Path], AbstractContextManager[Any]]


def of_the_cache(folder: Path) -> AbstractContextManager[Any]:
    return cache._locked(folder)


def of_a_build(folder: Path) -> AbstractContextManager[Any]:
    return build._locked(folder / ".lock", 1.0)


def of_a_name(folder: Path) -> AbstractContextManager[Any]:
    return output_claims.claimed(folder / "out")


def of_a_shared_name(folder: Path) -> AbstractContextManager[Any]:
    return output_claims.claimed(folder / "out", shared=True)


LOCKS: dict[Lock, str] = {
    of_the_cache: ".lock",
    of_a_build: ".lock",
    of_a_name: ".out.lock",
    of_a_shared_name: ".out.lock",
}


@pytest.mark.parametrize("lock", LOCKS)
@pytest.mark.parametrize("planted", ["link", "hard link", "dangling link", "pipe", "folder"])
def test_a_planted_lock_touches_nothing(planted: str, lock: Lock, tmp_path: Path) -> None:
    victim, place = tmp_path / "victim", tmp_path / "shared" / LOCKS[lock]
    place.parent.mkdir()
    victim.write_text("theirs")
    if planted == "link":
        place.symlink_to(victim)
    elif planted == "hard link":
        os.link(victim, place)
    elif planted == "dangling link":
        place.symlink_to(tmp_path / "made")
    elif planted == "pipe":
        os.mkfifo(place)
    else:
        place.mkdir()
    before = victim.stat()
    with pytest.raises((OSError, TinyfinError)), lock(place.parent):
        pass
    after = victim.stat()
    assert victim.read_text() == "theirs"
    assert (after.st_mode, after.st_mtime_ns) == (before.st_mode, before.st_mtime_ns)
    assert not (tmp_path / "made").exists()


def test_a_planted_lock_is_named(tmp_path: Path) -> None:
    (tmp_path / "victim").touch()
    (tmp_path / ".out.lock").symlink_to(tmp_path / "victim")
    with pytest.raises(InputError, match=r"out: cannot be written: the lock \.out\.lock is a link"):
        of_a_name(tmp_path).__enter__()


EVIL = json.dumps({"pid": 1, "verb": "x\x1b[2J" * 100, "since": "now"})
HUGE = json.dumps({"pid": 10**30, "verb": "v", "since": "now"})


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param(EVIL, r"process 1 (x\x1b[2J", id="escape sequences"),
        pytest.param(HUGE, "another process", id="a huge number"),
        pytest.param("[" * 50_000, "another process", id="nested"),
        pytest.param("3", "another process", id="no object"),
        pytest.param("\udcff", "another process", id="no UTF-8"),
    ],
)
def test_a_lock_may_say_anything(text: str, shown: str, tmp_path: Path) -> None:
    with of_a_name(tmp_path):
        (tmp_path / ".out.lock").write_text(text + "\n", errors="surrogateescape")
        said: list[str] = []

        def claim() -> None:  # a thread of its own: this one holds the name
            try:
                of_a_name(tmp_path).__enter__()
            except InputError as error:
                said.append(str(error))

        thread = threading.Thread(target=claim)
        thread.start()
        thread.join()
    assert f"out: {shown}" in said[0]
    assert "\x1b" not in said[0]
    assert len(said[0]) < len(str(tmp_path)) + 300


@pytest.mark.parametrize("lock", LOCKS)
def test_an_own_lock_is_taken_again(lock: Lock, tmp_path: Path) -> None:
    for _ in range(2):
        with lock(tmp_path):
            assert (tmp_path / LOCKS[lock]).is_file()


def test_a_cache_that_everybody_may_write_to_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TINYFIN_CACHE", str(tmp_path / "own"))
    mask = os.umask(0)
    try:
        assert paths.cache_dir() == tmp_path / "own"
    finally:
        os.umask(mask)
    assert paths.cache_dir().stat().st_mode & 0o022 == 0
    (tmp_path / "own").chmod(0o1777)
    with pytest.raises(InputError, match="everybody may write there"):
        paths.cache_dir()

# SPDX-License-Identifier: Apache-2.0
"""The cache stays small and takes nothing away from who is using it."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tinyfin import cache


def made(folder: Path, name: str, age_s: float) -> Path:
    entry = folder / name
    (entry / "inner").mkdir(parents=True)
    os.utime(entry, (time.time() - age_s,) * 2)
    return entry


def names(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()} - {".lock"}


def test_the_newest_stay(tmp_path: Path) -> None:
    for age in range(6):
        made(tmp_path, f"e{age}", cache.REST_S * (1 + age))
    (tmp_path / "file").write_text("old")
    os.utime(tmp_path / "file", (0, 0))
    cache.keep_newest(tmp_path, 3)
    assert names(tmp_path) == {"e0", "e1", "e2"}
    cache.keep_newest(tmp_path / "missing", 3)


def test_what_is_in_use_stays(tmp_path: Path) -> None:
    old = made(tmp_path, "old", 10 * cache.REST_S)
    made(tmp_path, "older", 20 * cache.REST_S)
    assert cache.used(old)
    assert not cache.used(tmp_path / "missing")
    assert not cache.used(tmp_path / "nowhere" / "missing")
    cache.keep_newest(tmp_path, 0)
    assert names(tmp_path) == {"old"}
    assert (old / "inner").is_dir()


def test_many_at_once(tmp_path: Path) -> None:
    """A process that was given an entry is there finds it until the hour is over."""

    def work(number: int) -> bool:
        entry = tmp_path / f"e{number % 7}"
        there = cache.used(entry)
        cache.keep_newest(tmp_path, 1)
        return not there or (entry / "inner").is_dir()

    for number in range(7):
        made(tmp_path, f"e{number}", 3 * cache.REST_S)
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(200)))

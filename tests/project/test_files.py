# SPDX-License-Identifier: Apache-2.0
"""A file is the old one or the new one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tinyfin import files
from tinyfin.errors import InputError


def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state.bin"
    files.write(path, b"old")
    whole = Path.write_bytes

    def half(self: Path, data: bytes) -> int:
        whole(self, data[: len(data) // 2])
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(KeyboardInterrupt):
        files.write(path, b"newer")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_mode_and_link_stay(tmp_path: Path) -> None:
    path, link = tmp_path / "a", tmp_path / "link"
    files.write(path, "ä")
    path.chmod(0o600)
    link.symlink_to(path)
    files.write(link, "ö")
    assert link.is_symlink()
    assert path.read_text(encoding="utf-8") == "ö"
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_pipe_is_written_to(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        files.write(pipe, b"through")
        assert os.read(reader, 100) == b"through"
    finally:
        os.close(reader)
    assert pipe.is_fifo()


def test_what_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no.such.folder.*cannot be written.*another path"):
        files.write(tmp_path / "no_such_folder" / "x", b"")
    files.write(tmp_path / "made" / "x", b"1", make_folder=True)
    with pytest.raises(InputError, match="made: cannot be written"):
        files.write(tmp_path / "made", b"")


def test_a_block_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "rows"
    files.write(path, b"old")

    def half() -> None:
        with files.whole(path) as unfinished:
            unfinished.write_bytes(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        half()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_the_block_reads_is_not_blamed_on_the_one_it_writes(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="source"), files.whole(tmp_path / "out"):
        (tmp_path / "source").read_bytes()
    assert not list(tmp_path.iterdir())

# SPDX-License-Identifier: Apache-2.0
"""A name is one process' at a time, and a folder is the old one or the new one: real processes, two
at once, and killed at random moments."""

from __future__ import annotations

import errno
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tinyfin import files, output_claims
from tinyfin.errors import BudgetError, InputError

HOLD = """
import sys, time
from tinyfin.output_claims import claimed
with claimed(sys.argv[1], shared=len(sys.argv) > 2):
    print("held", flush=True)
    time.sleep(600)
"""

# writes a folder of several files again and again, all with the number of the round in them
ROUNDS = """
import itertools, sys, time
from pathlib import Path
from tinyfin import files
{sabotage}
place = Path(sys.argv[1])
print("begun", flush=True)
for number in itertools.count(1):
    with files.folder(place) as made:
        for name in "abcdefgh":
            files.write(made / name, f"{{number}}" * 2000)
            time.sleep(0.0005)
"""

IN_PLACE = """
import contextlib
@contextlib.contextmanager
def in_place(path, **_):
    path.mkdir(exist_ok=True)
    yield path
files.folder = in_place
"""

# one of two that write the same name: it reads a number, waits, and writes the next one
NEXT = """
import contextlib, os, sys, time
from pathlib import Path
from tinyfin import files, output_claims
place = Path(sys.argv[1])
def before_writing():
    time.sleep(0.002)
{sabotage}
for _ in range(20):
    with output_claims.claimed(place, wait_s=60):
        number = int(place.read_text())
        before_writing()
        files.write(place, str(number + 1))
"""

# without a claim both have read the same number before one of them writes
NO_CLAIM = """
output_claims.claimed = lambda path, **_: contextlib.nullcontext()
def before_writing():
    place.with_suffix(f".{os.getpid()}").touch()
    deadline = time.monotonic() + 100
    while len(list(place.parent.glob("number.*"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
"""


@contextmanager
def program(text: str, *words: object) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", text, *map(str, words)], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_a_second_process_hears_who_holds_the_name(tmp_path: Path) -> None:
    place = tmp_path / "scores.parquet"
    with program(HOLD, place) as holder:
        assert line(holder) == "held"
        with pytest.raises(InputError) as refused, output_claims.claimed(place):
            pass
        told = rf"process {holder.pid} \(-c, since \d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\d\) is using"
        assert re.search(told, str(refused.value))
        holder.kill()
        holder.wait()
        with output_claims.claimed(place):
            pass
    assert not list(tmp_path.iterdir()), "nothing is left, not even of the one that was killed"


def test_shared_claims_go_together_and_keep_others_out(tmp_path: Path) -> None:
    place = tmp_path / "run"
    with program(HOLD, place, "shared") as holder:
        assert line(holder) == "held"
        with output_claims.claimed(place, shared=True):
            pass
        with pytest.raises(InputError, match=str(holder.pid)), output_claims.claimed(place):
            pass
    with program(HOLD, place) as holder:
        assert line(holder) == "held"
        with pytest.raises(InputError), output_claims.claimed(place, shared=True):
            pass


def test_the_same_thread_may_claim_again_and_the_name_is_free_afterwards(tmp_path: Path) -> None:
    place = tmp_path / "x"
    with output_claims.claimed(place), output_claims.claimed(tmp_path / "." / "x"):
        pass
    with program(HOLD, place) as holder:
        assert line(holder) == "held"


def test_what_cannot_be_claimed_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(InputError, match="cannot be written"),
        output_claims.claimed(tmp_path / "file/x"),
    ):
        pass
    with (
        output_claims.claimed("/dev/null"),
        output_claims.claimed(tmp_path / "made" / "x", make_folder=True),
    ):
        assert (tmp_path / "made").is_dir()


@pytest.mark.parametrize("sabotage", ["", NO_CLAIM], ids=["claimed", "control"])
def test_two_processes_take_turns(tmp_path: Path, sabotage: str) -> None:
    place = tmp_path / "number"
    place.write_text("0")
    text = NEXT.format(sabotage=sabotage)
    with program(text, place) as one, program(text, place) as other:
        assert (one.wait(120), other.wait(120)) == (0, 0)
    assert (place.read_text() == "40") == (not sabotage), "the control loses some"


def rounds(folder: Path) -> set[str]:
    return {path.read_text()[:4] for path in folder.iterdir()} if folder.is_dir() else set()


def killed(place: Path, sabotage: str, times: int) -> Iterator[set[str]]:
    """What the folder held after a writer was killed, each of ``times`` times."""
    rng = random.Random(7)
    for _ in range(times):
        with program(ROUNDS.format(sabotage=sabotage), place) as writer:
            assert line(writer) == "begun"
            time.sleep(rng.uniform(0.0, 0.1))
        yield rounds(place)


def test_a_killed_writer_leaves_the_old_folder_or_the_new_one(tmp_path: Path) -> None:
    place = tmp_path / "run"
    assert all(len(numbers) <= 1 for numbers in killed(place, "", 12))
    with files.folder(place):
        pass
    assert list(tmp_path.iterdir()) == [place], "the next one removes what the dead have left"


def test_control_writing_in_place_leaves_a_mixture(tmp_path: Path) -> None:
    assert any(len(numbers) > 1 for numbers in killed(tmp_path / "run", IN_PLACE, 200))


def test_an_exception_leaves_the_old_folder_and_its_files_untouched(tmp_path: Path) -> None:
    place = tmp_path / "run"
    with files.folder(place) as made:
        files.write(made / "a", "old")
    inode = (place / "a").stat().st_ino

    def fail(error: BaseException, keep: tuple[type[BudgetError], ...] = ()) -> None:
        with files.folder(place, keep=keep) as made:
            files.write(made / "a", "new")
            raise error

    for error in (RuntimeError(), KeyboardInterrupt()):
        with pytest.raises(type(error)):
            fail(error)
        assert (place / "a").read_text() == "old"
    assert (place / "a").stat().st_ino == inode
    with pytest.raises(BudgetError):
        fail(BudgetError("told"), (BudgetError,))
    assert (place / "a").read_text() == "new"
    assert list(tmp_path.iterdir()) == [place]


def test_messages_name_the_folder_and_not_where_it_is_made(tmp_path: Path) -> None:
    place = tmp_path / "run"
    with pytest.raises(InputError) as told, files.folder(place) as made:
        raise InputError(f"{made / 'x'}: is wrong")
    assert str(told.value) == f"{place / 'x'}: is wrong"


def test_without_exchange_two_renames_do_it_and_a_death_between_them_is_undone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "run"
    with files.folder(place) as made:
        files.write(made / "a", "old")

    def unknown(one: Path, other: Path) -> None:
        raise OSError(errno.EINVAL, "not on this file system")

    monkeypatch.setattr(files, "_exchange", unknown)
    with files.folder(place) as made:
        files.write(made / "a", "new")
    assert (place / "a").read_text() == "new"
    dead = output_claims.temporary_name(place)
    place.rename(dead.with_name(dead.name + ".old"))
    dead.mkdir()
    with output_claims.claimed(place):
        assert (place / "a").read_text() == "new"
    assert list(tmp_path.iterdir()) == [place]


@pytest.mark.parametrize("foreign", [False, True])
def test_a_folder_with_files_of_others_stays_and_gets_the_new_ones(
    tmp_path: Path, foreign: bool
) -> None:
    place = tmp_path / "src"
    place.mkdir()
    (place / "a.h").write_text("old")
    (place / "same.c").write_text("same")
    if foreign:
        (place / "main.c").write_text("mine")
    inode, same = place.stat().st_ino, (place / "same.c").stat().st_ino
    with files.folder(place, ours=("a.h", "same.c", "sub")) as made:
        files.write(made / "a.h", "new")
        files.write(made / "sub" / "b", "b", make_folder=True)
    assert (place.stat().st_ino == inode) == foreign
    assert (place / "same.c").stat().st_ino == same, "what did not change is compiled in vain"
    assert (place / "a.h").read_text() == "new"
    assert (place / "sub" / "b").read_text() == "b"
    assert list(tmp_path.iterdir()) == [place]


@pytest.mark.parametrize("why", ["working in it", "mounted"])
def test_a_folder_that_must_stay_gets_the_new_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    place = tmp_path / "run"
    with files.folder(place) as made:
        files.write(made / "plots" / "gone", "old", make_folder=True)
        files.write(made / "a", "old")
        files.write(made / "same", "same")
    inode = place.stat().st_ino
    if why == "mounted":
        monkeypatch.setattr(os.path, "ismount", lambda path: path == place)
    else:
        monkeypatch.chdir(place)
    with files.folder(place) as made:
        (made / "plots" / "gone").unlink()
        (made / "plots").rmdir()
        files.write(made / "new" / "b", "new", make_folder=True)
        files.write(made / "a", "new")
    assert place.stat().st_ino == inode
    there = {str(p.relative_to(place)): p.read_text() for p in place.rglob("*") if p.is_file()}
    assert there == {"a": "new", "same": "same", "new/b": "new"}
    assert not (place / "plots").exists()
    assert list(tmp_path.iterdir()) == [place]


def test_a_file_system_without_locks_is_named_and_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(descriptor: int, kind: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", unknown)
    with (
        pytest.warns(UserWarning, match=r"run: this file system has no locks"),
        files.folder(tmp_path / "run") as made,
    ):
        files.write(made / "a", "new")
    assert [path.name for path in tmp_path.rglob("*")] == ["run", "a"]


def test_a_full_disk_is_named_whatever_a_library_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    for block in (files.folder, files.whole):
        with pytest.raises(InputError, match=r"x: cannot be written: No space left.*free some"):
            fails(block, tmp_path / "x", full)
    with pytest.raises(RuntimeError):
        fails(files.folder, tmp_path / "x", RuntimeError("HDF5: errno = 28"))
    monkeypatch.setattr(files, "_free", lambda path: 1000)
    with pytest.raises(InputError, match="No space left"):
        fails(files.folder, tmp_path / "x", RuntimeError("HDF5: errno = 28"))
    with pytest.raises(InputError, match=r"about 12 MB, and 1 kB are free"):
        files.require_space(tmp_path / "not" / "there", 12_000_000, "the run")


def fails(block: Callable[[Path], object], path: Path, error: Exception) -> None:
    with block(path):  # type: ignore[attr-defined]
        raise error

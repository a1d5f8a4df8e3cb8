# SPDX-License-Identifier: Apache-2.0
"""Killed, or without power, at any write: the registry is what it was or what it should become, and
the next command goes on. Two processes append at once."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.registries import START_S, Contents, contents, key, policy, registry
from tinyfin.errors import InputError
from tinyfin.output_claims import claimed
from tinyfin.registry import log as log_module
from tinyfin.registry.events import parse_line
from tinyfin.registry.registry import LOG, Registry

NOW = START_S + 3600
LATER = START_S + 7200
DEADLINE_S = 120
DONE, KILLED, FAILED = 0, 9, 1


class Machine:
    """A child's file system, which stops at its ``count``-th write: before it, in the middle of it
    or behind it. A power cut also takes back what no fsync has put onto the disk."""

    def __init__(self, count: int, when: str, *, power: bool, syncs: bool = True) -> None:
        self.left, self.when, self.power, self.syncs = count, when, power, syncs
        self.unwritten: dict[Path, int] = {}
        """Files that are not on the disk, and how much of them is."""
        self.renamed: list[tuple[Path, bytes | None]] = []
        """Names that are not on the disk, and what they stood for."""

    def install(self) -> None:
        """For the rest of this process."""
        self.of_descriptor = lambda fd: Path(os.readlink(f"/proc/self/fd/{fd}"))
        pwrite, write_bytes = os.pwrite, Path.write_bytes
        replace, fsync, truncate = Path.replace, os.fsync, os.ftruncate

        def cut_pwrite(fd: int, data: bytes, at: int) -> int:
            self.unwritten.setdefault(self.of_descriptor(fd), at)
            return int(
                self.at(
                    lambda: pwrite(fd, data[: len(data) // 2], at), lambda: pwrite(fd, data, at)
                )
            )

        def cut_write_bytes(path: Path, data: bytes) -> int:
            self.unwritten[path.resolve()] = 0
            return int(
                self.at(
                    lambda: write_bytes(path, data[: len(data) // 2]),
                    lambda: write_bytes(path, data),
                )
            )

        def cut_replace(path: Path, target: Path) -> Path:
            def rename() -> Path:
                old = target.read_bytes() if target.is_file() else None
                self.renamed.append((target, old))
                if path.resolve() in self.unwritten:
                    self.unwritten[target] = self.unwritten.pop(path.resolve())
                return replace(path, target)

            return Path(self.at(lambda: None, rename))

        def cut_fsync(fd: int) -> None:
            path = self.of_descriptor(fd)
            self.at(lambda: None, lambda: fsync(fd))
            if self.syncs:
                self.unwritten.pop(path, None)
                self.renamed = [one for one in self.renamed if one[0].parent != path]

        def cut_truncate(fd: int, size: int) -> None:
            self.at(lambda: None, lambda: truncate(fd, size))

        cut = {"pwrite": cut_pwrite, "fsync": cut_fsync, "ftruncate": cut_truncate}
        vars(os).update(cut)
        for name, method in (("write_bytes", cut_write_bytes), ("replace", cut_replace)):
            setattr(Path, name, method)
        self.truncate = os.truncate

    def at(self, half: Callable[[], Any], whole: Callable[[], Any]) -> Any:
        self.left -= 1
        if self.left:
            return whole()
        if self.when == "during":
            half()
        elif self.when == "behind":
            whole()
        if self.power:
            for target, old in reversed(self.renamed):
                target.unlink(missing_ok=True)
                self.unwritten.pop(target, None)
                if old is not None:
                    os.close(os.open(target, os.O_CREAT))
                    with target.open("wb") as file:
                        file.write(old)
            for path, held in self.unwritten.items():
                if path.is_file():
                    self.truncate(path, held + (path.stat().st_size - held) // 2)
        os._exit(KILLED)


def in_a_child(work: Callable[[], object], machine: Machine | None = None) -> int:
    """Do it in a process of its own; how that ended."""
    child = os.fork()
    if not child:
        try:
            if machine is not None:
                machine.install()
            work()
            os._exit(DONE)
        except BaseException:
            os._exit(FAILED)
    return ended(child)


def ended(child: int) -> int:
    end = time.monotonic() + DEADLINE_S
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(child, 9)
    os.waitpid(child, 0)
    pytest.fail("the child does not end")


def cuts(begun: Callable[[], Callable[[], object]], **how: Any) -> Iterator[tuple[int, str]]:
    """Begin again and stop at each write in turn, until the work gets to its end."""
    for when in ("before", "during", "behind"):
        for count in range(1, 200):
            work = begun()
            code = in_a_child(work, Machine(count, when, **how))
            assert code in (DONE, KILLED)
            yield count, when
            if code == DONE:
                assert count > 10, "no write was stopped"
                break


def tree(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.endswith(".lock")
    }


@pytest.fixture
def held(tmp_path: Path) -> Contents:
    return contents(tmp_path / "run", {"metrics.json": b"{}"})


def damage(place: Path, held: Contents, **how: Any) -> list[tuple[int, str, str]]:
    """What is wrong after a cut while a pack is added, more than a line that is torn and an index
    that waits for the next event; and what the next command does not put right."""
    found = []
    made = 0

    def begun() -> Callable[[], object]:
        nonlocal made
        made += 1
        registry(place / str(made))
        return lambda: Registry(place / str(made)).add(held.files, key("a"), now_s=NOW)

    registry(place / "whole").add(held.files, key("a"), now_s=NOW)
    wanted = tree(place / "whole")
    for count, when in cuts(begun, **how):
        folder = place / str(made)
        head, findings = Registry(folder).verify()
        wrong = [str(one) for one in findings if one.verdict not in ("TORN", "STALE")]
        if head.number not in (1, 2):
            wrong.append(f"{head.number} events")
        again = Registry(folder)
        try:
            if head.number == 1:
                again.add(held.files, key("a"), now_s=NOW)
                if tree(folder) != wanted:
                    wrong.append("other bytes than without the cut")
            else:
                again.validate(held.facts.pack_id, {}, key("b"), now_s=LATER)
            wrong += map(str, Registry(folder).verify()[1])
        except Exception as error:
            wrong.append(repr(error))
        found += [(count, when, text) for text in wrong]
        if found:
            break
    return found


@pytest.mark.parametrize("power", [False, True])
def test_a_cut_at_any_write_leaves_the_old_registry_or_the_new_one(
    tmp_path: Path, held: Contents, power: bool
) -> None:
    assert damage(tmp_path / "r", held, power=power) == []


def test_without_fsync_a_power_cut_is_noticed(tmp_path: Path, held: Contents) -> None:
    """The control."""
    assert damage(tmp_path / "r", held, power=True, syncs=False)


def test_a_new_registry_is_whole_or_not_there(tmp_path: Path) -> None:
    made = 0

    def begun() -> Callable[[], object]:
        nonlocal made
        made += 1
        return lambda: registry(tmp_path / str(made))

    for _ in cuts(begun, power=False):
        folder = tmp_path / str(made)
        if folder.exists():
            assert Registry(folder).verify()[1] == []
        else:
            assert registry(folder).verify()[1] == []
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_torn_line_is_reported_and_the_next_event_takes_its_place(
    tmp_path: Path, held: Contents
) -> None:
    made = registry(tmp_path / "r")
    made.add(held.files, key("a"), now_s=NOW)
    log = tmp_path / "r" / LOG
    whole = log.read_bytes()
    for torn in (b'{"actor":{"key":', b"\0" * 700, b'{"actor"\0\0\0\n'):
        log.write_bytes(whole + torn)
        again = Registry(tmp_path / "r")
        assert len(again.events()) == 2
        (finding,) = again.verify()[1]
        assert (finding.verdict, finding.number) == ("TORN", 3)
        event = again.validate(held.facts.pack_id, {}, key("b"), now_s=LATER)
        assert event.number == 3
        assert again.log.torn_bytes == len(torn)
        assert log.read_bytes() == whole + event.line
        assert Registry(tmp_path / "r").verify()[1] == []
        assert again.verify()[1] == []


def test_a_full_disk_takes_nothing_back_and_records_nothing(
    tmp_path: Path, held: Contents, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = registry(tmp_path / "r")
    made.add(held.files, key("a"), now_s=NOW)
    whole = (tmp_path / "r" / LOG).read_bytes()
    honest = os.pwrite

    def full(fd: int, data: bytes, at: int) -> int:
        if len(data) < 100:
            raise OSError(28, "No space left on device")
        return honest(fd, data[: len(data) - 50], at)

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(InputError, match=r"No space left.*nothing was recorded"):
        made.validate(held.facts.pack_id, {}, key("b"), now_s=LATER)
    assert (tmp_path / "r" / LOG).read_bytes() == whole
    monkeypatch.setattr(os, "pwrite", honest)
    assert made.validate(held.facts.pack_id, {}, key("b"), now_s=LATER).number == 3


def test_two_processes_append_at_once(tmp_path: Path, held: Contents) -> None:
    registry(tmp_path / "r").add(held.files, key("a"), now_s=NOW)
    pack = held.facts.pack_id

    def work(name: str) -> None:
        mine = Registry(tmp_path / "r")
        for i in range(12):
            mine.validate(pack, {f"{name}.txt": b"%d" % i}, key(name), f"{name} {i}", now_s=LATER)

    children = []
    for name in ("a", "b", "c"):
        children.append(os.fork())
        if not children[-1]:
            try:
                work(name)
                os._exit(DONE)
            except BaseException:
                os._exit(FAILED)
    assert [ended(child) for child in children] == [DONE, DONE, DONE]
    found = Registry(tmp_path / "r")
    assert found.verify()[1] == []
    notes = [event.detail["note"] for event in found.events()[2:]]
    assert sorted(notes) == sorted(f"{name} {i}" for name in "abc" for i in range(12))
    for name in "abc":
        assert [x for x in notes if x[0] == name] == [f"{name} {i}" for i in range(12)]


def test_waiting_for_the_log_has_a_deadline(
    tmp_path: Path, held: Contents, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = registry(tmp_path / "r")
    monkeypatch.setattr(log_module, "LOCK_WAIT_S", 0.05)
    said: list[str] = []

    def work() -> None:
        try:
            Registry(tmp_path / "r").add(held.files, key("a"), now_s=NOW)
        except InputError as error:
            said.append(str(error))

    with claimed(tmp_path / "r" / LOG):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join(DEADLINE_S)
    assert f"process {os.getpid()}" in said[0]
    assert len(made.events()) == 1


def test_the_clock_must_not_be_behind(tmp_path: Path, held: Contents) -> None:
    made = registry(tmp_path / "r", policy("a", "b", "c"))
    with pytest.raises(InputError, match=r"its time 2026-.* is before that of event 1"):
        made.add(held.files, key("a"), now_s=START_S - 1)
    with pytest.raises(InputError, match="none of the policy's"):
        made.add(held.files, key("nobody"), now_s=NOW)
    assert len(made.events()) == 1
    assert parse_line((tmp_path / "r" / LOG).read_bytes()).number == 1

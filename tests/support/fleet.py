# SPDX-License-Identifier: Apache-2.0
"""Fleets of terminals that do not exist, what they send, and a disk that loses power.

Reports are made by the terminal's own C; nothing here packs one.
"""

from __future__ import annotations

import contextlib
import os
import random
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

from benchmarks.terminal_reports import Reading, reports
from tests.support.certificates import certificate
from tests.support.process import ROOT
from tinyfin import files
from tinyfin.field.report import COUNTERS
from tinyfin.fleet import archives, durable
from tinyfin.fleet.admission import name_of
from tinyfin.fleet.ingest import Ingested, ingest
from tinyfin.fleet.lake import Lake
from tinyfin.fleet.secrets import ReportKeys

FLEET = bytes(range(32))
KEYS = ReportKeys(FLEET)
PACK = ROOT / "models" / "payment" / "model.tfpack"
DAY_S = 86_400
TOKEN = 0x5EC3E7C0FFEE1234
FIRST_DAY = 9_700


def terminal(number: int) -> bytes:
    """An id."""
    return (0xA1B2C3D4E5F60000 + number).to_bytes(8, "big")


def reading(which: int, day: int, scored: int, **more: Any) -> Reading:
    """A terminal in the afternoon of a day; the other counters are made of ``scored``."""
    counters = [scored, scored, 0, 0, 0, 0, scored // 10, 0, 0, 0, day % 3, 0, 0, 0, 0]
    given = {
        "boot_nonce": 1000 + which,
        "number": day + 1,
        "t_s": (FIRST_DAY + day) * DAY_S + 3600 * (12 + which % 9) + 17,
        "counters": tuple(counters[: len(COUNTERS)]),
        **more,
    }
    return Reading(terminal(which), **given)


def made(readings: list[Reading], pack: Path = PACK) -> list[bytes]:
    """Their reports."""
    return list(reports(pack, FLEET, readings))


def fleet(terminals: int, days: int, seed: int = 1) -> list[bytes]:
    """Reports of some days; counters grow, terminals restart now and then and keep their state."""
    draw = random.Random(seed)
    found = []
    for number in range(terminals):
        scored, boot = 0, 0
        for day in range(days):
            scored += draw.randrange(5, 60)
            boot += draw.random() < 0.3
            found.append(reading(number, day, scored, boot_nonce=100 * number + boot))
    return made(found)


def new_lake(path: Path, **more: Any) -> Lake:
    """A lake; those of one folder have one key, so that equal reports make equal bytes."""
    return Lake.create(path, key=path.parent / "shared.key", buckets=2, **more)


def take(lake: Lake, *data: bytes) -> Ingested:
    """Merge reports that lie in the inbox."""
    for one in data:
        durable.folder(lake.inbox)
        (lake.inbox / name_of(one)).write_bytes(one)
    return ingest(lake, KEYS)


def lake_bytes(lake: Lake) -> dict[str, bytes]:
    """What the lake is made of, but not the files that came."""
    came = ("inbox", "claimed", "processed", "rejected")
    return {
        str(path.relative_to(lake.path)): path.read_bytes()
        for path in places(lake)
        if path.relative_to(lake.path).parts[0] not in came
    }


def places(lake: Lake) -> Iterator[Path]:
    """Every file of a lake."""
    return (path for path in lake.path.rglob("*") if path.is_file())


def key_file(folder: Path) -> Path:
    """The fleet key of all of them."""
    path = folder / "fleet.key"
    path.write_text(f"fleet {FLEET.hex()}\n")
    path.chmod(0o600)
    return path


def forged(data: bytes) -> bytes:
    """A report with another MAC."""
    return data[:-1] + bytes([data[-1] ^ 1])


def tar(*members: bytes) -> bytes:
    """An archive of them."""
    return archives.packed((f"{i}.tfreport", data) for i, data in enumerate(members))


def label_file(path: Path, rows: int = 12) -> Path:
    """Labels of three terminals; the fourth one is of the card of TOKEN."""
    lines = ["terminal,id,time,label,known,token"]
    for n in range(rows):
        at = FIRST_DAY * DAY_S + 3600 * n + 1234
        label = "fraud" if n % 3 == 0 else "cleared"
        token = TOKEN if n == 3 else n + 1
        name = terminal(n % 3).hex()
        lines.append(f"{name},{4111000 + n},{at},{label},{at + 90_000},{token}")
    path.write_text("\n".join(lines) + "\n")
    return path


def free_ports(count: int) -> list[int]:
    """Ports of this machine that nobody listens at."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    found = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return found


# ------------------------------------------------------------------------------- a disk


class Cut(BaseException):
    """The power is gone."""


class Disk:
    """In the place of ``os`` in what writes a lake: operation number ``at`` does not happen, nor
    any after it. :meth:`crash` then leaves what a disk may: files that no fsync has made certain
    are empty, and of a folder's names that are not certain the older ones are there. ``fsync``:
    whether it does anything; without it is a control."""

    def __init__(self, at: int, *, fsync: bool = True) -> None:
        self.at, self.count, self._fsync = at, 0, fsync
        self._undo: list[tuple[Path, Callable[[], None]]] = []
        self._paths: dict[int, str] = {}
        self._loose: set[str] = set()
        """Files whose bytes are not certain."""

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """The lake is on this disk for the length of the block."""
        with mock.patch.object(durable, "os", self), mock.patch.object(files, "os", self):
            yield

    def _step(self) -> None:
        self.count += 1
        if self.count > self.at:
            raise Cut

    def open(self, path: Any, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_CREAT:
            self._step()
            self._loose.add(str(path))
        descriptor = os.open(path, flags, mode)
        self._paths[descriptor] = str(path)
        return descriptor

    def write(self, descriptor: int, data: Any) -> int:
        self._step()
        half = max(1, len(data) // 2)
        return os.write(descriptor, data[:half])

    def fsync(self, descriptor: int) -> None:
        self._step()
        if self._fsync:
            path = self._paths[descriptor]
            self._loose.discard(path)
            self._undo = [(folder, undo) for folder, undo in self._undo if str(folder) != path]

    def replace(self, source: Any, target: Any) -> None:
        self._step()
        source, target = Path(source), Path(target)
        before = target.read_bytes() if target.exists() else None
        os.replace(source, target)
        if str(source) in self._loose:
            self._loose.add(str(target))
        self._loose.discard(str(source))

        def undo() -> None:
            if target.exists():
                os.replace(target, source)
            if before is not None:
                target.write_bytes(before)

        self._undo.append((target.parent, undo))

    def unlink(self, path: Any) -> None:
        self._step()
        path = Path(path)
        before = path.read_bytes()
        os.unlink(path)

        def undo() -> None:
            path.write_bytes(before)

        self._undo.append((path.parent, undo))

    def crash(self) -> None:
        for name in self._loose:
            if os.path.exists(name):
                os.truncate(name, 0)
        draw = random.Random(self.at)
        kept = {
            folder: draw.randint(0, sum(f == folder for f, _ in self._undo))
            for folder in sorted({folder for folder, _ in self._undo})
        }
        lost = []
        for folder, undo in self._undo:
            kept[folder] -= 1
            lost += [undo] if kept[folder] < 0 else []
        for undo in reversed(lost):
            undo()


# -------------------------------------------------------------------------- certificates


def certificates(folder: Path) -> SimpleNamespace:
    """An authority, a server's and a client's certificate with their keys, and a stranger's that
    another authority signed: paths of PEM files."""
    authority = certificate(folder, "authority", None)
    certificate(folder, "server", authority)
    certificate(folder, "client", authority)
    certificate(folder, "stranger", certificate(folder, "other", None))
    names = ("authority", "server", "client", "stranger")
    found = {name: folder / f"{name}.pem" for name in names}
    return SimpleNamespace(**found, **{f"{name}_key": folder / f"{name}.key" for name in names})

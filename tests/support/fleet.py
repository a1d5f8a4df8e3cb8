# SPDX-License-Identifier: Apache-2.0
"""Fleets of terminals that do not exist, the certificates of a bench, and a disk that loses power.

Reports are made by the terminal's own C; nothing here packs one.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support.process import ROOT
from tinyfin.field.report import COUNTERS
from tinyfin.fleet import durable
from tinyfin.fleet.admission import name_of
from tinyfin.fleet.ingest import Ingested, ingest
from tinyfin.fleet.lake import Lake
from tinyfin.fleet.secrets import ReportKeys
from tinyfin.fleet.simulated import Reading, reports

FLEET = bytes(range(32))
KEYS = ReportKeys(FLEET)
PACK = ROOT / "models" / "payment" / "model.tfpack"
DAY_S = 86_400
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
    parts = [p for p in lake.path.rglob("*") if p.is_file()]
    came = ("inbox", "claimed", "processed", "rejected")
    return {
        str(path.relative_to(lake.path)): path.read_bytes()
        for path in parts
        if path.relative_to(lake.path).parts[0] not in came
    }


# ------------------------------------------------------------------------------- a disk


class Cut(BaseException):
    """The power is gone."""


class Disk:
    """In the place of ``os`` in :mod:`tinyfin.fleet.durable`: operation number ``at`` does not
    happen, nor any after it. :meth:`crash` then leaves what a disk may: files that no fsync has
    made certain are empty, and of a folder's names that are not certain the older ones are there.
    ``fsync``: whether it does anything; without it is a control."""

    def __init__(self, at: int, *, fsync: bool = True) -> None:
        self.at, self.count, self._fsync = at, 0, fsync
        self._undo: list[tuple[Path, Callable[[], None]]] = []
        self._paths: dict[int, str] = {}
        self._loose: set[str] = set()
        """Files whose bytes are not certain."""

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

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
        self._undo.append((path.parent, lambda: void(path.write_bytes(before))))

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


def void(_: object) -> None:
    """Nothing of it is wanted."""


# -------------------------------------------------------------------------- certificates


def certificates(folder: Path) -> SimpleNamespace:
    """An authority, a server's and a client's certificate with their keys, and a stranger's that
    another authority signed: paths of PEM files."""
    found = {}
    ca, ca_key = _certificate("authority", None, folder)
    other, other_key = _certificate("other", None, folder)
    for name, signer in (
        ("server", (ca, ca_key)),
        ("client", (ca, ca_key)),
        ("stranger", (other, other_key)),
    ):
        _certificate(name, signer, folder)
    for name in ("authority", "server", "client", "stranger"):
        found[name] = folder / f"{name}.pem"
        found[f"{name}_key"] = folder / f"{name}.key"
    return SimpleNamespace(**found)


def _certificate(
    name: str, signer: tuple[x509.Certificate, Any] | None, folder: Path
) -> tuple[x509.Certificate, Any]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    local = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if signer is None else signer[0].subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=2))
        .add_extension(x509.BasicConstraints(signer is None, None), True)
        .add_extension(x509.SubjectAlternativeName([local]), False)
        .sign(key if signer is None else signer[1], hashes.SHA256())
    )
    (folder / f"{name}.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / f"{name}.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return made, key


def places(lake: Lake) -> Iterator[Path]:
    """Every file of a lake."""
    return (path for path in lake.path.rglob("*") if path.is_file())

# SPDX-License-Identifier: Apache-2.0
"""A lake on disk: Parquet files by table, day and bucket, and the manifest of those that count.

The manifest is replaced at once, after every file that it names is on the disk. So a lake is what
it was before a change or what it is after it, and equal rows make equal bytes.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from tinyfin.documents import Document, Facts
from tinyfin.errors import InputError
from tinyfin.fleet import durable
from tinyfin.fleet.secrets import LakeKey, ReportKeys, letters, make_lake_key
from tinyfin.fleet.tables import SCHEMAS, day_of, merged
from tinyfin.output_claims import claimed

__all__ = [
    "BUCKETS",
    "Lake",
    "Manifest",
    "Part",
    "Place",
    "Settings",
    "date_of",
    "day_number",
    "newest_day",
    "today",
]

BUCKETS = 16
EPOCH = dt.date(2000, 1, 1)
_WAIT_S = 60.0
_SETTINGS, _MANIFEST = "lake.json", "manifest.json"


def date_of(day: int) -> dt.date:
    """The date of a day that is counted from 2000-01-01."""
    return EPOCH + dt.timedelta(days=day)


def day_number(date: dt.date) -> int:
    """The day of a date, counted from 2000-01-01."""
    return (date - EPOCH).days


class Settings(Document):
    """``lake.json``: what holds for a lake."""

    NAME: ClassVar[str] = "lake.json"
    buckets: int = Field(default=BUCKETS, ge=1, le=4096)
    key: str
    """File of the lake's key; from the lake's folder on, unless it is absolute."""
    report_keys: str | None = None
    """File of a fleet key or of report keys, in the same way."""
    encrypted: bool = False
    first_day: int = 0
    """Days before it, counted from 2000-01-01, are gone; reports of them are refused."""
    erased: list[str] = Field(default_factory=list)
    """Tombstones of erased terminals and cards: docs/formats/lake.md."""


class Part(Facts):
    """A Parquet file of the lake."""

    file: str
    rows: int


class Manifest(Document):
    """``manifest.json``: the files that count."""

    NAME: ClassVar[str] = "lake_manifest.json"
    parts: dict[str, Part] = Field(default_factory=dict)
    """By table, date and bucket: ``report/2026-11-30/03``."""


class Place(NamedTuple):
    """Where rows lie."""

    table: str
    day: int
    bucket: int

    @property
    def name(self) -> str:
        """In the manifest."""
        return f"{self.table}/{date_of(self.day)}/{self.bucket:02d}"

    @classmethod
    def of(cls, name: str) -> Place:
        """The place of a name. Raises InputError."""
        with contextlib.suppress(ValueError):
            table, date, bucket = name.split("/")
            if table in SCHEMAS:
                return cls(table, day_number(dt.date.fromisoformat(date)), int(bucket))
        raise InputError(
            f"{_MANIFEST}: {name!r} is no place in a lake; restore the lake from a backup"
        )


class Lake:
    """An open lake. Whoever changes it holds :meth:`locked`; whoever reads it :meth:`shared`."""

    def __init__(self, path: Path) -> None:
        """Raises InputError when there is no lake."""
        self.path = path
        if not (path / _SETTINGS).is_file():
            raise InputError(f"{path}: is no lake; make one with `tinyfin fleet init {path}`")
        self.settings = Settings.read(path / _SETTINGS)
        self.key = LakeKey.read(path / self.settings.key)

    def __str__(self) -> str:
        return str(self.path)

    @classmethod
    def create(
        cls,
        path: Path,
        *,
        buckets: int = BUCKETS,
        key: Path | None = None,
        report_keys: Path | None = None,
        encrypted: bool = False,
    ) -> Lake:
        """A new lake in a folder that is empty or not there; ``key``: the file of its key, which is
        made unless it is there. Raises InputError."""
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise InputError(f"{path}: is there already and not an empty folder; name another one")
        if report_keys is not None:
            ReportKeys.read(report_keys)
        durable.folder(path.absolute())
        place = path / "lake.key" if key is None else key.absolute()
        if key is None or not place.is_file():
            make_lake_key(place)
        LakeKey.read(place)
        settings = Settings(
            buckets=buckets,
            key=place.name if key is None else str(place),
            report_keys=None if report_keys is None else str(report_keys.absolute()),
            encrypted=encrypted,
        )
        durable.folder(path / "inbox")
        durable.write(path / _SETTINGS, settings.text().encode())  # last: now it is a lake
        return cls(path)

    @property
    def inbox(self) -> Path:
        """Where carriers put reports: under another name first, one that begins with a dot."""
        return self.path / "inbox"

    def report_keys(self, path: Path | None = None) -> ReportKeys:
        """The keys in a file, or those that the lake was made with. Raises InputError."""
        if path is None and self.settings.report_keys is None:
            raise InputError(
                f"{self.path}: has no report keys; give a fleet key, or a file of `tinyfin fleet "
                "keys`, with --report-keys"
            )
        return ReportKeys.read(path or self.path / str(self.settings.report_keys))

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else reads or changes the lake. What a killed process has left is removed first.
        Raises InputError when somebody does so for a minute."""
        with claimed(self.path, wait_s=_WAIT_S):
            self.settings = Settings.read(self.path / _SETTINGS)
            durable.sweep(self.path)
            counted = {part.file for part in self.manifest().parts.values()}
            for table in SCHEMAS:
                durable.sweep(self.path / table)
                files = durable.entries(self.path / table)
                durable.remove([p for p in files if f"{table}/{p.name}" not in counted])
            yield

    @contextlib.contextmanager
    def shared(self) -> Iterator[None]:
        """Nobody changes the lake meanwhile. Raises InputError as :meth:`locked` does."""
        with claimed(self.path, shared=True, wait_s=_WAIT_S):
            self.settings = Settings.read(self.path / _SETTINGS)
            yield

    def manifest(self) -> Manifest:
        """What counts. Raises InputError."""
        path = self.path / _MANIFEST
        return Manifest.read(path) if path.is_file() else Manifest()

    def keep_settings(self, **changed: object) -> None:
        """Write settings again, with these changed."""
        self.settings = self.settings.model_copy(update=changed)
        durable.write(self.path / _SETTINGS, self.settings.text().encode())

    # ------------------------------------------------------------------------------- rows

    def bucket(self, alias: str) -> int:
        """Where the rows of a terminal are."""
        return int(alias[:4].translate(_DIGITS), 16) % self.settings.buckets

    def read(self, part: Part) -> pa.Table:
        """The rows of a file. Raises InputError when it cannot be read."""
        path = self.path / part.file
        try:
            table = pq.ParquetFile(path, decryption_properties=self._cipher("decryption")).read()
            return table.cast(SCHEMAS[part.file.split("/")[0]])
        except (OSError, ValueError, LookupError, pa.ArrowException) as error:
            raise InputError(
                f"{path}: cannot be read ({error}); restore the lake from a backup, or merge the "
                "reports again"
            ) from error

    def merge(self, name: str, rows: pa.Table) -> None:
        """Add rows; what is there already stays as it is."""
        self.commit(self._merged(name, rows))

    def _merged(self, name: str, rows: pa.Table) -> Iterator[tuple[Place, pa.Table]]:
        parts = self.manifest().parts
        days = np.array([day_of(hour) for hour in rows["hour"].to_pylist()])
        for day in np.unique(days).tolist():
            new = rows.filter(pa.array(days == day))
            buckets = {self.bucket(alias) for alias in new["terminal"].unique().to_pylist()}
            places = [Place(name, day, bucket) for bucket in sorted(buckets)]
            there = [self.read(parts[at.name]) for at in places if at.name in parts]
            whole = merged(name, [new, *there])
            own = np.array([self.bucket(alias) for alias in whole["terminal"].to_pylist()])
            for at in places:
                yield at, whole.filter(pa.array(own == at.bucket))

    def commit(self, changes: Iterable[tuple[Place, pa.Table]]) -> None:
        """Put these rows in the places of those that are there; no rows: nothing is there."""
        manifest = self.manifest()
        parts, before = dict(manifest.parts), {p.file for p in manifest.parts.values()}
        for place, table in changes:
            parts.pop(place.name, None)
            if len(table):
                durable.folder(self.path / place.table)
                parts[place.name] = self._written(place, table)
        after = {part.file for part in parts.values()}
        if after == before:
            return
        for table in {Place.of(name).table for name in parts}:
            durable.sync(self.path / table)
        whole = Manifest(parts=dict(sorted(parts.items())))
        durable.write(self.path / _MANIFEST, whole.text().encode())
        durable.remove(self.path / name for name in sorted(before - after))

    def _written(self, place: Place, table: pa.Table) -> Part:
        plain = file_bytes(table)
        digest = _digest(plain)
        name = f"{place.table}/{date_of(place.day)}.{place.bucket:02d}.{digest}.parquet"
        if not (self.path / name).exists():
            cipher = self._cipher("encryption")
            data = plain if cipher is None else file_bytes(table, cipher)
            durable.write(self.path / name, data, named=False)
        return Part(file=name, rows=len(table))

    def faults(self) -> list[str]:
        """What is wrong with the lake's files, in words."""
        found = []
        for name, part in self.manifest().parts.items():
            place, path = Place.of(name), self.path / part.file
            try:
                table = self.read(part)
            except InputError as error:
                found.append(str(error))
                continue
            data = file_bytes(table) if self.settings.encrypted else path.read_bytes()
            if f".{_digest(data)}." not in part.file or part.rows != len(table):
                found.append(f"{path}: its rows are not those that were written")
            if not merged(place.table, [table]).equals(table):
                found.append(f"{path}: its rows are not in order, or one is there twice")
            if path.stat().st_mode & 0o077:
                found.append(f"{path}: users other than its owner can read it")
        return found

    def _cipher(self, direction: str) -> object:
        """Properties of pyarrow; ``direction``: encryption, decryption."""
        if not self.settings.encrypted:
            return None
        from pyarrow.parquet import encryption

        made = getattr(encryption, f"create_{direction}_properties")
        return made(self.key.encryption)


def today() -> int:
    """The day that it is, UTC, counted from 2000-01-01. What is said to be later comes from a clock
    that is ahead."""
    return day_number(dt.datetime.now(dt.UTC).date())


def newest_day(lake: Lake) -> int:
    """The newest day, counted from 2000-01-01, of which there are reports; days to come, of a clock
    that is ahead, do not count. Raises InputError."""
    last = today()
    days = [Place.of(name) for name in lake.manifest().parts]
    if not (found := [at.day for at in days if at.table == "report" and at.day <= last]):
        raise InputError(f"{lake.path}: has no report yet; see `tinyfin fleet ingest`")
    return max(found)


_DIGITS = str.maketrans("abcdefghijklmnop", "0123456789abcdef")


def _digest(data: bytes) -> str:
    """Of a plain Parquet file, in its name."""
    return letters(hashlib.blake2b(data, digest_size=8).digest())


def file_bytes(table: pa.Table, encryption: object = None) -> bytes:
    """A Parquet file of these rows: of equal ones the same bytes, unless it is encrypted."""
    sink = pa.BufferOutputStream()
    pq.write_table(
        table.combine_chunks(),
        sink,
        row_group_size=1 << 20,
        compression="zstd",
        store_schema=False,  # it would say how the rows came here
        encryption_properties=encryption,
    )
    return bytes(sink.getvalue())

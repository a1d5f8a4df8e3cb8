# SPDX-License-Identifier: Apache-2.0
"""A lake, and what belongs to it, as one file: docs/fleet.md, "Backups".

A tar whose every byte follows from its list of files and from what is in them, so that a byte that
was changed is found wherever it is. The list, ``backup.json``, comes first.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import IO, ClassVar

from pydantic import Field, ValidationError

from tinyfin import files, progress
from tinyfin.documents import Document, Facts, first_fault
from tinyfin.errors import InputError, MismatchError
from tinyfin.fleet import durable
from tinyfin.fleet.lake import Lake
from tinyfin.fleet.tables import SCHEMAS
from tinyfin.output_claims import claimed

__all__ = ["Backup", "Kept", "backup", "restore"]

_LIST, _CAMPAIGNS = "backup.json", "campaigns.sqlite"
_MOST_LIST = 1 << 30
_CHUNK = 1 << 20
_WAIT_S = 60.0
_BLOCK, _RECORD = tarfile.BLOCKSIZE, tarfile.RECORDSIZE


class Kept(Facts):
    """A file of a backup."""

    bytes: int = Field(ge=0, lt=1 << 60)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class Backup(Document):
    """``backup.json``: what a backup holds: ``lake/...``, and if they were asked for ``keys/...``
    and ``registry/...``."""

    NAME: ClassVar[str] = "fleet_backup.json"
    files: dict[str, Kept]
    """By name, in the order in which they come."""


def backup(
    lake: Lake,
    out: Path,
    *,
    keys: bool = False,
    registry: Path | None = None,
    campaigns: Path | None = None,
) -> Backup:
    """Write a lake to a tar that is its owner's alone; ``keys``: with the secret keys that the lake
    names; ``registry``: a folder; ``campaigns``: their database, a file of SQLite, if it is not the
    lake's ``campaigns.sqlite``.

    Nobody changes the lake or appends to the registry meanwhile; carriers go on. The file is whole
    or not there. Raises InputError.
    """
    with contextlib.ExitStack() as held:
        held.enter_context(lake.shared())
        sources: dict[str, Path | bytes] = dict(_of_lake(lake, keys))
        if registry is not None:
            if not (registry / "log.jsonl").is_file():
                raise InputError(f"{registry}: is no registry; it has no log.jsonl")
            held.enter_context(claimed(registry / "log.jsonl", shared=True, wait_s=_WAIT_S))
            sources |= _tree(registry, "registry")
        if campaigns is not None or (lake.path / _CAMPAIGNS).is_file():
            scratch = Path(held.enter_context(tempfile.TemporaryDirectory()))
            base = campaigns or lake.path / _CAMPAIGNS
            sources[f"lake/{_CAMPAIGNS}"] = _snapshot(base, scratch / _CAMPAIGNS)
        made = Backup(files={name: _facts(sources[name]) for name in sorted(sources)})
        with (
            files.whole(out, private=True, durable=True) as unfinished,
            unfinished.open("wb") as to,
        ):
            _write(to, made, sources)
    return made


def _of_lake(lake: Lake, keys: bool) -> Iterator[tuple[str, Path | bytes]]:
    settings = lake.settings
    if keys:
        yield "keys/lake.key", lake.path / settings.key
        if settings.report_keys is not None:
            yield "keys/report.keys", lake.path / settings.report_keys
            settings = settings.model_copy(update={"report_keys": "../keys/report.keys"})
        settings = settings.model_copy(update={"key": "../keys/lake.key"})
    yield "lake/lake.json", settings.text().encode()
    manifest = lake.manifest()
    yield "lake/manifest.json", manifest.text().encode()
    for part in manifest.parts.values():
        yield f"lake/{part.file}", lake.path / part.file
    for place in lake.path.iterdir():
        if place.is_dir() and place.name not in SCHEMAS and not place.name.startswith("."):
            yield from _tree(place, f"lake/{place.name}").items()


def _tree(place: Path, name: str) -> dict[str, Path | bytes]:
    """The files below a folder, without hidden ones."""
    found = (path for path in place.rglob("*") if path.is_file())
    inside = ((path.relative_to(place), path) for path in found)
    return {
        f"{name}/{part.as_posix()}": path
        for part, path in inside
        if not any(word.startswith(".") for word in part.parts)
    }


def _snapshot(database: Path, to: Path) -> Path:
    """A copy of a database of SQLite that others may write to meanwhile."""
    if not database.is_file():
        raise InputError(
            f"{database}: is no file of SQLite; name one, and save PostgreSQL with pg_dump"
        )
    try:
        with (
            contextlib.closing(
                sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)
            ) as base,
            contextlib.closing(sqlite3.connect(to)) as copy,
        ):
            base.backup(copy)
    except sqlite3.Error as error:
        raise InputError(f"{database}: cannot be read as SQLite: {error}") from error
    return to


def _facts(source: Path | bytes) -> Kept:
    digest, size = hashlib.sha256(), 0
    for piece in _pieces(source):
        digest.update(piece)
        size += len(piece)
    return Kept(bytes=size, sha256=digest.hexdigest())


def _pieces(source: Path | bytes) -> Iterator[bytes]:
    if isinstance(source, bytes):
        yield source
        return
    try:
        with source.open("rb") as file:
            while piece := file.read(_CHUNK):
                yield piece
    except OSError as error:
        raise InputError(f"{source}: cannot be read: {error.strerror}") from error


def _header(name: str, size: int) -> bytes:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = size, 0o600
    return entry.tobuf(tarfile.GNU_FORMAT)


def _write(to: IO[bytes], made: Backup, sources: Mapping[str, Path | bytes]) -> None:
    text = made.text().encode()
    with progress.stage("writing the backup", len(made.files), "files") as stage:
        for name, source in {_LIST: text, **{name: sources[name] for name in made.files}}.items():
            kept = _facts(text) if name == _LIST else made.files[name]
            to.write(_header(name, kept.bytes))
            digest = hashlib.sha256()
            for piece in _pieces(source):
                to.write(piece)
                digest.update(piece)
            if digest.hexdigest() != kept.sha256:
                raise InputError(f"{source!s:.200}: was changed while it was read; try again")
            to.write(bytes(-kept.bytes % _BLOCK))
            stage.step()
    to.write(bytes(2 * _BLOCK))
    to.write(bytes(-to.tell() % _RECORD))


def restore(path: Path, folder: Path) -> Backup:
    """Make of a backup the folder that it describes, which is not there yet or empty: all of it,
    when every byte of the backup was found right, or nothing. Raises InputError, and MismatchError
    that names what was changed or is missing."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: is not an empty folder; restore into a new one")
    files.require_space(folder, path.stat().st_size, "what is restored")
    with path.open("rb") as data, files.folder(folder, empty=True) as place:
        os.chmod(place, 0o700)
        made = _read_list(path, data)
        with progress.stage("restoring", len(made.files), "files") as stage:
            for name, kept in made.files.items():
                _expect(path, data, _header(name, kept.bytes), f"the header of {name}")
                _unpack(path, data, place / name, name, kept)
                stage.step()
        _expect(path, data, bytes(2 * _BLOCK), "its end")
        _expect(path, data, bytes(-data.tell() % _RECORD), "its end")
        if data.read(1):
            raise MismatchError(f"{path}: has bytes after its end; something was added")
        durable.write(place / _LIST, made.text().encode())
        durable.folder(place / "lake" / "inbox")  # a tar has no empty folders
    durable.sync(folder.absolute().parent)
    return made


def _read_list(path: Path, data: IO[bytes]) -> Backup:
    where = f"{path}: {_LIST}"
    head = data.read(_BLOCK)
    with contextlib.suppress(tarfile.TarError):
        entry = tarfile.TarInfo.frombuf(head, "utf-8", "strict")
        if entry.name == _LIST and entry.size <= _MOST_LIST and head == _header(_LIST, entry.size):
            text = data.read(entry.size)
            try:
                made = Backup.model_validate_json(text)
            except ValidationError as error:
                raise MismatchError(f"{where} was changed: {first_fault(error)}") from error
            if made.format > Backup.FORMAT:
                raise InputError(
                    f"{where} has format {made.format}; restore it with a newer tinyfin"
                )
            if made.format != Backup.FORMAT or made.text().encode() != text:
                raise MismatchError(f"{where} was changed; take another backup")
            for name in made.files:
                parts = PurePosixPath(name)
                if parts.is_absolute() or ".." in parts.parts or str(parts) != name:
                    raise MismatchError(f"{where} names {name!r}, which is no place in a backup")
            _expect(path, data, bytes(-len(text) % _BLOCK), f"what follows {_LIST}")
            return made
    raise MismatchError(f"{path}: does not begin as a backup; the header of {_LIST} was changed")


def _expect(path: Path, data: IO[bytes], wanted: bytes, what: str) -> None:
    if data.read(len(wanted)) != wanted:
        raise MismatchError(f"{path}: {what} was changed, or is missing; take another backup")


def _unpack(path: Path, data: IO[bytes], to: Path, name: str, kept: Kept) -> None:
    """A file, on the disk when this returns."""
    durable.folder(to.parent)
    digest, left = hashlib.sha256(), kept.bytes
    with open(os.open(to, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        while left and (piece := data.read(min(left, _CHUNK))):
            digest.update(piece)
            file.write(piece)
            left -= len(piece)
        file.flush()
        os.fsync(file.fileno())
    if left or digest.hexdigest() != kept.sha256:
        raise MismatchError(f"{path}: {name} was changed, or is cut off; take another backup")
    durable.sync(to.parent)
    _expect(path, data, bytes(-kept.bytes % _BLOCK), f"what follows {name}")

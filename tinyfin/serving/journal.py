# SPDX-License-Identifier: Apache-2.0
"""The events of a service, on disk before it is answered: docs/formats/served_state.md.

The engine is deterministic, so a snapshot and the events behind it give the state, byte for byte.
"""

from __future__ import annotations

import errno
import os
import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

from tinyfin import files
from tinyfin.errors import InputError
from tinyfin.progress import say
from tinyfin.serving.state_files import FORMAT, START_OVER, facts_of

__all__ = ["Journal"]

_MAGIC = b"TFJN"
MAX_RECORD = 1 << 16
_HEAD = struct.Struct("<4sHH16sQ")
_RECORD = struct.Struct("<II")
_NAME = re.compile(r"journal-(\d{20})\.tfjournal\Z")
_LOOK_AHEAD = 8
"""Records that may be damaged in a row where a length is wrong too."""


class Journal:
    """Records in a folder, numbered from 1, in segments that begin with a snapshot each.

    ``sync``: a record is on the disk, not only with the kernel, when it is answered.
    """

    def __init__(self, folder: Path, program_id: bytes, *, sync: bool) -> None:
        self.folder, self.sync = folder, sync
        self._program_id = program_id
        self._file: BinaryIO | None = None
        self._begun = 0
        """Number of the first record of the segment that is written."""
        self._last = 0
        """Where the records of the last append begin."""
        self.next = 1
        """Number of the next record."""

    def replay(self, first: int) -> Iterator[tuple[int, bytes]]:
        """Records from number ``first`` on, which a snapshot does not hold; then the journal can be
        written. A record that the end of the process has cut is dropped, with a note: it was not
        answered.

        Raises InputError for a folder in which records are missing or damaged.
        """
        segments = self._segments()
        if segments and segments[0][0] > first:
            raise InputError(
                f"{self.folder}: its journal begins with event {segments[0][0]}, and the snapshot "
                f"ends before event {first}; {START_OVER}"
            )
        self.next = first
        for i, (number, path) in enumerate(segments):
            following = segments[i + 1][0] if i + 1 < len(segments) else None
            if following is not None and following <= first:
                continue  # the snapshot holds all of it
            for payload in self._read(path, number, cut=following is None):
                if number >= first:
                    yield number, payload
                number += 1
            if following not in (None, number) or number < first:
                raise InputError(f"{path}: ends before event {following or first}; {START_OVER}")
            self.next = number
        self.rotate()

    def append(self, payloads: Sequence[bytes]) -> int:
        """Write records; returns the number of the first. Raises OSError: none of them counts."""
        file = self._open()
        first, start = self.next, file.tell()
        data = b"".join(
            _RECORD.pack(len(payload), _crc(payload, first + i)) + payload
            for i, payload in enumerate(payloads)
        )
        try:
            if file.write(data) != len(data):
                raise OSError("the disk took a part of it only")
            if self.sync:
                os.fsync(file.fileno())
        except OSError:
            self._cut(file, start)
            raise
        self.next += len(payloads)
        self._last = start
        return first

    def take_back(self) -> None:
        """Remove what the last :meth:`append` has written, and write no more. Raises OSError."""
        try:
            self._cut(self._open(), self._last)
            self.sync_all()
        finally:
            self.close()

    def rotate(self) -> int:
        """Begin a new segment; returns the number of its first record.

        Raises InputError: the journal goes on in the segment before.
        """
        if self._file is not None and self._begun == self.next:
            return self.next
        path = self.folder / f"journal-{self.next:020d}.tfjournal"
        made, placed = self.folder / "journal.new", False
        head = _HEAD.pack(_MAGIC, FORMAT, _HEAD.size, self._program_id, self.next)
        try:
            if self._file is not None:
                self.sync_all()  # a power cut must leave no gap before the new one
            place = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            file = os.fdopen(place, "wb", buffering=0)
            try:
                if file.write(head) != len(head):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(file.fileno())
                made.replace(path)
                placed = True
                files.sync(self.folder)
            except OSError:
                file.close()
                (path if placed else made).unlink()
                raise
        except OSError as error:
            raise InputError(
                f"{path}: cannot be written: {error.strerror}; make space, or choose another folder"
            ) from error
        self.close()
        self._file, self._begun = file, self.next
        return self.next

    def drop_before(self, first: int) -> None:
        """Remove the segments that hold nothing from ``first`` on."""
        for (_, path), (following, _) in pairwise(self._segments()):
            if following <= first:
                path.unlink()

    def sync_all(self) -> None:
        """Bring every record to the disk. Raises OSError."""
        os.fsync(self._open().fileno())

    def _cut(self, file: BinaryIO, size: int) -> None:
        """Remove what is behind so many bytes; where that fails nothing more may be written."""
        try:
            file.seek(size)
            file.truncate()
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """Write no more."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open(self) -> BinaryIO:
        if self._file is None:
            raise OSError("the journal is closed")
        return self._file

    def _segments(self) -> list[tuple[int, Path]]:
        """Number of the first record, and file, of each segment, in order."""
        named = ((_NAME.fullmatch(path.name), path) for path in self.folder.iterdir())
        return sorted((int(found[1]), path) for found, path in named if found)

    def _read(self, path: Path, first: int, *, cut: bool) -> Iterator[bytes]:
        """Payloads of a segment. With ``cut`` it may end within a record, which is removed."""
        try:
            file = path.open("r+b")
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror}") from error
        with file:
            head = file.read(_HEAD.size)
            if len(head) < _HEAD.size and cut:
                say(f"{path}: ends within its header; it held no event that was answered")
                return
            self._check(path, head, first)
            while True:
                start, raw = file.tell(), file.read(_RECORD.size)
                if not raw:
                    return
                length, crc = _RECORD.unpack(raw) if len(raw) == _RECORD.size else (0, 0)
                payload = file.read(length) if 0 < length <= MAX_RECORD else b""
                if payload and len(payload) == length and _crc(payload, first) == crc:
                    yield payload
                    first += 1
                    continue
                file.seek(start)
                rest = file.read()
                if not cut or not _is_cut(rest, first):
                    raise InputError(
                        f"{path}: is damaged at byte {start}, in event {first}, and events may "
                        f"follow in the {len(rest)} bytes from there on; {START_OVER}"
                    )
                say(
                    f"{path}: event {first} at its end is not whole, as when the process ends "
                    f"while it is written; these {len(rest)} bytes, from byte {start} on, are "
                    "removed"
                )
                try:
                    file.truncate(start)
                    os.fsync(file.fileno())
                except OSError as error:
                    raise InputError(f"{path}: cannot be cut: {error.strerror}") from error
                return

    def _check(self, path: Path, head: bytes, first: int) -> None:
        program_id, number = facts_of(path, head, _HEAD, _MAGIC, "journal", START_OVER)
        if program_id != self._program_id:
            raise InputError(
                f"{path}: was written for the feature program {program_id.hex()}, and this one is "
                f"{self._program_id.hex()}; give another --state, or the pack before"
            )
        if number != first:
            raise InputError(f"{path}: begins with event {number}, not {first}; {START_OVER}")


def _is_cut(rest: bytes, number: int) -> bool:
    """Whether what begins with a damaged record is one that was not written to its end: nothing
    but zeros, which file systems leave, is behind it, and no whole record in it."""
    if len(rest) < _RECORD.size:
        return True
    length, _ = _RECORD.unpack_from(rest)
    if length > MAX_RECORD or rest[_RECORD.size + length :].strip(b"\0"):
        return False
    last = min(len(rest.rstrip(b"\0")), len(rest) - _RECORD.size)
    return not any(
        _is_record(rest, at, following)
        for at in range(1, last)
        for following in range(number + 1, number + 1 + _LOOK_AHEAD)
    )


def _is_record(data: bytes, at: int, number: int) -> bool:
    length, crc = _RECORD.unpack_from(data, at)
    payload = data[at + _RECORD.size : at + _RECORD.size + length]
    whole = 0 < length == len(payload) <= MAX_RECORD
    return whole and _crc(payload, number) == int(crc)


def _crc(payload: bytes, number: int) -> int:
    """A record that stands in the place of another does not count."""
    return zlib.crc32(payload, number & 0xFFFFFFFF)

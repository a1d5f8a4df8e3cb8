# SPDX-License-Identifier: Apache-2.0
"""What went over the wire, kept: written while it happens, read for people, played back.

A transcript is a gzip file: :data:`MAGIC`, one line of JSON that says whose it is, then records of
u8 kind, varint microseconds since the record before, varint length and so many bytes. A file that
ends early (the power failed) is read up to there.

It holds the card tokens of every event, so only its owner may read it. Its size is bounded: of a
long run the beginning is kept and the end, with a record of kind GAP between them.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import time
import zlib
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

from tinyfin.errors import InputError, TargetError
from tinyfin.text import one_line
from tinyfin.wire import messages as m
from tinyfin.wire.frames import Deframer, Frame

__all__ = [
    "MAGIC",
    "MOST_BYTES",
    "Entry",
    "Kind",
    "Transcript",
    "Writer",
    "describe",
    "entries",
    "read",
]

MAGIC = b"tinyfin transcript 1\n"
MOST_BYTES = 32 << 20
"""Bytes of records that a transcript keeps before compression: half from the beginning of the run,
half from its end."""
_READ_BYTES = 1 << 28
_READ_RECORDS = 2_000_000
_CHUNK_BYTES = 1 << 20
_RECENT = 200
_TRUNCATED = "is truncated"
_VARINT_BYTES = 10
_RECORD_BYTES = 32
"""What a record counts in addition to its data: so there are at most 1,048,576 of them."""


class Kind(IntEnum):
    """What a record is."""

    UP = 0
    """Bytes to the terminal."""
    DOWN = 1
    """Bytes from it."""
    OPENED = 2
    """The link was opened; whatever was under way is lost."""
    RESET = 3
    """The terminal was reset from outside; the bytes say how."""
    NOTE = 4
    """Text: which suite begins, what the harness did."""
    GAP = 5
    """Records were left out here; the text says how many bytes."""


class Writer:
    """Writes a transcript; :meth:`close` it.

    A file that cannot be written ends nothing else: :attr:`stopped` says why it holds no more.
    """

    def __init__(
        self, path: Path, about: Mapping[str, object], *, most_bytes: int = MOST_BYTES
    ) -> None:
        self.path = path
        self.stopped = ""
        self.recent: deque[Record] = deque(maxlen=_RECENT)
        """The last records, whatever becomes of the file."""
        self._begun = time.monotonic()
        self._half = self._left = most_bytes // 2
        self._end: deque[tuple[float, Kind, bytes]] = deque()
        self._end_bytes = self._dropped = 0
        self._file: gzip.GzipFile | None = None
        self._last = time.monotonic()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
            self._raw = os.fdopen(os.open(path, flags, 0o600), "wb")
            # no name and no time in the header: the same wire gives the same file
            self._file = gzip.GzipFile(
                filename="", fileobj=self._raw, mode="wb", compresslevel=1, mtime=0
            )
        except OSError as error:
            self._stop(error)
        self._write(MAGIC + json.dumps(dict(about)).encode() + b"\n")

    def put(self, kind: Kind, data: bytes) -> None:
        """Append a record; nothing happens after :meth:`close`."""
        now = time.monotonic()
        self.recent.append(Record(kind, int((now - self._begun) * 1e6), data))
        if self._file is None:
            return
        if self._left >= len(data) and not self._end:
            self._left -= len(data) + _RECORD_BYTES
            self._append(now, kind, data)
            return
        self._end.append((now, kind, data))
        self._end_bytes += len(data) + _RECORD_BYTES
        while self._end_bytes > self._half:
            size = len(self._end.popleft()[2])
            self._end_bytes -= size + _RECORD_BYTES
            self._dropped += size

    def note(self, text: str) -> None:
        """Append a remark."""
        self.put(Kind.NOTE, text.encode())

    def close(self) -> None:
        """Finish the file; may be called twice."""
        if self._dropped:
            self._append(self._end[0][0], Kind.GAP, f"{self._dropped:,} bytes left out".encode())
        for record in self._end:
            self._append(*record)
        self._end.clear()
        self._dropped = 0
        if self._file is not None:
            try:
                self._file.close()
                self._raw.close()
            except OSError as error:
                self._stop(error)
            self._file = None

    def _append(self, at: float, kind: Kind, data: bytes) -> None:
        head = bytearray([kind])
        m.put_varint(head, max(0, int((at - self._last) * 1e6)))
        m.put_varint(head, len(data))
        self._last = at
        self._write(bytes(head) + data)

    def _write(self, data: bytes) -> None:
        if self._file is None:
            return
        try:
            self._file.write(data)
        except OSError as error:
            self._stop(error)

    def _stop(self, error: OSError) -> None:
        self.stopped = f"{self.path}: cannot be written: {error.strerror}; the rest is not recorded"
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            with contextlib.suppress(OSError):
                self._raw.close()
        self._file = None


class Record(NamedTuple):
    """One record; ``at_us`` since the transcript's begin."""

    kind: Kind
    at_us: int
    data: bytes


@dataclass(frozen=True)
class Transcript:
    """A transcript as read. ``whole`` is False when it ends in the middle."""

    about: dict[str, object]
    records: list[Record]
    whole: bool
    fault: str = ""
    """What is wrong with the file, and at which byte; "" when it is whole."""


def read(path: Path) -> Transcript:
    """Read a transcript, as far as it goes: ``fault`` says where it ends early. Raises InputError
    when it is none, holds no record, or is too large to be one."""
    text, fault = _unpacked(path)
    begin = text.find(b"\n", len(MAGIC)) + 1
    if fault.startswith(_TRUNCATED) and (MAGIC.startswith(text) or not begin):
        raise InputError(f"{path}: {fault}, before its first record; record it again")
    if not text.startswith(MAGIC):
        raise InputError(f"{path}: is no transcript of the wire; `tinyfin hil run` writes them")
    try:
        about = json.loads(text[len(MAGIC) : begin])
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: its first line is damaged: {error}; record it again") from error
    if not isinstance(about, dict):
        raise InputError(f"{path}: its first line is no JSON object; record it again")
    records = []
    try:
        for record in _records(text, begin):
            records.append(record)
            if len(records) > _READ_RECORDS:
                raise InputError(
                    f"{path}: has more than {_READ_RECORDS:,} records, which no run writes; record "
                    "it again"
                )
    except _NoRecord as error:
        fault = fault or f"is damaged: no record begins at byte {error.at:,} of what it unpacks to"
    if fault:
        fault += f"; {len(records):,} records before it are whole"
    return Transcript(about, records, not fault, fault)


class _NoRecord(Exception):
    """The text ends early, or is damaged."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at = at


def _records(text: bytes, at: int) -> Iterator[Record]:
    """The records from ``at`` on. Raises _NoRecord where there is no whole one."""
    at_us = 0
    while at < len(text):
        begin = at
        try:
            kind = Kind(text[at])
            passed_us, at = _varint(text, at + 1)
            size, at = _varint(text, at)
        except (IndexError, ValueError) as error:
            raise _NoRecord(begin) from error
        if at + size > len(text) or (kind in (Kind.UP, Kind.DOWN) and not size):
            raise _NoRecord(begin)
        at_us += passed_us
        yield Record(kind, at_us, text[at : at + size])
        at += size


def _varint(text: bytes, at: int) -> tuple[int, int]:
    """The number at ``at``, and where it ends."""
    value = 0
    for shift in range(0, 7 * _VARINT_BYTES, 7):
        byte = text[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError


def _unpacked(path: Path) -> tuple[bytes, str]:
    """What the file unpacks to, as far as that can be had, and what is wrong with the file."""
    inflate = zlib.decompressobj(wbits=31)
    text = bytearray()
    taken = 0
    try:
        with path.open("rb") as file:
            while not inflate.eof and (data := file.read(_CHUNK_BYTES)):
                taken += len(data)
                while data and not inflate.eof:
                    before = inflate.copy()
                    try:
                        text += inflate.decompress(data, _CHUNK_BYTES)
                    except zlib.error:
                        more, at = _until_damage(before, data)
                        return bytes(text + more), f"is damaged at byte {taken - len(data) + at:,}"
                    data = inflate.unconsumed_tail
                    if len(text) > _READ_BYTES or not text.startswith(MAGIC[: len(text)]):
                        break
                if not text.startswith(MAGIC[: len(text)]):
                    return b"", "is no transcript"
                if len(text) > _READ_BYTES:
                    raise InputError(
                        f"{path}: unpacks to more than {_READ_BYTES >> 20} MiB, which no run "
                        "writes; record it again"
                    )
        text += inflate.flush()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}; check the path") from error
    return bytes(text), "" if inflate.eof else f"{_TRUNCATED}: it ends at byte {taken:,}"


def _until_damage(inflate: zlib._Decompress, data: bytes) -> tuple[bytes, int]:
    """What ``data`` unpacks to before its first wrong byte, and which byte that is."""
    text = bytearray()
    for at in range(len(data)):
        try:
            text += inflate.decompress(data[at : at + 1])
        except zlib.error:
            return bytes(text), at
    return bytes(text), len(data)


@dataclass(frozen=True)
class Entry:
    """A frame, or another record, in its order."""

    at_us: int
    kind: Kind
    frame: Frame | None
    """None for records without one: opened, reset, note, and stretches that are no frame."""
    text: str = ""
    size: int = 0
    """Bytes that were no frame."""


def entries(transcript: Transcript) -> Iterator[Entry]:
    """The frames of both directions and the other records, in order."""
    ways = {Kind.UP: Deframer(), Kind.DOWN: Deframer()}
    for record in transcript.records:
        if record.kind in ways:
            way = ways[record.kind]
            before = way.damaged
            for frame in way.feed(record.data):
                yield Entry(record.at_us, record.kind, frame)
            if way.damaged > before:
                yield Entry(record.at_us, record.kind, None, "no frame", way.damaged - before)
            continue
        if record.kind in (Kind.OPENED, Kind.GAP):
            ways = {Kind.UP: Deframer(), Kind.DOWN: Deframer()}
        yield Entry(record.at_us, record.kind, None, record.data.decode(errors="replace"))


def describe(entry: Entry) -> str:
    """One line for people."""
    return one_line(_described(entry))


def _described(entry: Entry) -> str:
    arrow = {Kind.UP: ">", Kind.DOWN: "<"}.get(entry.kind, "*")
    head = f"{entry.at_us / 1e6:12.6f} {arrow}"
    if entry.frame is None:
        if entry.kind in (Kind.UP, Kind.DOWN):
            return f"{head} {entry.size} stretches that are no frame"
        return f"{head} {entry.kind.name.lower()} {entry.text}".rstrip()
    frame_type, sequence, payload = entry.frame
    names: dict[int, str] = {int(t): t.name for t in (*m.Request, *m.Answer)}
    name = names.get(frame_type, f"type {frame_type:#04x}")
    return f"{head} {name:18} {sequence:5} {len(payload):4} bytes  {_said(frame_type, payload)}"


def _said(frame_type: int, payload: bytes) -> str:
    try:
        if frame_type == m.Answer.HELLO:
            hello = m.parse_hello(payload)
            return (
                f"{hello.target}, pack {hello.pack_id}, build {hello.build_id}, boot nonce "
                f"{hello.boot_nonce:08x}, session {hello.session:08x}"
            )
        if frame_type == m.Answer.LOG:
            r = m.Reader(payload, "LOG")
            level = r.take(1)[0]
            return f"level {level}: {r.text()}"
        if frame_type == m.Answer.ERROR:
            return str(m.parse_error(payload))
        if frame_type == m.Answer.CHECKPOINT:
            point = m.parse_checkpoint(payload)
            return f"state {point.state_digest:08x}, digest {point.digest:08x}"
        if frame_type == m.Request.EVENTS:
            return f"{payload[1]} events" if len(payload) > 1 else ""
    except TargetError as error:
        return f"damaged: {error}"
    return ""

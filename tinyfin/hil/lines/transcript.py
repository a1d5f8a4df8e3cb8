# SPDX-License-Identifier: Apache-2.0
"""What went over the wire, kept: written while it happens, read for people, played back.

A transcript is a gzip file: :data:`MAGIC`, one line of JSON that says whose it is, then records of
u8 kind, varint microseconds since the record before, varint length and so many bytes. A file that
ends early (the power failed) is read up to there.
"""

from __future__ import annotations

import gzip
import json
import time
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

from tinyfin.errors import InputError, TargetError
from tinyfin.wire import messages as m
from tinyfin.wire.frames import Deframer, Frame

__all__ = ["MAGIC", "Entry", "Kind", "Transcript", "Writer", "describe", "entries", "read"]

MAGIC = b"tinyfin transcript 1\n"


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


class Writer:
    """Writes a transcript; :meth:`close` it."""

    def __init__(self, path: Path, about: Mapping[str, Any]) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._raw = path.open("wb")
        # no name and no time in the header: the same wire gives the same file
        file = gzip.GzipFile(
            filename="", fileobj=self._raw, mode="wb", compresslevel=1, mtime=0
        )
        self._file: gzip.GzipFile | None = file
        file.write(MAGIC + json.dumps(dict(about)).encode() + b"\n")
        self._last = time.monotonic()

    def put(self, kind: Kind, data: bytes) -> None:
        """Append a record; nothing happens after :meth:`close`."""
        if self._file is None:
            return
        now = time.monotonic()
        head = bytearray([kind])
        m.put_varint(head, max(0, int((now - self._last) * 1e6)))
        m.put_varint(head, len(data))
        self._last = now
        self._file.write(bytes(head) + data)

    def note(self, text: str) -> None:
        """Append a remark."""
        self.put(Kind.NOTE, text.encode())

    def close(self) -> None:
        """Finish the file; may be called twice."""
        if self._file is not None:
            self._file.close()
            self._raw.close()
            self._file = None


@dataclass(frozen=True)
class Record:
    """One record; ``at_us`` since the transcript's begin."""

    kind: Kind
    at_us: int
    data: bytes


@dataclass(frozen=True)
class Transcript:
    """A transcript as read. ``whole`` is False when it ends in the middle."""

    about: dict[str, Any]
    records: list[Record]
    whole: bool


def read(path: Path) -> Transcript:
    """Read a transcript. Raises InputError when it is none."""
    whole, text = _unpacked(path)
    if not text.startswith(MAGIC):
        raise InputError(f"{path}: is no transcript of the wire; `tinyfin hil run` writes them")
    try:
        line, _, rest = text[len(MAGIC) :].partition(b"\n")
        about = json.loads(line)
    except ValueError as error:
        raise InputError(f"{path}: its first line is damaged: {error}; record it again") from error
    records = []
    reader = m.Reader(rest, "transcript")
    at = 0
    try:
        while reader.left:
            kind = Kind(reader.take(1)[0])
            at += reader.varint()
            records.append(Record(kind, at, reader.take(reader.varint())))
    except (TargetError, ValueError):
        whole = False
    return Transcript(about, records, whole)


def _unpacked(path: Path) -> tuple[bool, bytes]:
    inflate = zlib.decompressobj(wbits=31)
    try:
        data = path.read_bytes()
        text = inflate.decompress(data)
    except zlib.error:
        return False, b""
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}; check the path") from error
    return inflate.eof, text


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
        if record.kind == Kind.OPENED:
            ways = {Kind.UP: Deframer(), Kind.DOWN: Deframer()}
        yield Entry(record.at_us, record.kind, None, record.data.decode(errors="replace"))


def describe(entry: Entry) -> str:
    """One line for people."""
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

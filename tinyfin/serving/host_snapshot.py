# SPDX-License-Identifier: Apache-2.0
"""Files of the states of cards: docs/formats/host_snapshot.md."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from tinyfin import files
from tinyfin.errors import InputError
from tinyfin.progress import stage
from tinyfin.twin import error_name
from tinyfin.twin._native import NativeCards

__all__ = ["CARDS", "FORMAT", "Head", "read_snapshot", "write_snapshot"]

MAGIC = b"TFHC"
FORMAT = 1
_HEAD = struct.Struct("<4sHH16sHHIQ24x")
_CRC = struct.Struct("<I")
CARDS = 1 << 12
"""Cards that are read or written at a time."""


class Head(NamedTuple):
    """What a snapshot says of itself."""

    program_id: bytes
    shard: int
    shards: int
    image_bytes: int
    sequence: int
    """Number of the first event that a card may lack."""


def write_snapshot(
    path: str | Path, head: Head, export: Callable[[int], bytes | None], settle: Callable[[], None]
) -> Iterator[None]:
    """Write the file in steps, whole and on the disk at the end. ``export`` gives the images of a
    piece, by its number; None behind the last one. ``settle`` is called before the file counts.
    Raises InputError."""
    with (
        files.whole(path, make_folder=True, private=True) as unfinished,
        unfinished.open("wb") as file,
    ):
        piece: bytes | None = _HEAD.pack(MAGIC, FORMAT, _HEAD.size, *head)
        crc, number = 0, 0
        while piece is not None:
            file.write(piece)
            crc = zlib.crc32(piece, crc)
            yield
            piece = export(number)
            number += 1
        file.write(_CRC.pack(crc))
        file.flush()
        os.fsync(file.fileno())
        settle()


def read_snapshot(
    path: str | Path, program_id: bytes, shard: int, shards: int, states: NativeCards, most: int
) -> int:
    """Add the file's cards, at most so many, to ``states``; returns its sequence. Raises
    InputError: what was added until then must not be used."""
    try:
        with Path(path).open("rb") as file:
            raw = file.read(_HEAD.size)
            head = _parsed(path, raw)
            if head.program_id != program_id or head.image_bytes != states.image_bytes:
                raise InputError(
                    f"{path}: holds states of the program {head.program_id.hex()}, and this "
                    f"tinyfin has {program_id.hex()}; start without it, or with the tinyfin that "
                    "wrote it"
                )
            if (head.shard, head.shards) != (shard, shards):
                raise InputError(
                    f"{path}: holds shard {head.shard} of {head.shards}, and this is shard {shard} "
                    f"of {shards}; restore it there"
                )
            size = os.fstat(file.fileno()).st_size - _HEAD.size - _CRC.size
            left, rest = divmod(size, head.image_bytes)
            if size < 0 or rest:
                raise InputError(f"{path}: is cut or has bytes behind its end; {_OTHER}")
            if left > most:
                raise InputError(
                    f"{path}: holds {left} cards, and there is space for {most}; make the context "
                    "larger"
                )
            crc = zlib.crc32(raw)
            with stage(f"restoring {path}", left, "cards") as running:
                while left:
                    count = min(left, CARDS)
                    piece = file.read(count * head.image_bytes)
                    crc = zlib.crc32(piece, crc)
                    rc = states.import_cards(piece)
                    if rc or len(piece) != count * head.image_bytes:
                        raise InputError(f"{path}: is damaged ({error_name(rc)}); {_OTHER}")
                    left -= count
                    running.step(count)
            if file.read(_CRC.size) != _CRC.pack(crc):
                raise InputError(f"{path}: is damaged (its checksum differs); {_OTHER}")
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    states.in_order()
    return head.sequence


_OTHER = "restore an older snapshot, or start without one"


def _parsed(path: str | Path, raw: bytes) -> Head:
    if len(raw) < _HEAD.size or raw[:4] != MAGIC:
        raise InputError(f"{path}: is no snapshot of cards; {_OTHER}")
    _, version, size, *facts = _HEAD.unpack(raw)
    if version > FORMAT:
        raise InputError(
            f"{path}: has format {version}, and this tinyfin reads up to {FORMAT}; read it with "
            "the tinyfin that wrote it, or a newer one"
        )
    if size != _HEAD.size or version == 0 or any(raw[-24:]):
        raise InputError(f"{path}: is damaged (its header breaks a rule); {_OTHER}")
    return Head(*facts)

# SPDX-License-Identifier: Apache-2.0
"""Files of the states of cards: docs/formats/host_snapshot.md."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path
from typing import NamedTuple

from tinyfin import files
from tinyfin.errors import InputError
from tinyfin.twin import error_name
from tinyfin.twin._native import NativeCards

__all__ = ["FORMAT", "Head", "read_snapshot", "write_snapshot"]

MAGIC = b"TFHC"
FORMAT = 1
_HEAD = struct.Struct("<4sHH16sHHIQQ16x")
_CRC = struct.Struct("<I")
_CARDS = 1 << 14
"""Cards that are read or written at a time."""


class Head(NamedTuple):
    """What a snapshot says of itself."""

    program_id: bytes
    shard: int
    shards: int
    image_bytes: int
    cards: int
    sequence: int


def write_snapshot(path: str | Path, head: Head, states: NativeCards) -> None:
    """Write the file, on the disk when this returns. Raises InputError."""
    with (
        files.whole(path, make_folder=True, private=True) as unfinished,
        unfinished.open("wb") as file,
    ):
        piece = _HEAD.pack(MAGIC, FORMAT, _HEAD.size, *head)
        crc, cursor = zlib.crc32(piece), 0
        file.write(piece)
        for _ in range(0, head.cards, _CARDS):
            piece, cursor = states.export_cards(cursor, _CARDS)
            crc = zlib.crc32(piece, crc)
            file.write(piece)
        file.write(_CRC.pack(crc))
        file.flush()
        os.fsync(file.fileno())


def read_snapshot(
    path: str | Path, program_id: bytes, shard: int, shards: int, states: NativeCards
) -> int:
    """Add the file's cards to ``states``; returns its sequence. Raises InputError: what was added
    until then must not be used."""
    try:
        with Path(path).open("rb") as file:
            raw = file.read(_HEAD.size)
            head = _parsed(path, raw)
            size = os.fstat(file.fileno()).st_size
            if size != _HEAD.size + head.cards * head.image_bytes + _CRC.size:
                raise InputError(f"{path}: is cut or has bytes behind its end; {_OTHER}")
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
            crc = zlib.crc32(raw)
            left = head.cards
            while left:
                count = min(left, _CARDS)
                piece = file.read(count * head.image_bytes)
                crc = zlib.crc32(piece, crc)
                rc = states.import_cards(piece)
                if rc:
                    raise InputError(f"{path}: is damaged ({error_name(rc)}); {_OTHER}")
                left -= count
            if file.read(_CRC.size) != _CRC.pack(crc):
                raise InputError(f"{path}: is damaged (its checksum differs); {_OTHER}")
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
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
    if size != _HEAD.size or version == 0 or any(raw[-16:]):
        raise InputError(f"{path}: is damaged (its header breaks a rule); {_OTHER}")
    return Head(*facts)

# SPDX-License-Identifier: Apache-2.0
"""Frames on a byte stream: ``COBS(type, sequence, payload, CRC-32) 0x00``.

The CRC is CRC-32/ISO-HDLC (zlib's) over everything before it. See ``docs/formats/wire.md``.
"""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple

from tinyfin.wire import cobs

__all__ = ["MAX_FRAME_BYTES", "OVERHEAD_BYTES", "Deframer", "Frame", "encode_frame"]

MAX_FRAME_BYTES = 65535
"""The longest decoded frame that the host takes."""

OVERHEAD_BYTES = 7
"""Bytes of a decoded frame that are not payload: type 1, sequence 2, CRC 4."""

_HEAD = struct.Struct("<BH")


class Frame(NamedTuple):
    """One frame, checked."""

    type: int
    sequence: int
    payload: bytes


def encode_frame(frame_type: int, sequence: int, payload: bytes) -> bytes:
    """The bytes for the line, closing delimiter included."""
    body = _HEAD.pack(frame_type, sequence) + payload
    return cobs.encode(body + zlib.crc32(body).to_bytes(4, "little")) + b"\0"


class Deframer:
    """Takes bytes as they come and gives the frames in them; counts what was no frame."""

    def __init__(self, max_bytes: int = MAX_FRAME_BYTES) -> None:
        self.damaged = 0
        """Stretches between delimiters that were not a frame."""
        self._max = max_bytes + max_bytes // 254 + 2
        self._rest = bytearray()

    def restart(self) -> None:
        """Forget the unfinished stretch: what follows is another connection."""
        self._rest.clear()

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that ``data`` completes, in order."""
        self._rest += data
        if b"\0" not in data:
            if len(self._rest) > self._max:
                # keep it recognisable as too long, without keeping it
                del self._rest[self._max + 1 :]
            return []
        *stretches, rest = bytes(self._rest).split(b"\0")
        self._rest = bytearray(rest)
        frames = []
        for stretch in stretches:
            frame = self._frame(stretch)
            if frame is not None:
                frames.append(frame)
            elif stretch:
                self.damaged += 1
        return frames

    def _frame(self, stretch: bytes) -> Frame | None:
        if not 0 < len(stretch) <= self._max:
            return None
        body = cobs.decode(stretch)
        if body is None or len(body) < OVERHEAD_BYTES:
            return None
        if zlib.crc32(body[:-4]) != int.from_bytes(body[-4:], "little"):
            return None
        frame_type, sequence = _HEAD.unpack_from(body)
        return Frame(frame_type, sequence, body[3:-4])

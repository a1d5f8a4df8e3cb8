# SPDX-License-Identifier: Apache-2.0
"""State images in STATE_WRITE frames: runs of zeros are counted, not sent."""

from __future__ import annotations

from collections.abc import Iterator

from tinyfin.wire.messages import put_varint

__all__ = ["state_frames"]

_FIRST = 64
"""The engine wants the image's header in one piece."""

_MIN_RUN = 4  # a shorter run of zeros costs more as a run


def _stretches(image: bytes, at: int) -> Iterator[tuple[int, int, bool]]:
    """(start, end, zero) from ``at`` on: stretches to send, and runs of zeros to count."""
    zeros = bytes(_MIN_RUN)
    while at < len(image):
        run = image.find(zeros, at)
        run = len(image) if run < 0 else run
        end = run
        while end < len(image) and image[end] == 0:
            end += 1
        if run > at:
            yield at, run, False
        if end > run:
            yield run, end, True
        at = end


def state_frames(image: bytes, room: int) -> Iterator[bytes]:
    """Payloads of at most ``room`` bytes (room >= 96) that carry ``image`` in order."""
    out = bytearray()
    put_varint(out, 0)
    # header first, and sent in full: whatever the space, it stays in one frame
    put_varint(out, _FIRST << 1)
    out += image[:_FIRST]
    for start, end, zero in _stretches(image, _FIRST):
        at = start
        while at < end:
            if room - len(out) < 8:
                yield bytes(out)
                out = bytearray()
                put_varint(out, at)
            size = end - at if zero else min(end - at, room - len(out) - 4)
            put_varint(out, size << 1 | zero)
            if not zero:
                out += image[at : at + size]
            at += size
    yield bytes(out)

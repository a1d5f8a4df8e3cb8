# SPDX-License-Identifier: Apache-2.0
"""Consistent Overhead Byte Stuffing (Cheshire and Baker, 1997): bytes without any 0x00.

Costs one byte, and one more for each full run of 254 bytes that are not zero.
"""

from __future__ import annotations

__all__ = ["decode", "encode"]

_RUN = 254


def encode(data: bytes) -> bytes:
    """``data`` without a zero byte; the delimiter is not part of the result."""
    out = bytearray()
    for block in data.split(b"\0"):
        rest = block
        while len(rest) >= _RUN:
            out.append(_RUN + 1)
            out += rest[:_RUN]
            rest = rest[_RUN:]
        out.append(len(rest) + 1)
        out += rest
    return bytes(out)


def decode(data: bytes) -> bytes | None:
    """What ``encode`` was given, or None when ``data`` is no encoding."""
    out = bytearray()
    at = 0
    size = len(data)
    while at < size:
        code = data[at]
        block = data[at + 1 : at + code]
        if code == 0 or len(block) != code - 1 or 0 in block:
            return None
        out += block
        at += code
        if code <= _RUN and at < size:
            out.append(0)
    return bytes(out)

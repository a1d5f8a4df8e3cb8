# SPDX-License-Identifier: Apache-2.0
"""The messages of a capture file: a line of hexadecimal digits each, or binary with their length
before them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

from tinyfin.data.containers import explained

__all__ = ["Message", "Unreadable", "messages"]

_SAMPLE_BYTES = 4096
_LONGEST = 65_535
_TEXT = frozenset(range(0x20, 0x7F)) | frozenset(b"\t\r\n")


class Unreadable(ValueError):
    """Why a message gives no transaction: the rule that it breaks, and nothing of its contents."""


class Message(NamedTuple):
    """One message, or why there is none; ``end``: how many bytes of the file are read by now."""

    where: str
    """"line 7" or "offset 1234"."""
    data: bytes
    end: int
    problem: str = ""


def messages(path: str | Path) -> Iterator[Message]:
    """The messages of a file, one in memory at a time. Raises DataError if it cannot be read.

    A file whose first 4096 bytes are printable holds a message per line. Any other is binary:
    before each message its length in two bytes, the more significant one first; a length of 0, as
    lines are kept open with, is left out.
    """
    with explained(path), Path(path).open("rb") as file:
        text = _TEXT.issuperset(file.read(_SAMPLE_BYTES))
        file.seek(0)
        yield from _lines(file) if text else _frames(file)


def _lines(file: IO[bytes]) -> Iterator[Message]:
    number = 0
    while line := file.readline(2 * _LONGEST + 2):
        number += 1
        where, end = f"line {number}", file.tell()
        if not line.endswith(b"\n") and len(line) > 2 * _LONGEST:
            while (rest := file.readline(_SAMPLE_BYTES)) and not rest.endswith(b"\n"):
                pass
            yield Message(where, b"", file.tell(), f"a message has at most {_LONGEST} bytes")
            continue
        digits = b"".join(line.split())
        if not digits:
            continue
        try:
            yield Message(where, bytes.fromhex(digits.decode("ascii")), end)
        except ValueError:
            yield Message(where, b"", end, "not an even number of hexadecimal digits")


def _frames(file: IO[bytes]) -> Iterator[Message]:
    at = 0
    while head := file.read(2):
        size = int.from_bytes(head, "big")
        data = file.read(size)
        where, end = f"offset {at}", at + len(head) + len(data)
        if len(head) < 2 or len(data) < size:
            rule = f"the length before the message says {size} bytes, and the file has {len(data)}"
            yield Message(where, b"", end, rule)
        elif size:
            yield Message(where, data, end)
        at = end

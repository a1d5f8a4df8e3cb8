# SPDX-License-Identifier: Apache-2.0
"""EMV data objects (BER-TLV, EMV Book 3 Annex B), and which of them a transaction is made of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from tinyfin.captures.elements import CARDS, Elements, Value
from tinyfin.captures.messages import Unreadable

__all__ = ["DataObject", "add_tags", "walk"]

_MAX_DEPTH = 4

_TAGS: dict[int, tuple[str, str, int, int]] = {
    0x9F02: ("amount", "n", 6, 6),
    0x5F2A: ("currency", "n", 2, 2),
    0x9C: ("type", "n", 1, 1),
    0x9F39: ("entry", "n", 1, 1),
    0x9F15: ("mcc", "n", 2, 2),
    0x9A: ("date", "n", 3, 3),
    0x9F21: ("time", "n", 3, 3),
    0x5A: ("pan", "n", 4, 10),
    0x57: ("track_2", "n", 7, 19),
    0x89: ("approval", "an", 6, 6),
    0x8A: ("response", "an", 2, 2),
    0x9F1B: ("floor_limit", "b", 4, 4),
    0x9F1C: ("terminal", "an", 8, 8),
    0x95: ("tvr", "b", 5, 5),
    0x9F34: ("cvm", "b", 3, 3),
    0x9F6C: ("qualifiers", "b", 2, 2),
    0x9F36: ("atc", "b", 2, 2),
    0x9F27: ("cid", "b", 1, 1),
}
"""By tag: what it is, its format, its size in bytes."""


class DataObject(NamedTuple):
    """A tag and its value; ``offset``: of the tag, in bytes."""

    tag: int
    value: bytes
    offset: int
    constructed: bool


def walk(data: bytes) -> Iterator[DataObject]:
    """Every data object, a template before what is in it. Raises Unreadable where one breaks a
    rule: indefinite or overlong lengths, ends behind the data or its template, too deep."""
    at, ends = 0, [len(data)]
    while True:
        while at < ends[-1] and data[at] == 0:
            at += 1
        if at == ends[-1]:
            ends.pop()
            if not ends:
                return
            continue
        tag, value_at = _tag(data, at, ends[-1])
        size, value_at = _length(data, value_at, ends[-1], at)
        constructed = bool(data[at] & 0x20)
        if constructed and len(ends) > _MAX_DEPTH:
            raise _broken(at, f"templates lie more than {_MAX_DEPTH} deep")
        yield DataObject(tag, data[value_at : value_at + size], at, constructed)
        at = value_at if constructed else value_at + size
        if constructed:
            ends.append(value_at + size)


def _tag(data: bytes, at: int, end: int) -> tuple[int, int]:
    tag, after = data[at], at + 1
    if tag & 0x1F == 0x1F:
        while True:
            if after - at == 3:
                raise _broken(at, "a tag has at most three bytes")
            if after == end:
                raise _broken(at, "a tag ends behind the data or its template")
            tag = tag << 8 | data[after]
            after += 1
            if not data[after - 1] & 0x80:
                break
    return tag, after


def _length(data: bytes, at: int, end: int, of: int) -> tuple[int, int]:
    short = "a length ends behind the data or its template"
    if at == end:
        raise _broken(of, short)
    size, at = data[at], at + 1
    if size >= 0x80:
        more = size - 0x80
        if more not in (1, 2):
            raise _broken(of, "an indefinite length, or one of more than three bytes")
        if end - at < more:
            raise _broken(of, short)
        size, at = int.from_bytes(data[at : at + more], "big"), at + more
        if size < (0x80 if more == 1 else 0x100):
            raise _broken(of, "a length that is written with more bytes than it needs")
    if end - at < size:
        raise _broken(of, "a value ends behind the data or its template")
    return size, at


def _broken(at: int, rule: str) -> Unreadable:
    return Unreadable(f"TLV, byte {at}: {rule}")


def add_tags(elements: Elements, data: bytes) -> None:
    """Put what a transaction is made of into ``elements``, unless it is there from elsewhere.

    Raises Unreadable: broken TLV, a wrong size, a tag that comes twice with different values, a
    response in format 1 (tag 80), in which nothing says what is what.
    """
    for found in walk(data):
        if found.tag == 0x80:
            raise _broken(found.offset, "tag 80 (format 1) does not say what it holds")
        if found.tag not in _TAGS:
            continue
        name, kind, least, most = _TAGS[found.tag]
        what = f"tag {found.tag:02X}"
        if not least <= len(found.value) <= most:
            raise _broken(found.offset, f"{what} has {len(found.value)} bytes, not {least}..{most}")
        text = found.value.decode("latin-1") if kind == "an" else found.value.hex().upper()
        before = elements.setdefault(name, Value(text, what))
        if before.what != what and f"chip_{name}" in CARDS:
            before = elements.setdefault(f"chip_{name}", Value(text, what))
        if before.what == what and before.text != text:
            raise _broken(found.offset, f"{what} comes twice, with different values")

# SPDX-License-Identifier: Apache-2.0
"""What is inside a state image, as its pack lays it out (docs/formats/program.md)."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import TypedDict

from tinyfin.errors import InputError
from tinyfin.formats import IMAGE_HEAD_BYTES, ProgramHeader
from tinyfin.pack.container import parse_pack
from tinyfin.twin import Twin

__all__ = ["StateFacts", "describe_state", "erase_card", "parse_token", "restored"]

STATE_HEAD_BYTES = 64
_MAGIC = b"TFST"


def parse_token(text: str) -> int:
    """A card's token from hexadecimal digits, with or without 0x. Raises InputError."""
    try:
        value = int(text, 16)
    except ValueError:
        value = 0
    if not 0 < value < 2**64:
        raise InputError(
            f"token {text!r}: give the 64-bit token in hexadecimal, 1 to 16 digits, not 0"
        )
    return value


def restored(image: bytes, pack: bytes, keys: Sequence[bytes] = ()) -> Twin:
    """A twin of one terminal that goes on from ``image``.

    Raises InputError when the image is damaged or of another pack, PackError when the pack is
    refused.
    """
    if image[:4] != _MAGIC:
        raise InputError("this is no state image: it does not begin with TFST")
    twin = Twin(pack, keys=keys)
    twin.import_state(0, image)
    return twin


class StateFacts(TypedDict):
    """What there is to say of a state image."""

    bytes: int
    last_t_s: int
    first_commit_s: int | None
    stats: dict[str, int]
    occupancy: dict[str, dict[str, int]]


def describe_state(image: bytes, pack: bytes, keys: Sequence[bytes] = ()) -> StateFacts:
    """Counters, times (seconds since 2000-01-01), and how full each table is: used and capacity.

    Raises as :func:`restored`.
    """
    twin = restored(image, pack, keys)
    program = ProgramHeader.read(parse_pack(pack, keys=keys).program)
    body = image[IMAGE_HEAD_BYTES:]
    last, first = struct.unpack_from("<II", body)
    stats = twin.stats(0)
    return {
        "bytes": len(image),
        "last_t_s": last,
        "first_commit_s": first if stats["committed"] else None,
        "stats": stats,
        "occupancy": _occupancy(body, program),
    }


def erase_card(
    image: bytes, pack: bytes, token: int, keys: Sequence[bytes] = ()
) -> tuple[bytes, dict[str, int]]:
    """The image without one card, and what was there of it: slots, and pending transactions.

    Raises as :func:`restored`.
    """
    twin = restored(image, pack, keys)
    program = ProgramHeader.read(parse_pack(pack, keys=keys).program)
    body = image[IMAGE_HEAD_BYTES:]
    found = {
        "slots": sum(_token(row, 0) == token for row in _cards(body, program)),
        "pending": sum(_token(row, 16) == token for row in _pending(body, program)),
    }
    twin.erase_card(0, token)
    return twin.export_state(0), found


def _occupancy(body: bytes, program: ProgramHeader) -> dict[str, dict[str, int]]:
    cards = _cards(body, program)
    at = STATE_HEAD_BYTES + program.pending * program.pending_entry_bytes
    at += program.terminal_state_bytes
    labels = int.from_bytes(body[at : at + 4], "little") if program.terminal_labels else 0
    rings = [
        int.from_bytes(row[len(row) - program.card_ring_bytes :][:4], "little")
        for row in cards
        if program.card_labels
    ]
    return {
        "pending": {"used": len(_pending(body, program)), "capacity": program.pending},
        "terminal_labels": {"used": labels, "capacity": program.terminal_labels},
        "cards": {"used": len(cards), "capacity": program.card_sets * program.card_ways},
        "card_labels": {"used": sum(rings), "capacity": len(cards) * program.card_labels},
    }


def _pending(body: bytes, program: ProgramHeader) -> list[bytes]:
    """Entries that wait for their outcome."""
    size = program.pending_entry_bytes
    rows = _rows(body, STATE_HEAD_BYTES, size, program.pending)
    return [row for row in rows if any(row[8:12])]


def _cards(body: bytes, program: ProgramHeader) -> list[bytes]:
    """Slots in use."""
    slots = program.card_sets * program.card_ways
    start = len(body) - slots * program.card_slot_bytes
    rows = _rows(body, start, program.card_slot_bytes, slots)
    return [row for row in rows if any(row[8:12])]


def _rows(body: bytes, start: int, size: int, count: int) -> list[bytes]:
    return [body[start + size * i : start + size * (i + 1)] for i in range(count)]


def _token(row: bytes, at: int) -> int:
    return int.from_bytes(row[at : at + 8], "little")

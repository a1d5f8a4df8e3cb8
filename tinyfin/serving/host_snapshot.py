# SPDX-License-Identifier: Apache-2.0
"""Files of the states of cards: docs/formats/host_snapshot.md."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from tinyfin.errors import InputError
from tinyfin.progress import stage
from tinyfin.serving import state_files
from tinyfin.twin import error_name
from tinyfin.twin._native import NativeCards

__all__ = ["Head", "read_snapshot", "write_snapshot"]

_MAGIC = b"TFHC"
_HEAD = struct.Struct("<4sHH16sHHIQ24s")
_CARDS = 1 << 12
"""Cards that are read or written at a time."""
_ADVICE = "restore an older snapshot, or start without one"


class Head(NamedTuple):
    """What a snapshot says of itself."""

    program_id: bytes
    shard: int
    shards: int
    image_bytes: int
    sequence: int
    """Number of the first event that a card may lack."""
    zero: bytes = bytes(24)


def write_snapshot(
    path: str | Path,
    head: Head,
    slots: int,
    export: Callable[[int, int], bytes],
    sync_journal: Callable[[], None],
) -> Iterator[None]:
    """Write the file in steps, as :func:`state_files.writing`. ``export`` gives the images of the
    cards from a slot on, to the one before another."""

    def pieces() -> Iterator[bytes]:
        yield _HEAD.pack(_MAGIC, state_files.FORMAT, _HEAD.size, *head)
        for first in range(0, slots, _CARDS):
            yield export(first, first + _CARDS)

    return state_files.writing(path, pieces(), sync_journal)


def read_snapshot(
    path: str | Path, program_id: bytes, shard: int, shards: int, states: NativeCards, most: int
) -> int:
    """Add the file's cards, at most so many, to ``states``; returns its sequence. Raises
    InputError: what was added until then must not be used."""
    with state_files.reading(path, _ADVICE) as file:
        head = Head(*file.facts(_HEAD, _MAGIC, "snapshot of cards"))
        if head.program_id != program_id or head.image_bytes != states.image_bytes:
            raise InputError(
                f"{path}: holds states of the program {head.program_id.hex()}, and this context "
                f"has {program_id.hex()}; start without it, or with the tinyfin and the odds that "
                "wrote it"
            )
        if (head.shard, head.shards) != (shard, shards):
            raise InputError(
                f"{path}: holds shard {head.shard} of {head.shards}, and this is shard {shard} of "
                f"{shards}; restore it there"
            )
        cards, rest = divmod(file.left, head.image_bytes)
        if rest or any(head.zero):
            raise file.damaged("its size or its header breaks a rule")
        if cards > most:
            raise InputError(
                f"{path}: holds {cards} cards, and there is space for {most}; make the context "
                "larger"
            )
        with stage(f"restoring {path}", cards, "cards") as running:
            for first in range(0, cards, _CARDS):
                count = min(cards - first, _CARDS)
                if rc := states.import_cards(file.take(count * head.image_bytes)):
                    raise file.damaged(error_name(rc))
                running.step(count)
        file.end()
    states.in_order()
    return head.sequence

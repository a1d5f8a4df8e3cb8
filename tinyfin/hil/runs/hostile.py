# SPDX-License-Identifier: Apache-2.0
"""Frames that no host should send: a terminal refuses each of them and stays as it was."""

from __future__ import annotations

import random

from tinyfin.errors import MismatchError
from tinyfin.hil.replay.facts import Hostile
from tinyfin.wire.client import Client
from tinyfin.wire.frames import encode_frame
from tinyfin.wire.messages import Request

__all__ = ["send_hostile"]

_BATCH = 20
_UNKNOWN = (0x00, 0x0D, 0x0F, 0x2F, 0x30, 0x55, 0x7F, 0x81, 0x8F, 0xFF)


def send_hostile(client: Client, frames: int, seed: int, name: str) -> Hostile:
    """Send hostile frames; MismatchError when state or digest of the terminal changes.

    Noise without a checksum, unknown types, wrong sequence numbers, events that break their rules
    under the right number, questions about what is not there, frames longer than HELLO allows.
    """
    rng = random.Random(seed)
    kinds: dict[str, int] = {}
    before = client.checkpoint()
    sent = 0
    while sent < frames:
        batch = min(_BATCH, frames - sent)
        for _ in range(batch):
            kind, wire = _frame(rng, before.expected, client.hello.frame_bytes)
            kinds[kind] = kinds.get(kind, 0) + 1
            client.link.write(wire)
        sent += batch
        after = client.checkpoint()
        if after != before:
            raise MismatchError(
                f"{name}: hostile frames changed the terminal: {before} became {after} within "
                f"frames {sent - batch} to {sent} of seed {seed}"
            )
    return Hostile(frames=sent, kinds=dict(sorted(kinds.items())))


def _frame(rng: random.Random, expected: int, most: int) -> tuple[str, bytes]:
    kind = rng.choice(("noise", "unknown type", "sequence", "events", "range", "too long"))
    if kind == "noise":
        noise = bytes(rng.randrange(1, 256) for _ in range(rng.randrange(1, 60)))
        return kind, b"\0" + noise + b"\0"
    if kind == "unknown type":
        return kind, encode_frame(rng.choice(_UNKNOWN), rng.randrange(1 << 16), rng.randbytes(9))
    if kind == "sequence":
        # far from what is expected and from the answers that are kept
        wrong = (expected + rng.randrange(300, 60_000)) & 0xFFFF
        return kind, encode_frame(Request.EVENTS, wrong, rng.randbytes(20))
    if kind == "events":
        broken = rng.choice(
            (
                b"",
                b"\0",
                b"\0\1\0\0\0\0",
                b"\x80\1\0\0\0\0\x18\0",
                b"\0\xff\0\0\0\0",
                b"\0\1\0\0\0\0\x82",
                b"\0\1\0\0\0\0\x18\0\x80\x80\x80\x80\x01",
            )
        )
        return kind, encode_frame(Request.EVENTS, expected, broken)
    if kind == "range":
        where = rng.choice((b"\xff\xff\xff\x7f\1\0", b"\0\0\0\0\xff\xff"))
        return kind, encode_frame(Request.STATE_READ, rng.randrange(1 << 16), where)
    return kind, encode_frame(Request.EVENTS, expected, rng.randbytes(most + rng.randrange(1, 40)))

# SPDX-License-Identifier: Apache-2.0
"""Packs with bounds, put together by hand; events, and what two packs make of them."""

from __future__ import annotations

import hashlib
import struct
from functools import cache

from tests.support import sample
from tinyfin.features.catalogue import DEFAULT
from tinyfin.features.compiler import compile_program
from tinyfin.oracle.probation import Bounds, Counts
from tinyfin.pack.container import parse_pack
from tinyfin.pack.signing import DEVELOPMENT_KEY, sign
from tinyfin.schema import PAYMENT
from tinyfin.twin import Replay, Twin, Verdict

Event = tuple[int, int, int, tuple[int, ...], int]
HEADER_BYTES, SIGNED_BYTES = 224, 160


def with_bounds(pack: bytes, bounds: Bounds | bytes, counter: int = 0) -> bytes:
    """The pack with a section PROB behind its last one, signed by the development key."""
    payload = bounds if isinstance(bounds, bytes) else bounds.payload()
    section = struct.pack("<4sIHHI", b"PROB", len(payload), 0, 1, 0) + payload
    body = pack[HEADER_BYTES:] + section + bytes(-len(section) % 16)
    head = bytearray(pack[:SIGNED_BYTES])
    struct.pack_into("<I", head, 8, HEADER_BYTES + len(body))
    struct.pack_into("<I", head, 16, counter)
    struct.pack_into("<H", head, 26, struct.unpack_from("<H", head, 26)[0] + 1)
    head[128:160] = hashlib.blake2b(body, digest_size=32).digest()
    return bytes(head) + sign(bytes(head), DEVELOPMENT_KEY) + body


def shadowed(
    candidate: bytes,
    bounds: Bounds,
    running: Replay,
    other: Replay,
    n: int,
    *,
    own_state: bool = False,
) -> Counts:
    """What the oracle counts of the first n events while the candidate, in place 1, scores in the
    shadow; the replays are those of the two packs, each by itself. ``own_state``: of another
    feature program, whose cold events are not counted."""
    counts = Counts(bounds, parse_pack(candidate).pack_id, 1)
    for row in range(n):
        if own_state and other.flags[row] & 1:
            continue
        counts.shadow(
            int(running.score_q32[row]),
            bool(running.action[row]),
            int(other.raw[row]),
            int(other.score_q32[row]),
            int(other.action[row]),
        )
    return counts


@cache
def other_program(seed: int = 3) -> bytes:
    """A pack of the same events with fewer features than those of the sample."""
    program = compile_program(DEFAULT[::2], PAYMENT)
    return sample.pack_of(PAYMENT, program, sample.network(len(program.feature_names), seed))


def model_of(pack: bytes) -> bytes:
    """The model id in its header."""
    return pack[88:104]


@cache
def events() -> tuple[Event, ...]:
    """The scores of one terminal of the sample: id, clocks, values and presence."""
    tx = sample.make_transactions()
    rows = [row for row in range(len(tx.id)) if tx.terminal[row] == 0]
    return tuple(
        (
            int(tx.id[row]),
            int(tx.t_mono_s[row]),
            int(tx.t_local_s[row]),
            tuple(int(v) for v in tx.values[row]),
            int(tx.present[row]),
        )
        for row in rows
    )


@cache
def verdicts(pack: bytes) -> tuple[Verdict, ...]:
    """What a pack makes of :func:`events` when it runs by itself, each approved at once."""
    twin = Twin(pack)
    return tuple(scored(twin, event) for event in events())


def scored(twin: Twin, event: Event) -> Verdict:
    """The verdict of terminal 0, and its transaction approved."""
    verdict = twin.score(0, *event)
    settle(twin, event)
    return verdict


def settle(twin: Twin, event: Event) -> None:
    """The outcome of an event."""
    assert twin.outcome(0, event[0], event[1], 0, 0, 0) == 0


def cuts_of(pack: bytes) -> tuple[int, int, int]:
    """At 50, 80 and 95 % of its scores of :func:`events`, made to ascend."""
    ranked = sorted({verdict.score_q32 for verdict in verdicts(pack)})
    low, middle, high = (ranked[len(ranked) * place // 100] for place in (50, 80, 95))
    return low, middle, high

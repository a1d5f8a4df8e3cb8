# SPDX-License-Identifier: Apache-2.0
"""The oracle's state as plain objects, and the same state as bytes (program.md, "State body")."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from tinyfin.oracle.compromised import Compromised
from tinyfin.oracle.ewma import Deviation, Mean, Share
from tinyfin.oracle.known import Known, Seen
from tinyfin.oracle.program import OracleOperator, OracleProgram
from tinyfin.oracle.rarity import Rarity
from tinyfin.oracle.rings import Distinct, Mode, Previous, Repeat
from tinyfin.oracle.runs import LastN, Run, Since
from tinyfin.oracle.stateful import Family, Label, State
from tinyfin.oracle.windows import Window

__all__ = [
    "CARD",
    "COMPROMISED",
    "COUNTERS",
    "FAMILIES",
    "TERMINAL",
    "Card",
    "Pending",
    "Whole",
    "body",
    "from_body",
]

TERMINAL = 1
CARD = 2

COMPROMISED = Compromised()
"""Notices change its state too."""

FAMILIES: dict[int, Family] = {
    40: Window(),
    41: LastN(),
    42: Run(),
    43: Since(),
    44: Mean(),
    45: Deviation(),
    46: Share(),
    47: Rarity(),
    48: Repeat(),
    49: Mode(),
    50: Previous(),
    51: Distinct(),
    52: Known(),
    53: Seen(),
    54: COMPROMISED,
}
"""Stateful operators by code."""

COUNTERS = (
    "last_t_mono",
    "first_commit_t",
    "scored",
    "committed",
    "clock_clamps",
    "saturations",
    "pending_overflows",
    "unknown_outcomes",
    "notices",
    "notice_duplicates",
    "label_overflows",
    "evictions",
    "card_tick",
    "pending_sequence",
)
"""The head of the state body, in order; two zero words follow."""

_CARD_HEAD = 16


@dataclass
class Pending:
    """A scored event that waits for its outcome; ``kept`` by index in the keep list."""

    id: int
    sequence: int
    t: int
    token: int
    kept: list[int]


@dataclass
class Card:
    """A card's slot; ``states`` by index of the score operator."""

    token: int
    used: int
    states: dict[int, State]
    labels: list[Label] = field(default_factory=list)


@dataclass
class Whole:
    """Everything that a state image holds."""

    head: dict[str, int]
    pending: list[Pending | None]
    states: dict[int, State]
    labels: list[Label]
    cards: list[list[Card | None]]


def stateful(program: OracleProgram, key: int) -> dict[int, OracleOperator]:
    """The stateful score operators of a key, by index."""
    return {i: op for i, op in enumerate(program.score) if op.code in FAMILIES and op.key == key}


def fresh_states(program: OracleProgram, key: int) -> dict[int, State]:
    """What all-zero bytes mean to each stateful operator of a key."""
    return {i: FAMILIES[op.code].fresh(op) for i, op in stateful(program, key).items()}


def fresh(program: OracleProgram) -> Whole:
    """A cold state."""
    return Whole(
        head=dict.fromkeys(COUNTERS, 0),
        pending=[None] * program.pending_capacity,
        states=fresh_states(program, TERMINAL),
        labels=[],
        cards=[[None] * program.card_ways for _ in range(program.card_sets)],
    )


def body(program: OracleProgram, whole: Whole) -> bytes:
    """The body of the state image; what is RAM-only is zero in it."""
    out = struct.pack("<16I", *(whole.head[name] for name in COUNTERS), 0, 0)
    for entry in whole.pending:
        out += _entry_bytes(program, entry)
    out += _states_bytes(program, TERMINAL, whole.states, program.terminal_state_size)
    out += _ring_bytes(whole.labels, program.terminal_labels)
    for ways in whole.cards:
        for card in ways:
            out += _card_bytes(program, card)
    return out


def from_body(program: OracleProgram, data: bytes) -> Whole:
    """The state in ``data``, which ``body`` wrote."""
    whole = fresh(program)
    whole.head = dict(zip(COUNTERS, struct.unpack_from("<14I", data), strict=True))
    at = 64
    for i in range(program.pending_capacity):
        whole.pending[i] = _entry(program, data[at : at + program.pending_entry_size])
        at += program.pending_entry_size
    whole.states = _states(program, TERMINAL, data[at : at + program.terminal_state_size])
    at += program.terminal_state_size
    whole.labels = _ring(data[at:], program.terminal_labels)
    at += _ring_size(program.terminal_labels)
    for ways in whole.cards:
        for way in range(program.card_ways):
            ways[way] = _card(program, data[at : at + program.card_slot_size])
            at += program.card_slot_size
    return whole


def _entry_bytes(program: OracleProgram, entry: Pending | None) -> bytes:
    out = bytearray(program.pending_entry_size)
    if entry is not None:
        struct.pack_into("<QIIQ", out, 0, entry.id, entry.sequence, entry.t, entry.token)
        for kept, value in zip(program.kept, entry.kept, strict=True):
            if not kept.ram_only:
                out[kept.offset : kept.offset + kept.width] = value.to_bytes(
                    kept.width, "little", signed=True
                )
    return bytes(out)


def _entry(program: OracleProgram, data: bytes) -> Pending | None:
    number, sequence, t, token = struct.unpack_from("<QIIQ", data)
    if sequence == 0:
        return None
    values = [
        int.from_bytes(data[kept.offset : kept.offset + kept.width], "little", signed=True)
        for kept in program.kept
    ]
    return Pending(number, sequence, t, token, values)


def _states_bytes(program: OracleProgram, key: int, states: dict[int, State], size: int) -> bytes:
    out = bytearray(size)
    for i, op in stateful(program, key).items():
        if not op.ram_only:
            family = FAMILIES[op.code]
            out[op.offset : op.offset + family.size(op)] = family.to_bytes(op, states[i])
    return bytes(out)


def _states(program: OracleProgram, key: int, data: bytes) -> dict[int, State]:
    states = {}
    for i, op in stateful(program, key).items():
        family = FAMILIES[op.code]
        states[i] = family.from_bytes(op, data[op.offset : op.offset + family.size(op)])
    return states


def _ring_size(capacity: int) -> int:
    return 8 + 8 * capacity if capacity else 0


def _ring_bytes(labels: list[Label], capacity: int) -> bytes:
    if capacity == 0:
        return b""
    out = struct.pack("<II", len(labels), 0)
    for t, tag in labels:
        out += struct.pack("<II", t, tag)
    return out.ljust(_ring_size(capacity), b"\0")


def _ring(data: bytes, capacity: int) -> list[Label]:
    if capacity == 0:
        return []
    (count,) = struct.unpack_from("<I", data)
    return [struct.unpack_from("<II", data, 8 + 8 * i) for i in range(count)]


def _card_bytes(program: OracleProgram, card: Card | None) -> bytes:
    if card is None:
        return bytes(program.card_slot_size)
    ring = _ring_bytes(card.labels, program.card_labels)
    room = program.card_slot_size - _CARD_HEAD - len(ring)
    head = struct.pack("<QII", card.token, card.used, 0)
    return head + _states_bytes(program, CARD, card.states, room) + ring


def _card(program: OracleProgram, data: bytes) -> Card | None:
    token, used = struct.unpack_from("<QI", data)
    if used == 0:
        return None
    ring_at = len(data) - _ring_size(program.card_labels)
    states = _states(program, CARD, data[_CARD_HEAD:ring_at])
    return Card(token, used, states, _ring(data[ring_at:], program.card_labels))

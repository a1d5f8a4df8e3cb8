# SPDX-License-Identifier: Apache-2.0
"""What happens at terminals, as a service takes it and its journal holds it."""

from __future__ import annotations

import struct
from typing import NamedTuple

from tinyfin.schema import Schema

__all__ = [
    "Score",
    "TerminalEvent",
    "TerminalNotice",
    "TerminalOutcome",
    "as_int64",
    "packed",
    "unpacked",
]


class Score(NamedTuple):
    """A transaction to judge; values in the schema's order, a u64 as its int64 pattern."""

    terminal: str
    id: int
    t_s: int
    t_local_s: int
    present: int
    values: tuple[int, ...]


class TerminalOutcome(NamedTuple):
    """What became of it: index into RESULTS, DE39 or -1, index into ACTIONS."""

    terminal: str
    id: int
    t_s: int
    result: int
    response: int
    action: int


class TerminalNotice(NamedTuple):
    """What became known of it; token 0: without its card."""

    terminal: str
    id: int
    t_s: int
    t_tx_s: int
    token: int
    fraud: bool


TerminalEvent = Score | TerminalOutcome | TerminalNotice

_HEAD = struct.Struct("<BH")
_SCORE = struct.Struct("<QIII")
_OUTCOME = struct.Struct("<QIBbB")
_NOTICE = struct.Struct("<QIIQ?")


def as_int64(value: int) -> int:
    """A u64 as the int64 of the same bits; any other value as it is."""
    return value - 2**64 if value >= 2**63 else value


def packed(event: TerminalEvent, schema: Schema) -> bytes:
    """The event as the journal holds it: without the fields that must live in RAM only."""
    name = event.terminal.encode()
    if isinstance(event, Score):
        values, present = list(event.values), event.present
        for i, field in enumerate(schema.fields):
            if field.ram_only:
                values[i], present = as_int64(field.missing), present & ~(1 << i)
        body = _SCORE.pack(event.id, event.t_s, event.t_local_s, present)
        return _HEAD.pack(0, len(name)) + name + body + struct.pack(f"<{len(values)}q", *values)
    if isinstance(event, TerminalOutcome):
        return _HEAD.pack(1, len(name)) + name + _OUTCOME.pack(*event[1:])
    return _HEAD.pack(2, len(name)) + name + _NOTICE.pack(*event[1:])


def unpacked(payload: bytes) -> TerminalEvent:
    """The event of a record. Raises ValueError for what is none."""
    try:
        kind, length = _HEAD.unpack_from(payload)
        at = _HEAD.size + length
        name = payload[_HEAD.size : at].decode()
        if kind == 0:
            id_, t_s, t_local_s, present = _SCORE.unpack_from(payload, at)
            values = payload[at + _SCORE.size :]
            row = struct.unpack(f"<{len(values) // 8}q", values)
            return Score(name, id_, t_s, t_local_s, present, row)
        if kind == 1:
            return TerminalOutcome(name, *_OUTCOME.unpack(payload[at:]))
        if kind == 2:
            return TerminalNotice(name, *_NOTICE.unpack(payload[at:]))
    except struct.error as error:
        raise ValueError(str(error)) from error
    raise ValueError(f"kind {kind}")

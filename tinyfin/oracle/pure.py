# SPDX-License-Identifier: Apache-2.0
"""Pure operators: codes 1 to 24."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tinyfin.oracle.numbers import clamp, log2_q8, pattern64
from tinyfin.oracle.program import NONE, OracleOperator, OracleProgram, SchemaField

__all__ = ["Event", "Outcome", "evaluate", "field_value"]


@dataclass(frozen=True)
class Event:
    """What a pure operator sees of an event; ``t`` is clamped."""

    t: int
    t_local_s: int
    values: Sequence[int]
    present: int


@dataclass(frozen=True)
class Outcome:
    """What a pure operator sees of an outcome."""

    result: int
    response: int
    action_taken: int
    seconds: int


def field_value(fields: Sequence[SchemaField], event: Event, index: int) -> int:
    """Field ``index`` as a number: its missing value when absent, a u64's low 62 bits."""
    field = fields[index]
    here = event.present >> index & 1
    value = event.values[index] if here else field.missing
    if field.type == 2:
        return pattern64(value) % 2**62
    return value


def evaluate(
    op: OracleOperator,
    program: OracleProgram,
    fields: Sequence[SchemaField],
    registers: Mapping[int, int],
    now: Event | Outcome,
) -> int:
    """The result of a pure operator, before the register saturates it."""
    if isinstance(now, Event):
        if op.code == 1:
            return field_value(fields, now, op.p2)
        if op.code == 2:
            return now.present >> op.p2 & 1
        if op.code == 4:
            return _time(op.p2, now)
    elif op.code == 22:
        return (now.result, now.response, now.action_taken, max(now.seconds, 0))[op.p2]
    if op.code == 3:
        return op.p0
    a = registers[op.a]
    if op.code in _ONE:
        return _one(op, program, a)
    b = op.p0 if op.b == NONE else registers[op.b]
    if op.code == 21:
        return a if registers[op.c] != 0 else b
    return _two(op, a, b)


_ONE = frozenset({5, 6, 7, 11, 16, 17, 19, 20, 24})


def _time(what: int, event: Event) -> int:
    days, second = divmod(event.t_local_s, 86400)
    hour = second // 3600
    weekday = (days + 5) % 7
    return (event.t, event.t_local_s, hour, weekday, 24 * weekday + hour)[what]


def _one(op: OracleOperator, program: OracleProgram, a: int) -> int:
    match op.code:
        case 5:
            return log2_q8(a)
        case 6:
            return sum(1 for cut in program.pool_i64(op.p0, op.p2) if cut <= a)
        case 7:
            table = program.pool_i16(op.p0, op.p2)
            return table[a] if 0 <= a < op.p2 else op.p1
        case 11:
            return int(a == 0)
        case 16:
            return abs(a)
        case 17:
            return a // op.p0
        case 19:
            if a == 0:
                return 0
            return sum(1 for d in program.pool_i64(op.p0, op.p2) if a % d == 0)
        case 20:
            return (pattern64(a) & program.pool_u64(op.p0)).bit_count()
        case 24:
            return int(a in program.pool_i64(op.p0, op.p2))
    raise ValueError(f"operator code {op.code} is unknown")


def _two(op: OracleOperator, a: int, b: int) -> int:
    match op.code:
        case 8:
            return int((a < b, a <= b, a == b, a != b, a >= b, a > b)[op.p2])
        case 9:
            return int(a != 0 and b != 0)
        case 10:
            return int(a != 0 or b != 0)
        case 12:
            return a + b
        case 13:
            return a - b
        case 14:
            return min(a, b)
        case 15:
            return max(a, b)
        case 18:
            above = clamp(a, -(2**40), 2**40)
            below = clamp(b, -(2**40), 2**40) + op.p1
            return op.p0 * above // below if below > 0 else op.p2
        case 23:
            return clamp(a, -(2**30), 2**30) * clamp(b, -(2**30), 2**30)
    raise ValueError(f"operator code {op.code} is unknown in this phase")

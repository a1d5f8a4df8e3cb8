# SPDX-License-Identifier: Apache-2.0
"""Checks a program's bytes as the engine does, with messages."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tinyfin.errors import PackError
from tinyfin.features.operators import BY_CODE, CARD, LABELLED, SELF, TERMINAL, Operator
from tinyfin.formats import NO_FIELD, OPERATOR, PROGRAM_HEADER, ProgramHeader
from tinyfin.schema import Schema

__all__ = ["check_program", "names_read", "reads_host"]

MAX_POOL_BYTES = 65536
_NONE = 255
_ENDS = (0, 1)
"""What OUTCOME reads of how a transaction ended: its result and its response."""


def reads_host(program: bytes, schema: Schema) -> bool:
    """True when a program reads a field that a host sends."""
    return any(schema.fields[i].host for i in _fields_read(program))


def names_read(program: bytes, names: Sequence[str]) -> set[str]:
    """Of the schema's field ``names`` those that a program reads, the card among them where it
    remembers cards; and ``response`` where it learns from how transactions end."""
    header = ProgramHeader.read(program)
    found = {names[i] for i in _fields_read(program)}
    if header.card_sets and header.token_field < len(names):
        found.add(names[header.token_field])
    rows = (
        OPERATOR.unpack_from(program, header.outcome_at + OPERATOR.size * i)
        for i in range(header.outcome_operators)
    )
    if any(BY_CODE[row[0]].name == "OUTCOME" and row[11] in _ENDS for row in rows):
        found.add("response")
    return found


def _fields_read(program: bytes) -> set[int]:
    header = ProgramHeader.read(program)
    rows = (
        OPERATOR.unpack_from(program, header.score_at + OPERATOR.size * i)
        for i in range(header.score_operators)
    )
    return {row[11] for row in rows if BY_CODE[row[0]].name in ("FIELD", "PRESENT")}


def check_program(program: bytes, fields: Sequence[Mapping[str, object]]) -> int:
    """Check a PROG payload against the schema's fields (their ``type`` is read).

    Returns the number of features. Raises PackError naming offset and rule.
    """
    header = ProgramHeader.read(program)
    _check_header(header, program, fields)
    check = _Check(program, header, len(fields))
    for i in range(header.score_operators):
        check.score(header.score_at + OPERATOR.size * i)
    for i in range(header.features):
        at = header.features_at + 4 * i
        if program[at] not in check.written or program[at + 1]:
            raise PackError(f"PROG: offset {at}: feature {i} is not a written register")
    check.keep()
    for i in range(header.outcome_operators):
        check.outcome(header.outcome_at + OPERATOR.size * i)
    for i in range(header.score_operators):
        check.commit(header.score_at + OPERATOR.size * i)
    return header.features


def _check_header(h: ProgramHeader, program: bytes, fields: Sequence[Mapping[str, object]]) -> None:
    spans = (
        ("format", h.format, 1, 1),
        ("registers", h.registers, 1, 200),
        ("kept", h.kept, 0, 64),
        ("features", h.features, 1, 128),
        ("pending", h.pending, 1, 256),
        ("pending entry", h.pending_entry_bytes, 24, 1024),
        ("terminal state", h.terminal_state_bytes, 0, 65536),
        ("terminal labels", h.terminal_labels, 0, 128),
        ("card labels", h.card_labels, 0, 16),
        ("constant pool", h.pool_bytes, 0, MAX_POOL_BYTES),
        ("reserved", h.zero, 0, 0),
        ("clock step", h.clock_step_s, 0, 2**31 - 1),
        ("clock step in boot", h.clock_step_in_boot_s, 0, 2**31 - 1),
    )
    for name, value, low, high in spans:
        if not low <= value <= high:
            raise PackError(f"PROG: header: {name} = {value} must be {low} to {high}")
    if h.pending_entry_bytes % 8 or h.terminal_state_bytes % 8 or h.card_slot_bytes % 8:
        raise PackError("PROG: header: sizes of state must be multiples of 8")
    if h.card_slot_bytes:
        if (
            h.card_state_bytes < 0
            or h.card_slot_bytes > 272
            or not 1 <= h.card_sets <= 4096
            or h.card_sets & (h.card_sets - 1)
            or not 1 <= h.card_ways <= 16
        ):
            raise PackError("PROG: offset 20: the card table breaks its rules")
    elif h.card_sets or h.card_labels:
        raise PackError("PROG: offset 22: card sets or labels without a card table")
    token = h.token_field
    if token != NO_FIELD and (token >= len(fields) or fields[token]["type"] != "u64"):
        raise PackError(f"PROG: offset 25: the token field {token} is not a u64 of the schema")
    arrays = (
        (32, h.score_at, OPERATOR.size * h.score_operators),
        (36, h.outcome_at, OPERATOR.size * h.outcome_operators),
        (40, h.kept_at, 4 * h.kept),
        (44, h.features_at, 4 * h.features),
        (48, h.pool_at, h.pool_bytes),
    )
    for at, start, size in arrays:
        if start % 8 or not PROGRAM_HEADER.size <= start <= len(program) - size:
            raise PackError(f"PROG: offset {at}: {size} bytes at {start} are outside or unaligned")


@dataclass
class _Check:
    """Operators in order; ``written`` are the registers that hold something."""

    program: bytes
    header: ProgramHeader
    fields: int
    written: set[int] = field(default_factory=set)

    def score(self, at: int) -> None:
        """An operator of the score phase."""
        op, row = self._operator(at)
        _, key, out, a, b, c, _, flags, state, _, _, p2, p3 = row
        if op.name == "OUTCOME":
            raise PackError(f"PROG: offset {at}: OUTCOME in the score phase")
        needed = {"a": a, "b": b, "c": c}
        if op.stateful:
            roles = set(op.reads) | ({"a", "c"} if flags & SELF else set())
            needed = {role: needed[role] for role in roles}
            self._state(at, op, key, state, p2, p3)
        self._written(at, op, needed.values())
        self.written.add(out)

    def keep(self) -> None:
        """The keep list; afterwards only kept registers hold something."""
        kept: set[int] = set()
        for i in range(self.header.kept):
            at = self.header.kept_at + 4 * i
            register, width, place = struct.unpack_from("<BBH", self.program, at)
            place &= 0x7FFF
            if width not in (1, 2, 4, 8) or register not in self.written:
                raise PackError(f"PROG: offset {at}: kept register {register}, width {width}")
            if place < 24 or place % width or place + width > self.header.pending_entry_bytes:
                raise PackError(f"PROG: offset {at}: place {place} in the pending entry")
            kept.add(register)
        self.written = kept

    def outcome(self, at: int) -> None:
        """An operator of the outcome phase."""
        op, row = self._operator(at)
        if op.stateful or op.name in ("FIELD", "PRESENT", "TIME"):
            raise PackError(f"PROG: offset {at}: {op.name} in the outcome phase")
        self._written(at, op, row[3:6])
        self.written.add(row[2])

    def commit(self, at: int) -> None:
        """What a commit reads was kept, or made in the outcome phase."""
        op, row = self._operator(at)
        if op.stateful and row[6]:
            self._written(at, op, row[3:6])

    def _operator(self, at: int) -> tuple[Operator, tuple[int, ...]]:
        row = OPERATOR.unpack_from(self.program, at)
        code, key, out, a, b, c, when, flags, _, p0, p1, p2, p3 = row
        op = BY_CODE.get(code)
        where = f"PROG: offset {at}"
        if op is None:
            raise PackError(f"{where}: unknown operator {code}; a newer tinyfin wrote it")
        where = f"{where}: {op.name}"
        if key not in op.keys or when > 31 or flags > 7:
            raise PackError(f"{where}: key {key}, results {when} or flags {flags} break the rules")
        if key == CARD and not self.header.card_slot_bytes:
            raise PackError(f"{where}: follows cards, but there is no card table")
        for role, register in (("a", a), ("b", b), ("c", c)):
            if register == _NONE and getattr(op, role) == "required":
                raise PackError(f"{where}: input {role} is missing")
        if out >= self.header.registers:
            raise PackError(f"{where}: register {out} of {self.header.registers}")
        for register in (a, b, c):
            if self.header.registers <= register != _NONE:
                raise PackError(f"{where}: register {register} of {self.header.registers}")
        slots = {"p0": p0, "p1": p1, "p2": p2, "p3": p3}
        for slot, rule in op.parameters.items():
            if not rule.allows(slots[slot]):
                raise PackError(f"{where}: {rule.name} = {slots[slot]} is out of range")
        self._pool(where, op, p0, op.pool_constants(p1, p2))
        if op.name == "FIELD" or op.name == "PRESENT":
            if p2 >= self.fields:
                raise PackError(f"{where}: field {p2} of {self.fields}")
        elif op.name in LABELLED:
            ring = self.header.terminal_labels if key == TERMINAL else self.header.card_labels
            if not ring:
                raise PackError(f"{where}: there is no label ring")
        return op, row

    def _pool(self, where: str, op: Operator, offset: int, count: int) -> None:
        if not op.pool:
            return
        size = op.pool * count
        if offset % op.pool or offset + size > self.header.pool_bytes:
            raise PackError(f"{where}: its constants are outside the pool")
        start = self.header.pool_at + offset
        values = (
            [v for (v,) in struct.iter_unpack("<q", self.program[start : start + size])]
            if (op.pool == 8)
            else []
        )
        if op.name == "COMPROMISED":
            numbers = struct.unpack(f"<{count}h", self.program[start : start + size])
            if min(numbers[3::2]) < 1:
                raise PackError(f"{where}: a duration is below 1 day")
        if op.name == "DIVISIBLE" and min(values) < 1:
            raise PackError(f"{where}: a divisor is below 1")

    def _state(self, at: int, op: Operator, key: int, offset: int, p2: int, p3: int) -> None:
        block = (
            self.header.terminal_state_bytes if key == TERMINAL else self.header.card_state_bytes
        )
        size = op.state_bytes(p2, p3)
        if offset % op.state_align(p3) or offset + size > block:
            raise PackError(f"PROG: offset {at}: {op.name}: state outside its block or unaligned")

    def _written(self, at: int, op: Operator, registers: Iterable[int]) -> None:
        for register in registers:
            if register != _NONE and register not in self.written:
                raise PackError(
                    f"PROG: offset {at}: {op.name} reads register {register}, which holds nothing"
                )

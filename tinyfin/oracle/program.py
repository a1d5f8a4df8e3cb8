# SPDX-License-Identifier: Apache-2.0
"""The oracle's own reading of the payloads of PROG and SCHM (docs/formats)."""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace

from tinyfin.schema import Schema, record_offsets, record_size

__all__ = [
    "NONE",
    "OracleFeature",
    "OracleKept",
    "OracleOperator",
    "OracleProgram",
    "SchemaField",
    "read_program",
    "read_schema",
    "schema_payload",
]

NONE = 255
"""No register."""


@dataclass(frozen=True)
class OracleOperator:
    """One operator of 24 bytes."""

    code: int
    key: int
    out: int
    a: int
    b: int
    c: int
    when: int
    flags: int
    offset: int
    p0: int
    p1: int
    p2: int
    p3: int
    constants: tuple[int, ...] = ()
    """Of COMPROMISED, from the pool."""

    @property
    def self_(self) -> bool:
        """Reading includes the present event."""
        return bool(self.flags & 1)

    @property
    def invert(self) -> bool:
        """INVERT of SHARE."""
        return bool(self.flags & 2)

    @property
    def ram_only(self) -> bool:
        """The operator's state never leaves RAM."""
        return bool(self.flags & 4)


@dataclass(frozen=True)
class OracleKept:
    """One register that waits in the pending entry."""

    register: int
    width: int
    offset: int
    ram_only: bool


@dataclass(frozen=True)
class OracleFeature:
    """One feature: a register and its id in the catalogue."""

    register: int
    id: int


@dataclass(frozen=True)
class OracleProgram:
    """The payload of PROG, read."""

    registers: int
    score: tuple[OracleOperator, ...]
    outcome: tuple[OracleOperator, ...]
    kept: tuple[OracleKept, ...]
    features: tuple[OracleFeature, ...]
    pending_capacity: int
    pending_entry_size: int
    terminal_state_size: int
    card_slot_size: int
    card_sets: int
    card_ways: int
    token_field: int
    terminal_labels: int
    card_labels: int
    clock_step_s: int
    clock_step_in_boot_s: int
    pool: bytes

    def pool_i64(self, offset: int, count: int) -> tuple[int, ...]:
        """``count`` i64 values of the constant pool."""
        return struct.unpack_from(f"<{count}q", self.pool, offset)

    def pool_i16(self, offset: int, count: int) -> tuple[int, ...]:
        """``count`` i16 values of the constant pool."""
        return struct.unpack_from(f"<{count}h", self.pool, offset)

    def pool_u64(self, offset: int) -> int:
        """A u64 of the constant pool."""
        value: int = struct.unpack_from("<Q", self.pool, offset)[0]
        return value


@dataclass(frozen=True)
class SchemaField:
    """One field of SCHM: 0 i32, 1 i64, 2 u64, 3 enum."""

    type: int
    ram_only: bool
    missing: int
    host: bool = False


def read_program(payload: bytes) -> OracleProgram:
    """The program in ``payload``. Trusts it: refusing wrong programs is the engine's work."""
    (fmt, registers, n_score, n_outcome, n_kept, n_features, capacity, entry_size) = (
        struct.unpack_from("<8H", payload, 0)
    )
    if fmt != 1:
        raise ValueError(f"PROG: program format {fmt}, the oracle reads 1")
    (terminal_size, slot_size, sets, ways, token, terminal_labels, card_labels) = (
        struct.unpack_from("<IHHBBHH", payload, 16)
    )
    (at_score, at_outcome, at_kept, at_features, at_pool, pool_size, step_s, step_in_boot_s) = (
        struct.unpack_from("<8I", payload, 32)
    )

    def operators(at: int, count: int) -> tuple[OracleOperator, ...]:
        found = []
        for i in range(count):
            row = struct.unpack_from("<8BIiiHH", payload, at + 24 * i)
            op = OracleOperator(*row)
            if op.code == 54:
                numbers = struct.unpack_from(f"<{3 + 2 * op.p1}h", payload, at_pool + op.p0)
                op = replace(op, constants=numbers)
            found.append(op)
        return tuple(found)

    kept = []
    for i in range(n_kept):
        register, width, offset = struct.unpack_from("<BBH", payload, at_kept + 4 * i)
        kept.append(OracleKept(register, width, offset % 2**15, offset >= 2**15))
    features = []
    for i in range(n_features):
        register, _, number = struct.unpack_from("<BBH", payload, at_features + 4 * i)
        features.append(OracleFeature(register, number))
    return OracleProgram(
        registers=registers,
        score=operators(at_score, n_score),
        outcome=operators(at_outcome, n_outcome),
        kept=tuple(kept),
        features=tuple(features),
        pending_capacity=capacity,
        pending_entry_size=entry_size,
        terminal_state_size=terminal_size,
        card_slot_size=slot_size,
        card_sets=sets,
        card_ways=ways,
        token_field=token,
        terminal_labels=terminal_labels,
        card_labels=card_labels,
        clock_step_s=step_s or 400 * 86_400,
        clock_step_in_boot_s=step_in_boot_s or 14 * 86_400,
        pool=payload[at_pool : at_pool + pool_size],
    )


def read_schema(payload: bytes) -> tuple[SchemaField, ...]:
    """The fields in a payload of SCHM."""
    (count,) = struct.unpack_from("<H", payload, 0)
    fields = []
    for i in range(count):
        kind, flags, _, _, missing = struct.unpack_from("<BBHIq", payload, 8 + 16 * i)
        fields.append(SchemaField(kind, flags % 2 == 1, missing, flags // 2 == 1))
    return tuple(fields)


def schema_payload(schema: Schema) -> bytes:
    """``schema`` as the payload of SCHM."""
    kinds = {"i32": 0, "i64": 1, "u64": 2, "enum": 3}
    out = struct.pack("<HHI", len(schema.fields), record_size(schema), 0)
    for field, offset in zip(schema.fields, record_offsets(schema), strict=True):
        missing = field.missing - 2**64 if field.missing >= 2**63 else field.missing
        out += struct.pack(
            "<BBHIq",
            kinds[field.type],
            field.ram_only + 2 * field.host,
            offset,
            len(field.values),
            missing,
        )
    return out

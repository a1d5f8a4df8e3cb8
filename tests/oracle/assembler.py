# SPDX-License-Identifier: Apache-2.0
"""A tiny assembler for feature programs, written from docs/formats/program.md for these tests.

It shares no code with the compiler, so a test may ask for programs that the compiler never makes.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

CODES = {
    "FIELD": 1,
    "PRESENT": 2,
    "CONST": 3,
    "TIME": 4,
    "LOG2": 5,
    "BUCKET": 6,
    "LOOKUP": 7,
    "COMPARE": 8,
    "AND": 9,
    "OR": 10,
    "NOT": 11,
    "ADD": 12,
    "SUB": 13,
    "MIN": 14,
    "MAX": 15,
    "ABS": 16,
    "DIV": 17,
    "RATIO": 18,
    "DIVISIBLE": 19,
    "POPCOUNT": 20,
    "SELECT": 21,
    "OUTCOME": 22,
    "MUL": 23,
    "IN": 24,
    "WINDOW": 40,
    "LAST_N": 41,
    "RUN": 42,
    "SINCE": 43,
    "MEAN": 44,
    "DEVIATION": 45,
    "SHARE": 46,
    "RARITY": 47,
    "REPEAT": 48,
    "MODE": 49,
    "PREVIOUS": 50,
    "DISTINCT": 51,
    "KNOWN": 52,
    "SEEN": 53,
}
NAMES = {code: name for name, code in CODES.items()}

ALL_RESULTS = 0b11111
SELF, INVERT, RAM_ONLY = 1, 2, 4
NONE, TERMINAL, CARD = 0, 1, 2


def state_bytes(name: str, p2: int, p3: int) -> tuple[int, int]:
    """Size and alignment of an operator's state."""
    return {
        "WINDOW": (max(4, p3) + p2 * p3, max(4, p3)),
        "LAST_N": (4, 4),
        "RUN": (4, 4),
        "SINCE": (4, 4),
        "MEAN": (p3 + 4, max(4, p3)),
        "DEVIATION": (12, 4),
        "SHARE": (-(-(2 + 2 * p2) // 4) * 4, 4),
        "RARITY": (-(-(2 + 2 * p2) // 4) * 4, 4),
        "REPEAT": (8 + 4 * p2, 4),
        "MODE": (8 + 4 * p2, 4),
        "PREVIOUS": (p3 + 4, max(4, p3)),
        "DISTINCT": (8 * p2, 4),
        "KNOWN": (0, 4),
        "SEEN": (0, 4),
    }[name]


@dataclass
class Assembler:
    """Collects operators; registers are given out in order unless ``out`` names one."""

    token_field: int = 255
    sets: int = 0
    ways: int = 1
    terminal_labels: int = 0
    card_labels: int = 0
    pending: int = 4
    score: list[bytes] = field(default_factory=list)
    outcome: list[bytes] = field(default_factory=list)
    keeps: list[tuple[int, int, bool]] = field(default_factory=list)
    features: list[tuple[int, int]] = field(default_factory=list)
    registers: int = 0
    pool: bytearray = field(default_factory=bytearray)
    used: dict[int, int] = field(default_factory=lambda: {TERMINAL: 0, CARD: 0})
    """Bytes of operator state given out, by key."""

    def op(
        self,
        name: str,
        a: int = 255,
        b: int = 255,
        c: int = 255,
        *,
        key: int = NONE,
        when: int = 0,
        flags: int = 0,
        p0: int = 0,
        p1: int = 0,
        p2: int = 0,
        p3: int = 0,
        out: int | None = None,
        phase: str = "score",
    ) -> int:
        """Append an operator; the register it writes."""
        if out is None:
            out = self.registers
            self.registers += 1
        offset = 0
        if key != NONE:
            size, align = state_bytes(name, p2, p3)
            offset = -(-self.used[key] // align) * align if size else 0
            self.used[key] = max(self.used[key], offset + size)
        code = struct.pack(
            "<8BIiiHH", CODES[name], key, out, a, b, c, when, flags, offset, p0, p1, p2, p3
        )
        (self.score if phase == "score" else self.outcome).append(code)
        return out

    def i64(self, *values: int) -> int:
        """Put i64 values into the pool; their offset."""
        self.pool += bytes(-len(self.pool) % 8)
        at = len(self.pool)
        self.pool += struct.pack(f"<{len(values)}q", *values)
        return at

    def u64(self, value: int) -> int:
        """Put a u64 into the pool; its offset."""
        return self.i64(value - 2**64 if value >= 2**63 else value)

    def i16(self, *values: int) -> int:
        """Put i16 values into the pool; their offset."""
        at = len(self.pool)
        self.pool += struct.pack(f"<{len(values)}h", *values)
        return at

    def keep(self, register: int, width: int = 8, ram_only: bool = False) -> int:
        """Keep a register until the outcome; the register."""
        if all(register != kept for kept, _, _ in self.keeps):
            self.keeps.append((register, width, ram_only))
        return register

    def feature(self, register: int) -> int:
        """Make a register a feature; its index."""
        self.features.append((register, 100 + len(self.features)))
        return len(self.features) - 1

    def payload(self) -> bytes:
        """The payload of PROG."""
        entry = 24
        keeps = b""
        for register, width, ram_only in sorted(self.keeps, key=lambda keep: -keep[1]):
            keeps += struct.pack("<BBH", register, width, entry | (0x8000 if ram_only else 0))
            entry += width
        features = b"".join(struct.pack("<BBH", r, 0, number) for r, number in self.features)
        slot = 0
        if self.sets:
            slot = 16 + -(-self.used[CARD] // 8) * 8
            slot += 8 + 8 * self.card_labels if self.card_labels else 0

        at_score = 64
        at_outcome = at_score + 24 * len(self.score)
        at_keep = at_outcome + 24 * len(self.outcome)
        keeps += bytes(-len(keeps) % 8)
        at_features = at_keep + len(keeps)
        end = at_features + len(features)
        at_pool = -(-end // 8) * 8
        head = struct.pack(
            "<8H",
            1,
            self.registers,
            len(self.score),
            len(self.outcome),
            len(self.keeps),
            len(self.features),
            self.pending,
            -(-entry // 8) * 8,
        )
        head += struct.pack(
            "<IHHBBHHH",
            -(-self.used[TERMINAL] // 8) * 8,
            slot,
            self.sets,
            self.ways,
            self.token_field,
            self.terminal_labels,
            self.card_labels if self.sets else 0,
            0,
        )
        head += struct.pack(
            "<6I", at_score, at_outcome, at_keep, at_features, at_pool, len(self.pool)
        )
        out = head.ljust(64, b"\0") + b"".join(self.score) + b"".join(self.outcome)
        return (out + keeps + features).ljust(at_pool, b"\0") + bytes(self.pool)

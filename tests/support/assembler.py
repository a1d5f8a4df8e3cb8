# SPDX-License-Identifier: Apache-2.0
"""A tiny assembler for feature programs, written from docs/formats/program.md for these tests.

It shares no code with the compiler, so a test may ask for programs that the compiler never makes.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

_OPERATORS = """
1 FIELD PRESENT CONST TIME LOG2 BUCKET LOOKUP COMPARE AND OR NOT ADD SUB MIN MAX ABS DIV RATIO
19 DIVISIBLE POPCOUNT SELECT OUTCOME MUL IN
40 WINDOW LAST_N RUN SINCE MEAN DEVIATION SHARE RARITY REPEAT MODE PREVIOUS DISTINCT KNOWN SEEN
54 COMPROMISED
"""
"""The code of the first name of a line; the next names count up."""
CODES = {
    name: int(first) + i
    for first, *names in map(str.split, _OPERATORS.strip().splitlines())
    for i, name in enumerate(names)
}
PURE = [name for name, code in CODES.items() if code < 40]
STATEFUL = [name for name, code in CODES.items() if code >= 40]
NAMES = {code: name for name, code in CODES.items()}

ALL_RESULTS = 0b11111
SELF, INVERT, RAM_ONLY = 1, 2, 4
NONE, TERMINAL, CARD = 0, 1, 2


def up(value: int, multiple: int) -> int:
    """The next multiple."""
    return -(-value // multiple) * multiple


def state_bytes(name: str, p2: int, p3: int) -> tuple[int, int]:
    """Size and alignment of an operator's state."""
    if name == "WINDOW":
        return max(4, p3) + p2 * p3, max(4, p3)
    if name in ("MEAN", "PREVIOUS"):
        return p3 + 4, max(4, p3)
    if name in ("SHARE", "RARITY"):
        return up(2 + 2 * p2, 4), 4
    if name in ("REPEAT", "MODE"):
        return 8 + 4 * p2, 4
    if name == "COMPROMISED":
        return up(4 + 2 * p2, 4) + 4 * p3, 4
    return {"DISTINCT": 8 * p2, "DEVIATION": 12, "KNOWN": 0, "SEEN": 0}.get(name, 4), 4


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
        when: int = ALL_RESULTS,
        flags: int = 0,
        p0: int = 0,
        p1: int = 0,
        p2: int = 0,
        p3: int = 0,
        out: int | None = None,
        late: bool = False,
    ) -> int:
        """Append an operator, to the outcome phase if ``late``; the register it writes."""
        if out is None:
            out = self.registers
            self.registers += 1
        offset = 0
        if key != NONE:
            size, align = state_bytes(name, p2, p3)
            offset = up(self.used[key], align)
            self.used[key] = max(self.used[key], offset + size)
        head = CODES[name], key, out, a, b, c, when if key else 0, flags
        code = struct.pack("<8BIiiHH", *head, offset, p0, p1, p2, p3)
        (self.outcome if late else self.score).append(code)
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

    def feature(self, *registers: int) -> None:
        """Make registers features."""
        for register in registers:
            self.features.append((register, 100 + len(self.features)))

    def payload(self) -> bytes:
        """The payload of PROG."""
        entry = 24
        keeps = b""
        for register, width, ram_only in sorted(self.keeps, key=lambda keep: -keep[1]):
            keeps += struct.pack("<BBH", register, width, entry | (0x8000 if ram_only else 0))
            entry += width
        features = b"".join(struct.pack("<BBH", r, 0, number) for r, number in self.features)
        ring = 8 + 8 * self.card_labels if self.card_labels else 0
        slot = 16 + up(self.used[CARD], 8) + ring if self.sets else 0

        body, places = b"", []
        operators = b"".join(self.score), b"".join(self.outcome)
        for part in (*operators, keeps, features, bytes(self.pool)):
            body = body.ljust(up(len(body), 8), b"\0")
            places.append(64 + len(body))
            body += part
        counts = [len(x) for x in (self.score, self.outcome, self.keeps, self.features)]
        head = struct.pack("<8H", 1, self.registers, *counts, self.pending, up(entry, 8))
        cards = slot, self.sets, self.ways, self.token_field
        labels = self.terminal_labels, self.card_labels if self.sets else 0, 0
        head += struct.pack("<IHHBBHHH", up(self.used[TERMINAL], 8), *cards, *labels)
        head += struct.pack("<6I", *places, len(self.pool))
        return head.ljust(64, b"\0") + body

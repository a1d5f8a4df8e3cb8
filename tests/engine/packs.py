# SPDX-License-Identifier: Apache-2.0
"""Packs for the safety tests, put together by hand from docs/formats.

Only the network's plan is compiled; the rest is packed here, so a test may ask for packs that
tinyfin never writes.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np

from tests.tflite.build_tflite import Graph
from tinyfin.pack.plan import compile_plan
from tinyfin.pack.signing import DEVELOPMENT_KEY, Key, hash32, sign
from tinyfin.tflite.model import load

I32, I64, U64, ENUM = range(4)
TERMINAL, CARD = 1, 2
SELF, INVERT, RAM_ONLY = 1, 2, 4
NONE = 255


def up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple


# ------------------------------------------------------------------------------- schema


@dataclass(frozen=True)
class Column:
    type: int
    missing: int = 0
    values: int = 0
    ram_only: bool = False


COLUMNS = (Column(I64), Column(U64), Column(ENUM, -1, 5), Column(I32, -7))
"""amount, token, kind, small"""
TOKEN = 1


def offsets(columns: Sequence[Column]) -> tuple[list[int], int]:
    """Where each field lies in the record, and the record's size."""
    at, places = 8, []
    for column in columns:
        width = 8 if column.type in (I64, U64) else 4
        at = up(at, width)
        places.append(at)
        at += width
    return places, up(at, 8)


def schema(columns: Sequence[Column] = COLUMNS) -> bytes:
    places, size = offsets(columns)
    out = struct.pack("<HHI", len(columns), size, 0)
    for column, place in zip(columns, places, strict=True):
        missing = column.missing & (1 << 64) - 1
        out += struct.pack("<BBHIQ", column.type, column.ram_only, place, column.values, missing)
    return out


# ------------------------------------------------------------------------------ program


def state_size(name: str, p2: int, p3: int) -> int:
    if name == "WINDOW":
        return up(max(4, p3) + p2 * p3, 4)
    if name in ("MEAN", "PREVIOUS"):
        return p3 + 4
    if name in ("SHARE", "RARITY"):
        return up(2 + 2 * p2, 4)
    if name in ("REPEAT", "MODE"):
        return 8 + 4 * p2
    return {"DISTINCT": 8 * p2, "DEVIATION": 12, "KNOWN": 0, "SEEN": 0}.get(name, 4)


PURE = (
    "FIELD",
    "PRESENT",
    "CONST",
    "TIME",
    "LOG2",
    "BUCKET",
    "LOOKUP",
    "COMPARE",
    "AND",
    "OR",
    "NOT",
    "ADD",
    "SUB",
    "MIN",
    "MAX",
    "ABS",
    "DIV",
    "RATIO",
    "DIVISIBLE",
    "POPCOUNT",
    "SELECT",
    "OUTCOME",
    "MUL",
    "IN",
)
STATEFUL = (
    "WINDOW",
    "LAST_N",
    "RUN",
    "SINCE",
    "MEAN",
    "DEVIATION",
    "SHARE",
    "RARITY",
    "REPEAT",
    "MODE",
    "PREVIOUS",
    "DISTINCT",
    "KNOWN",
    "SEEN",
)
CODES = {name: 1 + i for i, name in enumerate(PURE)} | {
    name: 40 + i for i, name in enumerate(STATEFUL)
}


@dataclass
class Program:
    """Collects operators. Every register is its own; a, b and c of stateful operators are kept."""

    pending: int = 4
    sets: int = 2
    ways: int = 2
    terminal_labels: int = 6
    card_labels: int = 2
    token_field: int = TOKEN
    score: list[bytes] = field(default_factory=list)
    outcome: list[bytes] = field(default_factory=list)
    features: list[int] = field(default_factory=list)
    kept: dict[int, int] = field(default_factory=dict)
    ram_only: set[int] = field(default_factory=set)
    pool: bytes = b""
    registers: int = 0
    blocks: dict[int, int] = field(default_factory=lambda: {TERMINAL: 0, CARD: 0})

    def values(self, kind: str, *numbers: int) -> int:
        """Put numbers into the pool; gives their offset."""
        self.pool = self.pool.ljust(up(len(self.pool), 8), b"\0")
        at = len(self.pool)
        self.pool += struct.pack(f"<{len(numbers)}{kind}", *numbers)
        return at

    def add(
        self,
        name: str,
        key: int = 0,
        a: int = NONE,
        b: int = NONE,
        c: int = NONE,
        *,
        when: int = 31,
        flags: int = 0,
        p0: int = 0,
        p1: int = 0,
        p2: int = 0,
        p3: int = 0,
        late: bool = False,
    ) -> int:
        """Append an operator; gives the register it writes."""
        state = 0
        if key:
            size = state_size(name, p2, p3)
            state = up(self.blocks[key], 8 if p3 == 8 else 4)
            self.blocks[key] = state + size
            for register in (a, b, c):
                if register != NONE and name not in ("KNOWN", "SEEN"):
                    self.kept.setdefault(register, 8)
        out = self.registers
        self.registers += 1
        code = struct.pack(
            "<8BIiiHH",
            CODES[name],
            key,
            out,
            a,
            b,
            c,
            when if key else 0,
            flags,
            state,
            p0,
            p1,
            p2,
            p3,
        )
        (self.outcome if late else self.score).append(code)
        return out

    def feature(self, *registers: int) -> None:
        self.features += registers

    def payload(self) -> bytes:
        keep, at = b"", 24
        late = {code[2] for code in self.outcome}
        kept = {r: w for r, w in self.kept.items() if r not in late}
        for register, width in sorted(kept.items(), key=lambda item: -item[1]):
            mark = 0x8000 if register in self.ram_only else 0
            keep += struct.pack("<BBH", register, width, at | mark)
            at += width
        entry = up(at, 8)
        listed = b"".join(struct.pack("<BBH", r, 0, 100 + i) for i, r in enumerate(self.features))
        ring = 8 + 8 * self.card_labels if self.card_labels else 0
        slot = 16 + up(self.blocks[CARD], 8) + ring if self.sets else 0
        body, places = b"", []
        for part in (b"".join(self.score), b"".join(self.outcome), keep, listed, self.pool):
            body = body.ljust(up(len(body), 8), b"\0")
            places.append(64 + len(body))
            body += part
        head = struct.pack(
            "<8HI2H2B3H6I8x",
            1,
            self.registers,
            len(self.score),
            len(self.outcome),
            len(keep) // 4,
            len(self.features),
            self.pending,
            entry,
            up(self.blocks[TERMINAL], 8),
            slot,
            self.sets,
            self.ways,
            self.token_field,
            self.terminal_labels,
            self.card_labels,
            0,
            *places,
            len(self.pool),
        )
        return head + body


def small_program() -> bytes:
    """A few features; with labels, no cards."""
    p = Program(sets=0, ways=0, card_labels=0, pending=2, terminal_labels=3)
    amount = p.add("FIELD", p2=0)
    size = p.add("LOG2", a=amount)
    sum_1h = p.add("WINDOW", TERMINAL, a=amount, p0=600, p2=6, p3=4)
    p.feature(size, p.add("LOG2", a=sum_1h), p.add("KNOWN", TERMINAL, p0=3600, p1=9, p2=4))
    return p.payload()


def rich_program(*, ram_only: bool = True) -> bytes:
    """Every operator, both keys, every width, an outcome phase, RAM-only parts."""
    p = Program()
    amount, token = p.add("FIELD", p2=0), p.add("FIELD", p2=1)
    kind, small = p.add("FIELD", p2=2), p.add("FIELD", p2=3)
    there = p.add("PRESENT", p2=3)
    times = [p.add("TIME", p2=i) for i in range(5)]
    seven = p.add("CONST", p0=7)
    size = p.add("LOG2", a=amount)
    bucket = p.add("BUCKET", a=amount, p0=p.values("q", 10, 100, 1000), p2=3)
    listed = p.add("IN", a=kind, p0=p.values("q", 1, 3), p2=2)
    round_ = p.add("DIVISIBLE", a=amount, p0=p.values("q", 100, 500), p2=2)
    table = p.add("LOOKUP", a=kind, p0=p.values("h", -5, 6, 700, 8, 9), p1=-1, p2=5)
    large = p.add("COMPARE", a=amount, b=seven, p2=5)
    odd = p.add("COMPARE", a=small, p0=3, p2=4)
    both, either = p.add("AND", a=large, b=odd), p.add("OR", a=large, b=odd)
    not_ = p.add("NOT", a=odd)
    plus = p.add("ADD", a=amount, b=small)
    minus = p.add("SUB", a=amount, p0=-(2**31))
    least = p.add("MIN", a=amount, p0=50000)
    most = p.add("MAX", a=least, b=small)
    abs_ = p.add("ABS", a=small)
    div = p.add("DIV", a=amount, p0=100)
    ones = p.add("POPCOUNT", a=amount, p0=p.values("Q", 0xFFFF))
    ratio = p.add("RATIO", a=amount, b=most, p0=256, p1=1, p2=9)
    pick = p.add("SELECT", a=amount, b=small, c=odd)
    product = p.add("MUL", a=amount, b=small)

    p.feature(size, bucket, listed, round_, table, both, either, not_, ones, ratio)
    p.feature(times[2], div, product)
    result = p.add("OUTCOME", late=True, p2=0)
    response = p.add("OUTCOME", late=True, p2=1)
    p.add("OUTCOME", late=True, p2=2)
    waited = p.add("OUTCOME", late=True, p2=3)
    p.add("ADD", a=plus, b=waited, late=True)
    p.add("ABS", a=minus, late=True)
    p.kept |= {plus: 8, minus: 8, kind: 1, small: 4, bucket: 2, least: 4}
    no_money = p.add("COMPARE", a=response, p0=51, p2=2, late=True)
    p.add("SELECT", a=result, b=response, c=no_money, late=True)

    hidden = RAM_ONLY if ram_only else 0
    p.ram_only = {token} if ram_only else set()
    for width in (1, 2, 4, 8):
        p.feature(p.add("WINDOW", TERMINAL, a=amount, c=odd, flags=SELF, p0=60, p2=3, p3=width))
    p.feature(
        p.add("WINDOW", CARD, p0=1, p2=2, p3=2), p.add("WINDOW", CARD, a=least, p0=9, p2=2, p3=8)
    )
    for key in (TERMINAL, CARD):
        p.feature(
            p.add("LAST_N", key, c=no_money, b=odd, p2=32),
            p.add("LAST_N", key, c=odd, flags=SELF, p2=5),
            p.add("RUN", key, c=odd, b=there, flags=SELF),
            p.add("SINCE", key, p0=86400, when=1),
            p.add("MEAN", key, a=amount, p1=3, p2=3, p3=4),
            p.add("DEVIATION", key, a=amount, p0=1, p1=256, p2=4, p3=2),
            p.add("SHARE", key, a=kind, p2=5, p3=3, flags=INVERT),
            p.add("RARITY", key, a=bucket, p0=50, p2=4),
            p.add("REPEAT", key, a=token, p2=3, flags=SELF | hidden),
            p.add("PREVIOUS", key, a=pick, p0=-1, p3=4),
            p.add("DISTINCT", key, a=token, p0=3600, p2=2, flags=SELF | hidden),
            p.add("KNOWN", key, p0=86400, p1=-1, p2=2 + key),
        )
    p.feature(
        p.add("MEAN", TERMINAL, a=abs_, p2=14, p3=8),
        p.add("MODE", TERMINAL, a=kind, c=not_, flags=SELF, p2=4),
        p.add("PREVIOUS", TERMINAL, a=plus, p0=5, p3=8),
        p.add("SEEN", CARD),
        *[p.add("KNOWN", TERMINAL, p0=86400, p1=7, p2=what) for what in range(7)],
    )
    return p.payload()


# ---------------------------------------------------------------------------------- plan


@cache
def plan(inputs: int, outputs: int = 2) -> bytes:
    """inputs -> 5 (per channel) -> outputs (accumulators kept) -> LOGISTIC."""
    rng = np.random.default_rng(inputs)
    graph = Graph()
    x = graph.tensor("x", [1, inputs], scales=[0.02], zero_points=[3])
    weights = rng.integers(-127, 128, (5, inputs), dtype=np.int8)
    x = graph.dense(
        x,
        weights,
        rng.integers(-99, 99, 5),
        [0.001 * (i + 1) for i in range(5)],
        0.05,
        -128,
        "RELU",
    )
    weights = rng.integers(-127, 128, (outputs, 5), dtype=np.int8)
    x = graph.dense(x, weights, rng.integers(-99, 99, outputs), [0.003], 0.05, 5)
    graph.unary("LOGISTIC", x, 1 / 256, -128)
    return compile_plan(load(graph.build()), accumulators=True)


# --------------------------------------------------------------------------------- pack

CRITICAL = ("SCHM", "PROG", "MAPS", "PLAN", "READ", "CALI", "DECI", "GOLD")


def maps(n: int) -> bytes:
    """Every feature from -32768..32767 to -128..120, with a bend at 0."""
    knots = struct.pack(
        "<hbBi hbBi hbBi", -32768, -128, 0, 128 * 2, 0, 0, 0, 120 * 2, 32767, 120, 0, 0
    )
    entries = b"".join(struct.pack("<IHH", 8 + 8 * n, 3, 0) for _ in range(n))
    return struct.pack("<HHI", n, 0, 0) + entries + knots


def readout(kind: int, index: int = 0, shift: int = 0, m_in: int = 0, m_out: int = 0) -> bytes:
    return struct.pack("<BBHiiI", kind, shift, index, m_in, m_out, 0)


def calibration(low: int, high: int) -> bytes:
    """Two knots: probabilities 1/16 and 15/16."""
    p0, p1 = 1 << 28, 15 << 28
    slope = ((p1 - p0) << 16) // (high - low)
    return struct.pack("<HHI iIQ iIQ", 2, 0, 0, low, p0, slope, high, p1, 0)


def decision(
    n: int,
    *,
    online: int = 1 << 30,
    decline: int = 3 << 30,
    flags: int = 0,
    control: int = 0,
    cold: tuple[int, int] = (4, 3600),
    reasons: bool = True,
) -> bytes:
    head = struct.pack("<IIHHIIHH", online, decline, flags, control, *cold, n, 0)
    return head + b"".join(struct.pack("<HbB", 10 + i if reasons else 0, 0, 0) for i in range(n))


def golden(inputs: int, answers: Sequence[int]) -> bytes:
    """Vectors of golden_inputs with their raw scores."""
    out = struct.pack("<HHI", len(answers), inputs, 0)
    for x, raw in zip(golden_inputs(inputs, len(answers)), answers, strict=True):
        out += x.tobytes().ljust(up(inputs, 4), b"\0") + struct.pack("<i", raw)
    return out


def golden_inputs(inputs: int, vectors: int) -> np.ndarray:
    return np.random.default_rng(2).integers(-128, 128, (vectors, inputs), dtype=np.int8)


def sections(program: bytes, kind: int = 2) -> dict[str, bytes]:
    """All sections of a pack that scores with ``program``. Read-out: 1 logit, 2 accumulator."""
    n = struct.unpack_from("<H", program, 10)[0]
    return {
        "SCHM": schema(),
        "PROG": program,
        "MAPS": maps(n),
        "PLAN": plan(n),
        "READ": readout(kind, 1, 3 if kind == 2 else 0, 0, -128 if kind == 1 else 0),
        "CALI": calibration(0, 255) if kind == 1 else calibration(-9000, 9000),
        "DECI": decision(n),
        "META": b'{"name":"test"}',
    }


def build(
    parts: Mapping[str, bytes],
    *,
    key: Key = DEVELOPMENT_KEY,
    development: bool | None = None,
    engine: int = 0,
    counter: int = 0,
    magic: int = 0x4B504654,
    version: int = 1,
    header: int = 224,
    flags: int | None = None,
    algorithms: tuple[int, int] = (1, 1),
    count: int | None = None,
    critical: Mapping[str, int] | None = None,
    reserved: bytes = bytes(24),
    section_version: int = 1,
    tail: bytes = b"",
) -> bytes:
    """A pack, signed whatever it says. Unnamed tags get the flag that pack.md names."""
    body = b""
    for tag, payload in parts.items():
        flag = (critical or {}).get(tag, int(tag in CRITICAL))
        body += struct.pack("<4sIHHI", tag.encode(), len(payload), flag, section_version, 0)
        body += payload.ljust(up(len(payload), 16), b"\0")
    body += tail
    if flags is None:
        flags = int(key is DEVELOPMENT_KEY if development is None else development)
    schm, prog = parts.get("SCHM", b""), parts.get("PROG", b"")
    head = struct.pack(
        "<IHHIIII2BHIII",
        magic,
        version,
        header,
        224 + len(body),
        engine,
        counter,
        flags,
        *algorithms,
        len(parts) if count is None else count,
        key.key_id,
        3 if "PLAN" in parts else 0,
        0,
    )
    head += hash32(schm)[:16] + hash32(prog)[:16] + hash32(b"tfst1" + schm + prog)[:16]
    head += bytes(16) + reserved + hash32(body)
    return head + sign(head, key) + body


def small() -> dict[str, bytes]:
    return sections(small_program(), kind=1)


def rich() -> dict[str, bytes]:
    return sections(rich_program())


def mirror() -> dict[str, bytes]:
    """The small program, scored by how badly a network rebuilds its inputs."""
    parts = small()
    parts["PLAN"] = plan(3, 3)
    parts["READ"] = readout(3, shift=2, m_in=300 << 8 | 3, m_out=200 << 8 | 0x80)
    parts["CALI"] = calibration(0, 60_000)
    return parts

# SPDX-License-Identifier: Apache-2.0
"""Packs put together by hand from docs/formats, so a test may ask for packs that tinyfin never
writes. Only the network's plan is compiled."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np

from tests.support.assembler import CARD, INVERT, RAM_ONLY, SELF, TERMINAL, Assembler, up
from tests.support.graph import Graph
from tinyfin.oracle.program import schema_payload
from tinyfin.pack.plan import compile_plan
from tinyfin.pack.signing import DEVELOPMENT_KEY, Key, sign
from tinyfin.schema import Field, Schema
from tinyfin.tflite.model import load

SCHEMA = Schema(
    "shop",
    (
        Field("amount", "i64"),
        Field("token", "u64"),
        Field("kind", "enum", -1, ("one", "two", "three", "four", "five")),
        Field("small", "i32", -7),
    ),
)
RECORD = struct.pack("<IIqQii", 15, 0, 1999, 7, 1, 2)
"""An event of that schema."""

# ------------------------------------------------------------------------------ program


@dataclass
class Program(Assembler):
    """Every register that an operator with state reads is kept until the outcome."""

    token_field: int = 1
    sets: int = 2
    ways: int = 2
    terminal_labels: int = 6
    card_labels: int = 2
    ram_only: set[int] = field(default_factory=set)

    def op(self, name: str, a: int = 255, b: int = 255, c: int = 255, **more: int) -> int:
        late = {code[2] for code in self.outcome}
        if more.get("key") and name not in ("KNOWN", "SEEN"):
            for register in (a, b, c):
                if register not in (255, *late):
                    self.keep(register, ram_only=register in self.ram_only)
        return super().op(name, a, b, c, **more)


def small_program() -> bytes:
    """A few features; with labels, no cards."""
    p = Program(sets=0, ways=0, card_labels=0, pending=2, terminal_labels=3)
    amount = p.op("FIELD", p2=0)
    size = p.op("LOG2", amount)
    sum_1h = p.op("WINDOW", amount, key=TERMINAL, p0=600, p2=6, p3=4)
    p.feature(size, p.op("LOG2", a=sum_1h), p.op("KNOWN", key=TERMINAL, p0=3600, p1=9, p2=4))
    return p.payload()


def rich_program(*, ram_only: bool = True) -> bytes:
    """Every operator, both keys, every width, an outcome phase, RAM-only parts."""
    p = Program()
    amount, token = p.op("FIELD", p2=0), p.op("FIELD", p2=1)
    kind, small = p.op("FIELD", p2=2), p.op("FIELD", p2=3)
    there = p.op("PRESENT", p2=3)
    times = [p.op("TIME", p2=i) for i in range(5)]
    seven = p.op("CONST", p0=7)
    size = p.op("LOG2", amount)
    bucket = p.op("BUCKET", amount, p0=p.i64(10, 100, 1000), p2=3)
    listed = p.op("IN", a=kind, p0=p.i64(1, 3), p2=2)
    round_ = p.op("DIVISIBLE", amount, p0=p.i64(100, 500), p2=2)
    table = p.op("LOOKUP", a=kind, p0=p.i16(-5, 6, 700, 8, 9), p1=-1, p2=5)
    large = p.op("COMPARE", amount, b=seven, p2=5)
    odd = p.op("COMPARE", a=small, p0=3, p2=4)
    both, either = p.op("AND", a=large, b=odd), p.op("OR", a=large, b=odd)
    not_ = p.op("NOT", a=odd)
    plus = p.op("ADD", amount, b=small)
    minus = p.op("SUB", amount, p0=-(2**31))
    least = p.op("MIN", amount, p0=50000)
    most = p.op("MAX", a=least, b=small)
    abs_ = p.op("ABS", a=small)
    div = p.op("DIV", amount, p0=100)
    ones = p.op("POPCOUNT", amount, p0=p.u64(0xFFFF))
    ratio = p.op("RATIO", amount, b=most, p0=256, p1=1, p2=9)
    pick = p.op("SELECT", amount, b=small, c=odd)
    product = p.op("MUL", amount, b=small)

    p.feature(size, bucket, listed, round_, table, both, either, not_, ones, ratio)
    p.feature(times[2], div, product)
    result = p.op("OUTCOME", late=True, p2=0)
    response = p.op("OUTCOME", late=True, p2=1)
    p.op("OUTCOME", late=True, p2=2)
    waited = p.op("OUTCOME", late=True, p2=3)
    p.op("ADD", a=plus, b=waited, late=True)
    p.op("ABS", a=minus, late=True)
    for register, width in {plus: 8, minus: 8, kind: 1, small: 4, bucket: 2, least: 4}.items():
        p.keep(register, width)
    no_money = p.op("COMPARE", a=response, p0=51, p2=2, late=True)
    p.op("SELECT", a=result, b=response, c=no_money, late=True)

    hidden = RAM_ONLY if ram_only else 0
    p.ram_only = {token} if ram_only else set()
    for width in (1, 2, 4, 8):
        p.feature(p.op("WINDOW", amount, key=TERMINAL, c=odd, flags=SELF, p0=60, p2=3, p3=width))
    p.feature(p.op("WINDOW", key=CARD, p0=1, p2=2, p3=2))
    p.feature(p.op("WINDOW", key=CARD, a=least, p0=9, p2=2, p3=8))
    for key in (TERMINAL, CARD):
        p.feature(
            p.op("LAST_N", key=key, c=no_money, b=odd, p2=32),
            p.op("LAST_N", key=key, c=odd, flags=SELF, p2=5),
            p.op("RUN", key=key, c=odd, b=there, flags=SELF),
            p.op("SINCE", key=key, p0=86400, when=1),
            p.op("MEAN", amount, key=key, p1=3, p2=3, p3=4),
            p.op("DEVIATION", amount, key=key, p0=1, p1=256, p2=4, p3=2),
            p.op("SHARE", key=key, a=kind, p2=5, p3=3, flags=INVERT),
            p.op("RARITY", key=key, a=bucket, p0=50, p2=4),
            p.op("REPEAT", key=key, a=token, p2=3, flags=SELF | hidden),
            p.op("PREVIOUS", key=key, a=pick, p0=-1, p3=4),
            p.op("DISTINCT", key=key, a=token, p0=3600, p2=2, flags=SELF | hidden),
            p.op("KNOWN", key=key, p0=86400, p1=-1, p2=2 + key),
        )
    p.feature(
        p.op("MEAN", key=TERMINAL, a=abs_, p2=14, p3=8),
        p.op("MODE", key=TERMINAL, a=kind, c=not_, flags=SELF, p2=4),
        p.op("PREVIOUS", key=TERMINAL, a=plus, p0=5, p3=8),
        p.op("SEEN", key=CARD),
        *[p.op("KNOWN", key=TERMINAL, p0=86400, p1=7, p2=what) for what in range(7)],
    )
    constants = p.i16(90, -20, 2, 1, -60, 9, -80)
    for key, days in ((TERMINAL, 42), (CARD, 5)):
        odds = p.op("COMPROMISED", key=key, a=bucket, p0=constants, p1=2, p2=days, p3=4)
        p.feature(p.op("SUB", a=odds, b=p.op("MUL", p.op("DIV", odds, p0=1 << 16), p0=1 << 16)))
    return p.payload()


# ---------------------------------------------------------------------------------- plan


@cache
def plan(inputs: int, outputs: int = 2) -> bytes:
    """inputs -> 5 (per channel) -> outputs (accumulators kept) -> LOGISTIC."""
    rng = np.random.default_rng(inputs)
    graph = Graph()
    x = graph.tensor("x", [1, inputs], scales=[0.02], zero_points=[3])
    weights = rng.integers(-127, 128, (5, inputs), dtype=np.int8)
    scales = [0.001 * (i + 1) for i in range(5)]
    x = graph.dense(x, weights, rng.integers(-99, 99, 5), scales, 0.05, -128, "RELU")
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


def decision(n: int, *, online: int = 1 << 30) -> bytes:
    head = struct.pack("<IIHHIIHH", online, 3 << 30, 0, 0, 4, 3600, n, 0)
    return head + b"".join(struct.pack("<HbB", 10 + i, 0, 0) for i in range(n))


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
        "SCHM": schema_payload(SCHEMA),
        "PROG": program,
        "MAPS": maps(n),
        "PLAN": plan(n),
        "READ": readout(kind, 1, 3 if kind == 2 else 0, 0, -128 if kind == 1 else 0),
        "CALI": calibration(0, 255) if kind == 1 else calibration(-9000, 9000),
        "DECI": decision(n),
        "META": b'{"name":"test"}',
    }


def patched(data: bytes, at: int, form: str, *values: int) -> bytes:
    """The data with numbers written over it."""
    changed = bytearray(data)
    struct.pack_into(f"<{form}", changed, at, *values)
    return bytes(changed)


def _hash(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=32).digest()


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
    kernels: int = 3,
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
    count = len(parts) if count is None else count
    head = struct.pack("<IHHI", magic, version, header, 224 + len(body))
    head += struct.pack("<III2BHI", engine, counter, flags, *algorithms, count, key.key_id)
    head += struct.pack("<II", kernels if "PLAN" in parts else 0, 0)
    head += _hash(schm)[:16] + _hash(prog)[:16] + _hash(b"tfst1" + schm + prog)[:16]
    head += bytes(16) + reserved + _hash(body)
    return head + sign(head, key) + body


def pack(schema: Schema, program: bytes, kernels: int = 3, **sections: bytes) -> bytes:
    """A pack of a schema, a program and further sections by tag."""
    return build({"SCHM": schema_payload(schema), "PROG": program, **sections}, kernels=kernels)


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

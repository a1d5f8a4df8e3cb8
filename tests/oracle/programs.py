# SPDX-License-Identifier: Apache-2.0
"""Random valid feature programs, for hypothesis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from tests.oracle.operator_rig import AMOUNT, FLAG, GATE, KIND, SCHEMA, SECRET, SMALL, TOKEN
from tests.support import assembler
from tests.support.assembler import CARD, RAM_ONLY, SELF, STATEFUL, TERMINAL, Assembler, state_bytes

Draw = Callable[[Any], Any]

PURE = [name for name in assembler.PURE if name not in ("FIELD", "OUTCOME")]
_NO_FIELDS = ("PRESENT", "CONST", "TIME")  # need the event, or nothing
_TWO = ("ADD", "SUB", "MIN", "MAX", "MUL", "COMPARE")

_I32 = st.sampled_from((0, 1, 2, 3, -1, 5, 60, 255, 1000, -40000, 2**31 - 1, -(2**31)))
_I64 = st.sampled_from((0, 1, -1, 2, 100, 5000, -7, 2**40, 2**62 - 1, 2**63 - 1, -(2**63)))
_SPAN = st.sampled_from((1, 2, 10, 60, 3600, 86400, 1_000_000, 2**31 - 1))
_REMEMBERED = st.sampled_from((0, 1, 3, 64))
_EVIDENCE = st.sampled_from((0, -1, 1, 16, -100, 100, 2**15 - 1, -(2**15)))
_MANY = (100, 5000, 2**33)


def pure(draw: Draw, p: Assembler, name: str, registers: list[int], **where: Any) -> int:
    """Append a pure operator over some of ``registers``; the register it writes."""
    a, b, c = (draw(st.sampled_from(registers)) for _ in range(3))
    maybe_b = draw(st.sampled_from((b, 255)))
    if name == "PRESENT":
        return p.op(name, p2=draw(st.integers(0, len(SCHEMA.fields) - 1)), **where)
    if name == "CONST":
        return p.op(name, p0=draw(_I32), **where)
    if name == "TIME":
        return p.op(name, p2=draw(st.integers(0, 4)), **where)
    if name == "BUCKET":
        cuts = sorted(set(draw(st.lists(_I64, min_size=1, max_size=8))))
        return p.op(name, a, p0=p.i64(*cuts), p2=len(cuts), **where)
    if name == "LOOKUP":
        table = draw(st.lists(st.integers(-(2**15), 2**15 - 1), min_size=1, max_size=9))
        return p.op(name, a, p0=p.i16(*table), p1=draw(_I32), p2=len(table), **where)
    if name in _TWO:
        p2 = draw(st.integers(0, 5)) if name == "COMPARE" else 0
        return p.op(name, a, maybe_b, p0=draw(_I32), p2=p2, **where)
    if name in ("AND", "OR"):
        return p.op(name, a, b, **where)
    if name == "DIV":
        return p.op(name, a, p0=draw(st.sampled_from((1, 2, 7, 3600, 2**31 - 1))), **where)
    if name == "RATIO":
        p0 = draw(st.sampled_from((1, 100, 256, 32767)))
        p2 = draw(st.sampled_from((0, 9, 65535)))
        return p.op(name, a, b, p0=p0, p1=draw(_I32), p2=p2, **where)
    if name == "DIVISIBLE":
        divisors = draw(st.lists(st.sampled_from((1, 2, 10, 500, 2**40)), min_size=1, max_size=8))
        return p.op(name, a, p0=p.i64(*divisors), p2=len(divisors), **where)
    if name == "POPCOUNT":
        return p.op(name, a, p0=p.u64(draw(st.integers(0, 2**64 - 1))), **where)
    if name == "SELECT":
        return p.op(name, a, maybe_b, c, p0=draw(_I32), **where)
    if name == "IN":
        values = draw(st.lists(_I64, min_size=1, max_size=4))
        return p.op(name, a, p0=p.i64(*values), p2=len(values), **where)
    return p.op(name, a, **where)


def parameters(draw: Draw, name: str) -> dict[str, int]:
    """Random valid parameters and flags of a stateful operator."""
    small = draw(st.integers(1, 6))
    shift = draw(st.sampled_from((1, 2, 4, 14)))
    wide = draw(st.sampled_from((4, 8)))
    any_i32 = draw(_I32)
    flags = draw(st.integers(0, 3))
    out = {
        "WINDOW": {
            "p0": draw(_SPAN),
            "p2": draw(st.sampled_from((2, 3, 7, 24, 64))),
            "p3": draw(st.sampled_from((1, 2, 4, 8))),
        },
        "LAST_N": {"p2": draw(st.sampled_from((1, 2, 5, 31, 32)))},
        "RUN": {},
        "SINCE": {"p0": draw(_SPAN)},
        "MEAN": {"p1": any_i32, "p2": shift, "p3": wide},
        "DEVIATION": {
            "p0": draw(st.sampled_from((1, 50, 2**22))),
            "p1": draw(st.sampled_from((1, 32, 1024))),
            "p2": shift,
            "p3": draw(st.sampled_from((1, 2, 5))),
        },
        "SHARE": {"p2": draw(st.integers(2, 16)), "p3": shift},
        "RARITY": {
            "p0": draw(st.sampled_from((2, 3, 20, 60000))),
            "p2": draw(st.sampled_from((2, 3, 24, 168, 256))),
        },
        "REPEAT": {"p2": small},
        "MODE": {"p2": small},
        "PREVIOUS": {"p0": any_i32, "p3": wide},
        "DISTINCT": {"p0": draw(_SPAN), "p2": small},
        "KNOWN": {"p0": draw(_SPAN), "p1": any_i32, "p2": draw(st.integers(0, 6))},
        "SEEN": {},
        "COMPROMISED": {"p2": draw(st.sampled_from((2, 5, 42, 128))), "p3": draw(_REMEMBERED)},
    }[name]
    if draw(st.integers(0, 7)) == 0 and name not in ("KNOWN", "SEEN"):
        flags |= RAM_ONLY
    return {**out, "flags": flags}


def reads_late(name: str, flags: int) -> tuple[bool, bool, bool]:
    """Whether a, b and c may be registers that exist only in the outcome phase."""
    a = name in ("MEAN", "PREVIOUS", "COMPROMISED")
    a = a or (name in ("WINDOW", "MODE", "DISTINCT") and not flags & SELF)
    return a, name in ("LAST_N", "RUN"), not flags & SELF


def stateful(draw: Draw, p: Assembler, name: str, registers: list[int], late: list[int]) -> int:
    """Append a stateful operator; ``late`` registers exist in the outcome phase alone."""
    chosen = parameters(draw, name)
    key = draw(st.sampled_from((TERMINAL, CARD))) if p.sets else TERMINAL
    if name == "SEEN":
        key = CARD
    size, align = state_bytes(name, chosen.get("p2", 0), chosen.get("p3", 0))
    end = -(-p.used[CARD] // align) * align + size
    if key == CARD and -(-end // 8) * 8 + 16 + 8 + 8 * p.card_labels > 272:
        key = TERMINAL
        if name == "SEEN":
            name, chosen = "RUN", {"flags": 0}
    if name == "COMPROMISED":
        chosen["p1"] = draw(st.integers(1, 4))
        pairs = [
            (draw(st.sampled_from((1, 2, 9, 300))), draw(_EVIDENCE)) for _ in range(chosen["p1"])
        ]
        constants = draw(_EVIDENCE), draw(_EVIDENCE), draw(st.sampled_from((0, 3, 60, 256)))
        chosen["p0"] = p.i16(*constants, *(x for pair in pairs for x in pair))
    if name in ("KNOWN", "COMPROMISED"):  # a program has the ring that they read
        p.terminal_labels = p.terminal_labels or 1
        p.card_labels = p.card_labels or 1 if p.sets else 0

    def pick(may_be_late: bool) -> int:
        register: int = draw(st.sampled_from(registers + (late if may_be_late else [])))
        if register not in late and len(p.keeps) < 60:
            width = draw(st.sampled_from((1, 2, 4, 8)))
            p.keep(register, width, ram_only=draw(st.integers(0, 5)) == 0)
        elif register not in late:
            register = p.keeps[0][0]
        return register

    late_a, late_b, late_c = reads_late(name, chosen["flags"])
    none = name in ("RUN", "LAST_N", "SINCE", "KNOWN", "SEEN")
    none = none or (name == "WINDOW" and draw(st.booleans()))
    a = 255 if none else pick(late_a)
    b = pick(late_b) if name in ("LAST_N", "RUN") and draw(st.booleans()) else 255
    c = pick(late_c) if name not in ("KNOWN", "SEEN") and draw(st.booleans()) else 255
    when = draw(st.sampled_from((1, 2, 3, 31, 31, 8, 16, 21)))
    out = p.op(name, a, b, c, key=key, when=when, **chosen)
    return unpacked(p, out)[draw(st.integers(0, 1))] if name == "COMPROMISED" else out


def unpacked(p: Assembler, odds: int) -> tuple[int, int]:
    """The two numbers of COMPROMISED: that it lasts, that it happened."""
    ever = p.op("DIV", odds, p0=1 << 16)
    lasts = p.op("SUB", odds, p.op("MUL", ever, p0=1 << 16))
    return p.op("SUB", lasts, p0=1 << 15), p.op("SUB", ever, p0=1 << 15)


def begin(draw: Draw) -> tuple[Assembler, list[int]]:
    """An assembler with random tables, and registers that hold the fields and the time."""
    sets = draw(st.sampled_from((0, 1, 1, 2, 4)))
    p = Assembler(
        token_field=draw(st.sampled_from((TOKEN, TOKEN, TOKEN, 255))),
        sets=sets,
        ways=draw(st.sampled_from((1, 1, 2, 3))),
        terminal_labels=draw(st.sampled_from((0, 1, 2, 5))),
        card_labels=draw(st.sampled_from((0, 1, 3))) if sets else 0,
        pending=draw(st.sampled_from((1, 2, 5))),
    )
    fields = (SMALL, AMOUNT, TOKEN, KIND, FLAG, GATE, SECRET)
    return p, [p.op("FIELD", p2=i) for i in fields]


def outcome_registers(draw: Draw, p: Assembler) -> list[int]:
    """Registers of the outcome phase: what came back, and comparisons of it."""
    late = [
        p.op("OUTCOME", p2=draw(st.integers(0, 3)), late=True)
        for _ in range(draw(st.integers(0, 2)))
    ]
    for name in draw(st.lists(st.sampled_from(PURE), max_size=2)) if late else ():
        if name not in _NO_FIELDS:
            late.append(pure(draw, p, name, late, late=True))
    return late


def finish(draw: Draw, p: Assembler, registers: list[int], *, always: list[int]) -> Assembler:
    """Name the features: ``always`` and some others."""
    for register in always:
        p.feature(register)
    for register in draw(st.lists(st.sampled_from(registers), max_size=4)):
        p.feature(register)
    return p


@st.composite
def programs(draw: Draw) -> Assembler:
    """A program of several operators that read each other."""
    p, registers = begin(draw)
    late = outcome_registers(draw, p)
    made: list[int] = []
    for name in draw(st.lists(st.sampled_from(PURE + STATEFUL), min_size=1, max_size=14)):
        if name == "SEEN" and not p.sets:
            continue
        if name in PURE:
            over = draw(st.integers(0, 9)) == 0 and bool(made)
            out = draw(st.sampled_from(made)) if over else None
            register = pure(draw, p, name, registers, out=out)
        else:
            register = stateful(draw, p, name, registers, late)
        if register not in made:
            made.append(register)
            registers.append(register)
    kept = [register for register, _, _ in p.keeps]
    if kept and draw(st.booleans()):  # the outcome phase may replace what was kept
        name = draw(st.sampled_from([name for name in PURE if name not in _NO_FIELDS]))
        pure(draw, p, name, kept + late, late=True, out=draw(st.sampled_from(kept)))
    return finish(draw, p, registers, always=made or registers[:1])


@st.composite
def programs_of(draw: Draw, name: str) -> Assembler:
    """A program about one operator."""
    p, registers = begin(draw)
    if name == "SEEN":
        p.sets, p.token_field = 2, TOKEN
    if name == "FIELD":
        return finish(draw, p, registers, always=registers)
    if name == "OUTCOME":
        late = [p.op("OUTCOME", p2=i, late=True) for i in range(4)]
        made = [p.op("PREVIOUS", x, key=TERMINAL, p0=-9, p3=4) for x in late]
    elif name in PURE:
        made = [pure(draw, p, name, registers)]
    else:
        made = [stateful(draw, p, name, registers, outcome_registers(draw, p))]
    return finish(draw, p, registers, always=made)

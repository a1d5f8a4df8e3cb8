# SPDX-License-Identifier: Apache-2.0
"""The operators of a feature program, one row each; docs/formats/program.md is the norm.

The compiler refuses what a row does not allow, and sizes an operator's state with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

__all__ = [
    "BY_CODE",
    "BY_NAME",
    "CARD",
    "INVERT",
    "LABELLED",
    "MAX_REGISTER",
    "OPERATORS",
    "RAM_ONLY",
    "RESULT_BITS",
    "SELF",
    "TERMINAL",
    "Operator",
    "Parameter",
]

TERMINAL, CARD = 1, 2
"""Values of an operator's key; 0 is a pure operator."""

SELF, INVERT, RAM_ONLY = 1, 2, 4
"""Bits of an operator's flags."""

RESULT_BITS: Mapping[str, int] = {
    "approved": 1,
    "declined": 2,
    "cancelled": 4,
    "timed_out": 8,
    "reversed": 16,
}
"""Bits of an operator's ``when`` mask."""

MAX_REGISTER = 2**62 - 1
"""Every register write saturates to plus or minus this."""

Use = Literal["none", "optional", "required"]
_I32 = (-(2**31), 2**31 - 1)
_POSITIVE = (1, 2**31 - 1)


@dataclass(frozen=True)
class Parameter:
    """What a parameter slot (p0 to p3) of an operator means, and its inclusive range."""

    name: str
    low: int
    high: int
    values: tuple[int, ...] = ()
    """The only values allowed, when they are not a range."""

    def allows(self, value: int) -> bool:
        """True when ``value`` is inside the range and among the values."""
        return self.low <= value <= self.high and (not self.values or value in self.values)


@dataclass(frozen=True)
class Operator:
    """One operator: its inputs, parameters, flags and state."""

    code: int
    name: str
    doc: str
    a: Use = "none"
    b: Use = "none"
    c: Use = "none"
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    """By slot: p0, p1, p2, p3. A slot that is not named must be zero."""
    stateful: bool = False
    keys: tuple[int, ...] = (0,)
    flags: int = 0
    pool: int = 0
    """Bytes per constant in the pool (8 or 2), 0 without one; p0 then is its offset."""
    state: Callable[[int, int], int] | None = None
    """State bytes from (p2, p3), a multiple of 4."""
    reads: str = ""
    """Inputs that are used while scoring even without SELF; with SELF a and c are too."""
    commits: bool = True
    """False for operators whose state only notices change."""

    def pool_constants(self, p1: int, p2: int) -> int:
        """How many constants of the pool it reads."""
        if self.name == "COMPROMISED":
            return 3 + 2 * p1
        return 1 if self.name == "POPCOUNT" else p2 if self.pool else 0

    def state_bytes(self, p2: int, p3: int) -> int:
        """Bytes of state inside the key's block."""
        return 0 if self.state is None else self.state(p2, p3)

    def state_align(self, p3: int) -> int:
        """8 where a width of 8 is used, else 4."""
        width = self.parameters.get("p3")
        return 8 if width is not None and width.name == "width" and p3 == 8 else 4


def _pad4(size: int) -> int:
    return -(-size // 4) * 4


def _p(name: str, low: int, high: int, *values: int) -> Parameter:
    return Parameter(name, low, high, values)


_BOTH = (TERMINAL, CARD)
_WIDTH = _p("width", 1, 8, 1, 2, 4, 8)
_WIDTH48 = _p("width", 4, 8, 4, 8)
_SHIFT = _p("shift", 1, 14)
_OPERAND = {"p0": _p("value", *_I32)}

LABELLED = frozenset({"KNOWN", "COMPROMISED"})
"""Operators that read what notices said; their key has a label ring."""

OPERATORS: tuple[Operator, ...] = (
    Operator(
        1,
        "FIELD",
        "a field of the event, its missing value when absent",
        parameters={"p2": _p("field", 0, 31)},
    ),
    Operator(2, "PRESENT", "1 when the field is there", parameters={"p2": _p("field", 0, 31)}),
    Operator(3, "CONST", "a constant", parameters={"p0": _p("value", *_I32)}),
    Operator(
        4,
        "TIME",
        "time, local time, hour of day, day of week, hour of week",
        parameters={"p2": _p("what", 0, 4)},
    ),
    Operator(5, "LOG2", "round(256 * log2(1 + a))", a="required"),
    Operator(
        6,
        "BUCKET",
        "number of cuts not above a",
        a="required",
        pool=8,
        parameters={"p0": _p("pool", 0, 2**31 - 1), "p2": _p("count", 1, 32)},
    ),
    Operator(
        7,
        "LOOKUP",
        "entry a of a table",
        a="required",
        pool=2,
        parameters={
            "p0": _p("pool", 0, 2**31 - 1),
            "p1": _p("outside", *_I32),
            "p2": _p("count", 1, 256),
        },
    ),
    Operator(
        8,
        "COMPARE",
        "a compared with b or a constant",
        a="required",
        b="optional",
        parameters={**_OPERAND, "p2": _p("relation", 0, 5)},
    ),
    Operator(9, "AND", "both", a="required", b="required"),
    Operator(10, "OR", "at least one", a="required", b="required"),
    Operator(11, "NOT", "a is 0", a="required"),
    Operator(12, "ADD", "a + b", a="required", b="optional", parameters=_OPERAND),
    Operator(13, "SUB", "a - b", a="required", b="optional", parameters=_OPERAND),
    Operator(14, "MIN", "the smaller", a="required", b="optional", parameters=_OPERAND),
    Operator(15, "MAX", "the larger", a="required", b="optional", parameters=_OPERAND),
    Operator(16, "ABS", "absolute value", a="required"),
    Operator(17, "DIV", "floor(a / p0)", a="required", parameters={"p0": _p("by", *_POSITIVE)}),
    Operator(
        18,
        "RATIO",
        "floor(p0 * a / (b + p1)), p2 when the divisor is not positive",
        a="required",
        b="required",
        parameters={
            "p0": _p("scale", 1, 32767),
            "p1": _p("plus", *_I32),
            "p2": _p("otherwise", 0, 65535),
        },
    ),
    Operator(
        19,
        "DIVISIBLE",
        "how many divisors divide a",
        a="required",
        pool=8,
        parameters={"p0": _p("pool", 0, 2**31 - 1), "p2": _p("count", 1, 8)},
    ),
    Operator(
        20,
        "POPCOUNT",
        "number of one bits under a mask",
        a="required",
        pool=8,
        parameters={"p0": _p("pool", 0, 2**31 - 1)},
    ),
    Operator(
        21,
        "SELECT",
        "a when c is true, else b",
        a="required",
        b="optional",
        c="required",
        parameters=_OPERAND,
    ),
    Operator(
        22,
        "OUTCOME",
        "result, response, action taken, seconds since scoring",
        parameters={"p2": _p("what", 0, 3)},
    ),
    Operator(23, "MUL", "a * b", a="required", b="optional", parameters=_OPERAND),
    Operator(
        24,
        "IN",
        "1 when a is one of a set",
        a="required",
        pool=8,
        parameters={"p0": _p("pool", 0, 2**31 - 1), "p2": _p("count", 1, 32)},
    ),
    Operator(
        40,
        "WINDOW",
        "count or sum over the last p2 buckets of p0 seconds",
        a="optional",
        c="optional",
        stateful=True,
        keys=_BOTH,
        flags=SELF,
        parameters={"p0": _p("bucket_s", *_POSITIVE), "p2": _p("buckets", 2, 64), "p3": _WIDTH},
        state=lambda p2, p3: _pad4(max(4, p3) + p2 * p3),
    ),
    Operator(
        41,
        "LAST_N",
        "how many of the last n were true",
        b="optional",
        c="optional",
        stateful=True,
        keys=_BOTH,
        flags=SELF,
        parameters={"p2": _p("n", 1, 32)},
        state=lambda p2, p3: 4,
    ),
    Operator(
        42,
        "RUN",
        "how many in a row were true, up to now",
        b="optional",
        c="optional",
        stateful=True,
        keys=_BOTH,
        flags=SELF,
        state=lambda p2, p3: 4,
    ),
    Operator(
        43,
        "SINCE",
        "seconds since the last, at most p0",
        c="optional",
        stateful=True,
        keys=_BOTH,
        parameters={"p0": _p("cap_s", *_POSITIVE)},
        state=lambda p2, p3: 4,
    ),
    Operator(
        44,
        "MEAN",
        "exponential mean",
        a="required",
        c="optional",
        stateful=True,
        keys=_BOTH,
        parameters={"p1": _p("otherwise", *_I32), "p2": _SHIFT, "p3": _WIDTH48},
        state=lambda p2, p3: p3 + 4,
    ),
    Operator(
        45,
        "DEVIATION",
        "distance from the mean in mean absolute deviations",
        a="required",
        c="optional",
        stateful=True,
        keys=_BOTH,
        reads="a",
        parameters={
            "p0": _p("floor", 1, 2**22),
            "p1": _p("scale", 1, 1024),
            "p2": _SHIFT,
            "p3": _p("minimum", 1, 65535),
        },
        state=lambda p2, p3: 12,
    ),
    Operator(
        46,
        "SHARE",
        "how rare this class has been lately (INVERT: how common)",
        a="required",
        c="optional",
        stateful=True,
        keys=_BOTH,
        flags=INVERT,
        reads="a",
        parameters={"p2": _p("classes", 2, 16), "p3": _SHIFT},
        state=lambda p2, p3: _pad4(2 + 2 * p2),
    ),
    Operator(
        47,
        "RARITY",
        "how rare this class is by halved counts",
        a="required",
        c="optional",
        stateful=True,
        keys=_BOTH,
        reads="a",
        parameters={"p0": _p("halve_at", 2, 60000), "p2": _p("classes", 2, 256)},
        state=lambda p2, p3: _pad4(2 + 2 * p2),
    ),
    Operator(
        48,
        "REPEAT",
        "how many of the last n equal a",
        a="required",
        c="optional",
        stateful=True,
        keys=_BOTH,
        flags=SELF,
        reads="a",
        parameters={"p2": _p("n", 1, 32)},
        state=lambda p2, p3: 8 + 4 * p2,
    ),
    Operator(
        49,
        "MODE",
        "most frequent value's number among the last n",
        a="required",
        c="optional",
        stateful=True,
        keys=_BOTH,
        flags=SELF,
        parameters={"p2": _p("n", 1, 32)},
        state=lambda p2, p3: 8 + 4 * p2,
    ),
    Operator(
        50,
        "PREVIOUS",
        "the last value",
        a="required",
        c="optional",
        stateful=True,
        keys=_BOTH,
        parameters={"p0": _p("otherwise", *_I32), "p3": _WIDTH48},
        state=lambda p2, p3: p3 + 4,
    ),
    Operator(
        51,
        "DISTINCT",
        "distinct values of the last p0 seconds",
        a="required",
        c="optional",
        stateful=True,
        keys=_BOTH,
        flags=SELF,
        parameters={"p0": _p("seconds", *_POSITIVE), "p2": _p("n", 1, 64)},
        state=lambda p2, p3: 8 * p2,
    ),
    Operator(
        52,
        "KNOWN",
        "what notices have said",
        stateful=True,
        keys=_BOTH,
        commits=False,
        parameters={
            "p0": _p("span_s", 0, 2**31 - 1),
            "p1": _p("otherwise", *_I32),
            "p2": _p("what", 0, 6),
        },
    ),
    Operator(53, "SEEN", "1 when the card has a slot", stateful=True, keys=(CARD,), commits=False),
    Operator(
        54,
        "COMPROMISED",
        "log2 odds that the key is, and was, in the wrong hands",
        a="required",
        c="optional",
        stateful=True,
        keys=_BOTH,
        pool=2,
        parameters={
            "p0": _p("pool", 0, 2**31 - 1),
            "p1": _p("durations", 1, 4),
            "p2": _p("days", 2, 128),
            "p3": _p("remembered", 0, 64),
        },
        state=lambda p2, p3: _pad4(4 + 2 * p2) + 4 * p3,
    ),
)

BY_NAME: Mapping[str, Operator] = {operator.name: operator for operator in OPERATORS}
BY_CODE: Mapping[int, Operator] = {operator.code: operator for operator in OPERATORS}

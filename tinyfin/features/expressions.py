# SPDX-License-Identifier: Apache-2.0
"""Features written as expressions: ``log2(field("amount_minor"))``.

An expression is a node of a graph; the compiler merges equal nodes, so that writing the same window
twice costs nothing. Fields and enum values are named here and looked up in the schema when the
program is compiled. Wrong parameters raise ConfigError at once, naming operator and rule.

The key of a stateful operator is ``"terminal"`` or ``"card"``. ``where`` is a condition, ``when``
the results on which an event enters the state.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from tinyfin.errors import ConfigError
from tinyfin.features.operators import BY_NAME, INVERT, RESULT_BITS, SELF, Operator

__all__ = [
    "ALWAYS",
    "APPROVED",
    "DAY_S",
    "HOUR_S",
    "Expression",
    "absolute",
    "all_of",
    "any_of",
    "bucket",
    "compare",
    "compromised",
    "const",
    "day_of_week",
    "deviation",
    "distinct",
    "divisible",
    "either",
    "equal",
    "field",
    "hour_of_day",
    "hour_of_week",
    "is_in",
    "is_value",
    "known",
    "larger",
    "last_n",
    "local_time",
    "log2",
    "lookup",
    "lookup_value",
    "mean",
    "mode",
    "outcome",
    "popcount",
    "present",
    "previous",
    "rarity",
    "ratio",
    "repeat",
    "run",
    "seen",
    "share",
    "since",
    "smaller",
    "time",
    "window",
]

Key = Literal["terminal", "card"]

HOUR_S, DAY_S = 3600, 86400

ALWAYS: tuple[str, ...] = tuple(RESULT_BITS)
"""``when``: every result."""

APPROVED: tuple[str, ...] = ("approved",)
"""``when``: what was paid."""

_KEYS = {"terminal": 1, "card": 2}
_RELATIONS = ("<", "<=", "==", "!=", ">=", ">")
_OUTCOMES = ("result", "response", "action", "seconds")
_KNOWN = ("last", "run", "run_age", "age", "count", "frauds", "fraud_age")


@dataclass(frozen=True, eq=False)
class Expression:
    """One operator applied to inputs. Made by the functions below; ``+ - * < <= > >= & | ~`` too.

    ``field`` names the schema's field that p2 means. ``values`` names enum values of that
    field: the compiler turns them into p0, into the set of IN, or into positions of a LOOKUP table.
    """

    operator: Operator
    a: Expression | None = None
    b: Expression | None = None
    c: Expression | None = None
    key: int = 0
    when: int = 0
    flags: int = 0
    p0: int = 0
    p1: int = 0
    p2: int = 0
    p3: int = 0
    pool: tuple[int, ...] = ()
    field: str | None = None
    values: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        operator = self.operator
        for slot in ("p0", "p1", "p2", "p3"):
            value, rule = getattr(self, slot), operator.parameters.get(slot)
            if rule is None:
                if value:
                    raise ConfigError(f"{operator.name} has no parameter {slot}; leave it out")
            elif not rule.allows(value):
                span = f"one of {rule.values}" if rule.values else f"{rule.low} to {rule.high}"
                raise ConfigError(f"{operator.name}: {rule.name} = {value} must be {span}")
        for role in ("a", "b", "c"):
            use, given = getattr(operator, role), getattr(self, role)
            if (use == "none" and given is not None) or (use == "required" and given is None):
                raise ConfigError(f"{operator.name}: input {role} is {use}")
        if operator.stateful and operator.commits and not self.when:
            raise ConfigError(f"{operator.name}: 'when' names no result; {', '.join(RESULT_BITS)}")

    def __add__(self, other: Expression | int) -> Expression:
        return _binary("ADD", self, other)

    def __sub__(self, other: Expression | int) -> Expression:
        return _binary("SUB", self, other)

    def __mul__(self, other: Expression | int) -> Expression:
        return _binary("MUL", self, other)

    def __floordiv__(self, by: int) -> Expression:
        return Expression(BY_NAME["DIV"], a=self, p0=by)

    def __lt__(self, other: Expression | int) -> Expression:
        return compare("<", self, other)

    def __le__(self, other: Expression | int) -> Expression:
        return compare("<=", self, other)

    def __gt__(self, other: Expression | int) -> Expression:
        return compare(">", self, other)

    def __ge__(self, other: Expression | int) -> Expression:
        return compare(">=", self, other)

    def __and__(self, other: Expression) -> Expression:
        return Expression(BY_NAME["AND"], a=self, b=other)

    def __or__(self, other: Expression) -> Expression:
        return Expression(BY_NAME["OR"], a=self, b=other)

    def __invert__(self) -> Expression:
        return Expression(BY_NAME["NOT"], a=self)

    def inputs(self) -> tuple[Expression, ...]:
        """The expressions this one reads."""
        return tuple(x for x in (self.a, self.b, self.c) if x is not None)


def _binary(name: str, a: Expression, b: Expression | int) -> Expression:
    if isinstance(b, int):
        return Expression(BY_NAME[name], a=a, p0=b)
    return Expression(BY_NAME[name], a=a, b=b)


def compare(relation: str, a: Expression, b: Expression | int) -> Expression:
    """1 when the relation (``<`` ``<=`` ``==`` ``!=`` ``>=`` ``>``) of a to b holds, else 0."""
    code = _RELATIONS.index(relation)
    if isinstance(b, int):
        return Expression(BY_NAME["COMPARE"], a=a, p0=b, p2=code)
    return Expression(BY_NAME["COMPARE"], a=a, b=b, p2=code)


# ------------------------------------------------------------------------------------ the event


def field(name: str) -> Expression:
    """A field of the schema; its missing value when absent."""
    return Expression(BY_NAME["FIELD"], field=name)


def present(name: str) -> Expression:
    """1 when the field is there."""
    return Expression(BY_NAME["PRESENT"], field=name)


def is_value(name: str, *values: str) -> Expression:
    """1 when an enum field has one of the named values."""
    if len(values) == 1:
        return Expression(BY_NAME["COMPARE"], a=field(name), p2=2, field=name, values=values)
    return Expression(BY_NAME["IN"], a=field(name), p2=len(values), field=name, values=values)


def lookup_value(name: str, table: Mapping[str, int], outside: int) -> Expression:
    """A number per value of an enum field, ``outside`` for an absent one and for the others."""
    return Expression(
        BY_NAME["LOOKUP"],
        a=field(name),
        p1=outside,
        p2=1,
        field=name,
        values=tuple(table),
        pool=tuple(table.values()),
    )


def const(value: int) -> Expression:
    """A constant."""
    return Expression(BY_NAME["CONST"], p0=value)


def time() -> Expression:
    """The monotonic time, seconds."""
    return Expression(BY_NAME["TIME"], p2=0)


def local_time() -> Expression:
    """The wall clock, seconds since 2000-01-01."""
    return Expression(BY_NAME["TIME"], p2=1)


def hour_of_day() -> Expression:
    """0 to 23, local."""
    return Expression(BY_NAME["TIME"], p2=2)


def day_of_week() -> Expression:
    """0 (Monday) to 6, local."""
    return Expression(BY_NAME["TIME"], p2=3)


def hour_of_week() -> Expression:
    """0 (Monday, midnight) to 167, local."""
    return Expression(BY_NAME["TIME"], p2=4)


def outcome(what: Literal["result", "response", "action", "seconds"]) -> Expression:
    """What became of the event; only stateful operators may use it, as what they learn."""
    return Expression(BY_NAME["OUTCOME"], p2=_OUTCOMES.index(what))


# ---------------------------------------------------------------------------------- arithmetic


def log2(x: Expression) -> Expression:
    """round(256 * log2(1 + x)); 0 below 0."""
    return Expression(BY_NAME["LOG2"], a=x)


def bucket(x: Expression, cuts: Sequence[int]) -> Expression:
    """How many of the ascending cuts are not above x."""
    if any(low >= high for low, high in pairwise(cuts)):
        raise ConfigError(f"BUCKET: cuts = {list(cuts)} must ascend strictly")
    return Expression(BY_NAME["BUCKET"], a=x, p2=len(cuts), pool=tuple(cuts))


def lookup(x: Expression, table: Sequence[int], outside: int) -> Expression:
    """Entry x of a table of int16, ``outside`` for others."""
    return Expression(BY_NAME["LOOKUP"], a=x, p1=outside, p2=len(table), pool=tuple(table))


def equal(x: Expression, y: Expression | int) -> Expression:
    """1 when equal."""
    return compare("==", x, y)


def is_in(x: Expression, values: Iterable[int]) -> Expression:
    """1 when x is one of the values."""
    pool = tuple(sorted(set(values)))
    return Expression(BY_NAME["IN"], a=x, p2=len(pool), pool=pool)


def all_of(*conditions: Expression) -> Expression:
    """1 when every condition is true."""
    out = conditions[0]
    for condition in conditions[1:]:
        out = out & condition
    return out


def any_of(*conditions: Expression) -> Expression:
    """1 when some condition is true."""
    out = conditions[0]
    for condition in conditions[1:]:
        out = out | condition
    return out


def smaller(x: Expression, y: Expression | int) -> Expression:
    """The smaller of two."""
    return _binary("MIN", x, y)


def larger(x: Expression, y: Expression | int) -> Expression:
    """The larger of two."""
    return _binary("MAX", x, y)


def absolute(x: Expression) -> Expression:
    """Absolute value."""
    return Expression(BY_NAME["ABS"], a=x)


def ratio(
    x: Expression, y: Expression, *, scale: int, plus: int = 0, otherwise: int = 0
) -> Expression:
    """floor(scale * x / (y + plus)); ``otherwise`` when the divisor is not positive."""
    return Expression(BY_NAME["RATIO"], a=x, b=y, p0=scale, p1=plus, p2=otherwise)


def divisible(x: Expression, divisors: Sequence[int]) -> Expression:
    """How many of the divisors divide x; 0 for 0."""
    if any(value < 1 for value in divisors):
        raise ConfigError(f"DIVISIBLE: divisors = {list(divisors)} must be 1 or more")
    return Expression(BY_NAME["DIVISIBLE"], a=x, p2=len(divisors), pool=tuple(divisors))


def popcount(x: Expression, mask: int) -> Expression:
    """Number of one bits of x under ``mask`` (64 bits, unsigned)."""
    return Expression(BY_NAME["POPCOUNT"], a=x, pool=(mask - (mask >> 63 << 64),))


def either(condition: Expression, x: Expression, y: Expression | int) -> Expression:
    """x when the condition is true, else y."""
    if isinstance(y, int):
        return Expression(BY_NAME["SELECT"], a=x, c=condition, p0=y)
    return Expression(BY_NAME["SELECT"], a=x, b=y, c=condition)


# ----------------------------------------------------------------------------------- with state


def _key(name: str, key: Key) -> int:
    if key not in _KEYS:
        raise ConfigError(f'{name}: key = {key!r} must be "terminal" or "card"')
    return _KEYS[key]


def _when(name: str, when: Sequence[str]) -> int:
    for result in when:
        if result not in RESULT_BITS:
            raise ConfigError(f"{name}: when = {result!r} must be among {', '.join(RESULT_BITS)}")
    return sum({RESULT_BITS[r] for r in when})


def _stateful(
    name: str,
    key: Key,
    when: Sequence[str],
    flags: int = 0,
    a: Expression | None = None,
    b: Expression | None = None,
    c: Expression | None = None,
    p0: int = 0,
    p1: int = 0,
    p2: int = 0,
    p3: int = 0,
) -> Expression:
    return Expression(
        BY_NAME[name], a, b, c, _key(name, key), _when(name, when), flags, p0, p1, p2, p3
    )


def window(
    key: Key,
    *,
    seconds: int,
    buckets: int,
    value: Expression | None = None,
    where: Expression | None = None,
    itself: bool = False,
    when: Sequence[str] = ALWAYS,
    width: int = 2,
) -> Expression:
    """Count, or sum of ``value`` (negative ones count as 0), over the last ``seconds``.

    The window is ``buckets`` buckets of ``seconds / buckets`` (rounded up); it reaches back between
    buckets - 1 and buckets of them. A bucket holds ``width`` bytes and saturates. ``itself``: the
    present event is included.
    """
    if seconds < buckets:
        raise ConfigError(f"WINDOW: seconds = {seconds} must be at least buckets = {buckets}")
    return _stateful(
        "WINDOW",
        key,
        when,
        SELF * itself,
        a=value,
        c=where,
        p0=-(-seconds // buckets),
        p2=buckets,
        p3=width,
    )


def last_n(
    key: Key,
    n: int,
    test: Expression | None,
    *,
    where: Expression | None = None,
    itself: bool = False,
    when: Sequence[str] = ALWAYS,
) -> Expression:
    """How many of the last n events (those with ``where``) passed ``test``."""
    return _stateful("LAST_N", key, when, SELF * itself, b=where, c=test, p2=n)


def run(
    key: Key,
    test: Expression | None,
    *,
    where: Expression | None = None,
    itself: bool = False,
    when: Sequence[str] = ALWAYS,
) -> Expression:
    """How many events (those with ``where``) in a row passed ``test``, up to now."""
    return _stateful("RUN", key, when, SELF * itself, b=where, c=test)


def since(
    key: Key, *, cap_s: int, where: Expression | None = None, when: Sequence[str] = ALWAYS
) -> Expression:
    """Seconds since the last event (with ``where``); ``cap_s`` at most and when there is none."""
    return _stateful("SINCE", key, when, c=where, p0=cap_s)


def mean(
    key: Key,
    x: Expression,
    *,
    shift: int,
    otherwise: int = 0,
    width: int = 4,
    where: Expression | None = None,
    when: Sequence[str] = APPROVED,
) -> Expression:
    """Exponential mean of x with weight 2^-shift; x is clamped to 2^22 (width 4) or 2^46 (8)."""
    return _stateful("MEAN", key, when, a=x, c=where, p1=otherwise, p2=shift, p3=width)


def deviation(
    key: Key,
    x: Expression,
    *,
    shift: int,
    floor: int,
    scale: int,
    minimum: int,
    where: Expression | None = None,
    when: Sequence[str] = APPROVED,
) -> Expression:
    """scale * (x - mean) / max(mean absolute deviation, floor); 0 before ``minimum`` events."""
    return _stateful("DEVIATION", key, when, a=x, c=where, p0=floor, p1=scale, p2=shift, p3=minimum)


def share(
    key: Key,
    x: Expression,
    *,
    classes: int,
    shift: int,
    invert: bool = False,
    where: Expression | None = None,
    when: Sequence[str] = ALWAYS,
) -> Expression:
    """256 * (1 - exponential share of class x), or with ``invert`` 256 * share."""
    return _stateful("SHARE", key, when, INVERT * invert, a=x, c=where, p2=classes, p3=shift)


def rarity(
    key: Key,
    x: Expression,
    *,
    classes: int,
    halve_at: int,
    where: Expression | None = None,
    when: Sequence[str] = ALWAYS,
) -> Expression:
    """256 * (1 - share of class x by counts that are halved at ``halve_at`` events)."""
    return _stateful("RARITY", key, when, a=x, c=where, p0=halve_at, p2=classes)


def repeat(
    key: Key,
    x: Expression,
    n: int,
    *,
    where: Expression | None = None,
    itself: bool = False,
    when: Sequence[str] = ALWAYS,
) -> Expression:
    """How many of the last n values equal x (low 32 bits compared)."""
    return _stateful("REPEAT", key, when, SELF * itself, a=x, c=where, p2=n)


def mode(
    key: Key,
    x: Expression,
    n: int,
    *,
    where: Expression | None = None,
    itself: bool = False,
    when: Sequence[str] = ALWAYS,
) -> Expression:
    """How often the most frequent of the last n values occurs among them."""
    return _stateful("MODE", key, when, SELF * itself, a=x, c=where, p2=n)


def previous(
    key: Key,
    x: Expression,
    *,
    otherwise: int,
    width: int = 4,
    where: Expression | None = None,
    when: Sequence[str] = ALWAYS,
) -> Expression:
    """The value of the last event (with ``where``)."""
    return _stateful("PREVIOUS", key, when, a=x, c=where, p0=otherwise, p3=width)


def distinct(
    key: Key,
    x: Expression,
    *,
    seconds: int,
    n: int,
    where: Expression | None = None,
    itself: bool = False,
    when: Sequence[str] = ALWAYS,
) -> Expression:
    """How many different values in the last ``seconds``, at most n remembered."""
    return _stateful("DISTINCT", key, when, SELF * itself, a=x, c=where, p0=seconds, p2=n)


def known(key: Key, what: str, *, span_s: int = 0, otherwise: int = 0) -> Expression:
    """What notices have said of this key.

    ``what``: last (1 when the newest known label is fraud), run (frauds in a row), run_age (age of
    the oldest of that run), age (of the newest label), count (labels younger than ``span_s``),
    frauds (fraud labels younger than it), fraud_age (of the newest fraud label). Ages are seconds,
    at most ``span_s``.
    """
    if what not in _KNOWN:
        raise ConfigError(f"KNOWN: what = {what!r} must be among {', '.join(_KNOWN)}")
    return _stateful("KNOWN", key, (), p0=span_s, p1=otherwise, p2=_KNOWN.index(what))


def compromised(
    key: Key,
    evidence: Expression,
    *,
    usual: int,
    genuine: int,
    limit: int,
    durations: Sequence[tuple[int, int]],
    days: int,
    remembered: int,
    where: Expression | None = None,
    when: Sequence[str] = ALWAYS,
) -> tuple[Expression, Expression]:
    """256 * log2 of the odds that the key is in the wrong hands, and that it was in ``days`` days.

    Evidence is 16 * log2 of a likelihood ratio: ``evidence`` (0 to 255) of this event if it is a
    fraud, ``usual`` of a fraud of which nothing is remembered, ``genuine`` (negative) of a genuine
    transaction. Events with less evidence than ``limit`` are remembered, the last ``remembered`` of
    them. ``durations`` are pairs of days and evidence for a compromise that begins on a given day
    and lasts so long.
    """
    pool = (usual, genuine, limit, *(x for pair in durations for x in pair))
    odds = Expression(
        BY_NAME["COMPROMISED"],
        a=evidence,
        c=where,
        key=_key("COMPROMISED", key),
        when=_when("COMPROMISED", when),
        p1=len(durations),
        p2=days,
        p3=remembered,
        pool=pool,
    )
    ever = odds // 65536
    return odds - (ever * 65536 + 32768), ever - 32768


def seen() -> Expression:
    """1 when the card is in the card table."""
    return _stateful("SEEN", "card", ())

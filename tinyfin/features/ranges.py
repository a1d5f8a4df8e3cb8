# SPDX-License-Identifier: Apache-2.0
"""The smallest and largest value each operator can give: it decides how many bytes are kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tinyfin.features.operators import MAX_REGISTER

__all__ = ["FULL", "Interval", "result_range", "width_for"]

Interval = tuple[int, int]

FULL: Interval = (-MAX_REGISTER, MAX_REGISTER)

_BIT: Interval = (0, 1)
_TIMES: Sequence[Interval] = ((0, 2**32 - 1), (0, 2**32 - 1), (0, 23), (0, 6), (0, 167))
_OUTCOMES: Sequence[Interval] = ((0, 4), (-1, 99), (0, 2), (0, 2**32 - 1))


def width_for(interval: Interval) -> int:
    """Bytes of the smallest signed integer (1, 2, 4, 8) that holds the interval."""
    low, high = interval
    for width in (1, 2, 4):
        if -(1 << (8 * width - 1)) <= low and high < 1 << (8 * width - 1):
            return width
    return 8


def result_range(
    name: str, a: Interval, b: Interval, p: Sequence[int], pool: Sequence[int]
) -> Interval:
    """Range of an operator from those of its inputs (b: the constant's when b is none).

    ``p`` is (p0, p1, p2, p3). FIELD is not answered here: it depends on the schema.
    """
    rule = _RULES.get(name)
    low, high = rule(a, b, p, pool) if rule is not None else FULL
    return max(low, -MAX_REGISTER), min(high, MAX_REGISTER)


def _mul(a: Interval, b: Interval) -> Interval:
    products = [x * y for x in a for y in b]
    return min(products), max(products)


def _hull(*values: int) -> Interval:
    return min(values), max(values)


Rule = Callable[[Interval, Interval, Sequence[int], Sequence[int]], Interval]

_RULES: dict[str, Rule] = {
    "PRESENT": lambda a, b, p, pool: _BIT,
    "CONST": lambda a, b, p, pool: (p[0], p[0]),
    "TIME": lambda a, b, p, pool: _TIMES[p[2]],
    "LOG2": lambda a, b, p, pool: (0, 15872),
    "BUCKET": lambda a, b, p, pool: (0, p[2]),
    "LOOKUP": lambda a, b, p, pool: _hull(*pool, p[1]),
    "COMPARE": lambda a, b, p, pool: _BIT,
    "AND": lambda a, b, p, pool: _BIT,
    "OR": lambda a, b, p, pool: _BIT,
    "NOT": lambda a, b, p, pool: _BIT,
    "IN": lambda a, b, p, pool: _BIT,
    "ADD": lambda a, b, p, pool: (a[0] + b[0], a[1] + b[1]),
    "SUB": lambda a, b, p, pool: (a[0] - b[1], a[1] - b[0]),
    "MIN": lambda a, b, p, pool: (min(a[0], b[0]), min(a[1], b[1])),
    "MAX": lambda a, b, p, pool: (max(a[0], b[0]), max(a[1], b[1])),
    "ABS": lambda a, b, p, pool: (
        0 if a[0] <= 0 <= a[1] else min(abs(a[0]), abs(a[1])),
        max(abs(a[0]), abs(a[1])),
    ),
    "DIV": lambda a, b, p, pool: (a[0] // p[0], a[1] // p[0]),
    "DIVISIBLE": lambda a, b, p, pool: (0, p[2]),
    "POPCOUNT": lambda a, b, p, pool: (0, 64),
    "SELECT": lambda a, b, p, pool: (min(a[0], b[0]), max(a[1], b[1])),
    "OUTCOME": lambda a, b, p, pool: _OUTCOMES[p[2]],
    "MUL": lambda a, b, p, pool: _mul(_clamp30(a), _clamp30(b)),
    "WINDOW": lambda a, b, p, pool: (0, MAX_REGISTER),
    "LAST_N": lambda a, b, p, pool: (0, p[2]),
    "RUN": lambda a, b, p, pool: (0, 65536),
    "SINCE": lambda a, b, p, pool: (0, p[0]),
    "MEAN": lambda a, b, p, pool: (
        _hull(-(2**22), 2**22, p[1]) if p[3] == 4 else _hull(-(2**46), 2**46, p[1])
    ),
    "SHARE": lambda a, b, p, pool: (0, 256),
    "RARITY": lambda a, b, p, pool: (0, 256),
    "REPEAT": lambda a, b, p, pool: (0, p[2] + 1),
    "MODE": lambda a, b, p, pool: (0, p[2] + 1),
    "DISTINCT": lambda a, b, p, pool: (0, p[2] + 1),
    "KNOWN": lambda a, b, p, pool: _hull(0, 1, 128, p[0], p[1]),
    "SEEN": lambda a, b, p, pool: _BIT,
    "COMPROMISED": lambda a, b, p, pool: (0, 2**32 - 1),
}


def _clamp30(a: Interval) -> Interval:
    limit = 1 << 30
    return max(min(a[0], limit), -limit), max(min(a[1], limit), -limit)

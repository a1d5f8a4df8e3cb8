# SPDX-License-Identifier: Apache-2.0
"""When and how fast transactions come. Rates count every attempt, whatever came of it."""

from __future__ import annotations

from tinyfin.features.catalogue.base import GAP
from tinyfin.features.definition import Feature
from tinyfin.features.expressions import (
    ALWAYS,
    APPROVED,
    DAY_S,
    HOUR_S,
    Expression,
    day_of_week,
    deviation,
    either,
    equal,
    hour_of_day,
    rarity,
    window,
)

__all__ = ["FEATURES"]

_IN_900 = window("terminal", seconds=900, buckets=9, itself=True, width=1)
_QUARTER_H = 6


def _in_its_part(x: Expression) -> Expression:
    """The deviation of x from what it is in this part of the week: eight parts, eight means."""
    part = hour_of_day() // _QUARTER_H + (day_of_week() >= 5) * 4
    parts = [equal(part, number) for number in range(8)]
    out, *others = (
        deviation("terminal", x, shift=5, floor=1, scale=16, minimum=8, where=now, when=ALWAYS)
        for now in parts
    )
    for now, other in zip(parts[1:], others, strict=True):
        out = either(now, other, out)
    return out


FEATURES: tuple[Feature, ...] = (
    Feature(
        "gap_s",
        9,
        4,
        "seconds since the transaction before, at most 32767",
        "bursts",
        "before",
        GAP,
        side="below",
    ),
    Feature(
        "rate_60",
        10,
        4,
        "transactions in the last 60 s, this one included",
        "scripts, card testing",
        "before",
        window("terminal", seconds=60, buckets=6, itself=True, width=1),
        side="above",
        neutral=1,
    ),
    Feature(
        "rate_900",
        110,
        4,
        "transactions in the last 900 s, this one included",
        "bursts",
        "before",
        _IN_900,
        side="above",
        neutral=1,
    ),
    Feature(
        "rate_900_dev",
        11,
        5,
        "16 * (rate_900 - mean) / max(mean absolute deviation, 1), shift 7; 0 before the sixteenth",
        "takeover, off-pattern",
        "before",
        deviation("terminal", _IN_900, shift=7, floor=1, scale=16, minimum=16, when=ALWAYS),
        side="above",
        neutral=0,
    ),
    Feature(
        "rate_900_dev_week",
        160,
        5,
        "as rate_900_dev, each quarter of the day from Monday to Friday and on the weekend "
        "against its own mean, shift 5; 0 before its eighth",
        "takeover, off-pattern",
        "before",
        _in_its_part(_IN_900),
        side="above",
        neutral=0,
    ),
    Feature(
        "rate_day",
        111,
        5,
        "transactions in the last 24 h, this one included",
        "scale of the terminal",
        "before",
        window("terminal", seconds=DAY_S, buckets=12, itself=True, width=2),
        side="above",
        neutral=1,
    ),
    Feature(
        "hour_rare",
        12,
        6,
        "256 * (1 - share of approved transactions in this hour of the day), add-one, counts "
        "halved every 512",
        "after hours",
        "before",
        rarity("terminal", hour_of_day(), classes=24, halve_at=512, when=APPROVED),
        side="above",
        neutral=245,
    ),
    Feature(
        "day_rare",
        112,
        6,
        "256 * (1 - share of approved transactions on this day of the week), add-one, counts "
        "halved every 512",
        "closed days",
        "before",
        rarity("terminal", day_of_week(), classes=7, halve_at=512, when=APPROVED),
        side="above",
        neutral=219,
    ),
    Feature("hour_of_day", 113, 0, "local hour, 0 to 23", "calendar", "before", hour_of_day()),
    Feature(
        "rate_hour",
        114,
        4,
        "transactions in the last hour, this one included",
        "bursts",
        "before",
        window("terminal", seconds=HOUR_S, buckets=6, itself=True, width=1),
        side="above",
        neutral=1,
    ),
)

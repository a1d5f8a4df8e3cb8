# SPDX-License-Identifier: Apache-2.0
"""What the amount says. Amounts are taken from approved sales only, so that attempts cannot
teach a terminal that they are ordinary."""

from __future__ import annotations

from dataclasses import replace

from tinyfin.features.catalogue.base import AMOUNT, CARD_GAP, GAP, HAS_CARD, REFUND, SALE
from tinyfin.features.definition import Feature
from tinyfin.features.expressions import (
    APPROVED,
    DAY_S,
    HOUR_S,
    Expression,
    Key,
    absolute,
    all_of,
    compare,
    deviation,
    divisible,
    either,
    field,
    last_n,
    log2,
    mean,
    previous,
    ratio,
    repeat,
    smaller,
    window,
)

__all__ = ["CARD_MEAN", "FEATURES"]

_LOG = log2(AMOUNT)
_FLOOR = field("floor_limit_minor")
_TERMINAL_MEAN = mean("terminal", AMOUNT, shift=5, width=8, where=SALE)
CARD_MEAN = mean("card", AMOUNT, shift=2, width=4, where=SALE)
_AVERAGED_S = 128 * DAY_S
_BEFORE = previous("terminal", AMOUNT, otherwise=-1_000_000)
_TO_FLOOR = smaller(ratio(AMOUNT, _FLOOR, scale=256), 1024)
_BELOW_FLOOR = all_of(HAS_CARD, SALE, _TO_FLOOR >= 230, _TO_FLOOR < 256)
_NEAR = all_of(HAS_CARD, absolute(AMOUNT - _BEFORE) <= 100, CARD_GAP > GAP)


def _times(average: Expression) -> Expression:
    return smaller(ratio(AMOUNT, average, scale=64, otherwise=64), 16384)


def _average(key: Key) -> Expression:
    """64 * amount / plain mean of what was approved in 128 days, by buckets of 32."""
    count = window(key, seconds=_AVERAGED_S, buckets=4, where=SALE, when=APPROVED)
    total = window(
        key, seconds=_AVERAGED_S, buckets=4, value=AMOUNT, where=SALE, when=APPROVED, width=4
    )
    return smaller(ratio(AMOUNT * count, total, scale=64, otherwise=64), 16384)


def _over(cut_minor: int) -> Feature:
    return Feature(
        f"amt_over_{cut_minor}",
        103,
        1,
        f"1 when the amount is over {cut_minor} minor units",
        "unusual amount",
        "before",
        compare(">", AMOUNT, cut_minor),
        _over,
        side="above",
        neutral=0,
    )


def _small(cut_minor: int) -> Feature:
    return Feature(
        f"amt_small_{cut_minor}",
        4,
        2,
        f"1 when the amount is at most {cut_minor} minor units",
        "card testing",
        "before",
        compare("<=", AMOUNT, cut_minor),
        _small,
        side="above",
        neutral=0,
    )


def _small_among(cut_minor: int) -> Feature:
    return Feature(
        f"amt_small_16_{cut_minor}",
        104,
        2,
        f"amounts of at most {cut_minor} minor units among the last 16, this one included",
        "card testing",
        "before",
        last_n("terminal", 16, compare("<=", AMOUNT, cut_minor), itself=True),
        _small_among,
        side="above",
        neutral=0,
    )


FEATURES: tuple[Feature, ...] = (
    Feature(
        "amt_log",
        1,
        1,
        "round(256 * log2(1 + amount in minor units))",
        "scale for the other features; unusual amounts",
        "before",
        _LOG,
    ),
    Feature(
        "amt_dev",
        2,
        1,
        "16 * (amt_log - mean) / max(mean absolute deviation, 8) against approved sales, "
        "shift 5; 0 before the fourth",
        "unusual amount, gift-card size refund",
        "before",
        deviation("terminal", _LOG, shift=5, floor=8, scale=16, minimum=4, where=SALE),
        neutral=0,
    ),
    Feature(
        "amt_round",
        3,
        2,
        "how many of 100, 1000, 10000 minor units divide the amount",
        "tests, refunds, cash-like sales",
        "before",
        divisible(AMOUNT, (100, 1000, 10000)),
        side="above",
        neutral=0,
    ),
    replace(_small(200), name="amt_small"),
    replace(_small_among(200), name="amt_small_16"),
    Feature(
        "amt_repeat",
        5,
        2,
        "how many of the last 16 amounts equal this one",
        "card testing, forced post",
        "before",
        repeat("terminal", AMOUNT, 16),
        side="above",
        neutral=0,
    ),
    Feature(
        "amt_seq",
        6,
        2,
        "of the last 8, this one included: amount within 100 minor units of the one before "
        "and another card",
        "enumeration scripts",
        "before",
        last_n("terminal", 8, _NEAR, itself=True),
        side="above",
        neutral=0,
    ),
    Feature(
        "amt_to_floor",
        7,
        3,
        "256 * amount / floor limit, at most 1024; 0 without a limit",
        "just under the limit, offline burst",
        "before",
        _TO_FLOOR,
        side="above",
        neutral=0,
    ),
    Feature(
        "split_sum",
        8,
        3,
        "256 * approved sales of this card in the last hour and this one / floor limit, "
        "at most 1024; 0 without a limit",
        "split sales",
        "before",
        smaller(
            ratio(
                window(
                    "card",
                    seconds=HOUR_S,
                    buckets=4,
                    value=AMOUNT,
                    where=SALE,
                    itself=True,
                    when=APPROVED,
                    width=4,
                ),
                _FLOOR,
                scale=256,
            ),
            1024,
        ),
        side="above",
        neutral=0,
    ),
    Feature(
        "near_floor_repeat",
        238,
        7,
        "for a sale with amt_to_floor 230 to 255: how many of the last 32 such sales here were "
        "this card's; else 0",
        "structuring over days",
        "before",
        either(
            _BELOW_FLOOR,
            repeat("terminal", field("token"), 32, where=_BELOW_FLOOR, when=APPROVED),
            0,
        ),
        side="above",
        neutral=0,
    ),
    Feature(
        "amt_to_mean",
        101,
        1,
        "64 * amount / exponential mean (shift 5) of this terminal's approved sales, at most "
        "16384; 64 when there are none",
        "unusual amount",
        "before",
        _times(_TERMINAL_MEAN),
        neutral=64,
    ),
    Feature(
        "amt_to_card_mean",
        102,
        37,
        "64 * amount / exponential mean (shift 2) of this card's approved sales at this "
        "terminal, at most 16384; 64 when there are none",
        "stolen card spent fast",
        "before",
        _times(CARD_MEAN),
        neutral=64,
    ),
    Feature(
        "amt_to_avg",
        106,
        1,
        "64 * amount / plain mean of this terminal's approved sales of 128 days, at most "
        "16384; 64 when there are none",
        "unusual amount",
        "before",
        _average("terminal"),
        neutral=64,
    ),
    Feature(
        "amt_to_card_avg",
        108,
        37,
        "64 * amount / plain mean of this card's approved sales of 128 days at this terminal, "
        "at most 16384; 64 when there are none",
        "stolen card spent fast",
        "before",
        _average("card"),
        neutral=64,
    ),
    replace(_over(10_000), name="amt_over"),
    Feature(
        "amt_refund_log",
        105,
        22,
        "amt_log of a refund, else 0",
        "refund fraud",
        "before",
        either(REFUND, _LOG, 0),
        side="above",
        neutral=0,
    ),
)

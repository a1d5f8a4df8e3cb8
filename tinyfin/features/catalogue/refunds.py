# SPDX-License-Identifier: Apache-2.0
"""Refunds, voids and forced posts."""

from __future__ import annotations

from tinyfin.features.catalogue.amounts import CARD_MEAN
from tinyfin.features.catalogue.base import AMOUNT, CAP_S, HAS_CARD, REFUND, SALE
from tinyfin.features.definition import Feature
from tinyfin.features.expressions import (
    APPROVED,
    DAY_S,
    HOUR_S,
    all_of,
    any_of,
    either,
    field,
    is_value,
    present,
    ratio,
    repeat,
    since,
    smaller,
    window,
)

__all__ = ["FEATURES"]

_SOLD = window(
    "terminal", seconds=DAY_S, buckets=6, value=AMOUNT, where=SALE, when=APPROVED, width=4
)
_REFUNDED = window(
    "terminal",
    seconds=DAY_S,
    buckets=6,
    value=AMOUNT,
    where=REFUND,
    itself=True,
    when=APPROVED,
    width=4,
)
_SALES_12H = window("terminal", seconds=12 * HOUR_S, buckets=6, where=SALE, when=APPROVED, width=2)
_CARD_REFUND = all_of(REFUND, HAS_CARD)
_VOID = is_value("transaction_type", "void")
_FORCED = all_of(is_value("transaction_type", "forced_post"), present("approval_hash"))

FEATURES: tuple[Feature, ...] = (
    Feature(
        "refund_ratio",
        33,
        22,
        "256 * refunds, this one included / (sales + 1), approved amounts of 24 h, at most 1024",
        "refund fraud",
        "before",
        smaller(ratio(_REFUNDED, _SOLD, scale=256, plus=1), 1024),
        side="above",
        neutral=0,
    ),
    Feature(
        "refund_unlinked",
        34,
        23,
        "1 for a refund to a card without a remembered sale here, or of more than twice the "
        "card's mean sale here",
        "refund fraud",
        "before",
        all_of(REFUND, any_of(CARD_MEAN <= 0, AMOUNT > CARD_MEAN * 2)),
        side="above",
        neutral=0,
    ),
    Feature(
        "refund_first",
        35,
        24,
        "1 for a refund with fewer than 3 approved sales in the last 12 h",
        "stolen or cloned terminal",
        "before",
        all_of(REFUND, _SALES_12H < 3),
        side="above",
        neutral=0,
    ),
    Feature(
        "refund_cnt_day",
        133,
        22,
        "refunds in the last 24 h, this one included",
        "refund fraud",
        "before",
        window(
            "terminal", seconds=DAY_S, buckets=6, where=REFUND, itself=True, when=APPROVED, width=1
        ),
        side="above",
        neutral=0,
    ),
    Feature(
        "refund_card_repeat",
        239,
        7,
        "how many of the last 16 refunds here went to this card",
        "refund layering, refunds to a cashier's own card",
        "before",
        either(
            HAS_CARD, repeat("terminal", field("token"), 16, where=_CARD_REFUND, when=APPROVED), 0
        ),
        side="above",
        neutral=0,
    ),
    Feature(
        "void_quick",
        36,
        25,
        "for a void: seconds since this card's last approved sale here, at most 32767; else 32767",
        "sweethearting",
        "before",
        either(_VOID, since("card", cap_s=CAP_S, where=SALE, when=APPROVED), CAP_S),
        side="below",
    ),
    Feature(
        "forced_reuse",
        37,
        26,
        "for a forced post: how many of the last 8 approval codes equal this one; else 0",
        "forced post",
        "before",
        either(_FORCED, repeat("terminal", field("approval_hash"), 8, where=_FORCED), 0),
        side="above",
        neutral=0,
    ),
)

# SPDX-License-Identifier: Apache-2.0
"""Which cards come, by token. Different cards are counted through the card table: a card counts
when it was not here in the span (or was dropped from the table)."""

from __future__ import annotations

from tinyfin.features.catalogue.base import AMOUNT, CARD_GAP, HAS_CARD
from tinyfin.features.definition import Feature
from tinyfin.features.expressions import (
    DAY_S,
    HOUR_S,
    all_of,
    distinct,
    either,
    field,
    larger,
    last_n,
    mode,
    present,
    previous,
    seen,
    since,
    smaller,
    window,
)

__all__ = ["FEATURES"]

_NEW = all_of(HAS_CARD, ~seen())
_ATC = field("atc")
_HAS_ATC = present("atc")
_ATC_BEFORE = previous("card", _ATC, otherwise=-1, where=_HAS_ATC)
_HAS_EXPIRY = present("expiry_hash")
_DECLINED_AGO = since("card", cap_s=600, when=("declined",))
_DECLINED_AMOUNT = previous("card", AMOUNT, otherwise=0, when=("declined",))

FEATURES: tuple[Feature, ...] = (
    Feature(
        "tok_seen_cnt",
        13,
        7,
        "times this card was here in the last 24 h, at most 255",
        "velocity, passback",
        "before",
        smaller(window("card", seconds=DAY_S, buckets=4, width=1), 255),
        side="above",
        neutral=0,
    ),
    Feature(
        "tok_gap_s",
        14,
        7,
        "seconds since this card was here, at most 32767 and when unknown",
        "passback, relay",
        "before",
        CARD_GAP,
        side="below",
    ),
    Feature(
        "tok_distinct_300",
        15,
        8,
        "different cards in the last 300 s, this one included",
        "card testing",
        "before",
        window(
            "terminal",
            seconds=300,
            buckets=10,
            where=all_of(HAS_CARD, CARD_GAP >= 300),
            itself=True,
            width=1,
        ),
        side="above",
        neutral=1,
    ),
    Feature(
        "tok_distinct_3600",
        115,
        8,
        "different cards in the last hour, this one included",
        "offline burst",
        "before",
        window(
            "terminal",
            seconds=3600,
            buckets=6,
            where=all_of(HAS_CARD, CARD_GAP >= 3600),
            itself=True,
            width=1,
        ),
        side="above",
        neutral=1,
    ),
    Feature(
        "new_tok_share",
        16,
        9,
        "16 * cards not in the card table among the last 16, this one included",
        "card testing (regulars are not new)",
        "before",
        last_n("terminal", 16, _NEW, itself=True) * 16,
        side="above",
    ),
    Feature(
        "tok_known",
        116,
        9,
        "1 when the card is in the card table",
        "strangers",
        "before",
        seen(),
        side="below",
        other=7,
    ),
    Feature(
        "bin_conc",
        17,
        10,
        "16 * the largest number of equal BIN hashes among the last 16, this one included",
        "BIN attack",
        "before",
        mode("terminal", field("bin_hash"), 15, where=present("bin_hash"), itself=True) * 16,
        side="above",
        neutral=16,
    ),
    Feature(
        "exp_spread",
        18,
        39,
        "different expiry dates given for this card in the last hour, this one included, at "
        "most 8; in RAM only",
        "expiry guessing",
        "before",
        distinct("card", field("expiry_hash"), seconds=HOUR_S, n=7, where=_HAS_EXPIRY, itself=True),
        side="above",
        neutral=1,
    ),
    Feature(
        "card_visits",
        117,
        9,
        "times this card was here in the last 128 days, at most 1000",
        "strangers",
        "before",
        smaller(window("card", seconds=128 * DAY_S, buckets=4), 1000),
        side="below",
        other=7,
    ),
    Feature(
        "card_age_h",
        118,
        9,
        "hours since this card was here, at most 2160 and when unknown",
        "strangers, sleeping cards",
        "before",
        since("card", cap_s=90 * DAY_S) // HOUR_S,
        side="above",
        other=7,
    ),
    Feature(
        "appr_after_decl",
        23,
        14,
        "1 when this card was declined here in the last 600 s for more than this amount",
        "probing the limit",
        "after",
        all_of(_DECLINED_AGO < 600, AMOUNT < _DECLINED_AMOUNT),
        side="above",
        neutral=0,
    ),
    Feature(
        "atc_back",
        31,
        21,
        "1 when the chip's counter is not above this card's last one",
        "clone, replay, pre-play",
        "before",
        all_of(_HAS_ATC, _ATC <= _ATC_BEFORE),
        side="above",
        neutral=0,
    ),
    Feature(
        "atc_jump",
        32,
        21,
        "how far the chip's counter moved since this card was here, 0 to 255; 0 when unknown",
        "relay elsewhere, heavy use",
        "before",
        either(all_of(_HAS_ATC, _ATC_BEFORE >= 0), smaller(larger(_ATC - _ATC_BEFORE, 0), 255), 0),
        side="above",
        neutral=1,
    ),
)

# SPDX-License-Identifier: Apache-2.0
"""Expressions that several features share, named in the field's words."""

from __future__ import annotations

from tinyfin.features.expressions import (
    ALWAYS,
    Expression,
    all_of,
    either,
    equal,
    field,
    is_value,
    larger,
    outcome,
    present,
    previous,
    since,
    smaller,
)

__all__ = [
    "AMOUNT",
    "ANSWERED",
    "CAP_S",
    "CARD_GAP",
    "DECLINED",
    "GAP",
    "HAS_CARD",
    "KEYED",
    "REFUND",
    "SALE",
    "SALE_TYPES",
    "growth",
]

CAP_S = 32767
"""Longest age in seconds that fits a feature."""

ANSWERED = ("approved", "declined")
"""``when``: the issuer gave an answer."""

SALE_TYPES = ("purchase", "cash", "cashback")

AMOUNT = field("amount_minor")
HAS_CARD = present("token")
REFUND = is_value("transaction_type", "refund")
SALE = is_value("transaction_type", *SALE_TYPES)
KEYED = is_value("entry_mode", "keyed")
DECLINED = equal(outcome("result"), 1)

GAP = since("terminal", cap_s=CAP_S)
CARD_GAP = since("card", cap_s=CAP_S)


def growth(name: str, cap: int = 127) -> Expression:
    """By how much a counter of the terminal grew since the event before; 0 for the first event."""
    now = field(name)
    before = previous("terminal", now, otherwise=-1, where=present(name), when=ALWAYS)
    grown = smaller(larger(now - before, 0), cap)
    return either(all_of(present(name), before >= 0), grown, 0)

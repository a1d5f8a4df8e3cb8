# SPDX-License-Identifier: Apache-2.0
"""Reasons, by id: what a person at the till or in a dispute is told. Ids are never used again."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["REASONS", "reason_code"]

REASONS: Mapping[int, str] = {
    1: "unusual amount for this terminal",
    2: "amount shaped like a test, a gift card or cash",
    3: "amount just under the floor limit",
    4: "transactions in quick succession",
    5: "busier than this terminal usually is",
    6: "unusual hour for this terminal",
    7: "same card again and again",
    8: "many different cards in a short time",
    9: "many cards never seen here",
    10: "many cards of one issuer",
    11: "many declined transactions",
    12: "card numbers that do not exist",
    13: "cards reported lost, stolen or fraudulent",
    14: "lower amount right after a decline",
    15: "card read in a risky way",
    16: "card read in a way unusual for this terminal",
    17: "many chip failures",
    18: "several keyed transactions in a row",
    19: "cardholder verification weak or missing",
    20: "checks by the chip failed",
    21: "chip counter out of order",
    22: "many refunds compared with sales",
    23: "refund without a matching sale",
    24: "refund before there were sales",
    25: "voided soon after approval",
    26: "approval code used again",
    27: "many transactions while offline",
    28: "much waiting in the offline queue",
    29: "link went down repeatedly",
    30: "clock was set back",
    31: "gap in the numbering of transactions",
    32: "terminal restarted recently",
    33: "terminal may have been tampered with",
    34: "operator changed shortly before",
    35: "fraud is known at this terminal",
    36: "fraud is known for this card",
    37: "unusual amount for this card",
    38: "feature defined by the user",
    39: "several expiry dates for one card",
}


def reason_code(reason: int) -> str:
    """"R01" for 1."""
    return f"R{reason:02d}"

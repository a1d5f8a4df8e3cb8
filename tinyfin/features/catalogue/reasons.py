# SPDX-License-Identifier: Apache-2.0
"""Reasons, by id: what a person at the till or in a dispute reads. Ids are never used again.

A text speaks of what its features measure and compares it with the usual value of the pack
(:meth:`tinyfin.features.definition.Feature.usual`). It must be true of every event in which one of
its features is on the side that the catalogue names.

Texts of the user's own have the ids :data:`OWN_REASONS`; each pack has its own, in META.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["OWN_REASONS", "REASONS", "own_texts", "reason_code", "reason_text"]

REASONS: Mapping[int, str] = {
    1: "unusual amount",
    2: "small, round or repeated amounts, as of tests or gift cards",
    3: "higher spending against the floor limit than usual",
    4: "transactions follow each other faster than usual",
    5: "busier than usual",
    6: "unusual hour or day for this terminal",
    7: "same card again",
    8: "more different cards in a short time than usual",
    9: "cards less known here than usual",
    10: "more cards of one issuer than usual",
    11: "more declined transactions than usual",
    12: "cards lately declined as invalid or expired",
    13: "cards lately declined as lost, stolen or suspected of fraud",
    14: "lower amount right after a decline",
    15: "card read in a risky way",
    16: "card read in a way unusual for this terminal",
    17: "failed chip reads lately",
    18: "several keyed transactions in a row",
    19: "cardholder verification weak or missing",
    20: "checks by the chip failed",
    21: "chip counter moved back, or further than usual",
    22: "more or larger refunds than usual",
    23: "refund without a matching sale",
    24: "refund after few or no sales",
    25: "voided within hours of approval",
    26: "approval code used again",
    27: "several transactions in a row while offline",
    28: "more waiting in the offline queue than usual",
    29: "link went down lately",
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
    40: "more doubtful transactions lately than usual",
    41: "higher amounts for this card lately than usual",
    42: "more keyed, refunded, voided or forced transactions than usual",
}


OWN_REASONS = range(128, 255)
"""Ids of the user's own texts; 254 is the largest that a reason below the usual value can have."""


def own_texts(meta: Mapping[str, object]) -> dict[int, str]:
    """The user's own texts by id, from a pack's META; entries that are no texts are left out, for a
    pack may come from anyone."""
    found = meta.get("reasons")
    texts = {str(i): i for i in OWN_REASONS}
    return {
        texts[key]: text
        for key, text in (found.items() if isinstance(found, dict) else ())
        if key in texts and isinstance(text, str)
    }


def reason_text(reason: int, own: Mapping[int, str]) -> str | None:
    """Text of a reason; ``own`` has the user's."""
    return own.get(reason, REASONS.get(reason))


def reason_code(reason: int) -> str:
    """ "R01" for 1."""
    return f"R{reason:02d}"

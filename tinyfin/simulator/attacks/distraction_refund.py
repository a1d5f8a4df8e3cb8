# SPDX-License-Identifier: Apache-2.0
"""Distraction refund: while staff look away, refunds to a card that never bought anything."""

from __future__ import annotations

from tinyfin.simulator.attacks import Attack, Incident
from tinyfin.simulator.rows import CVM, ENTRY, TYPE, Rows


def _inject(incident: Incident) -> Rows:
    rng = incident.rng
    n = int(rng.integers(1, 4))
    cards, bins = incident.strangers(1)
    return incident.rows(
        n,
        time_s=incident.times(n, 25, 90),
        card=cards[0],
        bin=bins[0],
        amount_minor=rng.integers(15_000, 200_000, n) // 500 * 500,
        type=TYPE["refund"],
        entry=rng.choice([ENTRY["chip"], ENTRY["contactless_chip"], ENTRY["keyed"]]),
        cvm=CVM["none"],
    )


ATTACK = Attack(
    "distraction_refund", "1-3 refunds without a sale to a card never seen", 0.016, _inject
)

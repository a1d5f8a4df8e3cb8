# SPDX-License-Identifier: Apache-2.0
"""Split sale: one large purchase in parts that each stay under the limit."""

from __future__ import annotations

from tinyfin.simulator.attacks import Attack, Incident
from tinyfin.simulator.rows import CVM, ENTRY, Rows


def _inject(incident: Incident) -> Rows:
    rng = incident.rng
    n = int(rng.integers(2, 5))
    limit = incident.terminal.profile.floor_limit_minor or 5000
    cards, bins = incident.townspeople(1)
    return incident.rows(
        n,
        time_s=incident.times(n, 40, 300),
        card=cards[0],
        bin=bins[0],
        amount_minor=limit * rng.uniform(0.60, 0.95, n),
        entry=rng.choice([ENTRY["chip"], ENTRY["contactless_chip"]], n),
        cvm=CVM["none"],
    )


ATTACK = Attack(
    "split_sale",
    "2-4 sales of one card at 0.6-0.95 of the limit within 15 min",
    0.008,
    _inject,
    merchants=("cafe", "grocery", "fuel", "pharmacy", "kiosk", "market_stall"),
)

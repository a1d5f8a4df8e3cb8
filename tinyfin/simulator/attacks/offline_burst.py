# SPDX-License-Identifier: Apache-2.0
"""Offline burst: the link is cut, then many sales just under the store-and-forward limit."""

from __future__ import annotations

from tinyfin.simulator.attacks import Attack, Incident
from tinyfin.simulator.rows import CVM, ENTRY, Rows


def _inject(incident: Incident) -> Rows:
    rng = incident.rng
    n = int(rng.integers(10, 41))
    limit = incident.terminal.profile.floor_limit_minor or 5000
    cards, bins = incident.strangers(max(2, n // 3))
    which = rng.integers(0, len(cards), n)
    times = incident.times(n, 15, 80)
    incident.cut_link(incident.start_s - 60, int(times[-1]) + 300)
    return incident.rows(
        n,
        time_s=times,
        card=cards[which],
        bin=bins[which],
        amount_minor=limit * rng.uniform(0.80, 0.995, n),
        entry=rng.choice(
            [ENTRY["chip"], ENTRY["contactless_chip"], ENTRY["stripe"]], n, p=[0.5, 0.3, 0.2]
        ),
        cvm=CVM["signature"],
    )


ATTACK = Attack(
    "offline_burst",
    "link cut, then 10-40 sales just under the offline limit",
    0.0033,
    _inject,
    merchants=("cafe", "grocery", "fuel", "pharmacy", "kiosk", "market_stall"),
)

# SPDX-License-Identifier: Apache-2.0
"""Fallback: a counterfeit with a dead chip is swiped after failed chip reads, for high amounts."""

from __future__ import annotations

import numpy as np

from tinyfin.simulator.attacks import Attack, Incident
from tinyfin.simulator.rows import CVM, ENTRY, Rows


def _inject(incident: Incident) -> Rows:
    rng = incident.rng
    n = int(rng.integers(3, 9))
    cards, bins = incident.strangers(max(1, n // 2))
    which = np.sort(rng.integers(0, len(cards), n))
    return incident.rows(
        n,
        time_s=incident.times(n, 60, 900),
        card=cards[which],
        bin=bins[which],
        amount_minor=incident.terminal.profile.median_minor * rng.uniform(2.5, 9.0, n),
        entry=ENTRY["fallback"],
        cvm=CVM["signature"],
        chip_failures=rng.integers(1, 4, n),
        response=np.where(rng.random(n) < 0.3, rng.choice([5, 51, 43], n), 0),
    )


ATTACK = Attack(
    "fallback", "1-3 failed chip reads, then the stripe, 3-8 high amounts", 0.0125, _inject
)

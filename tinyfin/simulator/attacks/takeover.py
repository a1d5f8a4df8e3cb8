# SPDX-License-Identifier: Apache-2.0
"""Takeover: the terminal in a stranger's hands for ten minutes, large amounts keyed in."""

from __future__ import annotations

import numpy as np

from tinyfin.simulator.attacks import Attack, Incident
from tinyfin.simulator.rows import CVM, ENTRY, Rows


def _inject(incident: Incident) -> Rows:
    rng = incident.rng
    n = int(rng.integers(4, 15))
    cards, bins = incident.strangers(max(1, n // 2))
    which = rng.integers(0, len(cards), n)
    return incident.rows(
        n,
        time_s=incident.times(n, 20, 75),
        card=cards[which],
        bin=bins[which],
        amount_minor=incident.terminal.profile.median_minor * rng.uniform(5, 30, n),
        entry=ENTRY["keyed"],
        cvm=CVM["none"],
        response=np.where(rng.random(n) < 0.35, rng.choice([5, 51, 14], n), 0),
    )


ATTACK = Attack(
    "takeover", "a run of keyed sales within 10 min at 5-30 times the usual amount", 0.008, _inject
)

# SPDX-License-Identifier: Apache-2.0
"""Forced post: one made-up approval code forces sale after sale through."""

from __future__ import annotations

import numpy as np

from tinyfin.data.simulator.attacks import Attack, Incident
from tinyfin.data.simulator.rows import CVM, ENTRY, TYPE, Rows


def _inject(incident: Incident) -> Rows:
    rng = incident.rng
    n = int(np.exp(rng.uniform(np.log(5), np.log(40))))
    cards, bins = incident.strangers(max(1, n // 8))
    which = rng.integers(0, len(cards), n)
    return incident.rows(
        n,
        time_s=incident.times(n, 45, 400),
        card=cards[which],
        bin=bins[which],
        amount_minor=incident.terminal.profile.median_minor * rng.uniform(3, 20, n),
        type=TYPE["forced_post"],
        entry=ENTRY["keyed"],
        cvm=CVM["none"],
        approval=int(rng.integers(1, 2**31 - 1)),
    )


ATTACK = Attack("forced_post", "one approval code reused 5-40 times", 0.002, _inject)

# SPDX-License-Identifier: Apache-2.0
"""Expiry guessing: one stolen number keyed in with date after date until one is taken."""

from __future__ import annotations

import numpy as np

from tinyfin.simulator.attacks import Attack, Incident
from tinyfin.simulator.rows import CVM, ENTRY, Rows

_EXPIRED = 54


def _inject(incident: Incident) -> Rows:
    rng = incident.rng
    n = int(rng.integers(5, 40))
    cards, bins = incident.strangers(1)
    response = np.full(n, _EXPIRED)
    response[-1] = 0
    return incident.rows(
        n,
        time_s=incident.times(n, 15, 60),
        card=cards[0],
        bin=bins[0],
        amount_minor=incident.terminal.profile.median_minor * rng.uniform(0.8, 1.2),
        entry=ENTRY["keyed"],
        cvm=CVM["none"],
        response=response,
        expiry=rng.choice(1 << 16, n, replace=False),
    )


ATTACK = Attack(
    "expiry_guessing", "one number keyed with 5-40 expiry dates", 0.002, _inject, on_demand=True
)

# SPDX-License-Identifier: Apache-2.0
"""Stolen or cloned terminal: started after hours, its first operations are large refunds."""

from __future__ import annotations

import numpy as np

from tinyfin.simulator.attacks import Attack, Incident
from tinyfin.simulator.rows import CVM, ENTRY, TYPE, Rows


def _inject(incident: Incident) -> Rows:
    rng = incident.rng
    n = int(rng.integers(2, 6))
    cards, bins = incident.strangers(1)
    incident.terminal.reboots.append(incident.start_s - 120)
    return incident.rows(
        n,
        time_s=incident.times(n, 40, 180),
        card=cards[0],
        bin=bins[0],
        amount_minor=rng.integers(2000, 6001, n) * 100,
        type=TYPE["refund"],
        entry=ENTRY["chip"],
        cvm=CVM["none"],
        stan=int(rng.integers(1, 4)) + np.arange(n),
    )


ATTACK = Attack(
    "stolen_terminal",
    "after hours, first operations refund 2,000-6,000, STAN reset",
    0.0033,
    _inject,
    hours=(0, 1, 2, 3, 4),
)

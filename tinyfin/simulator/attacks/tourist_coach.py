# SPDX-License-Identifier: Apache-2.0
"""Tourist coach, a hard negative: many cards never seen, of few issuers, some declined."""

from __future__ import annotations

import numpy as np

from tinyfin.simulator.attacks import Attack, Incident
from tinyfin.simulator.rows import Rows
from tinyfin.simulator.traffic import cvms, declines


def _inject(incident: Incident) -> Rows:
    rng = incident.rng
    n = int(rng.integers(20, 50))
    cards, bins = incident.strangers(n, bins=3)
    profile = incident.terminal.profile
    entry = rng.choice([0, 1, 3, 4], n, p=[0.72, 0.24, 0.03, 0.01])
    amount = np.exp(rng.normal(np.log(profile.median_minor), profile.sigma, n))
    amount = np.maximum(np.rint(amount / profile.step_minor), 1) * profile.step_minor
    amount = np.maximum(amount, 50)
    return incident.rows(
        n,
        time_s=incident.times(n, 15, 70),
        card=cards,
        bin=bins,
        amount_minor=amount,
        entry=entry,
        cvm=cvms(entry, amount, rng),
        chip_failures=np.where(entry == 4, rng.integers(1, 4, n), 0),
        response=np.where(rng.random(n) < 0.09, declines(n, rng), 0),
    )


ATTACK = Attack(
    "tourist_coach",
    "20-50 foreign cards of few issuers within the hour, all genuine",
    0.004,
    _inject,
    label=0,
    merchants=("cafe", "restaurant", "kiosk", "grocery", "pharmacy"),
)

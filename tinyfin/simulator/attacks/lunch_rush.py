# SPDX-License-Identifier: Apache-2.0
"""Lunch rush, a hard negative: a queue of small contactless sales to many cards."""

from __future__ import annotations

import numpy as np

from tinyfin.simulator.attacks import Attack, Incident
from tinyfin.simulator.rows import Rows
from tinyfin.simulator.traffic import cvms, declines


def _inject(incident: Incident) -> Rows:
    rng = incident.rng
    n = int(rng.integers(40, 120))
    cards, bins = incident.townspeople(n)
    profile = incident.terminal.profile
    regular = rng.random(n) < 0.35
    cards = np.where(regular, rng.choice(incident.terminal.regulars, n), cards)
    bins = np.where(regular, incident.world.card_bin[cards], bins)
    entry = rng.choice([0, 1, 2], n, p=[0.94, 0.05, 0.01])
    amount = np.exp(rng.normal(np.log(profile.median_minor), 0.35, n))
    amount = np.maximum(np.rint(amount / profile.step_minor), 1) * profile.step_minor
    return incident.rows(
        n,
        time_s=incident.times(n, 9, 34),
        card=cards,
        bin=bins,
        amount_minor=np.maximum(amount, 50),
        entry=entry,
        cvm=cvms(entry, amount, rng),
        response=np.where(rng.random(n) < profile.decline, declines(n, rng), 0),
    )


ATTACK = Attack(
    "lunch_rush",
    "40-120 small contactless sales in half an hour, all genuine",
    0.012,
    _inject,
    label=0,
    merchants=("cafe", "kiosk", "market_stall"),
    hours=(11, 12, 13),
)

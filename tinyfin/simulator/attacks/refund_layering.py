# SPDX-License-Identifier: Apache-2.0
"""Refund layering: one card of a ring pays a sale, and refunds return the amount to the next cards
of the ring, so that in the end the amounts balance."""

from __future__ import annotations

import numpy as np

from tinyfin.simulator.attacks import Attack, Incident
from tinyfin.simulator.rows import CVM, ENTRY, TYPE, Rows
from tinyfin.simulator.traffic import cvms


def _inject(incident: Incident) -> Rows:
    rng = incident.rng
    n = int(rng.integers(3, 9))
    cards, bins = incident.strangers(int(rng.integers(3, 6)))
    sold = incident.priced(incident.terminal.profile.median_minor * rng.uniform(1.0, 4.0, n))
    part = np.where(rng.random(n) < 0.5, incident.priced(sold * rng.uniform(0.3, 0.7, n)), sold)
    amount = np.column_stack([sold, part, sold - part]).ravel()
    step = np.tile(np.arange(3), n)
    which = (np.repeat(np.arange(n), 3) + step) % len(cards)
    paid = np.flatnonzero(amount)
    entry = rng.choice([ENTRY["chip"], ENTRY["contactless_chip"]], len(paid))
    sale = step[paid] == 0
    return incident.rows(
        len(paid),
        time_s=incident.times(len(paid), 120, 900),
        card=cards[which[paid]],
        bin=bins[which[paid]],
        amount_minor=amount[paid],
        type=np.where(sale, TYPE["purchase"], TYPE["refund"]),
        entry=entry,
        cvm=np.where(sale, cvms(entry, amount[paid], rng), CVM["none"]),
    )


ATTACK = Attack(
    "refund_layering",
    "3-8 sales in a chain, each refunded in 1-2 parts to other cards within half an hour",
    0.003,
    _inject,
    on_demand=True,
)

# SPDX-License-Identifier: Apache-2.0
"""A week of returns, a hard negative: many goods of a busy day come back. Each refund goes to the
card that paid; that of a gift goes to the card of whoever got it."""

from __future__ import annotations

import numpy as np

from tinyfin.simulator.attacks import Attack, Incident
from tinyfin.simulator.rows import CVM, ENTRY, TYPE, Rows
from tinyfin.simulator.traffic import amounts, cvms


def _inject(incident: Incident) -> Rows:
    rng = incident.rng
    n = int(rng.integers(12, 31))
    cards, bins = incident.customers(n)
    others, their_bins = incident.customers(n)
    gift = rng.random(n) < 0.1
    sold = incident.priced(np.maximum(amounts(incident.terminal, n, rng), 50))
    part = np.where(rng.random(n) < 0.3, incident.priced(sold * rng.uniform(0.3, 0.9, n)), sold)
    entry = rng.choice([ENTRY["chip"], ENTRY["contactless_chip"]], 2 * n, p=[0.3, 0.7])
    return incident.rows(
        2 * n,
        time_s=np.r_[
            incident.on_days(np.zeros(n)), incident.on_days(np.sort(rng.integers(1, 7, n)))
        ],
        card=np.r_[cards, np.where(gift, others, cards)],
        bin=np.r_[bins, np.where(gift, their_bins, bins)],
        amount_minor=np.r_[sold, part],
        type=np.repeat([TYPE["purchase"], TYPE["refund"]], n),
        entry=entry,
        cvm=np.r_[cvms(entry[:n], sold, rng), np.full(n, CVM["none"])],
    )


ATTACK = Attack(
    "returns_week",
    "12-30 sales of a day refunded within the week, nearly all to the same card, all genuine",
    0.0015,
    _inject,
    label=0,
    on_demand=True,
)

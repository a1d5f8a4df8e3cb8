# SPDX-License-Identifier: Apache-2.0
"""A clumsy trainee, a hard negative: in one shift, sales with a slip in the amount that are voided
or refunded to the same card at once, and repeated."""

from __future__ import annotations

import numpy as np

from tinyfin.simulator.attacks import Attack, Incident
from tinyfin.simulator.rows import CVM, ENTRY, TYPE, Rows
from tinyfin.simulator.traffic import amounts, cvms


def _inject(incident: Incident) -> Rows:
    rng = incident.rng
    n = int(rng.integers(4, 11))
    cards, bins = incident.customers(n)
    right = incident.priced(np.maximum(amounts(incident.terminal, n, rng), 50))
    wrong = incident.priced(right * rng.choice([0.1, 0.5, 2.0, 10.0], n))
    back = np.where(rng.random(n) < 0.7, TYPE["void"], TYPE["refund"])
    modes = [ENTRY["contactless_chip"], ENTRY["chip"], ENTRY["keyed"]]
    entry = np.repeat(rng.choice(modes, n, p=[0.5, 0.3, 0.2]), 3)
    amount = np.column_stack([wrong, wrong, right]).ravel()
    sale = np.tile([True, False, True], n)
    waits = np.column_stack([np.zeros(n), rng.integers(20, 90, n), rng.integers(110, 200, n)])
    return incident.rows(
        3 * n,
        time_s=np.repeat(incident.shift(n), 3) + waits.ravel(),
        card=np.repeat(cards, 3),
        bin=np.repeat(bins, 3),
        amount_minor=amount,
        type=np.where(sale, TYPE["purchase"], np.repeat(back, 3)),
        entry=entry,
        cvm=np.where(sale, cvms(entry, amount, rng), CVM["none"]),
    )


ATTACK = Attack(
    "trainee",
    "one shift: 4-10 sales with a wrong amount, voided or refunded and repeated, all genuine",
    0.003,
    _inject,
    label=0,
    on_demand=True,
)

# SPDX-License-Identifier: Apache-2.0
"""An operator in collusion: in one shift, refunds to the cashier's own card, numbers of customers
keyed in, and small sales forced through with made-up codes."""

from __future__ import annotations

import numpy as np

from tinyfin.simulator.attacks import Attack, Incident
from tinyfin.simulator.rows import CVM, ENTRY, TYPE, Rows


def _inject(incident: Incident) -> Rows:
    rng = incident.rng
    n = int(rng.integers(5, 13))
    act = np.r_[0, 0, rng.choice(3, n - 2, p=[0.4, 0.35, 0.25])]  # refunded, keyed, forced
    refunded, forced = act == 0, act == 2
    own, own_bin = incident.townspeople(1)
    cards, bins = incident.customers(n)
    median = incident.terminal.profile.median_minor
    return incident.rows(
        n,
        time_s=rng.permutation(incident.shift(n)),
        card=np.where(refunded, own[0], cards),
        bin=np.where(refunded, own_bin[0], bins),
        amount_minor=incident.priced(median * rng.uniform(0.5, 2.0, n)),
        type=np.array([TYPE["refund"], TYPE["purchase"], TYPE["forced_post"]])[act],
        entry=np.where(refunded, ENTRY["contactless_chip"], ENTRY["keyed"]),
        cvm=CVM["none"],
        approval=np.where(forced, rng.integers(1, 2**31 - 1, n), -1),
    )


ATTACK = Attack(
    "colluding_operator",
    "one shift: 2 or more refunds to one card, keyed and forced small sales, 5-12 in all",
    0.005,
    _inject,
    on_demand=True,
)

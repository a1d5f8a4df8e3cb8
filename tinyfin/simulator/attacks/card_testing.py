# SPDX-License-Identifier: Apache-2.0
"""Card testing: a script tries stolen numbers with small amounts and most are declined."""

from __future__ import annotations

import numpy as np

from tinyfin.simulator.attacks import Attack, Incident
from tinyfin.simulator.rows import CVM, ENTRY, Rows


def _inject(incident: Incident) -> Rows:
    rng = incident.rng
    n = int(np.exp(rng.uniform(np.log(30), np.log(200))))
    cards, bins = incident.strangers(n, bins=1)
    refused = rng.random(n) < rng.uniform(0.70, 0.95)
    code = rng.choice([14, 5, 51, 54, 43], n, p=[0.45, 0.25, 0.12, 0.13, 0.05])
    return incident.rows(
        n,
        time_s=incident.times(n, 4, 12),
        card=cards,
        bin=bins,
        amount_minor=rng.integers(50, 201, n),
        entry=rng.choice([ENTRY["keyed"], ENTRY["contactless_stripe"]], p=[0.7, 0.3]),
        cvm=CVM["none"],
        response=np.where(refused, code, 0),
    )


ATTACK = Attack(
    "card_testing", "30-200 cards of one issuer, 0.50-2.00, every 4-12 s", 0.0025, _inject
)

# SPDX-License-Identifier: Apache-2.0
"""Transaction laundering: the terminal carries the sales of another business, with its hours, its
price list and a few cards that come again and again."""

from __future__ import annotations

import numpy as np

from tinyfin.simulator.attacks import Attack, Incident
from tinyfin.simulator.rows import CVM, ENTRY, Rows

_PRICES_MINOR = (1990, 2990, 4900, 7900, 9900, 14900)
_HOURS = (0, 1, 2, 19, 20, 21, 22, 23)


def _inject(incident: Incident) -> Rows:
    rng = incident.rng
    days = int(rng.integers(3, 7))
    day = np.repeat(np.arange(days), rng.integers(5, 13, days))
    n = len(day)
    cards, bins = incident.strangers(n // 4)
    which = rng.integers(0, len(cards), n)
    prices = rng.choice(_PRICES_MINOR, 3, replace=False)
    return incident.rows(
        n,
        time_s=incident.on_days(day, _HOURS),
        card=cards[which],
        bin=bins[which],
        amount_minor=rng.choice(prices, n),
        entry=rng.choice([ENTRY["credential_on_file"], ENTRY["keyed"]], n, p=[0.7, 0.3]),
        cvm=CVM["none"],
        response=np.where(rng.random(n) < 0.1, rng.choice([5, 51, 54], n), 0),
    )


ATTACK = Attack(
    "transaction_laundering",
    "5-12 sales an evening of another business for 3-6 days: 3 prices, cards that come again",
    0.0012,
    _inject,
    merchants=("cafe", "kiosk", "market_stall", "pharmacy", "restaurant"),
    on_demand=True,
)

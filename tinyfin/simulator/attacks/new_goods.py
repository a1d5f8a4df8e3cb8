# SPDX-License-Identifier: Apache-2.0
"""New goods, a hard negative: a shop adds a line of goods with a price list of its own, stays open
longer for it and takes orders by telephone."""

from __future__ import annotations

import numpy as np

from tinyfin.simulator.attacks import Attack, Incident
from tinyfin.simulator.rows import CVM, ENTRY, Rows
from tinyfin.simulator.traffic import cvms

_LATE = (18, 19, 20, 21, 22)


def _inject(incident: Incident) -> Rows:
    rng = incident.rng
    days = int(rng.integers(4, 8))
    day = np.repeat(np.arange(days), rng.integers(5, 13, days))
    n = len(day)
    late = rng.random(n) < 0.4
    cards, bins = incident.customers(n)
    median = incident.terminal.profile.median_minor
    prices = incident.priced(median * rng.uniform(2.0, 6.0, 3))
    amount = rng.choice(prices, n)
    entry = rng.choice(
        [ENTRY["contactless_chip"], ENTRY["chip"], ENTRY["keyed"]], n, p=[0.6, 0.3, 0.1]
    )
    return incident.rows(
        n,
        time_s=np.r_[incident.on_days(day[~late]), incident.on_days(day[late], _LATE)],
        card=cards,
        bin=bins,
        amount_minor=amount,
        entry=entry,
        cvm=np.where(entry == ENTRY["keyed"], CVM["none"], cvms(entry, amount, rng)),
    )


ATTACK = Attack(
    "new_goods",
    "5-12 sales a day at 3 new prices for 4-7 days, also late and by telephone, all genuine",
    0.0012,
    _inject,
    label=0,
    merchants=("cafe", "kiosk", "market_stall", "pharmacy", "restaurant"),
    on_demand=True,
)

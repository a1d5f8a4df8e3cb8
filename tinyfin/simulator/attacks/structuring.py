# SPDX-License-Identifier: Apache-2.0
"""Structuring: a large sum of one or two cards in sales that stay just below the limit, over days,
hours apart."""

from __future__ import annotations

import numpy as np

from tinyfin.simulator.attacks import Attack, Incident
from tinyfin.simulator.rows import ENTRY, Rows
from tinyfin.simulator.traffic import NO_PIN_LIMIT_MINOR, cvms


def _inject(incident: Incident) -> Rows:
    rng = incident.rng
    limit = incident.terminal.profile.floor_limit_minor or NO_PIN_LIMIT_MINOR
    days = int(rng.integers(4, 9))
    day = np.repeat(np.arange(days), rng.integers(1, 4, days))
    n = len(day)
    cards, bins = incident.strangers(int(rng.integers(1, 3)))
    which = rng.integers(0, len(cards), n)
    entry = rng.choice([ENTRY["chip"], ENTRY["contactless_chip"]], n)
    amount = incident.priced(limit * rng.uniform(0.90, 0.999, n))
    return incident.rows(
        n,
        time_s=incident.on_days(day),
        card=cards[which],
        bin=bins[which],
        amount_minor=amount,
        entry=entry,
        cvm=cvms(entry, amount, rng),
    )


ATTACK = Attack(
    "structuring",
    "1-3 sales a day on 4-8 days, on 1-2 cards, at 0.90-0.999 of the limit",
    0.004,
    _inject,
    on_demand=True,
)

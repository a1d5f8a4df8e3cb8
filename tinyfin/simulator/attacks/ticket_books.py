# SPDX-License-Identifier: Apache-2.0
"""Ticket books, a hard negative: a regular price just below the limit, paid by many customers,
some of whom come again after a week."""

from __future__ import annotations

import numpy as np

from tinyfin.simulator.attacks import Attack, Incident
from tinyfin.simulator.rows import ENTRY, Rows
from tinyfin.simulator.traffic import NO_PIN_LIMIT_MINOR, cvms


def _inject(incident: Incident) -> Rows:
    rng = incident.rng
    limit = incident.terminal.profile.floor_limit_minor or NO_PIN_LIMIT_MINOR
    price = incident.priced(limit * rng.uniform(0.90, 0.999))
    once = int(rng.integers(12, 31))
    cards, bins = incident.customers(once)
    again = np.flatnonzero(rng.random(once) < 0.4)
    which = np.r_[np.arange(once), again]
    first = np.sort(rng.integers(0, 7, once))
    day = np.r_[first, first[again] + 7]
    entry = rng.choice([ENTRY["chip"], ENTRY["contactless_chip"]], len(which), p=[0.3, 0.7])
    amount = np.full(len(which), price)
    return incident.rows(
        len(which),
        time_s=incident.on_days(day),
        card=cards[which],
        bin=bins[which],
        amount_minor=amount,
        entry=entry,
        cvm=cvms(entry, amount, rng),
    )


ATTACK = Attack(
    "ticket_books",
    "12-30 customers pay one price at 0.90-0.999 of the limit, some again in a week, all genuine",
    0.002,
    _inject,
    label=0,
    on_demand=True,
)

# SPDX-License-Identifier: Apache-2.0
"""Voice approvals: large sales that the issuers approve by telephone; like forced posts but for
their codes, of which each is another."""

from __future__ import annotations

import numpy as np

from tinyfin.data.simulator.attacks import Attack, Incident
from tinyfin.data.simulator.rows import CVM, ENTRY, TYPE, Rows


def _inject(incident: Incident) -> Rows:
    rng = incident.rng
    n = int(np.exp(rng.uniform(np.log(5), np.log(30))))
    cards, bins = incident.townspeople(max(1, n // int(rng.integers(1, 7))))
    which = rng.integers(0, len(cards), n)
    return incident.rows(
        n,
        time_s=incident.times(n, 45, 400),
        card=cards[which],
        bin=bins[which],
        amount_minor=incident.terminal.profile.median_minor * rng.uniform(3, 20, n),
        type=TYPE["forced_post"],
        entry=ENTRY["keyed"],
        cvm=CVM["none"],
        approval=rng.integers(1, 2**31 - 1, n),
    )


ATTACK = Attack(
    "voice_approvals",
    "5-30 large keyed sales, each approved by telephone with a code of its own, all genuine",
    0.002,
    _inject,
    label=0,
    on_demand=True,
)

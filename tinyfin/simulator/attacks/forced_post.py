# SPDX-License-Identifier: Apache-2.0
"""Forced post: one made-up approval code forces sale after sale through."""

from __future__ import annotations

import numpy as np

from tinyfin.simulator.attacks import Attack, Incident
from tinyfin.simulator.rows import CVM, ENTRY, TYPE, Ints, Rows


def forced_posts(incident: Incident, n: int, crowd: tuple[Ints, Ints], codes: int | None) -> Rows:
    """``n`` large keyed sales on the cards and BINs of ``crowd``, with ``codes`` approval codes, or
    one for all of them."""
    rng = incident.rng
    cards, bins = crowd
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
        approval=rng.integers(1, 2**31 - 1, codes),
    )


def _inject(incident: Incident) -> Rows:
    n = int(np.exp(incident.rng.uniform(np.log(5), np.log(40))))
    return forced_posts(incident, n, incident.strangers(max(1, n // 8)), None)


ATTACK = Attack("forced_post", "one approval code reused 5-40 times", 0.002, _inject)

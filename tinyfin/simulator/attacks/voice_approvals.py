# SPDX-License-Identifier: Apache-2.0
"""Voice approvals: large sales that the issuers approve by telephone; like forced posts but for
their codes, of which each is another."""

from __future__ import annotations

import numpy as np

from tinyfin.simulator.attacks import Attack, Incident
from tinyfin.simulator.attacks.forced_post import forced_posts
from tinyfin.simulator.rows import Rows


def _inject(incident: Incident) -> Rows:
    rng = incident.rng
    n = int(np.exp(rng.uniform(np.log(5), np.log(30))))
    crowd = incident.townspeople(max(1, n // int(rng.integers(1, 7))))
    return forced_posts(incident, n, crowd, n)


ATTACK = Attack(
    "voice_approvals",
    "5-30 large keyed sales, each approved by telephone with a code of its own, all genuine",
    0.002,
    _inject,
    label=0,
    on_demand=True,
)

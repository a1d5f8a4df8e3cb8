# SPDX-License-Identifier: Apache-2.0
"""Which members belong to which wave: the same ones whenever it is asked, others in each campaign.

Within a stratum members stand in the order of a hash over campaign and terminal. Member r of a
stratum of n is at (r + 1/2) / n of the fleet, and waves take the fleet in this order. So each wave
has of every stratum its share, up to a member, and a larger wave has the members of a smaller one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from tinyfin.rollout.policy import Policy

__all__ = ["Digests", "digests", "positions", "waves_of"]

Digests = npt.NDArray[np.uint64]


def digests(campaign: bytes, terminals: Iterable[bytes]) -> Digests:
    """uint64[n]: how BLAKE2b over the campaign's id and each terminal's begins."""
    begun = hashlib.blake2b(campaign, digest_size=8)

    def of(terminal: bytes) -> bytes:
        one = begun.copy()
        one.update(terminal)
        return one.digest()

    return np.frombuffer(b"".join(map(of, terminals)), ">u8").astype(np.uint64)


def positions(ranks: Digests, strata: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """int64[n]: the place of each member in the order of the campaign, from 0. ranks: its
    :func:`digests`; strata: number of its stratum."""
    n = len(ranks)
    order = np.lexsort((ranks, strata))
    _, starts, counts = np.unique(strata[order], return_index=True, return_counts=True)
    place = np.empty(n)
    place[order] = (np.arange(n) - np.repeat(starts, counts) + 0.5) / np.repeat(counts, counts)
    found = np.empty(n, np.int64)
    found[np.lexsort((ranks, place))] = np.arange(n)
    return found


def waves_of(place: npt.NDArray[np.int64], policy: Policy) -> npt.NDArray[np.uint8]:
    """uint8[n]: the number of each member's wave, from 0."""
    ends = np.cumsum(policy.sizes(len(place)))
    return np.searchsorted(ends, place, side="right").astype(np.uint8)

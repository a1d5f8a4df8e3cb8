# SPDX-License-Identifier: Apache-2.0
"""Which members a wave has: proportional, stable, and others in the next campaign."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.support.campaigns import CAMPAIGN, short_policy, terminal
from tinyfin.rollout.membership import digests, positions, waves_of
from tinyfin.rollout.policy import Policy, Wave

fleets = st.lists(st.integers(0, 4), min_size=1, max_size=300)


def placed(strata: list[int], campaign: bytes = CAMPAIGN) -> np.ndarray:
    ids = [terminal(n) for n in range(len(strata))]
    return positions(digests(campaign, ids), np.array(strata))


@settings(max_examples=60, deadline=None)
@given(fleets, st.integers(1, 300))
def test_a_wave_has_of_each_stratum_its_share(strata: list[int], size: int) -> None:
    place = placed(strata)
    assert sorted(place) == list(range(len(strata)))
    size = min(size, len(strata))
    chosen = np.array(strata)[place < size]
    for one in set(strata):
        wanted = size * strata.count(one) / len(strata)
        assert abs(int((chosen == one).sum()) - wanted) <= len(set(strata)), "up to the rounding"
        assert int((chosen == one).sum()) <= np.ceil(wanted + 1)


@settings(max_examples=60, deadline=None)
@given(fleets, st.permutations(range(8)), st.floats(0.01, 0.6))
def test_members_stay_when_the_share_grows(
    strata: list[int], order: list[int], share: float
) -> None:
    place, small = placed(strata), short_policy(share)
    larger = short_policy(min(share * 1.5, 0.95))
    before, after = waves_of(place, small), waves_of(place, larger)
    assert (after[before <= 1] <= 1).all()
    # neither the order of the inventory nor the numbers of strata change who is first
    mixed = np.argsort([order[n % 8] + 8 * (n // 8) for n in range(len(strata))], kind="stable")
    ids = [terminal(int(n)) for n in mixed]
    again = positions(digests(CAMPAIGN, ids), 7 - np.array(strata)[mixed])
    assert (again == place[mixed]).all()


def test_the_hash_is_the_one_that_is_documented() -> None:
    [found] = digests(CAMPAIGN, [terminal(5)])
    plain = hashlib.blake2b(CAMPAIGN + terminal(5), digest_size=8).digest()
    assert int(found) == int.from_bytes(plain, "big")


def test_the_same_terminals_are_not_always_first() -> None:
    first = [
        set(np.flatnonzero(placed([0, 1] * 500, bytes([n]) * 16) < 100).tolist()) for n in range(40)
    ]
    counts = np.bincount([one for members in first for one in members], minlength=1000)
    # of 40 campaigns with a tenth each, a terminal is among the first in 4; Poisson's tail at 17
    assert counts.max() <= 17
    assert len(set.union(*first)) > 950


def test_policies_that_are_none() -> None:
    for waves in (
        [Wave(name="a", share=0.5), Wave(name="b", share=0.2), Wave(name="c", share=1.0)],
        [Wave(name="a", share=0.5)],
        [Wave(name="a", share=0.5), Wave(name="a", share=1.0)],
    ):
        with pytest.raises(ValidationError):
            Policy(waves=waves)
    with pytest.raises(ValidationError, match="terminals or share"):
        Wave(name="a")
    assert Policy().sizes(1000) == [10, 0, 40, 200, 250, 500]
    assert Policy().sizes(5) == [5, 0, 0, 0, 0, 0]

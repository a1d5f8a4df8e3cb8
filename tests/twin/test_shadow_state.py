# SPDX-License-Identifier: Apache-2.0
"""A pack with another feature program in shadow, beside its own state: its counts are the oracle's,
its state is that of the pack alone, and nobody else sees it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import sample
from tests.support.probation_packs import (
    cuts_of,
    events,
    model_of,
    other_program,
    scored,
    settle,
    verdicts,
    with_bounds,
)
from tinyfin.errors import InputError, PackError
from tinyfin.oracle.probation import Bounds, Counts
from tinyfin.pack.container import parse_pack
from tinyfin.twin import Twin, Verdict
from tinyfin.twin.probation import Probation

RUNNING, OTHER = sample.make_pack(), other_program()
WIDE = (0xFFFF, 0xFFFF, 0xFFFF)
COLD = 1


def bounds(looks: tuple[tuple[int, int, int, int], ...] = ((200, *WIDE),)) -> Bounds:
    return Bounds(model_of(RUNNING), cuts_of(RUNNING), cuts_of(OTHER), looks)


def oracle(of: Bounds, candidate: bytes, number: int) -> Counts:
    """What the first ``number`` events come to: those at which the candidate is not COLD."""
    counts = Counts(of, parse_pack(candidate).pack_id, 1)
    for mine, its in list(zip(verdicts(RUNNING), verdicts(OTHER), strict=True))[:number]:
        if not its.flags & COLD:
            counts.shadow(mine.score_q32, mine.action != 0, its.raw, its.score_q32, its.action)
    return counts


class Beside:
    """A terminal with a pack in shadow, which has a state of its own."""

    def __init__(self, candidate: bytes) -> None:
        self.twin, self.own = Twin(RUNNING), Twin(candidate)
        self.probation = Probation(self.twin, 0, self.own)

    def take(self, number: int, *, outcomes: bool = True) -> list[Verdict]:
        """The first events; what the running pack answered."""
        answers = []
        for event in events()[:number]:
            answers.append(self.twin.score(0, *event))
            self.probation.count_apart(answers[-1], self.own.score(0, *event))
            settle(self.twin, event)
            if outcomes:
                settle(self.own, event)
        return answers


@settings(max_examples=30, deadline=None)
@given(
    st.sets(st.integers(1, 120), min_size=1, max_size=4),
    st.lists(st.sampled_from([0, 5, 40, 0xFFFF]), min_size=3, max_size=3),
    st.integers(1, 200),
)
def test_the_counts_are_the_oracles(ends: set[int], limits: list[int], number: int) -> None:
    of = bounds(tuple((end, *limits) for end in sorted(ends)))
    candidate = with_bounds(OTHER, of)
    beside = Beside(candidate)
    beside.take(number)
    expected = oracle(of, candidate, number)
    assert beside.probation.image() == expected.image()


def test_nobody_sees_the_shadow_and_its_state_is_its_own() -> None:
    beside = Beside(with_bounds(OTHER, bounds()))
    assert tuple(beside.take(300)) == verdicts(RUNNING)[:300]
    alone, other = Twin(RUNNING), Twin(OTHER)
    for event in events()[:300]:
        scored(alone, event)
        scored(other, event)
    assert beside.twin.export_state(0) == alone.export_state(0)
    assert beside.own.export_state(0) == other.export_state(0)


def test_cold_events_are_not_counted() -> None:
    of = bounds()
    candidate = with_bounds(OTHER, of)
    cold = sum(bool(verdict.flags & COLD) for verdict in verdicts(OTHER)[:100])
    assert 10 < cold < 90
    beside = Beside(candidate)
    beside.take(100)
    assert sum(beside.probation.image()[24:56:2]) == 100 - cold


def test_a_state_that_gets_no_outcomes_shows() -> None:
    """The negative control: it stays cold, and nothing is counted."""
    of = bounds()
    candidate = with_bounds(OTHER, of)
    beside = Beside(candidate)
    beside.take(100, outcomes=False)
    expected = oracle(of, candidate, 100)
    assert beside.probation.image() != expected.image()
    assert beside.own.export_state(0) != Twin(OTHER).export_state(0)


def test_the_features_of_the_running_pack_are_not_its_features() -> None:
    beside = Beside(with_bounds(OTHER, bounds()))
    before = beside.probation.image()
    for event in events()[:50]:
        assert not beside.probation.count(beside.twin.score(0, *event))
    assert beside.probation.image() == before
    shared = Probation(beside.twin, 0, with_bounds(sample.make_pack(2), bounds()))
    with pytest.raises(InputError, match="no state of its own"):
        shared.count_apart(verdicts(RUNNING)[0], verdicts(OTHER)[0])


@pytest.mark.parametrize(
    ("running", "candidate", "error"),
    [
        (RUNNING, OTHER, "TFIN_E_SECTION"),
        (OTHER, with_bounds(OTHER, bounds()), "TFIN_E_MODEL"),
        (sample.make_pack(2), with_bounds(OTHER, bounds()), "TFIN_E_MODEL"),
    ],
)
def test_what_cannot_be_a_shadow_is_refused(running: bytes, candidate: bytes, error: str) -> None:
    with pytest.raises(PackError, match=error):
        Probation(Twin(running), 0, Twin(candidate))


def test_two_packs_want_two_memories() -> None:
    twin = Twin(with_bounds(OTHER, bounds()))
    with pytest.raises(PackError, match="TFIN_E_ARGUMENT"):
        Probation(twin, 0, twin)

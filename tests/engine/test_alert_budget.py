# SPDX-License-Identifier: Apache-2.0
"""Whoever owns the stream of events moves the alert rate no further than the signed levels, by one
level a day, and no longer than the flood lasts and a bounded number of events."""

from __future__ import annotations

import ctypes
import itertools
import struct
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.monitors import DAY_S, LEVELS, Monitored, Seen, levels
from tests.support.native import library
from tinyfin.oracle.monitor import OracleMonitor, read_levels

CONTROL = read_levels(LEVELS)
TOP, USUAL = len(CONTROL.thresholds) - 1, CONTROL.usual
NOTHING = (0, 0, 0)

Attack = list[tuple[bool, int]]
"""Events: whether there is an alert, and seconds since the one before."""

attacks = st.lists(
    st.tuples(st.booleans(), st.sampled_from([0, 1, DAY_S // 2, DAY_S, 40 * DAY_S])), max_size=120
)


def benign() -> list[bytes]:
    """A fixed stream without fraud: records of the pack's schema."""
    amounts = [10 ** (i % 12) * (1 + i % 7) for i in range(84)]
    return [struct.pack("<IIqQii", 15, 0, amount, 7, 1, 2) for amount in amounts]


def rate(m: Monitored) -> float:
    """Alerts per benign event at the level that holds; none of these is counted."""
    return sum(m.advise(record) != 0 for record in benign()) / len(benign())


@cache
def rates() -> tuple[float, ...]:
    """Of each level, lowest thresholds first."""
    found = {}
    m = Monitored()
    for alert in (True, False):
        for _ in range(4000):
            m.count(Seen(0, NOTHING, int(alert), m.clock + DAY_S // 4))
            if m.level not in found:
                found[m.level] = rate(m)
    return tuple(found[level] for level in range(TOP + 1))


def run(m: Monitored, attack: Attack) -> list[tuple[int, int]]:
    """Time and new level of every step."""
    steps = []
    for alert, later_s in attack:
        if m.count(Seen(0, NOTHING, int(alert), m.clock + later_s)):
            steps.append((m.clock, m.level))
    return steps


def broken_rules(m: Monitored, attack: Attack) -> set[str]:
    """What an attack achieved that it must not."""
    begin, before = m.clock, m.level
    found = set()
    at = begin
    for i, (t, level) in enumerate(run(m, attack)):
        if not 0 <= level <= TOP:
            found.add("left the span")
        if abs(level - before) != 1:
            found.add("more than one level in a step")
        if i and t - at < DAY_S:
            found.add("two steps in a day")
        before, at = level, t
    return found


def test_the_levels_differ_on_the_benign_stream() -> None:
    assert list(rates()) == sorted(rates(), reverse=True)
    assert rates()[0] == 1 > rates()[USUAL] > rates()[USUAL + 1] > rates()[TOP] == 0


@settings(max_examples=40, deadline=None)
@given(attacks)
def test_no_attack_leaves_the_span(attack: Attack) -> None:
    m = Monitored()
    assert broken_rules(m, attack) == set()
    assert rates()[TOP] <= rate(m) <= rates()[0]


def worst(days: int, per_day: int) -> Attack:
    """Alerts alone, as fast as the rules let a level move."""
    return [(True, DAY_S if i % per_day == 0 else 0) for i in range(days * per_day)]


def test_the_worst_attack_reaches_the_span_and_no_more() -> None:
    """So the bound is tight: it takes as many days as there are levels above the usual one."""
    m = Monitored()
    steps = run(m, worst(9, CONTROL.events))
    assert [level for _, level in steps] == list(range(USUAL + 1, TOP + 1))
    assert rate(m) == rates()[TOP]
    assert [t2 - t1 for (t1, _), (t2, _) in itertools.pairwise(steps)] == [DAY_S]


def test_every_state_that_is_reachable() -> None:
    """All attacks on a small ladder, to a fixpoint: the oracle, which C equals, breaks no rule."""
    payload = levels(*[(0, 0)] * 4, usual=1, target=1 << 23, events=3, seconds=4, limit=1)
    start = OracleMonitor(None, payload, bytes(8))
    start.count(0, (), 0, 0, 1)
    states = {(start.balance_q24, start.since, start.level, 0)}
    frontier, levels_met = set(states), set()
    while frontier:
        found = set()
        for balance, since, level, waited in frontier:
            for alert in (0, 1):
                for later in (0, 1, 4):
                    m = OracleMonitor(None, payload, bytes(8), 9, 0, balance, since)
                    m.level = level
                    stepped = m.count(0, (), alert, 0, waited + later)
                    assert abs(m.level - level) == stepped
                    assert not stepped or (since + 1 >= 3 and waited + later >= 4)
                    assert abs(m.balance_q24) <= 1 << 24
                    since_step = waited + later - m.step_s
                    found.add((m.balance_q24, min(m.since, 3), m.level, min(since_step, 4)))
        frontier = found - states
        states |= found
        levels_met |= {level for _, _, level, _ in found}
    assert levels_met == {0, 1, 2, 3}
    assert len(states) > 50


def bound() -> int:
    """Events without an alert after which the level is back at the usual one, whatever was before:
    from the upper clamp to the lower one, then once from 0 to it for each further level."""
    one = 1 << 24
    from_clamp = -(-2 * CONTROL.limit * one // CONTROL.target_q24)
    return from_clamp + (TOP - USUAL - 1) * -(-CONTROL.limit * one // CONTROL.target_q24)


@pytest.mark.parametrize("flood", [300, 20_000])
def test_after_a_flood_the_level_comes_back(flood: int) -> None:
    m = Monitored()
    run(m, [(True, 600)] * flood)
    assert m.level == TOP
    steps = run(m, [(False, 600)] * bound())
    assert steps
    assert m.level <= USUAL
    assert bound() == 1202


def test_a_clock_that_was_led_ahead_does_not_hold_the_level() -> None:
    """Every event has the flag CLOCK then, until the world has caught up."""
    clock = 4
    m = Monitored()
    run(m, [(True, 600)] * 300)
    assert m.level == TOP
    for _ in range(bound()):
        m.count(Seen(0, NOTHING, 0, m.clock))
    assert m.level == TOP, "without the flag time is waited for"
    for _ in range(bound()):
        m.count(Seen(0, NOTHING, 0, m.clock, clock))
        assert m.agrees
    assert m.level == USUAL
    for alert in (True, False):  # and it gets no further without time
        for _ in range(2000):
            m.count(Seen(0, NOTHING, int(alert), m.clock, clock))
        assert m.level == USUAL


# ------------------------------------------------------------------------- negative controls


def sabotaged(what: str) -> Monitored:
    lib: ctypes.CDLL = library(f"TFIN_SABOTAGE_{what}")
    return Monitored(lib=lib)


def test_without_the_clamp_it_does_not_come_back() -> None:
    m = sabotaged("CLAMP")
    run(m, [(True, 4000)] * 150)  # more would leave 32 bits
    run(m, [(False, 600)] * bound())
    assert m.level == TOP


def test_without_the_day_levels_move_at_once() -> None:
    assert "two steps in a day" in broken_rules(sabotaged("DAY"), worst(4, 5 * CONTROL.events))


def test_without_the_span_a_level_is_left() -> None:
    m = sabotaged("SPAN")
    assert "left the span" in broken_rules(m, worst(5, CONTROL.events))

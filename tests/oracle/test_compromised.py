# SPDX-License-Identifier: Apache-2.0
"""COMPROMISED against Bayes' rule in floating point, and what its notices do."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.oracle.operator_rig import AMOUNT, EVERYTHING, FLAG, SCHEMA, TOKEN, Terminal
from tests.oracle.programs import unpacked
from tests.oracle.streams import SETTINGS, Step, compare
from tests.support.assembler import TERMINAL, Assembler
from tests.support.native import NativeTerminal
from tinyfin.oracle.compromised import Compromised, weight
from tinyfin.oracle.program import OracleOperator
from tinyfin.oracle.stateful import State

DAY = 86_400
START = 500 * DAY
USUAL, GENUINE, LIMIT = 90, -30, 50
DURATIONS = ((3, -100), (7, -90))


def program(days: int = 14, remembered: int = 4) -> Assembler:
    """Features: that it lasts, that it happened. The evidence of an event is its amount."""
    p = Assembler(token_field=TOKEN, terminal_labels=16)
    amount = p.keep(p.op("FIELD", p2=AMOUNT))
    flag = p.keep(p.op("FIELD", p2=FLAG), 1)
    table = p.i16(USUAL, GENUINE, LIMIT, *(x for pair in DURATIONS for x in pair))
    odds = p.op(
        "COMPROMISED", amount, 255, flag, key=TERMINAL, p0=table, p1=2, p2=days, p3=remembered
    )
    p.feature(*unpacked(p, odds))
    return p


def read(terminal: Terminal, t: int) -> tuple[int, ...]:
    """Both odds, read by an event that is cancelled at once."""
    terminal.score(t, 10**6, flag=0)
    terminal.done(t)
    return terminal.oracle.features()


def bayes(labels: Sequence[tuple[int, int]], today: int, days: int = 14) -> tuple[float, float]:
    """log2 odds from labels, pairs of a day and evidence."""
    lasts = over = 0.0
    for n, prior in DURATIONS:
        for start in range(today - days + 1, today + 1):
            known = sum(e for day, e in labels if start <= day <= min(start + n - 1, today))
            likelihood = 2.0 ** ((prior + known) / 16)
            if start + n - 1 >= today:
                lasts += likelihood
            else:
                over += likelihood
    return math.log2(lasts / (over + 1.0)), math.log2(lasts + over)


@SETTINGS
@given(st.lists(st.tuples(st.integers(0, 12), st.booleans()), max_size=12), st.integers(12, 30))
def test_the_odds_are_those_of_bayes_rule(labels: list[tuple[int, bool]], today: int) -> None:
    terminal = Terminal.of(program())
    known = []
    for number, (day, fraud) in enumerate(labels, 1000):
        t = START + day * DAY
        terminal.oracle.notice(number, 0, START + 12 * DAY, t, int(fraud))
        known.append((500 + day, USUAL if fraud else GENUINE))
    newest = max((day for day, _ in known), default=0)
    known = [(day, e) for day, e in known if day > newest - 14]
    for exact, found in zip(
        bayes(known, 500 + today), read(terminal, START + today * DAY), strict=True
    ):
        # weights are cut at 2^-16 of the largest, and have 15 bits
        if abs(exact) < 8:
            assert found == pytest.approx(256 * exact, abs=24)
        else:
            assert found * exact > 0
            assert abs(found) >= 256 * 8 - 24


def test_weights_halve_every_sixteen_steps() -> None:
    for x in range(-255, 1):
        assert weight(x) == pytest.approx(2 ** (15 + x / 16), abs=1)
    assert weight(-256) == 0


def test_two_frauds_and_then_genuine_ones() -> None:
    terminal = Terminal.of(program())
    before = read(terminal, START)
    terminal.oracle.notice(1001, 0, START, START - DAY, 1)
    one = read(terminal, START)
    terminal.oracle.notice(1002, 0, START, START - DAY + 1, 1)
    two = read(terminal, START)
    for number in range(1003, 1009):
        terminal.oracle.notice(number, 0, START + DAY, START, 0)
    after = read(terminal, START + DAY)
    assert before[0] < one[0] < two[0]
    assert before[1] < one[1] < two[1]
    assert after[0] < one[0] < after[1], "it happened, and it is over"
    assert read(terminal, START + 30 * DAY) == before, "nothing of it is in the days that are read"


def test_a_fraud_that_its_event_explains_says_less() -> None:
    """The event's own evidence is remembered until the notice; other events' is not mixed in."""
    found = []
    for amount in (0, 20, LIMIT - 1, LIMIT, 255):
        terminal = Terminal.of(program())
        terminal.both(START, amount)
        asked = terminal.number
        for other in range(3):
            terminal.both(START + other, 10)
        terminal.oracle.notice(asked, 0, START + 10, START, 1)
        found.append(read(terminal, START + 20)[1])
    assert found[0] < found[1] < found[2] < found[3] == found[4]


def test_what_was_remembered_is_forgotten_in_its_order() -> None:
    terminal = Terminal.of(program(remembered=2))
    for amount in (10, 20, 30):
        terminal.both(START, amount)
    state = terminal.oracle.state.states[2]
    assert state["remembered"] == [(3, 30), (2, 20)]


def test_a_label_that_is_replaced_is_taken_back() -> None:
    labelled, corrected, genuine = (Terminal.of(program()) for _ in range(3))
    for terminal, labels in ((labelled, (1,)), (corrected, (1, 0)), (genuine, (0,))):
        for label in labels:
            terminal.oracle.notice(77, 0, START, START - 10, label)
    one, two, three = (read(t, START) for t in (labelled, corrected, genuine))
    assert one != two == three


def test_a_notice_that_comes_again_counts_once() -> None:
    once, twice = Terminal.of(program()), Terminal.of(program())
    for terminal, times in ((once, 1), (twice, 2)):
        for _ in range(times):
            terminal.oracle.notice(77, 0, START, START - 10, 1)
    assert read(once, START) == read(twice, START)


def test_a_label_that_comes_again_when_its_ring_has_dropped_it_counts_no_more() -> None:
    """The ring holds 16 labels; the oldest is a fraud that is told again and again."""
    terminal = Terminal.of(program())
    terminal.oracle.notice(77, 0, START, START - 10, 1)
    for number in range(1000, 1016):
        terminal.oracle.notice(number, 0, START + 20, START + number - 1000, 0)
    before = read(terminal, START + 30)
    for label in (1, 1, 0):
        terminal.oracle.notice(77, 0, START + 40, START - 10, label)
    assert read(terminal, START + 50) == before


def test_an_empty_place_is_no_event() -> None:
    """An id whose low 24 bits are 0 is not found in what was never remembered."""
    found = []
    for number in (1001, 1 << 24):
        terminal = Terminal.of(program())
        terminal.oracle.notice(number, 0, START, START - 10, 1)
        found.append(read(terminal, START))
    assert found[0] == found[1]


def labelled_stream() -> list[Step]:
    """Frauds and genuine transactions of many days, told a day later."""
    steps: list[Step] = [("start", START)]
    for number in range(1, 40):
        record = (0, number * 7 % 90, 3, 1, 1, 1, 0)
        steps.append(("score", DAY // 3, number, 40_000, record, EVERYTHING))
        steps.append(("outcome", 1, number, 0, 0, 0))
        if number > 3:
            steps.append(("notice", 1, number - 3, 3, DAY, int(number % 3 == 0)))
    assert SCHEMA.index("amount") == AMOUNT
    return steps


def test_the_engine_agrees() -> None:
    compare(NativeTerminal, program().payload(), labelled_stream())


@pytest.mark.parametrize("wrong", ["day", "label", "replaced"])
def test_a_notice_that_counts_wrongly_is_caught(
    monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    right = Compromised.learn

    def learn(
        self: Compromised, op: OracleOperator, state: State, t: int, tag: int, replaces: bool
    ) -> None:
        right(
            self,
            op,
            state,
            t + DAY * (wrong == "day"),
            tag ^ int(wrong == "label"),
            replaces or wrong == "replaced",
        )

    monkeypatch.setattr(Compromised, "learn", learn)
    with pytest.raises(AssertionError, match="step"):
        compare(NativeTerminal, program().payload(), labelled_stream())

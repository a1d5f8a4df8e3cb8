# SPDX-License-Identifier: Apache-2.0
"""The oracle's operators against examples computed by hand from docs/formats/program.md."""

from __future__ import annotations

import math

import pytest

from tests.oracle.operator_rig import (
    AMOUNT,
    EVERYTHING,
    KIND,
    SCHEMA,
    SECRET,
    SMALL,
    TOKEN,
    Terminal,
    alone,
)
from tests.support.assembler import CARD, INVERT, SELF, Assembler
from tinyfin.oracle import OracleEngine
from tinyfin.oracle.numbers import fold64, log2_q8

DAY = 86400


def value(program: Assembler, register: int, *fields: int, t_local_s: int = 0) -> int:
    """A register after scoring one event whose fields begin with ``fields``."""
    program.feature(register)
    oracle = OracleEngine(program.payload(), SCHEMA)
    values = (*fields, *([0] * (len(SCHEMA.fields) - len(fields))))
    oracle.score(1, 5, t_local_s, values, EVERYTHING)
    return oracle.features()[-1]


@pytest.mark.parametrize(
    ("x", "expected"),
    [
        (-5, 0),
        (0, 0),
        (1, 256),
        (2, 406),
        (3, 512),
        (9, 850),
        (99, 1701),
        (255, 2048),
        (999_999, 5102),
        (2**31 - 1, 31 * 256),
        (2**62 - 1, 62 * 256),
        # 2^33 + 1 loses its lowest bits: as 2^33
        (2**33, 33 * 256),
    ],
)
def test_log2(x: int, expected: int) -> None:
    assert log2_q8(x) == expected


def test_log2_agrees_with_floats_far_from_halves() -> None:
    for x in (*range(1, 3000), *(3**i for i in range(8, 30))):
        exact = 256 * math.log2(1 + x)
        if abs(exact % 1 - 0.5) > 0.01:
            assert log2_q8(x) == round(exact)


@pytest.mark.parametrize(
    ("name", "parameters", "a", "b", "expected"),
    [
        ("LOG2", {}, 3, None, 512),
        ("DIV", {"p0": 10}, -1, None, -1),
        ("DIV", {"p0": 10}, 99, None, 9),
        ("ABS", {}, -9, None, 9),
        ("NOT", {}, 0, None, 1),
        ("NOT", {}, -2, None, 0),
        ("AND", {}, -1, 7, 1),
        ("AND", {}, -1, 0, 0),
        ("OR", {}, 0, 7, 1),
        ("OR", {}, 0, 0, 0),
        ("ADD", {}, 4, 5, 9),
        ("ADD", {"p0": -9}, 4, None, -5),
        ("SUB", {}, 4, 5, -1),
        ("SUB", {"p0": -9}, 4, None, 13),
        ("MIN", {}, 4, 5, 4),
        ("MAX", {"p0": 7}, 4, None, 7),
        ("MUL", {}, -4, 5, -20),
        ("MUL", {"p0": 3}, 5, None, 15),
        ("COMPARE", {"p2": 0}, 4, 4, 0),
        ("COMPARE", {"p2": 1}, 4, 4, 1),
        ("COMPARE", {"p2": 2, "p0": 4}, 4, None, 1),
        ("COMPARE", {"p2": 3}, 4, 4, 0),
        ("COMPARE", {"p2": 4}, 3, 4, 0),
        ("COMPARE", {"p2": 5}, 5, 4, 1),
        ("RATIO", {"p0": 100, "p1": 1, "p2": 7}, 10, 3, 250),
        ("RATIO", {"p0": 100, "p1": 0, "p2": 7}, -10, 3, -334),
        ("RATIO", {"p0": 100, "p1": 0, "p2": 7}, 10, 0, 7),
        ("RATIO", {"p0": 1, "p1": -5, "p2": 7}, 10, 4, 7),
        ("RATIO", {"p0": 2, "p1": 0, "p2": 7}, 2**50, 2**45, 2),
    ],
)
def test_pure(name: str, parameters: dict[str, int], a: int, b: int | None, expected: int) -> None:
    program = Assembler()
    first = program.op("FIELD", p2=AMOUNT)
    second = 255
    if b is not None:
        second = program.op("FIELD", p2=TOKEN)  # a second number of 64 bits, never negative here
    register = program.op(name, first, second, **parameters)
    assert value(program, register, 0, a, b or 0) == expected


@pytest.mark.parametrize(("a", "expected"), [(9, 0), (10, 1), (19, 1), (20, 2), (99, 3), (30, 3)])
def test_bucket(a: int, expected: int) -> None:
    program = Assembler()
    x = program.op("FIELD", p2=AMOUNT)
    assert value(program, program.op("BUCKET", x, p0=program.i64(10, 20, 30), p2=3), 0, a) == (
        expected
    )


@pytest.mark.parametrize(("a", "expected"), [(-1, 77), (0, 5), (2, -7), (3, 77)])
def test_lookup(a: int, expected: int) -> None:
    program = Assembler()
    x = program.op("FIELD", p2=AMOUNT)
    at = program.i16(5, 6, -7)
    assert value(program, program.op("LOOKUP", x, p0=at, p1=77, p2=3), 0, a) == expected


@pytest.mark.parametrize(("a", "expected"), [(0, 0), (100, 2), (-500, 3), (7, 0), (50, 1)])
def test_divisible(a: int, expected: int) -> None:
    program = Assembler()
    x = program.op("FIELD", p2=AMOUNT)
    at = program.i64(50, 100, 500)
    assert value(program, program.op("DIVISIBLE", x, p0=at, p2=3), 0, a) == expected


@pytest.mark.parametrize(("a", "expected"), [(0, 0), (0b111, 2), (-1, 3), (-(2**61), 1)])
def test_popcount(a: int, expected: int) -> None:
    program = Assembler()
    x = program.op("FIELD", p2=AMOUNT)
    at = program.u64(2**63 | 0b110)
    assert value(program, program.op("POPCOUNT", x, p0=at), 0, a) == expected


@pytest.mark.parametrize(("a", "expected"), [(5, 1), (-6, 1), (6, 0)])
def test_in(a: int, expected: int) -> None:
    program = Assembler()
    x = program.op("FIELD", p2=AMOUNT)
    assert value(program, program.op("IN", x, p0=program.i64(5, -6), p2=2), 0, a) == expected


@pytest.mark.parametrize(("c", "expected"), [(0, 41), (-1, 12)])
def test_select(c: int, expected: int) -> None:
    program = Assembler()
    x, y = program.op("FIELD", p2=AMOUNT), program.op("FIELD", p2=SMALL)
    assert value(program, program.op("SELECT", x, c=y, p0=41), c, 12) == expected


# 2000-01-01 was a Saturday (5); 2026-11-22 07:08:09 is a Sunday (6).
@pytest.mark.parametrize(
    ("what", "t_local_s", "expected"),
    [
        (0, 0, 5),
        (1, 1234, 1234),
        (2, 0, 0),
        (3, 0, 5),
        (3, 2 * DAY, 0),
        (2, 9822 * DAY + 7 * 3600 + 489, 7),
        (3, 9822 * DAY + 7 * 3600 + 489, 6),
        (4, 9822 * DAY + 7 * 3600 + 489, 6 * 24 + 7),
    ],
)
def test_time(what: int, t_local_s: int, expected: int) -> None:
    program = Assembler()
    register = program.op("TIME", p2=what)
    assert value(program, register, t_local_s=t_local_s) == expected


def test_a_token_is_taken_modulo_2_to_the_62_and_a_missing_field_has_its_missing_value() -> None:
    program = Assembler()
    for name, i in (("FIELD", TOKEN), ("FIELD", SMALL), ("PRESENT", SMALL), ("FIELD", KIND)):
        program.feature(program.op(name, p2=i))
    oracle = OracleEngine(program.payload(), SCHEMA)
    oracle.score(1, 0, 0, (1, 0, 2**63 + 2**62 + 9, 3, 0, 0, 0), EVERYTHING & ~(1 << SMALL))
    assert oracle.features() == (9, -7, 0, 3)


def test_window() -> None:
    t = Terminal.of(alone("WINDOW", p0=10, p2=3, p3=2))
    assert t.both(25, 100) == 0
    assert t.both(29, 7) == 100  # same epoch 2
    assert t.both(30, 1) == 107
    assert t.both(49, -50) == 108  # epoch 4 sees 2, 3, 4; a negative amount adds nothing
    assert t.both(50, 1000, flag=0) == 1  # epoch 5 sees 3, 4, 5
    assert t.both(69, 3) == 0  # epoch 6 sees 4, 5, 6: the condition was false
    t.oracle.rebase_time(10**9)
    assert t.both(10**9, 3) == 3 - 3


def test_window_counts_itself_counts_ones_and_saturates() -> None:
    t = Terminal.of(alone("WINDOW", flags=SELF, p0=10, p2=2, p3=1))
    assert t.both(0, 200) == 200
    assert t.both(1, 100, flag=0) == 200
    assert t.both(2, 100) == 300
    assert t.oracle.stats()["saturations"] == 1
    assert t.score(3, 0) == 255
    program = Assembler()
    program.feature(program.op("WINDOW", key=1, when=1, p0=60, p2=2, p3=4))
    t = Terminal.of(program)
    assert [t.both(0), t.both(1), t.both(60), t.both(120)] == [0, 1, 2, 1]


def test_window_late_outcome_lands_in_its_own_epoch() -> None:
    t = Terminal.of(alone("WINDOW", p0=10, p2=2, p3=4))
    t.score(5, 1)
    first = t.number
    t.score(15, 2)
    t.done(15)
    t.oracle.outcome(first, 16, 0, 0, 0)  # epoch 0, head is 1: still in the ring
    assert t.score(19) == 3
    assert t.score(20) == 2
    late = t.number
    t.both(35, 4)
    t.oracle.outcome(late, 36, 0, 0, 0)  # epoch 2 with head 3
    assert t.score(39) == 4


def test_when_decides_which_results_count() -> None:
    t = Terminal.of(alone("WINDOW", when=0b00010, p0=1000, p2=2, p3=4))
    for result in (0, 1, 2, 3, 4):
        t.score(1, 10**result)
        t.done(2, result)
    assert t.score(3) == 10


def test_last_n_and_run() -> None:
    flags = [1, 1, 0, 1, 1, 1]
    t = Terminal.of(alone("LAST_N", p2=3))
    assert [t.both(i, flag=f) for i, f in enumerate(flags)] == [0, 1, 2, 2, 2, 2]
    assert t.both(9, flag=0, gate=0) == 3
    assert t.both(9) == 3
    t = Terminal.of(alone("LAST_N", p2=3, flags=SELF))
    assert [t.both(i, flag=f) for i, f in enumerate(flags)] == [1, 2, 2, 2, 2, 3]
    t = Terminal.of(alone("RUN"))
    assert [t.both(i, flag=f) for i, f in enumerate(flags)] == [0, 1, 2, 0, 1, 2]
    assert t.both(9, flag=0, gate=0) == 3
    assert t.both(9) == 3
    t = Terminal.of(alone("RUN", flags=SELF))
    assert [t.both(i, flag=f) for i, f in enumerate(flags)] == [1, 2, 0, 1, 2, 3]


def test_since() -> None:
    t = Terminal.of(alone("SINCE", p0=100))
    assert t.both(0) == 100
    assert t.both(7, flag=0) == 7
    assert t.both(9) == 9
    assert t.both(109 + 5) == 100
    assert t.score(114) == 0


def test_mean() -> None:
    t = Terminal.of(alone("MEAN", p1=-3, p2=1, p3=4))
    # 1000; 1000 + (2000 - 1000) / 2 = 1500; towards -1 by half: 749.5, floor 749
    assert [t.both(1, x) for x in (1000, 2000, -1)] == [-3, 1000, 1500]
    assert t.score(2) == 749
    t = Terminal.of(alone("MEAN", p1=0, p2=1, p3=4))
    t.both(1, 2**40)
    assert t.score(1) == 32767
    assert t.oracle.state.states[3]["m_q8"] == 2**30


def test_deviation() -> None:
    t = Terminal.of(alone("DEVIATION", p0=1, p1=10, p2=1, p3=2))
    assert [t.both(1, x) for x in (100, 200)] == [0, 0]
    # mean 150, deviation 50: (250 - 150) * 10 / 50 = 20; (100 - 150) * 10 / 50 = -10
    assert t.score(1, 250) == 20
    assert t.score(1, 100) == -10
    assert t.score(1, 149) == -1  # floor of -0.2


def test_share() -> None:
    t = Terminal.of(alone("SHARE", p2=3, p3=1))
    assert t.score(1, 0) == 256 - 85
    assert t.score(1, 3) == 256 - 85
    t.both(1, 0)  # shares 10922: [21845, 5461, 5461]
    assert t.oracle.state.states[3]["s_q15"] == [21845, 5461, 5461]
    assert t.score(1, 0) == (32768 - 21845) // 128
    t = Terminal.of(alone("SHARE", p2=3, p3=1, flags=INVERT))
    assert t.score(1, 0) == 85
    t.both(1, 0)
    assert [t.score(1, 0), t.score(1, 1), t.score(1, -1)] == [170, 42, 85]


def test_rarity() -> None:
    t = Terminal.of(alone("RARITY", p0=5, p2=4))
    assert t.both(1, 2) == 256 * 3 // 4
    assert [t.score(1, 2), t.score(1, 0)] == [256 * 3 // 5, 256 * 4 // 5]
    assert t.score(1, 4) == 256
    t = Terminal.of(alone("RARITY", p0=5, p2=4))
    for x in (2, 2, 2, 1, 1):
        t.both(1, x)
    # 3 and 2 of 5 reach p0: halved to 1 and 1
    assert t.oracle.state.states[3]["count"] == [0, 1, 1, 0]


def test_repeat_and_mode() -> None:
    amounts = (5, 5, 6, 5, 6, 6)
    t = Terminal.of(alone("REPEAT", p2=3))
    # stored before each: -, 5, 5 5, 5 5 6, 5 6 5, 6 5 6
    assert [t.both(1, x) for x in amounts] == [0, 1, 0, 2, 1, 2]
    t = Terminal.of(alone("REPEAT", p2=3, flags=SELF))
    assert [t.both(1, x) for x in amounts] == [1, 2, 1, 3, 2, 3]
    t = Terminal.of(alone("MODE", p2=3))
    assert [t.both(1, x) for x in amounts] == [0, 1, 2, 2, 2, 2]
    t = Terminal.of(alone("MODE", p2=3, flags=SELF))
    assert [t.both(1, x) for x in amounts] == [1, 2, 2, 3, 2, 3]
    t = Terminal.of(alone("REPEAT", p2=3))
    assert [t.both(1, x) for x in (-1, 2**32 - 1, 0)] == [0, 1, 0]


def test_previous() -> None:
    t = Terminal.of(alone("PREVIOUS", p0=-9, p3=4))
    assert [t.both(1, 3), t.both(1, -4, flag=0), t.both(1, 2**40)] == [-9, 3, 3]
    assert t.oracle.stats()["saturations"] == 1
    assert t.oracle.state.states[3]["v"] == 2**31 - 1


def test_distinct() -> None:
    t = Terminal.of(alone("DISTINCT", p0=10, p2=2))
    assert [t.both(0, 1), t.both(1, 2), t.both(2, 1)] == [0, 1, 2]
    assert t.both(5, 3) == 2  # pushes out 2, last seen at 1
    assert t.score(11) == 2
    assert t.score(12) == 1
    t = Terminal.of(alone("DISTINCT", p0=10, p2=2, flags=SELF))
    assert [t.both(0, 1), t.both(1, 1), t.both(2, 2), t.both(3, 3, flag=0)] == [1, 1, 2, 2]
    assert fold64(-1) == 0
    assert fold64(2**32 + 5) == 4


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        (0, [1, 0, 1]),
        (1, [2, 0, 1]),
        (2, [50, -1, 5]),
        (3, [40, 30, 5]),
        (4, [2, 2, 2]),
        (5, [2, 1, 1]),
        (6, [40, 40, 5]),
    ],
)
def test_known(what: int, expected: list[int]) -> None:
    t = Terminal.of(alone("KNOWN", p0=45 if what in (4, 5) else 1000, p1=-1, p2=what))
    assert t.score(50) == -1
    oracle = t.oracle
    oracle.notice(11, 0, 100, 60, 1)
    oracle.notice(12, 0, 100, 50, 1)
    answers = [t.score(100) + (what == 5)]  # the one of age 50 is out of the span of 45
    oracle.notice(13, 0, 100, 70, 0)
    answers.append(t.score(100))
    oracle.notice(14, 0, 100, 95, 1)
    answers.append(t.score(100))
    if what == 4:
        expected = [1, 2, 3]
    if what == 5:
        expected = [2, 1, 2]
    assert answers == expected


def test_known_labels_are_kept_once_sorted_and_bounded() -> None:
    t = Terminal.of(alone("KNOWN", p0=1000, p1=-1, p2=5))
    oracle = t.oracle
    for id, at, fraud in ((1, 10, 1), (2, 30, 0), (3, 20, 1), (1, 10, 1), (3, 20, 0)):
        assert oracle.notice(id, 0, 100, at, fraud) == 0
    assert oracle.state.labels == [(10, 3), (20, 6), (30, 4)]
    assert (oracle.stats()["notices"], oracle.stats()["notice_duplicates"]) == (4, 1)
    oracle.notice(4, 0, 100, 40, 1)
    oracle.notice(5, 0, 100, 5, 1)  # full: the oldest is itself
    assert [label[0] for label in oracle.state.labels] == [10, 20, 30, 40]
    oracle.notice(6, 0, 100, 999, 1)  # from the future: counts now
    assert [label[0] for label in oracle.state.labels] == [20, 30, 40, 100]
    assert oracle.stats()["label_overflows"] == 2
    assert oracle.stats()["notices"] == 7


def test_cards_have_their_own_state_and_the_least_used_is_replaced() -> None:
    program = alone("WINDOW", key=CARD, p0=1000, p2=2, p3=4)
    program.sets, program.ways = 1, 2
    program.feature(program.op("SEEN", key=CARD))
    t = Terminal.of(program)

    def see(token: int) -> tuple[int, ...]:
        t.both(1, 5, token=token)
        return t.oracle.features()

    assert [see(1), see(1), see(2)] == [(0, 0), (5, 1), (0, 0)]
    assert see(1) == (10, 1)
    assert see(3) == (0, 0)  # 2 goes
    assert t.oracle.stats()["evictions"] == 1
    assert [see(1), see(0)] == [(15, 1), (0, 0)]
    assert see(2) == (0, 0)
    t.oracle.notice(77, 2, 5, 1, 1)
    assert [card.labels for card in t.oracle.state.cards[0] if card] == [[], [(1, 77 * 2 + 1)]]


def test_scoring_changes_nothing_until_the_outcome() -> None:
    t = Terminal.of(alone("RUN"))
    assert [t.score(1), t.score(2), t.score(3)] == [0, 0, 0]
    t.done(4)
    assert t.score(5) == 1
    assert t.oracle.outcome(3, 6, 0, 0, 0) == -24
    assert t.oracle.stats()["unknown_outcomes"] == 1


def test_a_full_pending_table_commits_its_oldest_as_timed_out() -> None:
    t = Terminal.of(alone("RUN", when=0b01000))
    for i in range(4):
        t.score(i)
    assert t.score(9) == 0
    assert t.score(9) == 1
    stats = t.oracle.stats()
    assert (stats["pending_overflows"], stats["committed"], stats["scored"]) == (2, 2, 6)
    ids = [entry.id for entry in t.oracle.state.pending if entry]
    assert ids == [5, 6, 3, 4]


def test_the_clock_never_steps_back() -> None:
    t = Terminal.of(alone("SINCE", p0=1000))
    t.both(100)
    assert t.ask(50, 40, 0).flags == 4
    assert t.oracle.features() == (0,)
    t.oracle.notice(1, 0, 90, 20, 1)
    assert t.oracle.outcome(99, 105, 0, 0, 0) == -24
    assert t.ask(51, 104, 0).flags == 0, "an unknown outcome does not move the clock"
    assert t.oracle.stats()["clock_clamps"] == 2


def test_the_clock_never_leaps() -> None:
    oracle = OracleEngine(alone("SINCE", p0=1000).payload(), SCHEMA)
    record = ((0, 1, 0, 0, 1, 1, 0), EVERYTHING & ~(1 << TOKEN))
    day = 86_400

    def ask(t: int) -> int:
        return oracle.score(1, t, t, *record).flags

    assert ask(2**32 - 1) == 4, "the last of all times is none"
    assert ask(10 * day) == 0, "the first one is believed"
    assert ask(24 * day) == 0
    assert ask(38 * day + 1) == 4
    assert oracle.outcome(1, 38 * day + 1, 0, 0, 0) == -33
    assert oracle.notice(1, 0, 38 * day + 1, 5, 1) == -33
    assert oracle.stats()["notices"] == 0
    assert ask(24 * day) == 0, "and nothing has moved it"
    oracle.import_state(oracle.export_state())
    assert ask(424 * day + 1) == 4
    assert ask(424 * day) == 0
    assert ask(824 * day) == 4, "one step of that kind a boot"
    assert oracle.rebase_time(824 * day) == 0
    assert ask(825 * day) == 0
    assert oracle.rebase_time(2**32 - 1) == -1
    assert oracle.stats()["clock_clamps"] == 6
    assert oracle.rebase_time(800 * day) == 0
    assert oracle.stats()["scored"] == 0, "what it held is dated in the future"
    assert ask(800 * day) == 0


def test_outcome_operators_see_the_outcome() -> None:
    program = Assembler()
    register = program.op("FIELD", p2=AMOUNT)
    program.keep(register)
    seconds = program.op("OUTCOME", p2=3, late=True)
    code = program.op("OUTCOME", p2=1, late=True)
    declined = program.op("COMPARE", code, p0=51, p2=2, late=True)
    program.feature(program.op("PREVIOUS", seconds, key=1, p3=4))
    program.feature(program.op("RUN", c=declined, key=1))
    # an operator of the score phase may only read what an earlier one wrote
    t = Terminal.of(program)
    t.score(10)
    t.oracle.outcome(1, 17, 1, 51, 0)
    t.score(20)
    assert t.oracle.features() == (7, 1)


def test_features_saturate_and_say_so() -> None:
    program = Assembler()
    program.feature(program.op("FIELD", p2=AMOUNT))
    program.feature(program.op("MUL", 0, 0))
    t = Terminal.of(program)
    assert t.ask(1, 0, 32767).flags == 2
    assert t.oracle.features() == (32767, 32767)
    assert t.ask(2, 0, -32769).flags == 2
    assert t.oracle.features() == (-32768, 32767)
    assert t.oracle.stats()["saturations"] == 3
    assert t.ask(3, 0, 181).flags == 0


def test_a_state_image_restores_everything_but_what_lives_in_ram_alone() -> None:
    program = alone("PREVIOUS", p0=-9, p3=8)
    secret = program.keep(program.op("FIELD", p2=SECRET), 4, ram_only=True)
    hidden = program.op("PREVIOUS", secret, key=1, flags=4, p0=-8, p3=4)
    program.feature(hidden)
    first = OracleEngine(program.payload(), SCHEMA)
    first.score(1, 1, 1, (0, 5, 0, 0, 1, 1, 66), EVERYTHING)
    first.outcome(1, 1, 0, 0, 0)
    first.score(2, 2, 2, (0, 6, 0, 0, 1, 1, 77), EVERYTHING)
    assert first.features() == (5, 66)
    image = first.export_state()
    assert len(image) == 64 + 64 + 4 * 40 + 24 + 8 + 4 * 8
    assert bytes([66]) not in image[64 + 64 + 24 :]
    assert bytes([77]) not in image[64:]
    second = OracleEngine(program.payload(), SCHEMA)
    second.import_state(image)
    assert second.export_state() == image
    second.score(3, 3, 3, (0, 7, 0, 0, 1, 1, 88), EVERYTHING)
    assert second.features() == (5, -8)
    with pytest.raises(ValueError, match="checksum"):
        second.import_state(image[:-1] + b"\1")

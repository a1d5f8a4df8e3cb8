# SPDX-License-Identifier: Apache-2.0
"""The compiler's bytes, checked by hand on small programs, and what it refuses."""

from __future__ import annotations

import struct

import pytest

from tinyfin.errors import ConfigError
from tinyfin.features.catalogue import SETS
from tinyfin.features.compiler import Program, compile_program
from tinyfin.features.definition import Feature
from tinyfin.features.expressions import (
    Expression,
    bucket,
    distinct,
    divisible,
    either,
    equal,
    field,
    is_value,
    known,
    last_n,
    log2,
    lookup_value,
    mean,
    outcome,
    popcount,
    previous,
    repeat,
    run,
    seen,
    since,
    window,
)
from tinyfin.formats import OPERATOR, ProgramHeader
from tinyfin.schema import PAYMENT, Field, Schema

SMALL = Schema(
    "small",
    (
        Field("amount", "i64"),
        Field("card", "u64", unit="token"),
        Field("kind", "enum", -1, ("one", "two", "three")),
        Field("secret", "i32", ram_only=True),
    ),
)
AMOUNT = field("amount")


def feature(expression: Expression, name: str = "f", number: int = 7) -> Feature:
    return Feature(name, number, 1, "", "", "before", expression)


def build(*expressions: Expression, schema: Schema = SMALL, **limits: int) -> Program:
    features = [feature(x, f"f{i}", 100 + i) for i, x in enumerate(expressions)]
    return compile_program(features, schema, **limits)


def operators(program: Program) -> list[tuple[int, ...]]:
    """(code, key, out, a, b, c, when, flags, state, p0, p1, p2, p3) per operator."""
    header = ProgramHeader.read(program.payload)
    count = header.score_operators + header.outcome_operators
    return [OPERATOR.unpack_from(program.payload, 64 + 24 * i) for i in range(count)]


def kept(program: Program) -> list[tuple[int, int, int, bool]]:
    """(register, width, offset, RAM-only) per kept register."""
    header = ProgramHeader.read(program.payload)
    rows = struct.iter_unpack("<BBH", program.payload[header.kept_at :][: 4 * header.kept])
    return [(r, w, at & 0x7FFF, bool(at >> 15)) for r, w, at in rows]


def test_every_byte_of_a_pure_program() -> None:
    program = build(log2(AMOUNT), pending=3)
    expected = struct.pack(
        "<8HI2H2B3H6I8x",
        1,
        2,
        2,
        0,
        0,
        1,
        3,
        24,  # format, registers, operators, kept, features, pending
        0,
        0,
        0,
        0,
        1,
        0,
        0,
        0,  # no state, no cards, token is field 1, no labels
        64,
        112,
        112,
        112,
        120,
        0,
    )
    expected += struct.pack("<8BIiiHH", 1, 0, 0, 255, 255, 255, 0, 0, 0, 0, 0, 0, 0)
    expected += struct.pack("<8BIiiHH", 5, 0, 1, 0, 255, 255, 0, 0, 0, 0, 0, 0, 0)
    expected += struct.pack("<BBH", 1, 0, 100) + bytes(4)
    assert program.payload == expected
    assert program.state_bytes == 64 + 3 * 24
    assert program.memory_bytes(arena_bytes=48) == 144 + 16 + 32 + 48


def test_a_window_keeps_its_condition() -> None:
    small = AMOUNT <= 200
    program = build(window("terminal", seconds=60, buckets=6, where=small, itself=True, width=1))
    assert operators(program)[-1] == (40, 1, 0, 255, 255, 1, 31, 1, 0, 10, 0, 6, 1)
    assert kept(program) == [(1, 1, 24, False)]
    assert program.pending_entry_bytes == 32
    assert program.terminal_state_bytes == 16  # 4 + 6 bytes, padded to 4, the block to 8


def test_wide_states_come_first_and_gaps_are_filled() -> None:
    total = window("terminal", seconds=60, buckets=2, value=AMOUNT, width=8)  # 8 + 16
    average = mean("terminal", AMOUNT, shift=3, width=8)  # 12
    last = previous("terminal", AMOUNT, otherwise=0, width=8)  # 12
    gap = since("terminal", cap_s=100)  # 4
    program = build(gap, average, last, total)
    states = {row[0]: row[8] for row in operators(program) if row[0] >= 40}
    assert states == {44: 0, 50: 16, 40: 32, 43: 12}
    assert program.terminal_state_bytes == 56
    assert kept(program) == [(1, 8, 24, False)]  # the amount, once for all three


def test_equal_expressions_are_one_operator() -> None:
    program = build(log2(field("amount")) + 1, log2(field("amount")) + 2)
    assert [row[0] for row in operators(program)] == [1, 5, 12, 12]


def test_constants_share_the_pool() -> None:
    program = build(
        divisible(AMOUNT, (100, 1000)),
        bucket(AMOUNT, (100, 1000)),
        popcount(AMOUNT, 2**64 - 1),
        lookup_value("kind", {"two": -5}, outside=9),
    )
    header = ProgramHeader.read(program.payload)
    pool = program.payload[header.pool_at :]
    assert struct.unpack("<qqqhhh", pool) == (100, 1000, -1, 9, -5, 9)
    rows = {row[0]: (row[9], row[10], row[11]) for row in operators(program)}
    assert rows[19] == (0, 0, 2)
    assert rows[6] == (0, 0, 2)
    assert rows[20] == (16, 0, 0)
    assert rows[7] == (24, 9, 3)


def test_widths_of_kept_registers_follow_ranges() -> None:
    kind = field("kind")
    program = build(
        repeat("terminal", kind, 4),
        repeat("terminal", log2(AMOUNT), 4),
        repeat("terminal", field("secret"), 4),
        repeat("terminal", AMOUNT, 4),
    )
    assert [(width, ram) for _, width, _, ram in kept(program)] == [
        (8, False),
        (4, True),
        (2, False),
        (1, False),
    ]
    assert [at for _, _, at, _ in kept(program)] == [24, 32, 36, 38]


def test_ram_only_marks_everything_made_of_it() -> None:
    program = build(run("terminal", field("secret") > 3), run("terminal", AMOUNT > 3))
    runs = [row for row in operators(program) if row[0] == 42]
    assert [row[7] for row in runs] == [4, 0]
    assert sorted(ram for *_, ram in kept(program)) == [False, True]


def test_outcomes_are_learned_in_their_own_phase() -> None:
    declined = equal(outcome("result"), 1)
    program = build(last_n("card", 8, declined, where=AMOUNT > 5, when=("declined", "approved")))
    header = ProgramHeader.read(program.payload)
    assert (header.score_operators, header.outcome_operators) == (3, 2)
    field_, compare, last, result, is_declined = operators(program)
    assert [row[0] for row in (field_, compare, last, result, is_declined)] == [1, 8, 41, 22, 8]
    assert last[4] == compare[2]
    assert last[5] == is_declined[2]
    assert last[6] == 0b00011
    assert [row[0] for row in kept(program)] == [compare[2]]


def test_tables_and_rings_exist_only_when_they_are_used() -> None:
    plain = build(AMOUNT, terminal_labels=32, card_sets=16, card_ways=4)
    assert (plain.card_table_bytes, plain.label_ring_bytes) == (0, 0)
    cards = build(since("card", cap_s=9), seen())
    assert (cards.card_sets, cards.card_ways, cards.card_slot_bytes) == (16, 4, 24)
    labels = build(known("terminal", "last"), terminal_labels=5)
    assert (labels.label_ring_bytes, labels.card_table_bytes) == (48, 0)
    both = build(known("card", "last"), card_labels=3, card_sets=2, card_ways=1)
    assert (both.card_slot_bytes, both.label_ring_bytes) == (16 + 32, 0)
    assert both.state_bytes == 64 + 8 * 24 + 2 * 48


def test_registers_are_used_again() -> None:
    chain: Expression = AMOUNT
    for i in range(300):
        chain = chain + i
    program = build(chain)
    assert program.registers == 2
    many = [since("terminal", cap_s=i + 1) for i in range(120)]
    assert build(*many).registers == 120


@pytest.mark.parametrize("features", ["default", "stream"])
def test_the_same_features_give_the_same_bytes(features: str) -> None:
    one, two = compile_program(features, PAYMENT), compile_program(list(SETS[features]), PAYMENT)
    assert one == two


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: build(field("amont")), r"needs the field 'amont'.*did you mean 'amount'"),
        (lambda: build(is_value("kind", "tow")), r"no value 'tow'; did you mean 'two'"),
        (lambda: build(is_value("amount", "one")), r"'amount' is not an enum"),
        (lambda: build(outcome("result")), r"made of an outcome"),
        (
            lambda: build(run("terminal", equal(outcome("result"), 1), itself=True)),
            r"RUN reads an outcome while scoring",
        ),
        (lambda: build(repeat("terminal", outcome("response"), 4)), r"REPEAT reads an outcome"),
        (
            lambda: build(seen(), schema=Schema("bare", (Field("amount", "i64"),))),
            r"'f0' follows cards, but schema 'bare' has no card token",
        ),
        (lambda: build(distinct("card", AMOUNT, seconds=9, n=64)), r"need 528 bytes per card"),
        (lambda: build(AMOUNT, card_sets=12), r"card_sets = 12 must be a power of two"),
        (lambda: build(AMOUNT, pending=0), r"pending = 0 must be 1 to 256"),
        (lambda: build(), r"0 features"),
        (lambda: window("terminal", seconds=600, buckets=99), r"buckets = 99 must be 2 to 64"),
        (lambda: window("terminal", seconds=60, buckets=3, width=3), r"width = 3 must be one of"),
        (lambda: since("till", cap_s=5), r'key = \'till\' must be "terminal" or "card"'),  # type: ignore[arg-type]
        (lambda: since("card", cap_s=5, when=()), r"names no result"),
        (lambda: bucket(AMOUNT, (5, 5)), r"must ascend strictly"),
        (lambda: either(AMOUNT, AMOUNT, 2**40), r"value = 1099511627776 must be"),
        (lambda: compile_program(["amt_lgo"], PAYMENT), r"'amt_lgo'; did you mean 'amt_log'"),
        (lambda: compile_program(["gap_s", "gap_s"], PAYMENT), r"'gap_s' is named twice"),
        (lambda: compile_program("defualt", PAYMENT), r"sets are auto, default, stream"),
        (
            lambda: compile_program(["keyed_run"], SMALL),
            r"'keyed_run' needs the field 'entry_mode', which schema 'small' lacks",
        ),
    ],
)
def test_refusals_name_feature_and_fix(make: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()  # type: ignore[operator]


def test_too_many_kept_values_are_refused() -> None:
    many = [repeat("terminal", AMOUNT + i, 1) for i in range(65)]
    with pytest.raises(ConfigError, match=r"keep 65 values"):
        build(*many)
    assert build(*many[:64]).kept == 64

# SPDX-License-Identifier: Apache-2.0
"""Negative control: an operator that is wrong by one is caught by the oracle, whichever it is."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace

import pytest

from tests.oracle.operator_rig import AMOUNT, EVERYTHING, FLAG, KIND, SMALL, TOKEN, WITH_STATE
from tests.oracle.programs import unpacked
from tests.oracle.streams import Step, compare
from tests.support.assembler import CODES, SELF, TERMINAL, Assembler
from tests.support.native import NativeTerminal
from tinyfin.oracle.state import FAMILIES
from tinyfin.oracle.stateful import Inputs, State


@pytest.fixture
def sabotage() -> Iterator[Callable[[int], None]]:
    """Makes an operator wrong, until the test ends."""
    yield NativeTerminal.sabotage
    NativeTerminal.sabotage(0)


DAYS = {"p1": 1, "p2": 4, "p3": 3}


def every_operator() -> Assembler:
    """One program in which every operator is read by a feature."""
    p = Assembler(token_field=TOKEN, sets=2, ways=2, terminal_labels=3, card_labels=2)
    fields = [p.op("FIELD", p2=i) for i in (SMALL, AMOUNT, KIND, FLAG)]
    _, amount, kind, flag = fields
    p.feature(*(p.keep(register) for register in fields))
    for name in ("PRESENT", "TIME"):
        p.feature(p.op(name, p2=2))
    p.feature(p.op("CONST", p0=5))
    for name in ("LOG2", "NOT", "ABS"):
        p.feature(p.op(name, amount))
    for name in ("AND", "OR", "ADD", "SUB", "MIN", "MAX", "MUL", "COMPARE"):
        p.feature(p.op(name, amount, kind, p2=0))
    p.feature(p.op("BUCKET", amount, p0=p.i64(10, 20), p2=2))
    p.feature(p.op("LOOKUP", kind, p0=p.i16(5, 6), p1=-4, p2=2))
    p.feature(p.op("DIV", amount, p0=3))
    p.feature(p.op("RATIO", amount, kind, p0=2, p1=1, p2=3))
    p.feature(p.op("DIVISIBLE", amount, p0=p.i64(2, 3), p2=2))
    p.feature(p.op("POPCOUNT", amount, p0=p.u64(2**64 - 1)))
    p.feature(p.op("SELECT", amount, kind, flag))
    p.feature(p.op("IN", kind, p0=p.i64(1, 2), p2=2))
    seconds = p.op("OUTCOME", p2=3, late=True)
    p.feature(p.op("PREVIOUS", seconds, key=TERMINAL, p0=-9, p3=4))
    for name, extra in {
        "WINDOW": {"p0": 100, "p2": 3, "p3": 2, "flags": SELF},
        "LAST_N": {"p2": 5},
        "RUN": {},
        "SINCE": {"p0": 500},
        "MEAN": {"p1": 1, "p2": 2, "p3": 4},
        "DEVIATION": {"p0": 1, "p1": 8, "p2": 2, "p3": 2},
        "SHARE": {"p2": 4, "p3": 2},
        "RARITY": {"p0": 30, "p2": 4},
        "REPEAT": {"p2": 4},
        "MODE": {"p2": 4},
        "DISTINCT": {"p0": 300, "p2": 4},
        "KNOWN": {"p0": 300, "p1": -1, "p2": 4},
        "SEEN": {},
    }.items():
        a = 255 if name in ("LAST_N", "RUN", "SINCE", "KNOWN", "SEEN") else kind
        c = 255 if name in ("KNOWN", "SEEN") else flag
        key = 2 if name == "SEEN" else TERMINAL
        p.feature(p.op(name, a, 255, c, key=key, **extra))
    odds = p.op("COMPROMISED", kind, 255, flag, key=TERMINAL, p0=p.i16(60, -9, 2, 3, -40), **DAYS)
    p.feature(*unpacked(p, odds))
    return p


def calm_stream(count: int = 12) -> list[Step]:
    """Events that saturate nothing and approve or decline at once."""
    rng = random.Random(1)
    steps: list[Step] = [("start", 5000)]
    for id in range(1, count):
        some = rng.randrange(9), rng.randrange(40), rng.randrange(1, 4), rng.randrange(4)
        record = (*some, 1, 1, 0)
        steps.append(("score", rng.randrange(90), id, 40_000, record, EVERYTHING))
        steps.append(("outcome", 2, id, rng.randrange(2), 0, 0))
        steps.append(("notice", 1, id, record[2], 3, rng.randrange(2)))
    return steps


def test_the_program_uses_every_operator_and_agrees() -> None:
    used = {code[0] for code in every_operator().score + every_operator().outcome}
    assert used == set(CODES.values())


@pytest.mark.parametrize("name", [None, *CODES])
def test_an_operator_wrong_by_one_is_caught(
    sabotage: Callable[[int], None], name: str | None
) -> None:
    sabotage(CODES[name] if name else 0)
    with pytest.raises(AssertionError, match="step") if name else nullcontext():
        compare(NativeTerminal, every_operator().payload(), calm_stream())


LARGE = (0, -(2**31) - 1, 2**31, 3 * 2**40, -(2**61), 2**62 - 1, 7)


def stores_in_few_bytes() -> Assembler:
    """Large amounts, in every place that is smaller than they are."""
    p = Assembler(token_field=TOKEN, sets=1, ways=1)
    amount = p.op("FIELD", p2=AMOUNT)
    p.keep(amount, 8)
    for width in (1, 2, 4):
        p.keep(p.op("ADD", amount, p0=width), width)
    for key in (TERMINAL, 2):
        p.feature(p.op("PREVIOUS", amount, key=key, p3=4))
        for width in (1, 2, 4):
            p.feature(p.op("WINDOW", amount, key=key, p0=100, p2=3, p3=width))
        p.feature(p.op("MEAN", amount, key=key, p2=2, p3=4))
        p.feature(p.op("DEVIATION", amount, key=key, p0=1, p1=8, p2=2, p3=2))
    return p


def large_stream() -> list[Step]:
    """Every stored value leaves its range, upwards and downwards."""
    steps: list[Step] = [("start", 5000)]
    for id, amount in enumerate(LARGE * 2, 1):
        steps.append(("score", 1, id, 40_000, (0, amount, 1, 1, 1, 1, 0), EVERYTHING))
        steps.append(("outcome", 1, id, id % 2, 0, 0))
    return steps


def test_what_saturates_is_counted_on_both_sides() -> None:
    compare(NativeTerminal, stores_in_few_bytes().payload(), large_stream())


@pytest.mark.parametrize("name", ["WINDOW", "PREVIOUS"])
def test_a_saturation_that_is_not_counted_is_caught(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    family = FAMILIES[CODES[name]]
    right = family.commit

    def commit(op: object, state: State, x: Inputs) -> int:
        right(op, state, x)  # type: ignore[arg-type]
        return 0

    monkeypatch.setattr(type(family), "commit", staticmethod(commit))
    with pytest.raises(AssertionError, match="step"):
        compare(NativeTerminal, stores_in_few_bytes().payload(), large_stream())


@pytest.mark.parametrize("name", WITH_STATE)
def test_a_commit_wrong_by_one_is_caught(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """The other way round: the oracle learns one too many, or one second later."""
    family = FAMILIES[CODES[name]]
    right = family.commit

    def commit(op: object, state: State, x: Inputs) -> int:
        wrong = replace(x, t=x.t + 1, a=None if x.a is None else x.a + 1)
        if name in ("LAST_N", "RUN"):
            wrong = replace(x, c=not x.c)
        return right(op, state, wrong)  # type: ignore[arg-type]

    monkeypatch.setattr(type(family), "commit", staticmethod(commit))
    with pytest.raises(AssertionError, match="step"):
        compare(NativeTerminal, every_operator().payload(), calm_stream())

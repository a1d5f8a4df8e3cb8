# SPDX-License-Identifier: Apache-2.0
"""The clock believes no time that is far ahead: one wrong reading would leave all others behind."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import pytest

from tests.support import packs
from tests.support.native import Engine, Refused, library
from tests.support.packs import RECORD, patched

DAY = 86_400
NOW = 800_000_000
NEVER = 2**32 - 1
CLOCK = 4

Call = Callable[[Engine, int], object]
CALLS: dict[str, Call] = {
    "score": lambda e, t: e.score(900, t, RECORD),
    "outcome": lambda e, t: e.outcome(1, t),
    "unknown outcome": lambda e, t: e.outcome(12345, t),
    "notice": lambda e, t: e.notice(1, 7, t, NOW, 1),
}


def engine_at(t: int, lib: ctypes.CDLL | None = None) -> Engine:
    engine = Engine(packs.build(packs.rich()), lib=lib)
    engine.score(1, t, RECORD)
    return engine


def clock_of(engine: Engine) -> int:
    return int.from_bytes(engine.export()[64:68], "little")


def try_call(call: Call, engine: Engine, t: int) -> str:
    """The error's name, or OK."""
    try:
        call(engine, t)
    except Refused as refused:
        return str(refused)
    return "OK"


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("t", [NEVER, NEVER - 1, NOW + 14 * DAY + 1], ids=["end", "2136", "15 d"])
def test_a_time_that_is_too_far_ahead_moves_nothing(name: str, t: int) -> None:
    engine = engine_at(NOW)
    before = engine.export()
    said = try_call(CALLS[name], engine, t)
    assert clock_of(engine) == NOW
    if name == "score":
        assert said == "OK"
        assert engine.score(901, t, RECORD).flags & CLOCK
        assert engine.stats("clock_clamps") == 2
    elif name == "unknown outcome":
        assert said == "TFIN_E_UNKNOWN_ID"
        assert engine.stats("clock_clamps") == 0
    else:
        assert said == "TFIN_E_TIME"
        after = patched(engine.export(), 64 + 16, "I", 0)  # clock_clamps alone has moved
        assert after[64:] == before[64:]
    assert engine.score(902, NOW + 1, RECORD).flags & CLOCK == 0, "the next honest time is taken"


@pytest.mark.parametrize("name", ["score", "outcome", "notice"])
def test_a_refused_call_may_be_repeated(name: str) -> None:
    engine = engine_at(NOW)
    try_call(CALLS[name], engine, NEVER)
    assert try_call(CALLS[name], engine, NOW + 5) == "OK"
    assert clock_of(engine) == NOW + 5


def test_the_score_of_honest_traffic_stays_as_it_is() -> None:
    """As many honest events, with one wrong clock between them and without."""
    plain, disturbed = engine_at(NOW), engine_at(NOW)
    for name in CALLS:
        try_call(CALLS[name], disturbed, NEVER)
    disturbed.outcome(900, NOW)  # the disturbing score itself, done with
    for i in range(2, 60):
        t = NOW + 600 * i
        honest, other = plain.score(i, t, RECORD), disturbed.score(i, t, RECORD)
        assert other.flags & CLOCK == honest.flags & CLOCK == 0
        plain.outcome(i, t + 1)
        disturbed.outcome(i, t + 1)
    assert clock_of(disturbed) == clock_of(plain)


def test_without_the_limit_one_wrong_time_freezes_the_clock() -> None:
    """Negative control."""
    engine = engine_at(NOW, library("TFIN_SABOTAGE_LEAP"))
    engine.notice(1, 7, NEVER - 1, NOW, 1)
    assert engine.score(2, NOW + 1, RECORD).flags & CLOCK
    assert clock_of(engine) == NEVER - 1


def test_after_opening_and_importing_a_step_may_be_longer() -> None:
    engine = engine_at(NOW)
    image = engine.export()
    for days, taken in ((14, True), (15, False)):
        engine.take(image)
        engine.score(2, NOW + 5, RECORD)
        flags = engine.score(3, NOW + 5 + days * DAY, RECORD).flags
        assert bool(flags & CLOCK) is not taken
    for days, taken in ((400, True), (401, False)):
        engine.take(image)
        assert bool(engine.score(3, NOW + days * DAY, RECORD).flags & CLOCK) is not taken


def test_a_step_back_across_the_end_is_one_back() -> None:
    """An uptime that was subtracted wrongly, then the right one."""
    engine = engine_at(NEVER - 5)
    for t in (3, DAY, NOW):
        assert engine.score(2, t, RECORD).flags & CLOCK
    assert clock_of(engine) == NEVER - 5


def test_a_pack_may_have_limits_of_its_own() -> None:
    parts = packs.rich()
    program = patched(parts["PROG"], 56, "2I", 1000, 10)
    engine = Engine(packs.build({**parts, "PROG": program}))
    engine.score(1, NOW, RECORD)
    assert engine.score(2, NOW + 10, RECORD).flags & CLOCK == 0
    assert engine.score(3, NOW + 21, RECORD).flags & CLOCK
    engine.take(engine.export())
    assert engine.score(4, NOW + 10 + 1000, RECORD).flags & CLOCK == 0


def test_the_application_may_set_the_clock() -> None:
    engine = engine_at(NOW)
    engine.rebase(NOW + 3000 * DAY)
    assert engine.score(2, NOW + 3000 * DAY + 1, RECORD).flags & CLOCK == 0
    assert engine.stats("scored") == 2, "forward nothing is forgotten"
    cold = Engine(packs.build(packs.rich())).export()
    engine.rebase(NOW)
    assert engine.export()[68:] == cold[68:], "back, what it held is dated in the future"
    assert clock_of(engine) == NOW
    with pytest.raises(Refused, match="TFIN_E_ARGUMENT"):
        engine.rebase(NEVER)

# SPDX-License-Identifier: Apache-2.0
"""Random streams of events, for hypothesis; and running one on oracle and engine side by side."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from tests.oracle.operator_rig import EVERYTHING, SCHEMA
from tests.support.packs import pack
from tinyfin.oracle import OracleEngine
from tinyfin.schema import Schema

Step = tuple[Any, ...]

SETTINGS = settings(
    derandomize=bool(os.environ.get("CI")),
    deadline=None,
    print_blob=True,
    phases=(Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink),
    suppress_health_check=list(HealthCheck),
)
"""With CI set in the environment the same examples come every time."""

# 5 and 5 << 32 | 0 fold to the same 32 bits; so do 2 and 2 ^ 1 << 32 | 1
IDS = (1, 2, 3, 5, 5 << 32, 2**64 - 1, 0, 77)
TOKENS = (0, 1, 2, 3, 2**62 + 1, 2**63 + 4, 2**64 - 1, 9 << 32)
AMOUNTS = (0, 1, 1, 2, 7, 100, 500, 1999, 70_000, -3, -40_000, 2**22, 2**31, -(2**33))
AMOUNTS += (2**46 + 5, 2**62 - 1, 2**63 - 1, -(2**63))
LEAPS = (0, 0, 1, 1, 5, 59, 3600, 86400, 13 * 86400, -1, -30, -100_000)
PAUSES = (15 * 86_400, 40 * 86_400, 399 * 86_400)
"""Longer than the clock may step within one boot."""
FAR = (14 * 86_400 + 1, 401 * 86_400, 3 * 31_536_000, 2**32)
"""A clock that is wrong for one reading."""
STARTS = (0, 1, 500, 86_400, 800_000_000, 2**32 - 200_000)

_leap = st.sampled_from(LEAPS)
_id = st.sampled_from(IDS)
_token = st.sampled_from(TOKENS)
_i32 = st.sampled_from((0, 1, 2, 3, -1, 300, 2**31 - 1, -(2**31)))
_record = st.tuples(
    _i32,
    st.sampled_from(AMOUNTS),
    _token,
    st.sampled_from((0, 1, 2, 3, -1, 4, 2**31 - 1)),
    st.sampled_from((1, 1, 0, -5)),
    st.sampled_from((1, 1, 0)),
    _i32,
)
_score = st.tuples(
    st.just("score"),
    _leap,
    _id,
    st.sampled_from((0, 1, 3600 * 7, 815_000_000, 2**32 - 1)),
    _record,
    st.one_of(st.just(EVERYTHING), st.integers(0, EVERYTHING)),
)
_outcome = st.tuples(
    st.just("outcome"),
    _leap,
    _id,
    st.sampled_from((0, 0, 0, 1, 2, 3, 4)),
    st.sampled_from((-1, 0, 51, 99)),
    st.integers(0, 2),
)
_notice = st.tuples(
    st.just("notice"),
    _leap,
    _id,
    _token,
    st.sampled_from((0, 0, 1, 10, 90_000, -50, 10**9)),
    st.integers(0, 1),
)
_both = st.tuples(st.just("both"), _score, _outcome)
_twice = st.tuples(st.just("twice"), _notice)
_erase = st.tuples(st.just("erase"), _token)
_far = st.tuples(st.just("far"), st.sampled_from(FAR), st.one_of(_score, _outcome, _notice))
_pause = st.tuples(st.just("pause"), st.sampled_from(PAUSES), st.sampled_from(("reboot", "rebase")))
_rebase = st.tuples(st.just("rebase"), st.sampled_from((0, 60, 3600, 86_400, -100_000)))
_plain = _score, *[_both] * 3, _outcome, _notice, _twice, _erase
_step = st.one_of(*_plain, st.just(("reboot",)), _far, _pause, _rebase)


class Clock:
    """The time of the steps of a stream."""

    def __init__(self, now: int = 0) -> None:
        self.now = now
        self._off = 0

    def wrong(self, far: int) -> None:
        """The next reading is so much ahead."""
        self._off = far

    def step(self, leap: int) -> int:
        """The time that the next call claims."""
        self.now = min(max(self.now + leap, 0), 2**32 - 1)
        claimed = min(self.now + self._off, 2**32 - 1)
        self._off = 0
        return claimed


@st.composite
def streams(draw: Callable[[Any], Any], max_size: int = 30) -> list[Step]:
    """A start time, then steps. ``both`` is a score and soon its outcome, ``twice`` a notice that
    comes again, ``far`` a call with a clock that is wrong once, ``pause`` a long time after which
    the terminal is restarted or its clock set."""
    steps: list[Step] = [("start", draw(st.sampled_from(STARTS)))]
    for step in draw(st.lists(_step, min_size=5, max_size=max_size)):
        if step[0] == "both":
            _, score, outcome = step
            steps += [score, (outcome[0], abs(outcome[1]), score[2], *outcome[3:])]
        elif step[0] == "far":
            steps += [step[:2], step[2]]
        elif step[0] == "pause":
            _, leap, how = step
            steps += [("reboot",), ("leap", leap)] if how == "reboot" else [("rebase", leap)]
        elif step[0] == "twice":
            _, (_, leap, id, token, back, fraud) = step
            steps += [("notice", t, id, token, back, fraud) for t in (leap, 0)]
        else:
            steps.append(step)
    return steps


class Engine(Protocol):
    """What the engine, the twin and the oracle have in common."""

    def score(
        self, id: int, t_mono_s: int, t_local_s: int, values: Sequence[int], present: int
    ) -> Any: ...
    def outcome(
        self, id: int, t_mono_s: int, result: int, response: int, action_taken: int
    ) -> int: ...
    def notice(self, id: int, token: int, t_mono_s: int, t_tx_mono_s: int, fraud: int) -> int: ...
    def erase_card(self, token: int) -> None: ...
    def rebase_time(self, t_mono_s: int) -> int: ...
    def features(self) -> Sequence[int]: ...
    def stats(self) -> dict[str, int]: ...
    def state_digest(self) -> int: ...
    def export_state(self) -> bytes: ...
    def import_state(self, image: bytes) -> None: ...


def compare(
    terminal: Callable[[bytes, Schema], Engine],
    payload: bytes,
    steps: Sequence[Step],
    schema: Schema = SCHEMA,
) -> None:
    """Run a stream on the oracle and on a terminal with the same program."""
    packed = pack(schema, payload)
    side_by_side(OracleEngine(payload, schema), lambda: terminal(packed, schema), steps)


def side_by_side(oracle: OracleEngine, make: Callable[[], Engine], steps: Sequence[Step]) -> None:
    """Run a stream on both; AssertionError names the first step after which they differ."""
    engine = make()
    clock = Clock()
    for number, step in enumerate(steps):
        where = f"step {number}: {step}"
        match step:
            case ("start", at):
                clock = Clock(at)
            case ("far", far):
                clock.wrong(far)
            case ("leap", leap):
                clock.step(leap)
            case ("rebase", leap):
                now = clock.step(leap)
                assert engine.rebase_time(now) == oracle.rebase_time(now), where
            case ("score", leap, id, local, values, present):
                now = clock.step(leap)
                mine = oracle.score(id, now, local, values, present)
                other = engine.score(id, now, local, values, present)
                assert tuple(engine.features()) == oracle.features(), where
                for name in ("id", "score_q32", "raw", "action", "flags"):
                    assert getattr(other, name) == getattr(mine, name), (where, name)
                assert tuple(other.reasons) == mine.reasons, (where, other, mine)
            case ("outcome", leap, id, result, response, action):
                now = clock.step(leap)
                mine_code = oracle.outcome(id, now, result, response, action)
                assert engine.outcome(id, now, result, response, action) == mine_code, where
            case ("notice", leap, id, token, back, fraud):
                now = clock.step(leap)
                at = min(max(now - back, 0), 2**32 - 1)
                mine_code = oracle.notice(id, token, now, at, fraud)
                assert engine.notice(id, token, now, at, fraud) == mine_code, where
            case ("erase", token):
                oracle.erase_card(token)
                engine.erase_card(token)
            case ("reboot",):
                image = engine.export_state()
                oracle.import_state(oracle.export_state())
                engine = make()
                engine.import_state(image)
        assert engine.stats() == oracle.stats(), where
        assert engine.export_state().hex() == oracle.export_state().hex(), where
        assert engine.state_digest() == oracle.state_digest(), where

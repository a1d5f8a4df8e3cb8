# SPDX-License-Identifier: Apache-2.0
"""The engine against the oracle: random programs on random streams, byte for byte.

Features, flags, errors, counters and the state image are compared after every event. With CI set in
the environment the same examples come every time.
"""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracle.operator_rig import SCHEMA
from tests.oracle.programs import PURE, programs, programs_of
from tests.oracle.streams import SETTINGS, Step, compare, side_by_side, streams
from tests.oracle.twin_terminal import TwinTerminal
from tests.support.assembler import STATEFUL, Assembler
from tests.support.native import NativeTerminal
from tinyfin.oracle import OracleEngine


@settings(SETTINGS, max_examples=100)
@given(program=programs(), steps=streams())
def test_random_programs_on_the_twin(program: Assembler, steps: list[Step]) -> None:
    compare(TwinTerminal, program.payload(), steps)


@settings(SETTINGS, max_examples=150)
@given(program=programs(), steps=streams())
def test_random_programs(program: Assembler, steps: list[Step]) -> None:
    compare(NativeTerminal, program.payload(), steps)


@pytest.mark.parametrize("name", STATEFUL)
@settings(SETTINGS, max_examples=25)
@given(data=st.data())
def test_stateful_operator(name: str, data: st.DataObject) -> None:
    compare(NativeTerminal, data.draw(programs_of(name)).payload(), data.draw(streams()))


@pytest.mark.parametrize("name", ["FIELD", "OUTCOME", *PURE])
@settings(SETTINGS, max_examples=10)
@given(data=st.data())
def test_pure_operator(name: str, data: st.DataObject) -> None:
    program, steps = data.draw(programs_of(name)), data.draw(streams(max_size=12))
    compare(NativeTerminal, program.payload(), steps)


def test_the_streams_reach_every_counter() -> None:
    """The comparison proves little about what never happens in it."""
    reached: Counter[str] = Counter()

    class Counting(OracleEngine):
        """What is counted, also where a step back of the clock forgets it."""

        def _count(self, name: str, more: int = 1) -> None:
            super()._count(name, more)
            reached[name] += more

    @settings(SETTINGS, max_examples=200, derandomize=True, database=None)
    @given(program=programs(), steps=streams())
    def run(program: Assembler, steps: list[Step]) -> None:
        payload = program.payload()
        side_by_side(Counting(payload, SCHEMA), lambda: OracleEngine(payload, SCHEMA), steps)

    run()
    counters = OracleEngine(Assembler().payload(), SCHEMA).stats()
    assert all(reached[name] >= 2 for name in counters), reached

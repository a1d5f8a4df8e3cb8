# SPDX-License-Identifier: Apache-2.0
"""The engine against the oracle: random programs on random streams, byte for byte.

Features, flags, errors, counters and the state image are compared after every event. With CI set in
the environment the same examples come every time.
"""

from __future__ import annotations

import os
from collections import Counter

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.oracle.assembler import Assembler
from tests.oracle.engine_features import Engine
from tests.oracle.operator_rig import SCHEMA
from tests.oracle.packing import pack
from tests.oracle.programs import PURE, STATEFUL, programs, programs_of
from tests.oracle.streams import Step, side_by_side, streams
from tests.oracle.twin_terminal import TwinTerminal
from tinyfin.oracle import OracleEngine

SETTINGS = settings(
    derandomize=bool(os.environ.get("CI")),
    deadline=None,
    print_blob=True,
    phases=(Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink),
    suppress_health_check=list(HealthCheck),
)


def compare(engine: Engine, program: Assembler, steps: list[Step]) -> None:
    payload = program.payload()
    packed = pack(SCHEMA, payload)
    side_by_side(OracleEngine(payload, SCHEMA), lambda: engine.open(packed, SCHEMA), steps)


@settings(SETTINGS, max_examples=100)
@given(program=programs(), steps=streams())
def test_random_programs_on_the_twin(program: Assembler, steps: list[Step]) -> None:
    payload = program.payload()
    packed = pack(SCHEMA, payload)
    side_by_side(OracleEngine(payload, SCHEMA), lambda: TwinTerminal(packed), steps)


@settings(SETTINGS, max_examples=150)
@given(program=programs(), steps=streams())
def test_random_programs(engine: Engine, program: Assembler, steps: list[Step]) -> None:
    compare(engine, program, steps)


@pytest.mark.parametrize("name", STATEFUL)
@settings(SETTINGS, max_examples=25)
@given(data=st.data())
def test_stateful_operator(engine: Engine, name: str, data: st.DataObject) -> None:
    compare(engine, data.draw(programs_of(name)), data.draw(streams()))


@pytest.mark.parametrize("name", ["FIELD", "OUTCOME", *PURE])
@settings(SETTINGS, max_examples=10)
@given(data=st.data())
def test_pure_operator(engine: Engine, name: str, data: st.DataObject) -> None:
    compare(engine, data.draw(programs_of(name)), data.draw(streams(max_size=12)))


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

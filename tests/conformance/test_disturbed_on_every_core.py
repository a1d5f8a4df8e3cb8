# SPDX-License-Identifier: Apache-2.0
"""Every operator and the whole catalogue on streams in which everything goes wrong, on four cores.

The streams are those on which the twin was compared with the oracle: tests/features.
"""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.conformance.conftest import on_target
from tests.conformance.scripts import Script
from tests.oracle import payments
from tests.oracle.operator_rig import SCHEMA
from tests.oracle.programs import programs, programs_of
from tests.oracle.streams import Step, streams
from tests.support.assembler import CODES, Assembler
from tests.support.packs import pack
from tinyfin.measure import instrument
from tinyfin.schema import PAYMENT

CORES = ("cortex-m0", "cortex-m4", "rv32imc", "xtensa-lx106")
SETTINGS = settings(
    derandomize=True,
    database=None,
    deadline=None,
    phases=(Phase.generate,),
    suppress_health_check=list(HealthCheck),
)


@cache
def catalogue() -> Script:
    """The catalogue on long streams of payments; all that can go wrong does."""
    program = payments.program()
    script = Script(pack(PAYMENT, program.payload))
    for seed in (1, 2):
        steps = payments.stream(seed, 260)
        assert payments.lacking(payments.happened(program.payload, steps)) == []
        script.run(steps)
    return script


def examples(of: st.SearchStrategy[Assembler], count: int) -> list[tuple[Assembler, list[Step]]]:
    """The same examples every time."""
    drawn = []

    @settings(SETTINGS, max_examples=count)
    @given(program=of, steps=streams())
    def draw(program: Assembler, steps: list[Step]) -> None:
        drawn.append((program, steps))

    draw()
    return drawn


@cache
def operators() -> tuple[Script, ...]:
    """Random programs about each operator, and of several, each on a random stream."""
    drawn: list[tuple[Assembler, list[Step]]] = []
    for name in CODES:
        drawn += examples(programs_of(name), 1)
    drawn += examples(programs(), 20)
    used = {op[0] for program, _ in drawn for op in program.score + program.outcome}
    assert used == set(CODES.values())
    return tuple(Script(pack(SCHEMA, program.payload())).run(steps) for program, steps in drawn)


@pytest.mark.parametrize("name", on_target(*CORES))
def test_the_whole_catalogue(name: str) -> None:
    script = catalogue()
    found = instrument.run(instrument.build(name), script.tape)
    assert not found.differing, f"{name}: {found.first}"
    assert found.scored == script.scores


@pytest.mark.parametrize("name", on_target(*CORES))
def test_every_operator(name: str) -> None:
    """In as few tapes as the part allows."""
    image = instrument.build(name)
    tape, programs_run, wanted = instrument.Tape(), 0, len(operators())
    for script in operators():
        if len(tape) + len(script.tape) > instrument.room(image):
            programs_run += run(image, tape)
            tape = instrument.Tape()
        tape.extend(script.tape)
    assert programs_run + run(image, tape) == wanted


def run(image: instrument.BuildResult, tape: instrument.Tape) -> int:
    found = instrument.run(image, tape)
    assert not found.differing, f"{found.target}: {found.first}"
    return len(found.numbers("opened"))


@pytest.mark.parametrize("name", on_target("cortex-m4", "rv32imc"))
def test_a_restart_that_loses_something_is_caught(name: str) -> None:
    """Negative control: one byte of the image that a restart takes back."""
    program = payments.program()
    steps = payments.stream(1, 120)
    script = Script(pack(PAYMENT, program.payload)).run(steps)
    assert ("reboot",) in steps
    data = script.tape.bytes()[16:]
    at = 0
    while int.from_bytes(data[at : at + 4], "little") != instrument.RESTART:
        at += 16 + -(-int.from_bytes(data[at + 4 : at + 8], "little") // 16) * 16
    script.tape.flip(at + 16 + 64 + 70)
    found = instrument.run(instrument.build(name), script.tape)
    assert found.differing
    assert found.first.startswith("image at event")

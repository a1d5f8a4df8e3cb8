# SPDX-License-Identifier: Apache-2.0
"""What every target is shown: the reference pack, simulated transactions, the twin's answers."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from tests.support import sample
from tests.support.probation_packs import shadowed, with_bounds
from tests.support.process import need
from tinyfin import paths
from tinyfin.features.compiler import compile_program
from tinyfin.features.compromise import COMPROMISE_FEATURES
from tinyfin.measure import instrument
from tinyfin.oracle.probation import Bounds
from tinyfin.pack.container import parse_pack
from tinyfin.pack.layouts import choose, repack_pack
from tinyfin.pack.monitor_image import read_monitor
from tinyfin.schema import PAYMENT
from tinyfin.targets import catalogue
from tinyfin.twin import Twin

EVENTS = 10_000
TARGETS = tuple(catalogue.emulated())


def on_target(*names: str) -> list[object]:
    """Parameters that keep the tests of one target in one worker: they share its builds."""
    return [
        pytest.param(name, marks=pytest.mark.xdist_group(f"target-{name}"), id=name)
        for name in names or TARGETS
    ]


@pytest.fixture(autouse=True)
def _tools(request: pytest.FixtureRequest) -> None:
    """Skip where the target's compiler or emulator is not installed."""
    name = request.node.callspec.params.get("name") if hasattr(request.node, "callspec") else None
    if name is None:
        return
    target = catalogue.get(name)
    assert target.emulator is not None
    need(target.compiler, target.emulator.command[0])


@cache
def stock_pack() -> Path:
    """The pack that `pio run` builds in when no other is named."""
    return paths.project_dir() / "models" / "payment" / "model.tfpack"


@cache
def labelled_tapes(layout: str, room: int) -> list[tuple[instrument.Tape, int]]:
    """Tapes of transactions with labels, for a pack that weighs them day by day, counts score and
    features, moves the level of its thresholds, and advises all that can be advised."""
    program = compile_program(("amt_log", *COMPROMISE_FEATURES), PAYMENT)
    pack = sample.pack_of(PAYMENT, program, sample.network(len(program.feature_names)))
    pack = sample.monitored(sample.advising(pack))
    tx = sample.make_transactions(terminals=2, days=45)
    stream = sample.make_stream(tx)
    twin = Twin(pack, terminals=2, monitor=True)
    answers = twin.run(tx, stream)
    found = answers.features
    assert min(np.bincount(answers.advice, minlength=4)) > 20, "each advice, often"
    assert all(len(np.unique(column)) > 20 for column in found.T[2:]), "labels move the odds"
    counted = [read_monitor(twin.monitor(i), parse_pack(pack).drift) for i in range(2)]
    assert any(c.level != 1 for c in counted), "a level moves"
    return instrument.event_tapes(repack_pack(pack, layout), tx, stream, room)


@cache
def shadow_tape(layout: str, room: int) -> tuple[instrument.Tape, int, int]:
    """A tape of one pack in the shadow of another, ended by the image of its probation, and the
    number of its scores; last where the records have the digest in that image."""
    tx = sample.make_transactions(terminals=1)
    stream = sample.make_stream(tx)
    running, other = (repack_pack(sample.make_pack(seed), layout) for seed in (1, 2))
    first, second = (Twin(pack).run(tx, stream) for pack in (running, other))
    ranked = [np.unique(one.score_q32) for one in (first, second)]
    cuts = [one[[len(one) * k // 4 for k in (1, 2, 3)]].tolist() for one in ranked]
    bounds = Bounds(running[88:104], *map(tuple, cuts), ((0xFFFF, *[0xFFFF] * 3),))
    candidate = with_bounds(other, bounds)
    [(tape, scores)] = instrument.event_tapes(
        running, tx, stream, room, limit=400, shadow=candidate, piece_events=2000
    )
    counts = shadowed(candidate, bounds, first, second, scores)
    tape.add(instrument.PROBATION, counts.image())
    return tape, scores, len(tape) - 32 - 80 + 56


@cache
def tapes(layout: str, room: int) -> list[tuple[instrument.Tape, int]]:
    """Tapes of ten thousand scored events with the twin's answers, none larger than ``room``.

    The pack is in that layout, in the twin too; there are a little more than ten thousand events.
    """
    tx = sample.make_transactions(terminals=6, days=30)
    pack = choose(stock_pack(), layout)
    return instrument.event_tapes(pack, tx, sample.make_stream(tx), room, limit=EVENTS)

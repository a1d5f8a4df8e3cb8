# SPDX-License-Identifier: Apache-2.0
"""A pack with a small random network, simulated transactions, and a terminal in a process."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from tests.support.actions import program_with_actions, with_actions
from tests.support.graph import Graph
from tinyfin import config
from tinyfin.data.events import Stream, event_stream
from tinyfin.data.transactions import Transactions
from tinyfin.features.compiler import Program
from tinyfin.hil.replay import replay
from tinyfin.hil.replay.result import ReplayResult
from tinyfin.pack.calibration import Calibration
from tinyfin.pack.container import build_pack, model_id, parse_pack, sign_again
from tinyfin.pack.decision import Decision
from tinyfin.pack.drift_making import SMALL_BYTES, drift_section
from tinyfin.pack.levels import LevelsSection
from tinyfin.pack.maps import InputMap
from tinyfin.pack.plan import compile_plan
from tinyfin.pack.readout import Readout
from tinyfin.pack.signing import DEVELOPMENT_KEY, Key
from tinyfin.schema import PAYMENT, Schema
from tinyfin.tflite.model import load
from tinyfin.twin import Twin
from tinyfin.wire.client import Client
from tinyfin.wire.links import ProcessLink

HIDDEN = 8


def network(inputs: int, seed: int = 1, tweak: int = 0) -> bytes:
    """An int8 .tflite: inputs, 8 hidden with ReLU, 1 logit; ``tweak`` is added to one weight."""
    rng = np.random.default_rng(seed)
    graph = Graph()
    x = graph.tensor("x", [1, inputs], scales=[0.05], zero_points=[-3])
    weights = rng.integers(-127, 128, (HIDDEN, inputs)).astype(np.int8)
    bias = rng.integers(-2000, 2000, HIDDEN).astype(np.int32)
    hidden = graph.dense(x, weights, bias, [0.01] * HIDDEN, 0.08, -128, "RELU")
    last = rng.integers(-100, 100, (1, HIDDEN)).astype(np.int8)
    last[0, 1] += tweak
    graph.dense(hidden, last, np.array([100], np.int32), [0.02], 0.2, 5)
    return graph.build()


def pack_of(schema: Schema, program: Program, tflite: bytes, **others: Any) -> bytes:
    """A pack that scores with a network of one logit, with thresholds that often act; ``others``
    replace arguments of build_pack."""
    n = len(program.feature_names)
    decision = Decision(
        program.reason_ids,
        (0,) * n,
        go_online_q32=1 << 28,
        decline_q32=3 << 28,
        control_share_q16=3000,
        cold_events=20,
        cold_s=86400,
    )
    parts: dict[str, Any] = {
        "maps": [InputMap((-2000, 0, 500, 3000), (-128, -20, 40, 127))] * n,
        "plan": compile_plan(load(tflite)),
        "readout": Readout.logit(0, 5),
        "calibration": Calibration.strict([-140, 0, 140], [1 << 20, 1 << 28, 1 << 31]),
        "decision": decision,
        "model": model_id(tflite),
    }
    return build_pack(schema, program, **{**parts, **others})


@cache
def make_pack(seed: int = 1, tweak: int = 0, key: Key = DEVELOPMENT_KEY) -> bytes:
    """The default features of payments and two that learn from actions, a random network."""
    program = program_with_actions()
    return pack_of(PAYMENT, program, network(len(program.feature_names), seed, tweak), key=key)


def advising(pack: bytes) -> bytes:
    """The pack with thresholds among the scores of :func:`make_transactions`, so that all that can
    be advised is."""
    tx = make_transactions()
    score = Twin(pack, terminals=len(tx.terminals)).run(tx, make_stream(tx)).score_q32
    online, verify, decline = (int(np.quantile(score, share)) for share in (0.8, 0.9, 0.97))
    return decided(pack, go_online_q32=online, verify_q32=verify, decline_q32=decline)


def decided(pack: bytes, **changes: Any) -> bytes:
    """The pack with another decision: what changes of :class:`tinyfin.pack.decision.Decision`."""
    parsed = parse_pack(pack)
    assert parsed.decision is not None
    decision = replace(parsed.decision, **changes)
    return sign_again(parsed, None, sections={**parsed.sections, "DECI": decision.encode()})


def answering_pack(schema: Schema, program: Program, low: int, high: int) -> bytes:
    """A pack with that network, features from low to high mapped to all codes, and no cold time."""
    n = len(program.feature_names)
    return pack_of(
        schema,
        program,
        network(n),
        maps=[InputMap((low, high), (-128, 127))] * n,
        calibration=Calibration.strict([-140, 140], [1 << 20, 1 << 31]),
        decision=Decision((38,) * n, (0,) * n, cold_events=0, go_online_q32=1 << 30),
    )


@cache
def make_transactions(terminals: int = 3, days: int = 8, seed: int = 5) -> Transactions:
    """Simulated transactions with actions, as the readers give them."""
    import tempfile
    from pathlib import Path

    from tinyfin import simulator
    from tinyfin.data.readers import read

    settings = config.load(None).simulate.model_copy(
        update={"terminals": terminals, "days": days, "seed": seed}
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.parquet"
        simulator.write(with_actions(simulator.simulate(settings), seed), path)
        return read(path, config.load(None))


@contextmanager
def terminal(program: Path | str, **how: Any) -> Iterator[Client]:
    """A client of a terminal in a process of its own."""
    client = Client(ProcessLink([str(program)]), **how)
    try:
        yield client
    finally:
        client.close()


def replayed(
    client: Client, pack: bytes | None = None, tx: Transactions | None = None, **how: Any
) -> ReplayResult:
    """The sample's transactions through its pack, or others."""
    tx = make_transactions() if tx is None else tx
    return replay(pack or make_pack(), tx, make_stream(tx), client, **how)


def make_stream(tx: Transactions) -> Stream:
    return event_stream(tx, "both")


def line_of(link: socket.socket) -> bytes:
    """What an emulated terminal writes until the end of a line."""
    said = b""
    while not said.endswith(b"\n"):
        piece = link.recv(200)
        assert piece, said
        said += piece
    return said


def monitored(pack: bytes) -> bytes:
    """The pack with DRFT of :func:`make_transactions`, and LEVL with levels that move soon."""
    tx = make_transactions()
    found = Twin(pack, terminals=len(tx.terminals)).run(tx, make_stream(tx))
    drift = drift_section(
        found.features, found.score_q32, tx.terminal, tx.t_mono_s, most_bytes=SMALL_BYTES
    )
    parsed = parse_pack(pack)
    assert parsed.decision is not None
    online, decline = parsed.decision.go_online_q32, parsed.decision.decline_q32
    levels = LevelsSection(
        ((online // 4, decline), (online, decline), (decline, decline)),
        usual=1,
        target_q24=(1 << 24) // 20,
        events=30,
        seconds=3600,
        limit=2,
    )
    more = {"DRFT": drift.encode(), "LEVL": levels.encode()}
    return sign_again(parsed, None, sections={**parsed.sections, **more})

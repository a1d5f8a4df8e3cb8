# SPDX-License-Identifier: Apache-2.0
"""A pack with a small random network, simulated transactions, and a terminal in a process."""

from __future__ import annotations

from functools import cache

import numpy as np

from tests.features.actions import program_with_actions, with_actions
from tests.tflite.build_tflite import Graph
from tinyfin import config
from tinyfin.data.events import Stream, event_stream
from tinyfin.data.transactions import Transactions
from tinyfin.pack.calibration import Calibration
from tinyfin.pack.container import build_pack, model_id
from tinyfin.pack.decision import Decision
from tinyfin.pack.maps import InputMap
from tinyfin.pack.plan import compile_plan
from tinyfin.pack.readout import Readout
from tinyfin.pack.signing import DEVELOPMENT_KEY, Key
from tinyfin.schema import PAYMENT
from tinyfin.tflite.model import load

HIDDEN = 8


def network(inputs: int, seed: int = 1, tweak: int = 0) -> bytes:
    """An int8 .tflite: inputs, 8 hidden with ReLU, 1 logit; ``tweak`` is added to one weight."""
    rng = np.random.default_rng(seed)
    graph = Graph()
    x = graph.tensor("x", [1, inputs], scales=[0.05], zero_points=[-3])
    hidden = graph.dense(
        x,
        rng.integers(-127, 128, (HIDDEN, inputs)).astype(np.int8),
        rng.integers(-2000, 2000, HIDDEN).astype(np.int32),
        [0.01] * HIDDEN,
        0.08,
        -128,
        "RELU",
    )
    last = rng.integers(-100, 100, (1, HIDDEN)).astype(np.int8)
    last[0, 1] += tweak
    graph.dense(hidden, last, np.array([100], np.int32), [0.02], 0.2, 5)
    return graph.build()


@cache
def make_pack(seed: int = 1, tweak: int = 0, key: Key = DEVELOPMENT_KEY) -> bytes:
    """The default features of payments and two that learn from actions, a random network,
    thresholds that often act."""
    program = program_with_actions()
    n = len(program.feature_names)
    tflite = network(n, seed, tweak)
    maps = [InputMap((-2000, 0, 500, 3000), (-128, -20, 40, 127)) for _ in range(n)]
    return build_pack(
        PAYMENT,
        program,
        maps=maps,
        plan=compile_plan(load(tflite)),
        readout=Readout.logit(0, 5),
        calibration=Calibration.strict([-140, 0, 140], [1 << 20, 1 << 28, 1 << 31]),
        decision=Decision(
            program.reason_ids,
            (0,) * n,
            go_online_q32=1 << 28,
            decline_q32=3 << 28,
            control_share_q16=3000,
            cold_events=20,
            cold_s=86400,
        ),
        model=model_id(tflite),
        key=key,
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


def make_stream(tx: Transactions) -> Stream:
    return event_stream(tx, "both")

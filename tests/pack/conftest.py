# SPDX-License-Identifier: Apache-2.0
"""A tiny pack with a network, made from scratch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.support.graph import Graph
from tinyfin.features.compiler import compile_program
from tinyfin.pack.calibration import Calibration
from tinyfin.pack.container import model_id
from tinyfin.pack.decision import Decision
from tinyfin.pack.golden import Golden
from tinyfin.pack.maps import InputMap
from tinyfin.pack.plan import compile_plan
from tinyfin.pack.readout import Readout
from tinyfin.schema import Field, Schema
from tinyfin.tflite.model import load

SCHEMA = Schema(
    "till", (Field("amount_minor", "i64", unit="minor"), Field("token", "u64", unit="token"))
)
FEATURES = ["amt_log", "gap_s"]
GOLDEN_INPUTS = np.array([[0, 0], [100, -100], [-128, 127]], np.int8)


def tiny_tflite() -> bytes:
    graph = Graph()
    source = graph.tensor("x", [1, 2], scales=[0.05], zero_points=[0])
    weights = np.array([[90, -45]], np.int8)
    graph.dense(source, weights, np.array([7], np.int32), [0.01], 0.1, 3)
    return graph.build()


def tiny_raw(inputs: np.ndarray) -> np.ndarray:
    """The accumulator of that network, minus nothing: 90 a - 45 b + 7."""
    x = inputs.astype(np.int64)
    return np.asarray(90 * x[:, 0] - 45 * x[:, 1] + 7, np.int32)


@pytest.fixture(scope="session")
def tiny() -> dict[str, Any]:
    """Arguments of build_pack, by name."""
    tflite = tiny_tflite()
    return {
        "schema": SCHEMA,
        "program": compile_program(FEATURES, SCHEMA, pending=2),
        "maps": [InputMap((0, 2560, 5120), (-128, 0, 127)), InputMap((0, 32767), (127, -128))],
        "plan": compile_plan(load(tflite), accumulators=True),
        "readout": Readout.accumulator(0, 0),
        "calibration": Calibration.strict((-20_000, 0, 20_000), (0, 2**20, 2**31)),
        "decision": Decision((1, 4), (-4, 120), 2**30, 2**31, cold_events=1, cold_s=60),
        "golden": Golden(GOLDEN_INPUTS, tiny_raw(GOLDEN_INPUTS)),
        "meta": {"name": "tiny"},
        "lineage": {"data": "none"},
        "model": model_id(tflite),
        "security_counter": 3,
    }

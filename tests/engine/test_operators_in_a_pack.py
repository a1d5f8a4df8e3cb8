# SPDX-License-Identifier: Apache-2.0
"""A network with branches inside a signed pack: the twin's answers, inspect, generated C."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from tests.engine.network_native import tflm
from tests.engine.operator_models import random_inputs
from tests.tflite.build_tflite import Graph
from tinyfin.cli import main
from tinyfin.codegen.emit import emit
from tinyfin.features.compiler import compile_program
from tinyfin.pack.calibration import Calibration
from tinyfin.pack.container import build_pack, model_id
from tinyfin.pack.decision import Decision
from tinyfin.pack.maps import InputMap
from tinyfin.pack.plan import compile_plan
from tinyfin.pack.readout import Readout
from tinyfin.schema import PAYMENT
from tinyfin.tflite.model import load
from tinyfin.twin import Twin


def reconstruction(n: int) -> bytes:
    """Mean squared difference of n inputs and what a layer makes of them."""
    rng = np.random.default_rng(1)
    graph = Graph()
    x = graph.tensor("x", [1, n], scales=[0.05], zero_points=[-3])
    w = rng.integers(-127, 128, (n, n), dtype=np.int8)
    y = graph.dense(x, w, rng.integers(-500, 500, n), [0.02 / n**0.5], 0.05, 3)
    d = graph.operator("SQUARED_DIFFERENCE", [x, y], [1, n], 0.2, -128)
    graph.operator("MEAN", [d, graph.axes([-1])], [1, 1], 0.1, -128, keep_dims=True)
    return graph.build()


@pytest.fixture(scope="module")
def made() -> tuple[bytes, bytes, int]:
    """A pack, its model, the number of inputs."""
    program = compile_program("default", PAYMENT)
    n = len(program.feature_names)
    model = reconstruction(n)
    pack = build_pack(
        PAYMENT,
        program,
        maps=[InputMap((-2000, 0, 500, 3000), (-128, -20, 40, 127)) for _ in range(n)],
        plan=compile_plan(load(model)),
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
        model=model_id(model),
    )
    return pack, model, n


def test_the_twin_gives_tflms_bytes(made: tuple[bytes, bytes, int]) -> None:
    pack, model, n = made
    x = random_inputs(np.random.default_rng(2), 200, n)
    outputs, _ = Twin(pack).infer(x)
    expected = tflm(model, x)
    assert len(np.unique(expected)) > 20
    assert np.array_equal(outputs, expected)


def test_inspect_lists_the_operators(made: tuple[bytes, bytes, int], tmp_path: Path) -> None:
    path = tmp_path / "model.tfpack"
    path.write_bytes(made[0])
    told = CliRunner().invoke(main, ["inspect", str(path)])
    assert told.exit_code == 0, told.output
    assert f"SQUARED_DIFFERENCE {made[2]}x{made[2]}, MEAN {made[2]}x1" in told.output


def test_generated_c_names_the_kernels(made: tuple[bytes, bytes, int], tmp_path: Path) -> None:
    emit(made[0], tmp_path)
    text = (tmp_path / "tinyfin_pack.h").read_text()
    assert "network kernels: FULLY_CONNECTED, SQUARED_DIFFERENCE, REDUCE;" in text
    assert "#define TINYFIN_KERNELS 97u" in text

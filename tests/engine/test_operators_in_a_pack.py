# SPDX-License-Identifier: Apache-2.0
"""A network with branches inside a signed pack: the twin's answers, inspect, generated C."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.engine.operator_models import random_inputs
from tests.support import sample
from tests.support.cli import tinyfin
from tests.support.graph import Graph
from tests.support.native import tflm
from tinyfin.codegen.emit import emit
from tinyfin.features.compiler import compile_program
from tinyfin.schema import PAYMENT
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
    return sample.pack_of(PAYMENT, program, model), model, n


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
    told = tinyfin(f"inspect {path}")
    assert f"SQUARED_DIFFERENCE {made[2]}x{made[2]}, MEAN {made[2]}x1" in told.output


def test_generated_c_names_the_kernels(made: tuple[bytes, bytes, int], tmp_path: Path) -> None:
    emit(made[0], tmp_path)
    text = (tmp_path / "tinyfin_pack.h").read_text()
    assert "network kernels: FULLY_CONNECTED, SQUARED_DIFFERENCE, REDUCE;" in text
    assert "#define TINYFIN_KERNELS 97u" in text

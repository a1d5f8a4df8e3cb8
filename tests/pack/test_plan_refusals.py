# SPDX-License-Identifier: Apache-2.0
"""What a plan cannot hold is refused by name on the workstation; damage is never a traceback."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tflite

from tests.support.graph import Graph
from tinyfin.errors import ModelError
from tinyfin.pack.plan import compile_plan
from tinyfin.tflite.model import load


def small(zero: int = 3, scale: float = 0.05) -> tuple[Graph, int]:
    graph = Graph()
    return graph, graph.tensor("x", [1, 4], scales=[scale], zero_points=[zero])


def refusal(graph: Graph) -> str:
    with pytest.raises(ModelError) as caught:
        compile_plan(load(graph.build(), name="m.tflite"))
    return str(caught.value)


@pytest.mark.parametrize(
    ("operator", "hint"),
    [
        ("SQUARE", "MUL"),
        ("HARD_SWISH", "silu"),
        ("CONV_2D", "Dense"),
        ("TRANSPOSE", "FULLY_CONNECTED"),
    ],
)
def test_operators_by_name(operator: str, hint: str) -> None:
    graph, x = small()
    graph.unary(operator, x, 0.1, 0)
    message = refusal(graph)
    assert message.startswith(f"m.tflite: operator {operator}")
    assert f"{operator.lower()}1" in message
    assert hint in message


def test_float_models() -> None:
    graph, x = small()
    graph.tensors[0].type = tflite.TensorType.FLOAT32
    graph.unary("RELU", x, 0.1, 0)
    message = refusal(graph)
    assert "'x'" in message
    assert "FLOAT32" in message
    assert "representative" in message


def test_weights_that_are_not_int8() -> None:
    graph, x = small()
    graph.dense(x, np.ones((2, 4), np.int8), None, [0.1], 0.1, 0)
    weights = graph.tensors[1]
    weights.type = tflite.TensorType.INT16
    weights.data = np.ones((2, 4), np.int16)
    assert "INT16" in refusal(graph)


def test_weights_with_zero_point() -> None:
    graph, x = small()
    graph.dense(x, np.ones((2, 4), np.int8), None, [0.1], 0.1, 0)
    graph.tensors[1].zero_points = [5]
    assert "zero point" in refusal(graph)


def test_scales_that_ask_for_too_much() -> None:
    graph, x = small(scale=1e6)
    graph.dense(x, np.ones((2, 4), np.int8), None, [1e6], 1e-3, 0)
    assert "multiplier" in refusal(graph)


def test_batches() -> None:
    graph = Graph()
    x = graph.tensor("x", [2, 4], scales=[0.1], zero_points=[0])
    graph.dense(x, np.ones((2, 4), np.int8), None, [0.1], 0.1, 0)
    assert "batch size 1" in refusal(graph)


def test_accumulators_need_a_fully_connected() -> None:
    graph, x = small()
    graph.unary("TANH", x, 1 / 128, 0)
    with pytest.raises(ModelError, match="accumulators"):
        compile_plan(load(graph.build()), accumulators=True)


def test_files_that_are_no_models(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="check the path"):
        load(tmp_path / "absent.tflite")
    (tmp_path / "text").write_text("hello")
    with pytest.raises(ModelError, match=r"not a \.tflite"):
        load(tmp_path / "text")


def test_damaged_files_never_give_a_traceback() -> None:
    graph, x = small()
    w = np.arange(20, dtype=np.int8).reshape(5, 4)
    x = graph.dense(x, w, np.arange(5), [0.01 * (i + 1) for i in range(5)], 0.1, 0, "RELU")
    graph.unary("LOGISTIC", x, 1 / 256, -128)
    assert refused_when_damaged(graph.build(), 3000, cut=0.2) > 500


def refused_when_damaged(model: bytes, times: int, cut: float = 0.0) -> int:
    """How often a file with up to three other bytes is refused; only ModelError may come out."""
    rng = np.random.default_rng(2)
    refused = 0
    for _ in range(times):
        broken = bytearray(model)
        for _ in range(int(rng.integers(1, 4))):
            broken[int(rng.integers(8, len(broken)))] = int(rng.integers(256))
        if rng.random() < cut:
            del broken[int(rng.integers(8, len(broken))) :]
        try:
            compile_plan(load(bytes(broken)))
        except ModelError:
            refused += 1
    return refused

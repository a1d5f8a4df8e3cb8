# SPDX-License-Identifier: Apache-2.0
"""Variants of operators that a plan cannot hold: refused with tensor, reason and what works."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import tflite

from tests.pack.test_plan_refusals import refused_when_damaged
from tests.support.graph import ACTIVATIONS, Graph
from tinyfin.errors import ModelError
from tinyfin.pack.plan import compile_plan
from tinyfin.tflite.model import load


def start(shape: tuple[int, ...] = (1, 3, 4), scale: float = 0.05) -> tuple[Graph, int]:
    graph = Graph()
    return graph, graph.tensor("x", list(shape), scales=[scale], zero_points=[3])


def middle_axis() -> Graph:
    graph, x = start()
    graph.operator("MEAN", [x, graph.axes([1])], [1, 4], 0.05, 0, keep_dims=False)
    return graph


def variable_axes() -> Graph:
    graph, x = start()
    axes = graph.axes([2])
    graph.tensors[axes].data = None
    graph.operator("SUM", [x, axes], [1, 3], 0.05, 0, keep_dims=False)
    return graph


def axis_out_of_range() -> Graph:
    graph, x = start()
    graph.operator("SUM", [x, graph.axes([7])], [1, 3], 0.05, 0, keep_dims=False)
    return graph


def middle_broadcast() -> Graph:
    graph, x = start()
    c = graph.constant(np.ones((1, 3, 1), np.int8), 0.1, 0)
    graph.operator("ADD", [x, c], [1, 3, 4], 0.1, 0)
    return graph


def int16_operand() -> Graph:
    graph, x = start()
    c = graph.constant(np.ones(4, np.int8), 0.1, 0)
    graph.tensors[c].type, graph.tensors[c].data = tflite.TensorType.INT16, np.ones(4, np.int16)
    graph.operator("MUL", [x, c], [1, 3, 4], 0.1, 0)
    return graph


def per_channel_constant() -> Graph:
    graph, x = start()
    c = graph.constant(np.ones(4, np.int8), 0.1, 0)
    graph.tensors[c].scales, graph.tensors[c].zero_points = [0.1] * 4, [0] * 4
    graph.operator("MUL", [x, c], [1, 3, 4], 0.1, 0)
    return graph


def two_constants() -> Graph:
    graph, x = start()
    c = graph.constant(np.ones(4, np.int8), 0.1, 0)
    graph.operator("ADD", [c, c], [1, 4], 0.1, 0)
    graph.operator("ADD", [x, len(graph.tensors) - 1], [1, 3, 4], 0.1, 0)
    return graph


def fused_tanh() -> Graph:
    graph, x = start()
    graph.operator("ADD", [x, x], [1, 3, 4], 0.1, 0, "TANH")
    return graph


def fused_sign_bit() -> Graph:
    graph, x = start((1, 4))
    graph.dense(x, np.ones((2, 4), np.int8), None, [0.1], 0.1, 0, "SIGN_BIT")
    return graph


def tiny_output_scale() -> Graph:
    graph, x = start()
    graph.operator("SUB", [x, x], [1, 3, 4], 1e-9, 0)
    return graph


def wide_softmax() -> Graph:
    graph, x = start((1, 512))
    graph.operator("SOFTMAX", [x], [1, 512], 1 / 256, -128, beta=1.0)
    return graph


def odd_softmax_scale() -> Graph:
    graph, x = start()
    graph.operator("SOFTMAX", [x], [1, 3, 4], 1 / 200, -128, beta=1.0)
    return graph


def int16_softmax() -> Graph:
    graph, x = start()
    graph.operator("SOFTMAX", [x], [1, 3, 4], 1 / 65536, -32768, beta=1.0)
    graph.tensors[-1].type = tflite.TensorType.INT16
    return graph


def negative_beta() -> Graph:
    graph, x = start()
    graph.operator("SOFTMAX", [x], [1, 3, 4], 1 / 256, -128, beta=-1.0)
    return graph


def rescaling_concatenation() -> Graph:
    graph, x = start((1, 4))
    graph.operator("CONCATENATION", [x, x], [1, 8], 0.07, 3, axis=-1)
    return graph


def concatenated_batches() -> Graph:
    graph, x = start((1, 4))
    graph.operator("CONCATENATION", [x, x], [2, 4], 0.05, 3, axis=0)
    return graph


def fused_concatenation() -> Graph:
    graph, x = start((1, 4))
    graph.operator("CONCATENATION", [x, x], [1, 8], 0.05, 3, "RELU", axis=1)
    return graph


def five_dimensions() -> Graph:
    graph, x = start((1, 2, 2, 2, 2))
    graph.operator("ADD", [x, x], [1, 2, 2, 2, 2], 0.1, 0)
    return graph


def unknown_branch() -> Graph:
    graph, x = start((1, 4))
    ghost = graph.tensor("ghost", [1, 4], scales=[0.1], zero_points=[0])
    graph.operator("ADD", [x, ghost], [1, 4], 0.1, 0)
    return graph


CASES: list[tuple[Callable[[], Graph], str, str, str]] = [
    (middle_axis, "x", "MEAN over axes [1]", "last axes"),
    (variable_axes, "axes1", "not constant", "constant int32"),
    (axis_out_of_range, "axes1", "[7]", "3 dimensions"),
    (middle_broadcast, "c1", "[1, 3, 1]", "the last axes of it"),
    (int16_operand, "c1", "INT16", "full int8"),
    (per_channel_constant, "c1", "4 scales", "one scale"),
    (two_constants, "add2", "constants alone", "store the result"),
    (fused_tanh, "add1", "fused activation TANH", "RELU_N1_TO_1"),
    (fused_sign_bit, "y1", "fused activation SIGN_BIT", "RELU_N1_TO_1"),
    (tiny_output_scale, "sub1", "multiplier", "calibrated range"),
    (wide_softmax, "softmax1", "511 classes", "logits"),
    (odd_softmax_scale, "softmax1", "1/256", "convert again"),
    (int16_softmax, "softmax1", "INT16", "int8"),
    (negative_beta, "softmax1", "beta -1.0", "beta = 1"),
    (rescaling_concatenation, "x", "0.07", "QUANTIZE"),
    (concatenated_batches, "concatenation1", "[2, 4]", "batch size 1"),
    (fused_concatenation, "concatenation1", "fused activation RELU", "after it"),
    (five_dimensions, "add1", "5 dimensions", "flatten"),
    (unknown_branch, "ghost", "before anything made it", "convert it again"),
]


@pytest.mark.parametrize(("make", "tensor", "reason", "instead"), CASES)
def test_refused_by_name(
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[[], Graph],
    tensor: str,
    reason: str,
    instead: str,
) -> None:
    monkeypatch.setitem(ACTIVATIONS, "TANH", 4)
    monkeypatch.setitem(ACTIVATIONS, "SIGN_BIT", 5)
    model = make().build()
    with pytest.raises(ModelError) as caught:
        compile_plan(load(model, name="m.tflite"))
    message = str(caught.value)
    assert message.startswith("m.tflite: ")
    for part in (f"'{tensor}'", reason, instead):
        assert part in message


def test_damaged_files_with_many_operators_never_give_a_traceback() -> None:
    graph, x = start((1, 6))
    d = graph.operator("SQUARED_DIFFERENCE", [x, x], [1, 6], 0.2, -128)
    s = graph.operator("SUM", [d, graph.axes([1])], [1, 1], 0.2, -128, keep_dims=True)
    a = graph.operator("ADD", [x, s], [1, 6], 0.3, 0)
    c = graph.operator("CONCATENATION", [a, a], [1, 12], 0.3, 0, axis=1)
    graph.operator("SOFTMAX", [c], [1, 12], 1 / 256, -128, beta=1.0)
    assert refused_when_damaged(graph.build(), 2000) > 300

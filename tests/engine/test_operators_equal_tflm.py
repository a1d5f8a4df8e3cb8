# SPDX-License-Identifier: Apache-2.0
"""Every operator except FULLY_CONNECTED gives TFLM's bytes, alone and in graphs with branches."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.engine.operator_models import OPERATORS, random_inputs
from tests.support.graph import Graph
from tests.support.native import Network, tflm
from tinyfin.pack.plan import compile_plan, describe
from tinyfin.quantization.parity import litert
from tinyfin.tflite.model import load

MODELS = 48
CODES = np.arange(-128, 128).astype(np.int8).reshape(1, 256)


def differing(net: Network, model: bytes, inputs: NDArray[np.int8]) -> int:
    answer = net.run(compile_plan(load(model)), inputs)
    return int(np.count_nonzero(answer != tflm(model, inputs)))


@pytest.mark.parametrize("name", OPERATORS)
def test_random_models(net: Network, name: str) -> None:
    for seed in range(MODELS):
        rng = np.random.default_rng([seed, len(name)])
        graph = OPERATORS[name](rng)
        x = random_inputs(rng, 24, int(np.prod(graph.tensors[0].shape)))
        assert differing(net, graph.build(), x) == 0, f"{name}, seed {seed}"


@pytest.mark.parametrize("name", OPERATORS)
def test_a_kernel_that_does_not_round_is_caught(
    tmp_path_factory: pytest.TempPathFactory, name: str
) -> None:
    """Negative control: CONCATENATION has nothing to round, there one code is off by one."""
    wrong = Network("TFIN_TEST_NO_ROUNDING")
    found = 0
    for seed in range(10):
        rng = np.random.default_rng([seed, len(name)])
        graph = OPERATORS[name](rng)
        x = random_inputs(rng, 24, int(np.prod(graph.tensors[0].shape)))
        found += differing(wrong, graph.build(), x) > 0
    assert found > 0


@pytest.mark.parametrize("name", ["ADD", "SUB", "MUL", "SQUARED_DIFFERENCE"])
@pytest.mark.parametrize("constant_first", [False, True])
def test_every_code_with_a_constant(net: Network, name: str, constant_first: bool) -> None:
    rng = np.random.default_rng(len(name))
    for value in (-128, -1, 0, 77, 127):
        graph = Graph()
        zero = int(rng.integers(-128, 128))
        x = graph.tensor("x", [1, 256], scales=[0.05], zero_points=[zero])
        c = graph.constant(np.array([[value]], np.int8), 0.031, int(rng.integers(-128, 128)))
        pair = [c, x] if constant_first else [x, c]
        graph.operator(name, pair, [1, 256], 0.07, int(rng.integers(-128, 128)))
        assert differing(net, graph.build(), CODES) == 0, f"{name} with {value}"


def test_softmax_of_every_difference(net: Network) -> None:
    x = np.array([[a, b] for a in range(-128, 128, 5) for b in range(-128, 128)], np.int8)
    for input_scale, beta in ((0.01, 1.0), (0.1, 1.0), (0.5, 2.0), (4.0, 1.0), (1e-7, 1.0)):
        graph = Graph()
        source = graph.tensor("x", [1, 2], scales=[input_scale], zero_points=[3])
        graph.operator("SOFTMAX", [source], [1, 2], 1 / 256, -128, beta=beta)
        assert differing(net, graph.build(), x) == 0


def test_softmax_of_many_equal_classes(net: Network) -> None:
    graph = Graph()
    x = graph.tensor("x", [1, 511], scales=[0.1], zero_points=[0])
    graph.operator("SOFTMAX", [x], [1, 511], 1 / 256, -128, beta=1.0)
    assert differing(net, graph.build(), np.full((1, 511), 5, np.int8)) == 0


def test_relu_n1_to_1_alone(net: Network) -> None:
    """TFLM has no kernel for it; TFLite's own is the reference."""
    rng = np.random.default_rng(4)
    for _ in range(40):
        in_scale, factor = 2.0 ** rng.uniform(-8, 1), 2.0 ** rng.uniform(-3, 3)
        graph = Graph()
        zero = int(rng.integers(-128, 128))
        x = graph.tensor("x", [1, 256], scales=[in_scale], zero_points=[zero])
        graph.unary("RELU_N1_TO_1", x, in_scale * factor, int(rng.integers(-128, 128)))
        model = graph.build()
        expected = litert(model, CODES, reference=True)
        assert np.array_equal(net.run(compile_plan(load(model)), CODES), expected)


def autoencoder(rng: np.random.Generator) -> Graph:
    """Dense down and up, then the mean squared difference of input and output."""
    graph = Graph()
    n, k = int(rng.integers(2, 40)), int(rng.integers(1, 12))
    x = graph.tensor("x", [1, n], scales=[0.05], zero_points=[int(rng.integers(-20, 20))])
    down = rng.integers(-127, 128, (k, n), dtype=np.int8)
    up = rng.integers(-127, 128, (n, k), dtype=np.int8)
    hidden = graph.dense(x, down, None, [0.02 / n**0.5], 0.06, -128, "RELU")
    y = graph.dense(hidden, up, rng.integers(-500, 500, n), [0.02 / k**0.5], 0.05, 3)
    d = graph.operator("SQUARED_DIFFERENCE", [x, y], [1, n], 0.2, -128)
    graph.operator("MEAN", [d, graph.axes([-1])], [1, 1], 0.1, -128, keep_dims=True)
    return graph


def whitening(rng: np.random.Generator) -> Graph:
    """A linear layer, squared, summed: a Mahalanobis distance."""
    graph = Graph()
    n = int(rng.integers(1, 40))
    x = graph.tensor("x", [1, n], scales=[0.05], zero_points=[int(rng.integers(-20, 20))])
    w = rng.integers(-127, 128, (n, n), dtype=np.int8)
    z = graph.dense(x, w, rng.integers(-500, 500, n), [0.02 / n**0.5], 0.05, -4)
    if rng.random() < 0.5:
        square = graph.operator("MUL", [z, z], [1, n], 0.2, -128)
    else:
        zero = graph.constant(np.array([-4], np.int8), 0.05, -4)
        square = graph.operator("SQUARED_DIFFERENCE", [z, zero], [1, n], 0.2, -128)
    graph.operator("SUM", [square, graph.axes([1])], [1], 0.2 * n**0.5, -128, keep_dims=False)
    return graph


def residual(rng: np.random.Generator) -> Graph:
    """Tensors that live on while others come and go, joined at random; classes at the end."""
    graph = Graph()
    n = int(rng.choice([3, 8, 17]))
    alive = [graph.tensor("x", [1, n], scales=[0.05], zero_points=[int(rng.integers(-9, 9))])]
    for _ in range(int(rng.integers(3, 9))):
        a, b = (int(rng.choice(alive)) for _ in range(2))
        kind = str(rng.choice(["dense", "ADD", "SUB", "MUL", "TANH", "RELU", "SOFTMAX"]))
        zero = int(rng.integers(-20, 20))
        if kind == "dense":
            w = rng.integers(-127, 128, (n, n), dtype=np.int8)
            made = graph.dense(a, w, rng.integers(-99, 99, n), [0.02 / n**0.5], 0.05, zero)
        elif kind == "TANH":
            made = graph.unary("TANH", a, 1 / 128, 0)
        elif kind == "RELU":
            made = graph.unary("RELU", a, 0.04, zero)
        elif kind == "SOFTMAX":
            made = graph.operator("SOFTMAX", [a], [1, n], 1 / 256, -128, beta=1.0)
        else:
            made = graph.operator(kind, [a, b], [1, n], 0.06, zero)
        alive.append(made)
    x, y = alive[0], alive[-1]
    x, y = (graph.operator("QUANTIZE", [t], [1, n], 0.05, 0) for t in (x, y))
    joined = graph.operator("CONCATENATION", [y, x], [1, 2 * n], 0.05, 0, axis=-1)
    w = rng.integers(-127, 128, (4, 2 * n), dtype=np.int8)
    out = graph.dense(joined, w, None, [0.01], 0.1, 0)
    graph.operator("SOFTMAX", [graph.reshape(out, [1, 2, 2])], [1, 2, 2], 1 / 256, -128, beta=1.0)
    return graph


@pytest.mark.parametrize("make", [autoencoder, whitening, residual])
def test_graphs_with_branches(net: Network, make: Callable[[np.random.Generator], Graph]) -> None:
    for seed in range(40):
        rng = np.random.default_rng(seed)
        graph = make(rng)
        x = random_inputs(rng, 16, int(np.prod(graph.tensors[0].shape)))
        assert differing(net, graph.build(), x) == 0, f"{make.__name__}, seed {seed}"


def test_memory_is_used_again_and_operators_are_listed() -> None:
    graph = autoencoder(np.random.default_rng(0))
    about = describe(compile_plan(load(graph.build())))
    names = [op["name"] for op in about["operators"]]
    assert names == ["FULLY_CONNECTED", "FULLY_CONNECTED", "SQUARED_DIFFERENCE", "MEAN"]
    assert about["kernel_names"] == ["FULLY_CONNECTED", "SQUARED_DIFFERENCE", "REDUCE"]
    graph = Graph()
    x = graph.tensor("x", [1, 64], scales=[0.05], zero_points=[0])
    for _ in range(6):
        x = graph.operator("ADD", [x, x], [1, 64], 0.05, 0)
    assert describe(compile_plan(load(graph.build())))["arena_bytes"] == 2 * 64

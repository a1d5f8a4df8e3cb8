# SPDX-License-Identifier: Apache-2.0
"""Generated models, extremes included, give TFLM's bytes."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.graph import ACTIVATIONS, Graph
from tests.support.native import Network, tflm
from tinyfin.pack.plan import compile_plan, describe
from tinyfin.tflite.model import load

WIDTHS = (1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 31, 33, 64, 130)


def random_inputs(rng: np.random.Generator, rows: int, k: int) -> np.ndarray:
    x = rng.integers(-128, 128, (rows, k), dtype=np.int8)
    x[0], x[1] = 127, -128
    x[2] = np.where(np.arange(k) % 2 == 0, -128, 127)
    x[3] = np.where(np.arange(k) % 2 == 0, 127, -128)
    return x


def random_graph(rng: np.random.Generator, *, layers: int, width: int | None = None) -> Graph:
    """``width``: inputs of the first layer; a random one of WIDTHS otherwise."""
    graph = Graph()
    k = width or int(rng.choice(WIDTHS))
    source = graph.tensor(
        "x",
        [1, k],
        scales=[float(rng.uniform(1e-3, 1.0))],
        zero_points=[int(rng.integers(-128, 128))],
    )
    for _ in range(layers):
        n = int(rng.choice(WIDTHS))
        style = rng.integers(4)
        w = rng.integers(-127, 128, (n, k), dtype=np.int8)
        if style == 0:
            w[:] = rng.choice(np.array([-128, 127], np.int8), (n, k))
        elif style == 1:
            w[:] = rng.integers(-3, 4, (n, k))
        channels = n if rng.random() < 0.5 else 1
        si = float(np.float32(graph.tensors[source].scales[0]))
        spread = 80.0 * np.sqrt(k) * max(1.0, float(np.abs(w).mean()))
        # the accumulator's typical size against int8: sometimes too big, sometimes too small
        real = 127.0 / spread * 2.0 ** rng.uniform(-2, 2, channels)
        if rng.random() < 0.1:
            real = 2.0 ** rng.uniform(-40, 8, channels)
        out_scale = float(np.float32(rng.uniform(0.01, 0.5)))
        weight_scales = [float(np.float32(r * out_scale / si)) for r in real]
        bias = rng.integers(-(1 << 15), 1 << 15, n) if rng.random() < 0.8 else None
        activation = str(rng.choice(list(ACTIVATIONS)))
        zero = int(rng.choice([-128, 127, 0, int(rng.integers(-128, 128))]))
        source = graph.dense(source, w, bias, weight_scales, out_scale, zero, activation)
        k = n
    return graph


@pytest.mark.parametrize("seed", range(120))
def test_dense_layers(net: Network, seed: int) -> None:
    rng = np.random.default_rng(seed)
    model = random_graph(rng, layers=1 + seed % 3).build()
    parsed = load(model)
    inputs = random_inputs(rng, 24, parsed.input_tensor.size)
    answer = net.run(compile_plan(parsed), inputs)
    expected = tflm(model, inputs)
    assert np.count_nonzero(answer != expected) == 0, f"seed {seed}"


def test_the_generator_reaches_both_sums(net: Network) -> None:
    """Some generated layers keep the promise of a narrow sum and some cannot: both are tested."""
    seen = set()
    for seed in range(120):
        graph = random_graph(np.random.default_rng(seed), layers=1 + seed % 3)
        about = describe(compile_plan(load(graph.build())))
        seen |= {(op["narrow"], op["per_channel"]) for op in about["operators"]}
    assert seen == {(False, False), (False, True), (True, False), (True, True)}


@pytest.mark.parametrize("per_channel", [False, True])
def test_long_rows_of_extreme_weights(net: Network, per_channel: bool) -> None:
    """Row sums beyond 24 bits: 700 inputs of weights at +-127."""
    rng = np.random.default_rng(5)
    w = np.full((6, 700), 127, np.int8)
    w[1], w[3] = -127, -128
    graph = Graph()
    x = graph.tensor("x", [1, 700], scales=[0.05], zero_points=[-128])
    scales = [0.001 * (1 + i) for i in range(6)] if per_channel else [0.002]
    graph.dense(x, w, np.arange(6) * 1000, scales, 50.0, 3)
    model = graph.build()
    plan = compile_plan(load(model))
    assert not describe(plan)["operators"][0]["narrow"]
    inputs = random_inputs(rng, 12, 700)
    assert np.array_equal(net.run(plan, inputs), tflm(model, inputs))


@pytest.mark.parametrize("name", ["LOGISTIC", "TANH", "RELU", "RELU6", "LEAKY_RELU", "QUANTIZE"])
def test_tables_on_every_code(net: Network, name: str) -> None:
    rng = np.random.default_rng(11)
    codes = np.arange(-128, 128).astype(np.int8).reshape(1, 256)
    for trial in range(60):
        scale = float(np.float32(2.0 ** rng.uniform(-12, 2)))
        zero = int(rng.integers(-128, 128))
        graph = Graph()
        x = graph.tensor("x", [1, 256], scales=[scale], zero_points=[zero])
        if name == "LOGISTIC":
            out = (1 / 256, -128)
        elif name == "TANH":
            out = (1 / 128, 0)
        elif name == "RELU6":
            out = (scale, zero)
        else:
            out = (
                float(np.float32(scale * 2.0 ** rng.uniform(-3, 3))),
                int(rng.integers(-128, 128)),
            )
        if name == "LEAKY_RELU":
            alpha = float(np.float32(rng.choice([0.0, 0.01, 0.3, 1.7])))
            graph.operator(name, [x], [1, 256], *out, alpha=alpha)
        else:
            graph.unary(name, x, *out)
        model = graph.build()
        answer = net.run(compile_plan(load(model)), codes)
        assert np.array_equal(answer, tflm(model, codes)), (
            f"trial {trial}: scale {scale}, zero {zero}"
        )


def test_chains_of_tables_and_reshapes(net: Network) -> None:
    rng = np.random.default_rng(3)
    graph = Graph()
    x = graph.tensor("x", [1, 12], scales=[0.05], zero_points=[4])
    x = graph.unary("QUANTIZE", x, 0.04, -7)
    x = graph.reshape(x, [1, 3, 4])
    x = graph.unary("TANH", x, 1 / 128, 0)
    x = graph.reshape(x, [1, 12])
    w = rng.integers(-127, 128, (5, 12), dtype=np.int8)
    x = graph.dense(x, w, rng.integers(-999, 999, 5), [0.01], 0.05, -3)
    x = graph.unary("LOGISTIC", x, 1 / 256, -128)
    graph.reshape(x, [1, 5, 1])
    model = graph.build()
    inputs = random_inputs(rng, 50, 12)
    plan = compile_plan(load(model))
    assert [op["name"] for op in describe(plan)["operators"]] == [
        "TABLE",
        "TABLE",
        "FULLY_CONNECTED",
        "TABLE",
    ]
    assert np.array_equal(net.run(plan, inputs), tflm(model, inputs))

# SPDX-License-Identifier: Apache-2.0
"""Random models of one operator each, extremes of scales and zero points among them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from tests.support.graph import Graph

LENGTHS = (1, 2, 3, 15, 16, 17, 64)


def zero_point(rng: np.random.Generator) -> int:
    return int(rng.choice([-128, 127, 0, int(rng.integers(-128, 128))]))


def scale(rng: np.random.Generator, low: float = -9, high: float = 1) -> float:
    return float(np.float32(2.0 ** rng.uniform(low, high)))


def length(rng: np.random.Generator) -> int:
    return int(rng.choice(LENGTHS))


def source(graph: Graph, rng: np.random.Generator, shape: list[int]) -> int:
    return graph.tensor("x", shape, scales=[scale(rng)], zero_points=[zero_point(rng)])


def random_inputs(rng: np.random.Generator, rows: int, n: int) -> NDArray[np.int8]:
    x = rng.integers(-128, 128, (rows, n), dtype=np.int8)
    x[0], x[1] = 127, -128
    x[2] = np.where(np.arange(n) % 2 == 0, -128, 127)
    if rows > 8:
        x[3:7] = rng.integers(-4, 5, (4, n))
    return x


def softmax(rng: np.random.Generator) -> Graph:
    graph = Graph()
    shape = [1, length(rng)] if rng.random() < 0.7 else [1, 3, length(rng)]
    if rng.random() < 0.05:
        shape = [1, 511]
    x = source(graph, rng, shape)
    if rng.random() < 0.1:
        graph.tensors[0].scales = [float(np.float32(2.0 ** rng.uniform(-20, 8)))]
    beta = float(np.float32(rng.choice([1.0, 1.0, 2.0 ** rng.uniform(-4, 4)])))
    graph.operator("SOFTMAX", [x], shape, 1 / 256, -128, beta=beta)
    return graph


def binary(name: str, rng: np.random.Generator) -> Graph:
    graph = Graph()
    n = length(rng)
    shape = [1, n] if rng.random() < 0.6 else [1, 3, n]
    x = source(graph, rng, shape)
    s1 = float(graph.tensors[0].scales[0])
    s2 = scale(rng) if rng.random() < 0.5 else s1 * 2.0 ** rng.uniform(-2, 2)
    style = int(rng.integers(5))
    if style == 0:  # a constant of the same shape, first or second
        values = rng.integers(-128, 128, shape, dtype=np.int8)
        pair = [x, graph.constant(values, s2, zero_point(rng))]
    elif style == 1:  # the last axis or a scalar
        size: tuple[int, ...] = (n,) if rng.random() < 0.5 else ((1,) if rng.random() < 0.5 else ())
        values = rng.integers(-128, 128, size, dtype=np.int8)
        pair = [x, graph.constant(values, s2, zero_point(rng))]
    elif style == 2:  # by itself
        pair = [x, x]
        s2 = s1
    else:  # two tensors made of the input, the other one perhaps of one element
        other = graph.operator("QUANTIZE", [x], shape, s2, zero_point(rng))
        if style == 3 and rng.random() < 0.5:
            axes = graph.axes(list(range(1, len(shape))))
            ones = [1] * len(shape)
            other = graph.operator("MEAN", [x, axes], ones, s2, zero_point(rng), keep_dims=True)
        pair = [x, other]
    if rng.random() < 0.5:
        pair.reverse()
    if name == "MUL":
        typical = s1 * s2 * 60
    elif name == "SQUARED_DIFFERENCE":
        typical = max(s1, s2) ** 2 * 60
    else:
        typical = max(s1, s2)
    out = max(typical * 2.0 ** rng.uniform(-2, 3), 2 * max(s1, s2) * 2.0**-19)
    activation = "NONE"
    if name != "SQUARED_DIFFERENCE":
        activation = str(rng.choice(["NONE", "RELU", "RELU6", "RELU_N1_TO_1"]))
    graph.operator(name, pair, shape, float(np.float32(out)), zero_point(rng), activation)
    return graph


def reduction(name: str, rng: np.random.Generator) -> Graph:
    graph = Graph()
    shape = [1, length(rng)] if rng.random() < 0.5 else [1, length(rng), length(rng)]
    x = source(graph, rng, shape)
    everything = rng.random() < 0.5
    axes = list(range(1, len(shape))) if everything else [len(shape) - 1]
    if rng.random() < 0.3:
        axes = [a - len(shape) for a in axes]
    keep = bool(rng.random() < 0.5)
    last = [d % len(shape) for d in axes]
    kept = [1 if d in last else n for d, n in enumerate(shape)]
    out = kept if keep else [n for d, n in enumerate(shape) if d not in last]
    count = int(np.prod([shape[d] for d in last]))
    s1 = float(graph.tensors[0].scales[0])
    typical = s1 * (np.sqrt(count) if name == "SUM" else 1 / np.sqrt(count))
    if rng.random() < 0.2:
        typical = s1
    s2 = float(np.float32(typical * 2.0 ** rng.uniform(-2, 2)))
    graph.operator(name, [x, graph.axes(axes)], out, s2, zero_point(rng), keep_dims=keep)
    return graph


def concatenation(rng: np.random.Generator) -> Graph:
    graph = Graph()
    n = length(rng)
    shape = [1, n] if rng.random() < 0.5 else [1, 3, n]
    x = source(graph, rng, shape)
    s, z = graph.tensors[0].scales[0], int(graph.tensors[0].zero_points[0])
    parts = [x]
    for _ in range(int(rng.integers(1, 4))):
        if rng.random() < 0.5:
            parts.append(graph.operator("RELU", [x], shape, s, z))
        elif shape == [1, n]:
            m = length(rng)
            w = rng.integers(-127, 128, (m, n), dtype=np.int8)
            parts.append(graph.dense(x, w, None, [0.01], s, z))
        else:
            axes = graph.axes([2])
            parts.append(graph.operator("MEAN", [x, axes], [1, 3, 1], s, z, keep_dims=True))
    total = sum(graph.tensors[p].shape[-1] for p in parts)
    axis = int(rng.choice([-1, len(shape) - 1]))
    order = [parts[i] for i in rng.permutation(len(parts))]
    graph.operator("CONCATENATION", order, [*shape[:-1], total], s, z, axis=axis)
    return graph


def table(name: str, rng: np.random.Generator) -> Graph:
    """LOGISTIC, TANH, a RELU or QUANTIZE of a vector; RESHAPE stands before a RELU."""
    graph = Graph()
    n = length(rng)
    x = source(graph, rng, [1, n])
    s, z = float(graph.tensors[0].scales[0]), int(graph.tensors[0].zero_points[0])
    if name == "LOGISTIC":
        graph.unary(name, x, 1 / 256, -128)
    elif name == "TANH":
        graph.unary(name, x, 1 / 128, 0)
    elif name == "RELU6":
        graph.unary(name, x, s, z)
    elif name == "LEAKY_RELU":
        out = float(np.float32(s * 2.0 ** rng.uniform(-3, 3)))
        alpha = float(np.float32(rng.choice([0.0, 0.01, 0.3, rng.uniform(0, 2)])))
        graph.operator(name, [x], [1, n], out, zero_point(rng), alpha=alpha)
    elif name == "RESHAPE":
        graph.unary("RELU", graph.reshape(x, [1, n, 1]), s, z)
    else:
        graph.unary(name, x, float(np.float32(s * 2.0 ** rng.uniform(-3, 3))), zero_point(rng))
    return graph


OPERATORS: dict[str, Callable[[np.random.Generator], Graph]] = {
    "SOFTMAX": softmax,
    "ADD": lambda rng: binary("ADD", rng),
    "SUB": lambda rng: binary("SUB", rng),
    "MUL": lambda rng: binary("MUL", rng),
    "SQUARED_DIFFERENCE": lambda rng: binary("SQUARED_DIFFERENCE", rng),
    "SUM": lambda rng: reduction("SUM", rng),
    "MEAN": lambda rng: reduction("MEAN", rng),
    "CONCATENATION": concatenation,
}

#: operators that a plan answers from a table of 256 codes, and RESHAPE, which needs no node
TABLES: dict[str, Callable[[np.random.Generator], Graph]] = {
    name: partial(table, name)
    for name in ("LOGISTIC", "TANH", "RELU", "RELU6", "LEAKY_RELU", "QUANTIZE", "RESHAPE")
}

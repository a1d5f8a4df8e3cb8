# SPDX-License-Identifier: Apache-2.0
"""Small int8 ``.tflite`` files, written byte by byte."""

from __future__ import annotations

import numpy as np

from tests.support.graph import Graph


def own_tflite(width: int, *, scale: float = 1 / 64, zero_point: int = 0) -> bytes:
    """A layer with ReLU and one output."""
    rng = np.random.default_rng(6)
    graph = Graph()
    x = graph.tensor("codes", [1, width], scales=[scale], zero_points=[zero_point])
    for wide, activation in ((5, "RELU"), (1, "NONE")):
        inner = graph.tensors[x].shape[-1]
        weights = rng.integers(-127, 128, (wide, inner)).astype(np.int8)
        bias = rng.integers(-900, 900, wide).astype(np.int32)
        x = graph.dense(x, weights, bias, [0.01], 0.05, -10, activation)
    return graph.build()

# SPDX-License-Identifier: Apache-2.0
"""Random tables and trees, and what the oracle answers to them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tinyfin.oracle.terms import terms_network
from tinyfin.pack.integer_model import DensityTables, Forest, IntegerModel

INPUTS = (1, 2, 3, 28, 64)
KINDS = ("density", "forest")


def density(rng: np.random.Generator) -> DensityTables:
    shape = int(rng.choice(INPUTS)), 1 << int(rng.integers(2, 9))
    return DensityTables(rng.integers(0, 256, shape).astype(np.uint8))


def forest(rng: np.random.Generator) -> Forest:
    inputs = int(rng.choice(INPUTS))
    trees, depth = int(rng.integers(1, 12)), int(rng.integers(1, 8))
    splits = (trees, (1 << depth) - 1)
    threshold = rng.integers(-128, 128, splits).astype(np.int8)
    threshold[rng.random(splits) < 0.1] = 127  # always left
    return Forest(
        inputs,
        rng.integers(0, inputs, splits).astype(np.uint8),
        threshold,
        rng.integers(0, 256, (trees, 1 << depth)).astype(np.uint8),
    )


def make(kind: str, seed: int) -> tuple[IntegerModel, NDArray[np.int8]]:
    """A model and rows of inputs, the extremes among them; thresholds are hit exactly."""
    rng = np.random.default_rng([11, seed, len(kind)])
    model = density(rng) if kind == "density" else forest(rng)
    x = rng.integers(-128, 128, (8, model.inputs)).astype(np.int8)
    x[0], x[1] = 127, -128
    if isinstance(model, Forest):
        x[2] = model.threshold[0, 0]
    return model, x


def answers(model: IntegerModel, x: NDArray[np.int8]) -> tuple[NDArray[np.int8], NDArray[np.int32]]:
    """The oracle's terms less 128, and their sums."""
    network = terms_network(model.encode())
    rows = [network(row.tolist()) for row in x]
    return np.array([r[0] for r in rows], np.int8), np.array([r[1] for r in rows], np.int32)

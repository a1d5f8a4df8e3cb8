# SPDX-License-Identifier: Apache-2.0
"""Inputs of a run that is not there, and rows of codes with labels to learn."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tinyfin.pack.maps import InputMap
from tinyfin.quantization.own_models.run_inputs import Meaning, RunInputs
from tinyfin.training.families import codes_to_float

NAMES = ("a", "b", "c", "d")
# one value per code; several values per code; codes that no value has; values beyond the ends
MAPS = (
    InputMap((-128, 127), (-128, 127)),
    InputMap((0, 1000), (-20, 60)),
    InputMap((0, 5), (-100, 100)),
    InputMap((-32768, 0, 32767), (-128, 0, 127)),
)


def inputs(meaning: Meaning = "scaled") -> RunInputs:
    return RunInputs(NAMES, MAPS, meaning)


def features(rows: int = 3000, seed: int = 3) -> NDArray[np.int16]:
    rng = np.random.default_rng(seed)
    low, high = np.array([-160, -50, -1, -32768]), np.array([160, 1100, 7, 32768])
    return rng.integers(low, high, (rows, 4)).astype(np.int16)


def codes(of: NDArray[np.int16]) -> NDArray[np.int8]:
    return np.stack([m.evaluate(of[:, j]) for j, m in enumerate(MAPS)], axis=1)


def labels(x: NDArray[np.int8]) -> NDArray[np.int64]:
    rng = np.random.default_rng(5)
    odds = 3.0 * (x[:, 0] > 40) - 2.0 * (x[:, 1] > 30) + x[:, 2] / 40.0 - 1.5
    return (rng.random(len(x)) < 1 / (1 + np.exp(-odds))).astype(np.int64)


def data() -> tuple[NDArray[np.int8], NDArray[np.float32], NDArray[np.int64]]:
    """Codes, the codes over 64, and labels."""
    x = codes(features())
    return x, codes_to_float(x), labels(x)


def every_code() -> NDArray[np.int8]:
    """Each code of each input, the others at random; also codes that the maps do not give."""
    rng = np.random.default_rng(9)
    x = rng.integers(-128, 128, (4 * 256, 4)).astype(np.int8)
    for j in range(4):
        x[j * 256 : (j + 1) * 256, j] = np.arange(-128, 128)
    return x

# SPDX-License-Identifier: Apache-2.0
"""Families of models. Adding one is adding a module here and a line to :data:`FAMILIES`.

A family learns from int8 network inputs, the very bytes that the terminal's network will see, and
gives a Keras model whose input is ``code / INPUT_STEPS``: so the input of the int8 ``.tflite`` has
scale 1 / INPUT_STEPS and zero point 0, and what was learned from is what runs.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from tinyfin.config import Model
from tinyfin.errors import ConfigError

__all__ = ["FAMILIES", "INPUT_STEPS", "Family", "Fitted", "Problem", "family"]

INPUT_STEPS = 64
"""Codes per unit of the float network's input."""

FAMILIES: Mapping[str, str] = {"mlp": "tinyfin.training.families.mlp"}
"""Name of each family and the module that defines ``FAMILY``."""


@dataclass(frozen=True)
class Problem:
    """What there is to learn. Inputs int8[n, F]; labels 1 fraud, 0 genuine; in order of time.

    The validation rows are later than the fit rows and tell when to stop.
    """

    inputs: npt.NDArray[np.int8]
    label: npt.NDArray[np.int8]
    validation_inputs: npt.NDArray[np.int8]
    validation_label: npt.NDArray[np.int8]
    feature_names: tuple[str, ...]


@dataclass(frozen=True)
class Fitted:
    """A trained model: the Keras model and how its score is read."""

    keras_model: Any
    readout: str
    """``accumulator``: the int32 accumulator of the last dense layer, which is one wide."""
    history: Mapping[str, Any]

    def score(self, inputs: npt.NDArray[np.int8]) -> npt.NDArray[np.float32]:
        """Float scores (logits) of int8 inputs, n rows."""
        x = inputs.astype(np.float32) / INPUT_STEPS
        out: npt.NDArray[np.float32] = self.keras_model.predict(x, batch_size=16384, verbose=0)
        return out[:, 0]


class Family(Protocol):
    """What a family must do."""

    name: str

    def fit(
        self, problem: Problem, model: Model, progress: Callable[[int, int, str], None]
    ) -> Fitted:
        """Learn. ``progress(done, of, note)`` is called as it goes. The same problem, options and
        seed give the same weights on the same machine and versions."""


def family(name: str) -> Family:
    """The family called ``name``; ConfigError if there is none."""
    if name not in FAMILIES:
        raise ConfigError(f"model.family = {name!r}: known are {', '.join(FAMILIES)}")
    found: Family = importlib.import_module(FAMILIES[name]).FAMILY
    return found

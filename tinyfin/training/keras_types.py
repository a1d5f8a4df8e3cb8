# SPDX-License-Identifier: Apache-2.0
"""What is used of Keras and TensorFlow, which ship no types."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

__all__ = ["Function", "Layer", "Network", "Tensor"]

Function = Any
Layer = Any
Tensor = Any


class Network(Protocol):
    """A Keras model."""

    inputs: Tensor
    layers: Sequence[Layer]
    losses: Sequence[Tensor]
    trainable_variables: Sequence[Tensor]
    input_shape: tuple[int | None, ...]
    output_shape: tuple[int | None, ...]

    def __call__(self, inputs: Tensor, *, training: bool) -> Tensor:
        """The outputs."""

    def predict(
        self, x: npt.NDArray[np.float32], *, batch_size: int, verbose: int
    ) -> npt.NDArray[np.float32]:
        """The outputs of many rows."""

    def get_weights(self) -> list[npt.NDArray[np.float32]]:
        """Of the layers, in Keras' order."""

    def set_weights(self, weights: Sequence[npt.NDArray[np.float32]]) -> None:
        """In the same order."""

    def get_layer(self, name: str) -> Layer:
        """The layer of that name."""

    def count_params(self) -> int:
        """Numbers that are learned."""

    def save(self, path: Path) -> None:
        """Write a ``.keras`` file."""

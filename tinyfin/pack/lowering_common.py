# SPDX-License-Identifier: Apache-2.0
"""What lowering of every operator needs: where messages point, and activation ranges."""

from __future__ import annotations

import numpy as np

from tinyfin.errors import ModelError
from tinyfin.tflite import fixed_point
from tinyfin.tflite.model import Tensor, TfliteModel, TfliteOperator

__all__ = ["BOUNDS", "activation_range", "check_rank", "quantized", "same_size", "where"]

#: real bounds of the activations that can be fused
BOUNDS: dict[str, tuple[float | None, float | None]] = {
    "NONE": (None, None),
    "RELU": (0.0, None),
    "RELU6": (0.0, 6.0),
    "RELU_N1_TO_1": (-1.0, 1.0),
}


def where(model: TfliteModel, op: TfliteOperator, t: Tensor) -> str:
    """How a message begins."""
    return f"{model.source}: operator {op.name}, tensor {t.name!r}"


def same_size(model: TfliteModel, op: TfliteOperator, x: Tensor, y: Tensor) -> None:
    """Raises ModelError when the output has another number of elements."""
    if x.size != y.size:
        raise ModelError(
            f"{where(model, op, y)}: {y.size} elements made of {x.size}; convert the model again"
        )


def check_rank(model: TfliteModel, op: TfliteOperator, t: Tensor) -> None:
    """Raises ModelError beyond TFLM's four dimensions."""
    if len(t.shape) > 4:
        raise ModelError(
            f"{where(model, op, t)}: {len(t.shape)} dimensions; TFLM takes at most 4: flatten the "
            "tensor before it"
        )


def quantized(real: float, scale: np.float32, zero_point: int) -> int:
    """A real activation bound as a code, in float32 as TFLM computes it."""
    ratio = float(np.float32(real) / scale)
    return zero_point + fixed_point.round_half_away(min(max(ratio, -1e6), 1e6))


def activation_range(
    model: TfliteModel, op: TfliteOperator, y: Tensor, activation: str | None = None
) -> tuple[int, int]:
    """Smallest and largest code that the operator's fused activation lets through."""
    name = activation or op.options.get("activation", "NONE")
    if name not in BOUNDS:
        raise ModelError(
            f"{where(model, op, y)}: fused activation {name} is not in the plan's set; use one of "
            f"{', '.join(BOUNDS)}, or an activation of its own after the operator"
        )
    low, high = BOUNDS[name]
    lo = -128 if low is None else max(-128, quantized(low, y.scale, y.zero_point))
    hi = 127 if high is None else min(127, quantized(high, y.scale, y.zero_point))
    return lo, hi

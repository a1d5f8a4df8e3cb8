# SPDX-License-Identifier: Apache-2.0
"""Why a file is refused, in the words of whoever made the network: layers, not operators."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tinyfin.tflite.model import TfliteModel

__all__ = ["layer_of", "on_vectors", "refused_shape"]

_TENSORDOT = "Tensordot"


def layer_of(name: str) -> str:
    """The layer that a tensor belongs to, by the name that the converter gave it."""
    parts = name.partition(";")[0].split("/")
    if _TENSORDOT in parts[1:]:
        return parts[parts.index(_TENSORDOT) - 1]
    return parts[-2] if len(parts) > 1 else name


def refused_shape(model: TfliteModel) -> str | None:
    """Why its shapes suit no plan, which runs one row through layers of vectors; None when that is
    not why."""
    x = model.input_tensor
    if len(x.shape) > 1 and x.shape[0] != 1:
        return (
            f"the input {x.name!r} has shape {list(x.shape)}, {x.shape[0]} rows at a time; convert "
            "with batch size 1"
        )
    for op in model.operators:
        if op.name == "FULLY_CONNECTED" and len(op.inputs) > 1 and min(op.inputs[:2]) >= 0:
            source, weights = (model.tensors[i] for i in op.inputs[:2])
            width = weights.shape[-1] if weights.shape else 0
            if width and source.size > width and source.size % width == 0:
                # the converter brings the leading dimensions, the batch of 1 among them, to one
                shape = [1, *source.shape] if len(source.shape) == 2 else [*source.shape]
                return on_vectors(layer_of(model.tensors[op.outputs[0]].name), f"shape {shape}")
    for op in model.operators:
        for out in op.outputs:
            name = model.tensors[out].name
            if f"/{_TENSORDOT}" in name:
                return on_vectors(layer_of(name), "more than two dimensions")
    return None


def on_vectors(layer: str, shape: str) -> str:
    """What is wrong with a Dense layer on a tensor of some ``shape``, and what to do."""
    return (
        f"layer {layer!r} is a Dense layer on {shape}, so it runs once for each vector of it; a "
        "plan runs a layer once: put a Flatten layer before it"
    )

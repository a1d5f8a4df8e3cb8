# SPDX-License-Identifier: Apache-2.0
"""Keras to a full-int8 ``.tflite`` whose input is the code of the input maps, byte for byte."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import numpy as np
import numpy.typing as npt

from tinyfin.errors import ModelError
from tinyfin.tflite import model as tflite_model
from tinyfin.training.families import INPUT_STEPS
from tinyfin.training.keras_types import Function, Network, Tensor

__all__ = ["to_tflite"]


def to_tflite(keras_model: Network, representative: npt.NDArray[np.int8]) -> bytes:
    """Convert; int8 in and out. ``representative`` int8[n, F] as
    :func:`tinyfin.training.representative_sample.representative_rows` gives.

    Raises ModelError when the network cannot be converted, or its input would not be the maps'
    codes.
    """
    from tinyfin.training.reproducible import tensorflow

    tf = tensorflow(0)
    width = representative.shape[1]
    x = representative.astype(np.float32) / np.float32(INPUT_STEPS)

    @tf.function(input_signature=[tf.TensorSpec([1, width], tf.float32, name="inputs")])  # type: ignore[untyped-decorator]
    def serve(inputs: Tensor) -> Tensor:
        return keras_model(inputs, training=False)

    # without the Keras object the variables are frozen into constants, as the converter needs them
    function = _squares_as_products(tf, serve.get_concrete_function())
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([row[None, :]] for row in x)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = tf.int8
    converter.inference_output_type = tf.int8
    try:
        data = bytes(_quietly(converter.convert))
    except Exception as error:  # the converter raises many kinds, with the operator in the text
        text = str(error).strip().splitlines() or [type(error).__name__]
        raise ModelError(
            f"the network cannot be converted to int8: {text[0]}; use Dense layers with ReLU, "
            "sigmoid or tanh"
        ) from error
    check_input(data)
    return data


def _squares_as_products(tf: ModuleType, function: Function) -> Function:
    """The same function with x * x for each square: the converter has no int8 SQUARE and would
    leave it in float, but it has MUL."""
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    graph = function.graph.as_graph_def()
    nodes = [*graph.node, *(n for inner in graph.library.function for n in inner.node_def)]
    if not any(node.op == "Square" for node in nodes):
        return function
    frozen = convert_variables_to_constants_v2(function)
    graph = frozen.graph.as_graph_def()
    for node in graph.node:
        if node.op == "Square":
            node.op = "Mul"
            node.input.insert(1, node.input[0])
    wrapped = tf.compat.v1.wrap_function(lambda: tf.import_graph_def(graph, name=""), [])
    return wrapped.prune(
        [tensor.name for tensor in frozen.inputs], [tensor.name for tensor in frozen.outputs]
    )


def check_input(tflite: bytes) -> None:
    """ModelError unless the input is int8 with scale 1 / INPUT_STEPS and zero point 0."""
    tensor = tflite_model.load(tflite).input_tensor
    if tensor.zero_point != 0 or tensor.scale != np.float32(1.0 / INPUT_STEPS):
        raise ModelError(
            f"the input tensor {tensor.name!r} has scale {tensor.scale!r} and zero point "
            f"{tensor.zero_point}; the input maps give codes of scale 1/{INPUT_STEPS} and zero "
            "point 0: let the representative rows reach -128 and 127"
        )


def _quietly(call: Callable[[], bytes]) -> bytes:
    """The converter prints from C++ to stdout and stderr, where results and progress belong."""
    import os
    import sys
    import tempfile

    sys.stdout.flush()
    sys.stderr.flush()
    with tempfile.TemporaryFile() as sink:
        kept = os.dup(1), os.dup(2)
        try:
            os.dup2(sink.fileno(), 1)
            os.dup2(sink.fileno(), 2)
            return call()
        finally:
            os.dup2(kept[0], 1)
            os.dup2(kept[1], 2)
            os.close(kept[0])
            os.close(kept[1])

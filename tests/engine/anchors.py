# SPDX-License-Identifier: Apache-2.0
"""Seven networks of the shapes that other runtimes are compared with, made from seeds.

Keras builds them, TensorFlow's converter quantizes them, TFLM's interpreter gives the answers.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tests.support.native import tflm
from tinyfin.training.reproducible import tensorflow

__all__ = ["NAMES", "Anchor", "anchor"]

NAMES = ("ad01", "ae16_pc", "ae16_pt", "mlp16_pc", "mlp16_pt", "mlp32_pc", "mlp32_pt")
"""``ad01`` has the shape of MLPerf Tiny's anomaly detection; pc: weights per channel, pt: per
tensor."""

_SHAPES = {
    "ad01": (640, (128,) * 4 + (8,) + (128,) * 4 + (640,), None),
    "ae16": (16, (12, 6, 12, 16), None),
    "mlp16": (16, (32, 16, 1), "sigmoid"),
    "mlp32": (32, (64, 32, 1), None),
}


class Anchor(NamedTuple):
    """A model and what TFLM answers: int8[n, inputs] and int8[n, outputs]. Half of the rows are as
    in training, half uniform; the last two are all 127 and all -128."""

    tflite: bytes
    x: NDArray[np.int8]
    y: NDArray[np.int8]


@cache
def anchor(name: str) -> Anchor:
    """The network of that name, the same at every call."""
    shape, _, weights = name.partition("_")
    inputs, layers, last = _SHAPES[shape]
    seed = NAMES.index(name)
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(inputs, inputs)) / np.sqrt(inputs)
    typical = (rng.normal(0.3, 1.0, (256, inputs)) @ mixing).astype(np.float32)
    tflite = _convert(seed, inputs, layers, last, typical, per_channel=weights == "pc")
    x = _rows(rng, tflite, typical, 16 if shape == "ad01" else 128)
    return Anchor(tflite, x, tflm(tflite, x))


def _convert(
    seed: int,
    inputs: int,
    layers: tuple[int, ...],
    last: str | None,
    typical: NDArray[np.float32],
    *,
    per_channel: bool,
) -> bytes:
    tf = tensorflow(seed)
    model = tf.keras.Sequential([tf.keras.Input(batch_shape=(1, inputs))])
    for i, width in enumerate(layers):
        activation = last if i + 1 == len(layers) else "relu"
        bias = tf.keras.initializers.RandomNormal(stddev=0.2, seed=seed + i)
        model.add(tf.keras.layers.Dense(width, activation=activation, bias_initializer=bias))
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([row[None, :]] for row in typical)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    converter._experimental_disable_per_channel = not per_channel
    converter._experimental_disable_per_channel_quantization_for_dense_layers = not per_channel
    return bytes(converter.convert())


def _rows(
    rng: np.random.Generator, tflite: bytes, typical: NDArray[np.float32], half: int
) -> NDArray[np.int8]:
    from tinyfin.tflite.model import load

    tensor = load(tflite).input_tensor
    codes = np.rint(typical[:half] / np.float32(tensor.scale)) + tensor.zero_point
    uniform = rng.integers(-128, 128, (half, typical.shape[1]))
    edges = np.array([[127], [-128]]) + np.zeros((1, typical.shape[1]))
    rows = np.concatenate([np.clip(codes, -128, 127), uniform, edges])
    return np.ascontiguousarray(rows.astype(np.int8))

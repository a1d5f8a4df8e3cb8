# SPDX-License-Identifier: Apache-2.0
"""A network is refused by its real cause and its layer, not by what the converter made of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tinyfin.errors import ModelError
from tinyfin.pack.plan import compile_plan
from tinyfin.tflite.model import load
from tinyfin.training.reproducible import tensorflow

WIDTH = 12


def converted(make: Callable[[Any], list[Any]], shape: tuple[int, ...], batch: int) -> bytes:
    tf = tensorflow(1)
    network = tf.keras.Sequential([tf.keras.Input(shape), *make(tf.keras.layers)])
    signature = [tf.TensorSpec([batch, *shape], tf.float32)]
    function = tf.function(lambda x: network(x), input_signature=signature)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()])
    rng = np.random.default_rng(0)
    rows = rng.uniform(-2, 2, (20, batch, *shape)).astype(np.float32)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([row] for row in rows)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    return bytes(converter.convert())


@pytest.mark.parametrize(
    ("make", "shape", "batch", "said"),
    [
        (
            lambda k: [k.Reshape((4, 3)), k.Dense(3, name="wide"), k.Flatten(), k.Dense(1)],
            (WIDTH,),
            1,
            r"layer 'wide(_1)?' is a Dense layer on .*put a Flatten layer before it",
        ),
        (
            lambda k: [k.Dense(3, "relu", name="wide"), k.Flatten(), k.Dense(1)],
            (4, 3),
            1,
            r"layer 'wide(_1)?' is a Dense layer on .*put a Flatten layer before it",
        ),
        (
            lambda k: [k.Dense(3, "relu", name="wide"), k.Flatten(), k.Dense(1)],
            (2, 2, 3),
            1,
            r"layer 'wide(_1)?' is a Dense layer on .*put a Flatten layer before it",
        ),
        (
            lambda k: [k.Dense(3, "relu"), k.Dense(1)],
            (WIDTH,),
            4,
            r"4 rows at a time; convert with batch size 1",
        ),
    ],
)
def test_cause_and_layer(
    make: Callable[[Any], list[Any]], shape: tuple[int, ...], batch: int, said: str
) -> None:
    data = converted(make, shape, batch)
    with pytest.raises(ModelError, match=said) as told:
        compile_plan(load(data, "mine.tflite"))
    assert str(told.value).startswith("mine.tflite: ")
    assert ("batch size 1" in str(told.value)) == (batch > 1)


def test_flat_layers_are_taken() -> None:
    data = converted(lambda k: [k.Dense(3, "relu"), k.Dense(1)], (WIDTH,), 1)
    assert compile_plan(load(data, "mine.tflite"))

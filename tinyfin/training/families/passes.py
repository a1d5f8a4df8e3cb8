# SPDX-License-Identifier: Apache-2.0
"""Passes over the rows, each one graph, for the Keras networks of the families.

With networks so small a call per batch would cost more than the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from types import ModuleType

import numpy as np
import numpy.typing as npt

from tinyfin.config import Model
from tinyfin.training.keras_types import Network, Tensor

__all__ = ["epochs_for", "passes"]


def epochs_for(rows: int, model: Model, batches: int, bounds: tuple[int, int]) -> int:
    """``model.epochs``; or, where it does not say, so many that the network sees about ``batches``
    batches, within ``bounds``: a model of few rows then trains as thoroughly as one of many."""
    return model.epochs or min(max(bounds[0], -(-batches // _steps(rows, model))), bounds[1])


def passes(
    tf: ModuleType,
    network: Network,
    columns: Sequence[npt.NDArray[np.float32]],
    loss: Callable[..., Tensor],
    model: Model,
    epochs: int,
) -> Iterator[tuple[int, float]]:
    """Fit ``network`` with Adam and a cosine schedule; yields the number of each pass, from 0, and
    its mean loss, when the pass is done.

    ``columns``: float32[n, ...] each, of which the first goes into the network; of one batch,
    ``loss(out, *columns)`` gives the mean loss, to which the network's own losses are added. The
    rows' order is shuffled again for each pass, with the model's seed.
    """
    rows, batch = len(columns[0]), model.batch_size
    steps = _steps(rows, model)
    rate = tf.keras.optimizers.schedules.CosineDecay(
        model.learning_rate, epochs * steps, alpha=0.02
    )
    optimizer = tf.keras.optimizers.Adam(rate)
    variables = network.trainable_variables
    optimizer.build(variables)
    held = [tf.constant(column) for column in columns]

    @tf.function(input_signature=[tf.TensorSpec([rows], tf.int32)])  # type: ignore[untyped-decorator]
    def run(order: Tensor) -> Tensor:
        total = tf.constant(0.0)
        for step in tf.range(steps):
            at = order[step * batch : (step + 1) * batch]
            with tf.GradientTape() as tape:
                some = [tf.gather(column, at) for column in held]
                mean = loss(network(some[0], training=True), *some)
                if network.losses:
                    mean += tf.add_n(network.losses)
            optimizer.apply_gradients(zip(tape.gradient(mean, variables), variables, strict=True))
            total += mean
        return total / steps

    rng = np.random.default_rng(model.seed)
    for number in range(epochs):
        yield number, float(run(tf.constant(rng.permutation(rows).astype(np.int32))))


def _steps(rows: int, model: Model) -> int:
    return max(1, -(-rows // model.batch_size))

# SPDX-License-Identifier: Apache-2.0
"""Dense layers with ReLU and one linear output, the logit, fitted to targets between 0 and 1."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tinyfin.config import Model
from tinyfin.training.families import Fitted, Problem, codes_to_float
from tinyfin.training.metrics import average_precision
from tinyfin.training.reproducible import tensorflow

__all__ = ["fit_dense", "thinned"]


def thinned(label: npt.NDArray[np.int8], genuine: int, seed: int) -> npt.NDArray[np.int64]:
    """Rows, ascending: all frauds and at most ``genuine`` others, drawn at random."""
    others = np.flatnonzero(label != 1)
    if len(others) > genuine:
        others = np.random.default_rng(seed).choice(others, genuine, replace=False)
    return np.sort(np.concatenate([np.flatnonzero(label == 1), others]))


def fit_dense(
    problem: Problem,
    model: Model,
    rows: npt.NDArray[np.int64],
    target: npt.NDArray[np.float32],
    weight: npt.NDArray[np.float32],
    progress: Callable[[int, int, str], None],
    facts: Mapping[str, Any],
) -> Fitted:
    """Fit ``model.hidden`` to ``target`` of the problem's ``rows``; all arrays of their length.

    Binary cross-entropy on logits, Adam with a cosine schedule; the epoch with the best average
    precision on the validation rows is kept. ``facts`` go into the history.
    """
    tf = tensorflow(model.seed)
    network = _network(tf, problem, model)
    steps = max(1, -(-len(rows) // model.batch_size))
    rate = tf.keras.optimizers.schedules.CosineDecay(
        model.learning_rate, model.epochs * steps, alpha=0.02
    )
    network.compile(
        optimizer=tf.keras.optimizers.Adam(rate),
        loss=tf.keras.losses.BinaryCrossentropy(from_logits=True),
        jit_compile=False,
    )
    watch = _watch(tf, problem, model, progress)
    network.fit(
        codes_to_float(problem.inputs[rows]), target, sample_weight=weight / np.mean(weight),
        batch_size=model.batch_size, epochs=model.epochs, shuffle=True, verbose=0,
        callbacks=[watch],
    )  # fmt: skip
    network.set_weights(watch.best_weights)
    history = {
        "fit_rows": len(rows),
        "fit_frauds": int(np.count_nonzero(problem.label[rows] == 1)),
        **facts,
        "best_epoch": watch.best_epoch,
        "validation_average_precision": watch.values,
        "loss": watch.losses,
        "parameters": int(network.count_params()),
    }
    return Fitted(network, "accumulator", history)


def _network(tf: Any, problem: Problem, model: Model) -> Any:
    layers = tf.keras.layers
    l2 = tf.keras.regularizers.L2(model.l2) if model.l2 else None
    x = first = tf.keras.Input((problem.inputs.shape[1],), name="inputs")
    for i, width in enumerate(model.hidden):
        x = layers.Dense(width, "relu", kernel_regularizer=l2, name=f"hidden_{i}")(x)
        if model.dropout:
            x = layers.Dropout(model.dropout, seed=model.seed + i)(x)
    out = layers.Dense(1, kernel_regularizer=l2, name="logit")(x)
    network = tf.keras.Model(first, out, name="mlp")
    base = float(np.mean(problem.label == 1))
    network.get_layer("logit").bias.assign([np.log(base / (1.0 - base)) / 2])
    return network


def _watch(
    tf: Any, problem: Problem, model: Model, progress: Callable[[int, int, str], None]
) -> Any:
    inputs = codes_to_float(problem.validation_inputs)

    class Watch(tf.keras.callbacks.Callback):  # type: ignore[misc]
        """Average precision on the later slice after each epoch; keeps the best weights."""

        def __init__(self) -> None:
            super().__init__()
            self.values: list[float] = []
            self.losses: list[float] = []
            self.best_epoch = 0
            self.best_weights: list[Any] = []

        def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
            logit = self.model(inputs, training=False).numpy()[:, 0]
            value = average_precision(logit, problem.validation_label)
            # without a fraud among the later rows nothing tells epochs apart: the last one stays
            if not self.best_weights or np.isnan(value) or value > max(self.values):
                self.best_epoch, self.best_weights = epoch, self.model.get_weights()
            self.values.append(value)
            self.losses.append(float((logs or {}).get("loss", float("nan"))))
            progress(epoch + 1, model.epochs, f"epochs, AP {value:.3f}")
            if model.patience and epoch - self.best_epoch >= model.patience:
                self.model.stop_training = True

    return Watch()

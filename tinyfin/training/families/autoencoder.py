# SPDX-License-Identifier: Apache-2.0
"""``autoencoder``: dense layers through a narrow middle, and the error of what comes back.

``hidden`` is the way in, its last number the middle; the way out mirrors it. Trained on clean rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from tinyfin.config import Model
from tinyfin.training.families import Fitted, Problem, codes_to_float, family_options
from tinyfin.training.reproducible import tensorflow

__all__ = ["FAMILY"]

_EPOCHS = 20


class Options(BaseModel):
    """[model.options] of this family."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    activation: Literal["relu", "tanh"] = "relu"
    rows: int = Field(default=400_000, ge=100)
    """Rows to fit on at most; more are drawn from, evenly over time."""


class Autoencoder:
    """Mean squared error, Adam with a cosine schedule, the epoch of the lowest later error kept."""

    name = "autoencoder"
    supervised = False
    usual: Mapping[str, Any] = MappingProxyType({
        "hidden": [16, 8], "epochs": 40, "batch_size": 256, "learning_rate": 1e-2, "patience": 6,
    })

    def fit(
        self, problem: Problem, model: Model, progress: Callable[[int, int, str], None]
    ) -> Fitted:
        """See :class:`tinyfin.training.families.Family`."""
        options = family_options(Options, model)
        tf = tensorflow(model.seed)
        rows = np.arange(len(problem.inputs))
        if len(rows) > options.rows:
            drawn = np.random.default_rng(model.seed).choice(rows, options.rows, replace=False)
            rows = np.sort(drawn)
        x = codes_to_float(problem.inputs[rows])
        network = _network(tf, x.shape[1], model, options.activation)
        epochs = model.epochs or _EPOCHS
        steps = max(1, -(-len(x) // model.batch_size))
        rate = tf.keras.optimizers.schedules.CosineDecay(
            model.learning_rate, epochs * steps, alpha=0.02
        )
        network.compile(
            optimizer=tf.keras.optimizers.Adam(rate), loss="mse", jit_compile=False
        )
        later = codes_to_float(problem.validation_inputs[problem.validation_label != 1])
        watch = _watch(tf, later if len(later) else x, model, progress)
        network.fit(
            x, x, batch_size=model.batch_size, epochs=epochs, shuffle=True, verbose=0,
            callbacks=[watch],
        )  # fmt: skip
        network.set_weights(watch.best_weights)
        history = {
            "fit_rows": len(x),
            "best_epoch": watch.best_epoch,
            "validation_error": watch.values,
            "parameters": int(network.count_params()),
        }
        return Fitted(network, "reconstruction", history)


FAMILY = Autoencoder()


def _network(tf: Any, width: int, model: Model, activation: str) -> Any:
    layers = tf.keras.layers
    l2 = tf.keras.regularizers.L2(model.l2) if model.l2 else None
    x = first = tf.keras.Input((width,), name="inputs")
    for i, size in enumerate([*model.hidden, *model.hidden[-2::-1]]):
        x = layers.Dense(size, activation, kernel_regularizer=l2, name=f"hidden_{i}")(x)
    out = layers.Dense(width, kernel_regularizer=l2, name="outputs")(x)
    return tf.keras.Model(first, out, name="autoencoder")


def _watch(tf: Any, later: Any, model: Model, progress: Callable[[int, int, str], None]) -> Any:
    class Watch(tf.keras.callbacks.Callback):  # type: ignore[misc]
        """Mean squared error on later rows after each epoch; keeps the best weights."""

        def __init__(self) -> None:
            super().__init__()
            self.values: list[float] = []
            self.best_epoch = 0
            self.best_weights: list[Any] = []

        def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
            del logs
            back = self.model.predict(later, batch_size=16384, verbose=0)
            value = float(np.mean((back - later) ** 2))
            if not self.best_weights or value < min(self.values):
                self.best_epoch, self.best_weights = epoch, self.model.get_weights()
            self.values.append(value)
            progress(epoch + 1, model.epochs or _EPOCHS, f"error {value:.4f}")
            if model.patience and epoch - self.best_epoch >= model.patience:
                self.model.stop_training = True

    return Watch()

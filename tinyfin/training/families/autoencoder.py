# SPDX-License-Identifier: Apache-2.0
"""``autoencoder``: dense layers through a narrow middle, and the error of what comes back.

``hidden`` is the way in, its last number the middle; the way out mirrors it. Trained on clean rows.
What no clean row showed must not come back: the middle is narrower than the inputs, the activation
is bounded (ReLU goes on in a straight line, and far rows with it), and training ends before the
network has learned to copy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType, ModuleType
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from tinyfin.config import Model
from tinyfin.results.run import FitFacts
from tinyfin.training.families import Fitted, Problem, codes_to_float, family_options
from tinyfin.training.families.passes import epochs_for, passes
from tinyfin.training.keras_types import Network, Tensor
from tinyfin.training.representative_sample import thinned_facts
from tinyfin.training.reproducible import tensorflow

__all__ = ["FAMILY", "way_in"]

_BATCHES = 500
"""Batches that it wants to see, where [model] epochs does not say; with many more it gives back
what it should not."""
_EPOCHS = (5, 100)


class AutoencoderOptions(BaseModel):
    """[model.options] of this family."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    activation: Literal["tanh", "relu"] = "tanh"
    rows: int = Field(default=400_000, ge=100)
    """Rows to fit on at most; more are drawn from, evenly over time."""


class Autoencoder:
    """Mean squared error, Adam with a cosine schedule, the epoch of the lowest later error kept."""

    name = "autoencoder"
    supervised = False
    needs: tuple[str, ...] = ("tensorflow",)
    usual: Mapping[str, object] = MappingProxyType(
        {"hidden": [], "epochs": None, "batch_size": 256, "learning_rate": 1e-2, "patience": 0}
    )

    def takes_validation(self, model: Model) -> bool:
        """No: they say which epoch is kept."""
        return False

    def fit(
        self, problem: Problem, model: Model, progress: Callable[[int, int, str], None]
    ) -> Fitted:
        """See :class:`tinyfin.training.families.Family`."""
        options = family_options(AutoencoderOptions, model)
        tf = tensorflow(model.seed)
        rows = np.arange(len(problem.inputs))
        if len(rows) > options.rows:
            drawn = np.random.default_rng(model.seed).choice(rows, options.rows, replace=False)
            rows = np.sort(drawn)
        x = codes_to_float(problem.inputs[rows])
        later = codes_to_float(problem.validation_inputs[problem.validation_label != 1])
        hidden = way_in(model, x.shape[1])
        network = _network(tf, x.shape[1], hidden, model.l2, options.activation)

        def loss(out: Tensor, wanted: Tensor) -> Tensor:
            return tf.reduce_mean(tf.square(out - wanted))

        epochs = epochs_for(len(x), model, _BATCHES, _EPOCHS)
        errors: list[float] = []
        best, kept = 0, network.get_weights()
        for number, mean in passes(tf, network, [x], loss, model, epochs):
            errors.append(_error(network, later) if len(later) else mean)
            if errors[number] <= min(errors):
                best, kept = number, network.get_weights()
            progress(number + 1, epochs, f"epochs, error {errors[number]:.4f}")
            if model.patience and number - best >= model.patience:
                break
        network.set_weights(kept)
        history = FitFacts(
            hidden=hidden,
            fit_rows=len(x),
            best_epoch=best,
            validation_error=errors,
            parameters=int(network.count_params()),
        )
        thinned = thinned_facts("the model", problem.label, rows, "[model.options] rows")
        return Fitted(network, "reconstruction", history, thinned)


FAMILY = Autoencoder()


def way_in(model: Model, width: int) -> list[int]:
    """``model.hidden`` where somebody gave layers; else one layer, a third as wide as the inputs.

    A middle as wide as the inputs gives everything back, and is blind.
    """
    asked = model.hidden if "hidden" in model.model_fields_set else []
    return list(asked) or [max(1, round(width / 3))]


def _network(tf: ModuleType, width: int, hidden: list[int], l2: float, activation: str) -> Network:
    layers = tf.keras.layers
    regularizer = tf.keras.regularizers.L2(l2) if l2 else None
    x = first = tf.keras.Input((width,), name="inputs")
    for i, size in enumerate([*hidden, *hidden[-2::-1]]):
        x = layers.Dense(size, activation, kernel_regularizer=regularizer, name=f"hidden_{i}")(x)
    out = layers.Dense(width, kernel_regularizer=regularizer, name="outputs")(x)
    network: Network = tf.keras.Model(first, out, name="autoencoder")
    return network


def _error(network: Network, rows: npt.NDArray[np.float32]) -> float:
    back = network(rows, training=False).numpy()
    return float(np.mean((back - rows) ** 2))

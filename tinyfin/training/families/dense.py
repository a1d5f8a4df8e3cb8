# SPDX-License-Identifier: Apache-2.0
"""Dense layers with ReLU and one linear output, the logit, fitted to targets between 0 and 1."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Literal

import numpy as np
import numpy.typing as npt

from tinyfin.config import Model
from tinyfin.results.metrics import Thinned
from tinyfin.results.run import FitFacts
from tinyfin.training.amount_weights import amount_weights
from tinyfin.training.families import Fitted, Problem, codes_to_float
from tinyfin.training.families.passes import epochs_for, passes
from tinyfin.training.keras_types import Network, Tensor
from tinyfin.training.metrics import average_precision
from tinyfin.training.odds import log_odds
from tinyfin.training.reproducible import tensorflow

__all__ = ["fit_dense"]

_BATCHES = 7000
"""Batches that a network of this size wants to see, where [model] epochs does not say."""
_EPOCHS = (14, 80)
_ROWS = 1 << 18


def fit_dense(
    problem: Problem,
    model: Model,
    rows: npt.NDArray[np.int64],
    target: npt.NDArray[np.float32],
    weight: npt.NDArray[np.float32],
    progress: Callable[[int, int, str], None],
    facts: FitFacts,
    thinned: Sequence[Thinned],
    *,
    keep: Literal["best", "last"] = "best",
    more: tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]] | None = None,
    amount_power: float = 0.0,
) -> Fitted:
    """Fit ``model.hidden`` to ``target`` of the problem's ``rows``; all arrays of their length.

    Binary cross-entropy on logits, Adam with a cosine schedule. ``keep``: the epoch with the best
    average precision on the validation rows, or the last one, when the learning rate has fallen to
    its end; with few frauds the best epoch is best by chance. ``more``: inputs int8[m, F] of
    further rows, and their targets float32[m]; they have weight 1. ``amount_power``: the frauds
    among the validation rows weigh by their amounts, too. ``facts`` become the history.
    """
    tf = tensorflow(model.seed)
    network = _network(tf, problem, model)
    inputs = problem.inputs[rows]
    if more is not None:
        inputs, target = np.concatenate([inputs, more[0]]), np.concatenate([target, more[1]])
        weight = np.concatenate([weight, np.ones(len(more[1]), np.float32)])
    epochs = epochs_for(len(inputs), model, _BATCHES, _EPOCHS)
    patience = model.patience if keep == "best" else None
    watch = _Watch(network, problem, epochs, patience, amount_power, progress)

    def loss(out: Tensor, x: Tensor, wanted: Tensor, weights: Tensor) -> Tensor:
        del x
        each = tf.nn.sigmoid_cross_entropy_with_logits(wanted, out[:, 0])
        return tf.reduce_mean(each * weights)

    columns = (codes_to_float(inputs), target, (weight / np.mean(weight)).astype(np.float32))
    for number, mean in passes(tf, network, columns, loss, model, epochs):
        if watch.seen(number, mean):
            break
    network.set_weights(watch.best_weights)
    if amount_power:
        facts.amount_power = amount_power
    facts.fit_rows = len(rows)
    facts.fit_frauds = int(np.count_nonzero(problem.label[rows] == 1))
    facts.best_epoch = watch.best_epoch
    facts.validation_average_precision = watch.values
    facts.loss = watch.losses
    facts.parameters = int(network.count_params())
    return Fitted(network, "accumulator", facts, thinned)


def _network(tf: ModuleType, problem: Problem, model: Model) -> Network:
    layers = tf.keras.layers
    l2 = tf.keras.regularizers.L2(model.l2) if model.l2 else None
    x = first = tf.keras.Input((problem.inputs.shape[1],), name="inputs")
    for i, width in enumerate(model.hidden):
        x = layers.Dense(width, "relu", kernel_regularizer=l2, name=f"hidden_{i}")(x)
        if model.dropout:
            x = layers.Dropout(model.dropout, seed=model.seed + i, name=f"dropout_{i}")(x)
    out = layers.Dense(1, kernel_regularizer=l2, name="logit")(x)
    network: Network = tf.keras.Model(first, out, name="mlp")
    network.get_layer("logit").bias.assign([log_odds(float(np.mean(problem.label == 1))) / 2])
    return network


class _Watch:
    """Average precision on the later slice after each epoch; keeps weights."""

    def __init__(
        self,
        network: Network,
        problem: Problem,
        epochs: int,
        patience: int | None,
        amount_power: float,
        progress: Callable[[int, int, str], None],
    ) -> None:
        """``patience`` None: the last epoch is kept, whatever it is."""
        self.network, self.epochs, self.patience = network, epochs, patience
        self.progress = progress
        self.inputs = problem.validation_inputs
        self.label = problem.validation_label
        self.weight = (
            amount_weights(self.label == 1, problem.validation_amount, amount_power)
            if amount_power
            else None
        )
        self.values: list[float] = []
        self.losses: list[float] = []
        self.best_epoch = 0
        self.best_weights: list[npt.NDArray[np.float32]] = []

    def _logits(self) -> npt.NDArray[np.float32]:
        parts = [self.inputs[at : at + _ROWS] for at in range(0, len(self.inputs), _ROWS)]
        outs = [self.network(codes_to_float(part), training=False).numpy() for part in parts]
        return np.concatenate(outs)[:, 0]

    def seen(self, epoch: int, loss: float) -> bool:
        """Look at the network after an epoch; True when it is time to stop."""
        value = float("nan")
        if len(self.inputs):
            value = average_precision(self._logits(), self.label, self.weight)
        # without a fraud among the later rows nothing distinguishes epochs: the last one stays
        last = self.patience is None or np.isnan(value)
        if not self.best_weights or last or value > max(self.values):
            self.best_epoch, self.best_weights = epoch, self.network.get_weights()
        self.values.append(value)
        self.losses.append(loss)
        how = f"loss {loss:.4f}" if np.isnan(value) else f"AP {value:.3f}"
        self.progress(epoch + 1, self.epochs, f"epochs, {how}")
        return bool(self.patience) and epoch - self.best_epoch >= (self.patience or 0)

# SPDX-License-Identifier: Apache-2.0
"""A Keras network of one's own, checked and made ready to be converted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import numpy.typing as npt

from tinyfin.errors import ModelError
from tinyfin.quantization.own_models import first_line
from tinyfin.tflite.refused_layers import on_vectors
from tinyfin.training.families import INPUT_STEPS, Readout, codes_to_float
from tinyfin.training.keras_types import Layer, Network

__all__ = ["checked", "loaded", "why_still"]

_STILL_ROWS = 2000
_STILL, _FAR = 1e-12, 1e12
"""Below it a variance is none; the one that makes a Normalization give 0."""


def checked(
    tf: ModuleType,
    network: Network,
    names: list[str],
    readout: Readout,
    where: str,
    note: Callable[[str], None],
) -> Network:
    """``network`` as it will be read: without a sigmoid at the end, its inputs ``names``. Raises
    ModelError for one of another shape, or with layers that no plan holds."""
    _check_layers(tf, network, where)
    _check_shape(network, where, len(names), readout)
    _hold_what_never_varied(tf, network, names, note)
    if readout == "accumulator":
        network = _without_sigmoid(tf, network, note)
        _check_end(tf, network, where)
    return network


def loaded(tf: ModuleType, path: Path) -> Network:
    try:
        network: Network = tf.keras.models.load_model(path, compile=False)
    except Exception as error:  # Keras raises many kinds, with the layer in the text
        raise ModelError(
            f"{path}: Keras cannot load it: {first_line(error)}; save it with model.save, without "
            "layers of your own"
        ) from error
    return network


def _check_layers(tf: ModuleType, network: Network, where: str) -> None:
    """Raises ModelError for a recurrent layer, of which the converter dies, and for a Dense layer
    on more than one vector."""
    for layer in _layers(tf, network):
        shape = getattr(getattr(layer, "input", None), "shape", ())
        if type(layer).__name__ in ("Dense", "EinsumDense") and len(shape) > 2:
            raise ModelError(f"{where}: {on_vectors(layer.name, f'shape {tuple(shape)}')}")
        if ".layers.rnn." in type(layer).__module__:
            raise ModelError(
                f"{where}: layer {layer.name!r} is a {type(layer).__name__}, which no plan holds; "
                "use Dense layers over features that carry the history"
            )


def _check_shape(network: Network, where: str, width: int, readout: Readout) -> None:
    takes, gives = tuple(network.input_shape), tuple(network.output_shape)
    if takes != (None, width):
        raise ModelError(
            f"{where}: takes {takes}; the run has {width} inputs, so (None, {width}) is needed, "
            f"each the int8 code over {INPUT_STEPS}"
        )
    wanted = {"accumulator": (None, 1), "reconstruction": (None, width)}.get(readout)
    if len(gives) != 2 or (wanted is not None and gives != wanted):
        raise ModelError(
            f"{where}: gives {gives}; read-out {readout} needs {wanted or '(None, outputs)'}"
        )


def _hold_what_never_varied(
    tf: ModuleType, network: Network, names: list[str], note: Callable[[str], None]
) -> None:
    """Leave out of an adapted Normalization at the front the inputs that were constant there.

    Keras divides them by 1e-7, and no int8 tensor holds that together with the others.
    """
    first = next((x for x in network.layers if not isinstance(x, tf.keras.layers.InputLayer)), None)
    if not isinstance(first, tf.keras.layers.Normalization) or first.input_mean is not None:
        return
    variance = np.array(first.variance, np.float32)
    still = variance.ravel() < _STILL
    if variance.size != len(names) or not still.any():
        return
    first.adapt_variance.assign(
        np.where(still, _FAR, variance.ravel()).reshape(first.adapt_variance.shape)
    )
    first.finalize_state()
    told = ", ".join(name for name, s in zip(names, still, strict=True) if s)
    note(f"{first.name}: never varied where it was adapted, taken as constant: {told}")


def _without_sigmoid(tf: ModuleType, network: Network, note: Callable[[str], None]) -> Network:
    """The logit: a sigmoid at the end is taken off, for its 1/256 steps would ruin calibration."""
    last = _last(tf, network)
    if getattr(last, "activation", None) is not tf.keras.activations.sigmoid:
        return network
    note("the sigmoid at the end is taken off: the score is read from the logit before it")
    if isinstance(last, tf.keras.layers.Activation):
        if last is not network.layers[-1]:
            return network
        before: Network = tf.keras.Model(network.inputs, last.input)
        return before
    last.activation = tf.keras.activations.linear
    # built again, so that nothing that was traced with the sigmoid is left
    again: Network = tf.keras.models.clone_model(network, clone_function=lambda layer: layer)
    return again


def _check_end(tf: ModuleType, network: Network, where: str) -> None:
    """Raises ModelError unless the last layer is a linear Dense(1)."""
    last = _last(tf, network)
    if getattr(last, "units", None) != 1:
        raise ModelError(
            f"{where}: ends in {type(last).__name__}; the score is the accumulator of a last "
            "Dense(1) layer"
        )
    activation = getattr(last, "activation", None)
    if activation not in (None, tf.keras.activations.linear):
        raise ModelError(
            f"{where}: ends in a Dense layer with {getattr(activation, '__name__', activation)}; "
            "the score is read before it, so train it with a linear one and a loss that takes "
            "logits"
        )


def why_still(tf: ModuleType, network: Network, codes: npt.NDArray[np.int8]) -> str:
    """Which layer is the first whose output is the same for all rows, and what to do."""
    x = codes_to_float(codes[:_STILL_ROWS])
    for layer in _layers(tf, network):
        if isinstance(layer, tf.keras.layers.InputLayer):
            continue
        try:
            out = tf.keras.Model(network.inputs, layer.output).predict(x, verbose=0)
        except (ValueError, AttributeError, KeyError):  # all of them Keras'
            continue  # a layer of a network within, or one that is used twice
        if np.all(out == out[:1]):
            why = "all weights are 0 or its ReLU is dead" if not out.any() else "it is constant"
            return (
                f"layer {layer.name!r} is the first whose output never varies: {why}; train it "
                "again, with a smaller learning rate or another start"
            )
    return "train it again, with a smaller learning rate or another start"


def _layers(tf: ModuleType, network: Network) -> Iterator[Layer]:
    """The layers, also those of networks within the network."""
    for layer in network.layers:
        if isinstance(layer, tf.keras.Model):
            yield from _layers(tf, layer)
        else:
            yield layer


def _last(tf: ModuleType, network: Network) -> Layer:
    """The layer that gives the output, also where it is in a network within the network."""
    last = network.layers[-1]
    while isinstance(last, tf.keras.Model) and last.layers:
        last = last.layers[-1]
    return last

# SPDX-License-Identifier: Apache-2.0
"""A Keras network of the user's own in the place of the one that a run trained.

Features, input maps and the rows to calibrate and test on are the run's; so its figures stand
beside the run's own, on the same rows.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tinyfin.errors import ModelError
from tinyfin.training.families import INPUT_STEPS, Fitted, Readout, weights_sha256
from tinyfin.training.run import RunFolder, new_run

__all__ = ["FAMILY", "adopt", "default_name"]

FAMILY = "own"
"""What ``run.json`` calls a network that was not trained here."""

_COPIED = ("config.toml", "program.bin", "maps.json")


def default_name(run: RunFolder, path: Path) -> str:
    """Name of the run that :func:`adopt` makes when none is asked for."""
    stem = "".join(c if c.isalnum() or c in "._-" else "-" for c in path.stem)
    return f"{run.name}-{stem}"[:64]


def adopt(
    run: RunFolder,
    path: Path,
    *,
    name: str | None = None,
    readout: Readout = "accumulator",
    note: Callable[[str], None] = lambda _: None,
) -> RunFolder:
    """Make the run ``name`` beside ``run``: the same but for the network, which is that of the
    Keras file ``path``.

    The network takes float32[n, F]: the int8 codes of the run's input maps over ``INPUT_STEPS``
    (``tinyfin features DATA --inputs RUN`` writes the codes). ``readout`` says how its score is
    taken: ``accumulator`` of one output, the logit (a sigmoid at the end is taken off);
    ``sum_of_squares`` of the outputs; ``reconstruction`` of inputs less outputs. Raises ModelError
    for a file that is no Keras network or one of another shape, InputError when a run of that name
    is there.
    """
    from tinyfin.training.reproducible import tensorflow

    facts = run.read_json("run.json")
    width = len(facts["features"]["names"])
    tf = tensorflow(int(facts["model"]["seed"]))
    network = _without_sigmoid(tf, _loaded(tf, path), note) if readout == "accumulator" else (
        _loaded(tf, path))
    _check_shape(network, path, width, readout)
    fitted = Fitted(network, readout, {})
    slices = run.slices()
    for part in ("calibration", "test"):
        if len(slices[part]):
            slices[f"{part}_float"] = fitted.score(slices[part])
    if not all(np.isfinite(slices[f"{part}_float"]).all() for part in ("calibration", "test")):
        raise ModelError(f"{path}: gives NaN or infinity on the run's rows; train it again")
    made = new_run(run.path.parent, name or default_name(run, path), run.config())
    for file in _COPIED:
        shutil.copyfile(run.file(file), made.path / file)
    fitted.save(made.path)
    np.savez_compressed(made.path / "slices.npz", **slices)  # type: ignore[arg-type]
    facts["name"] = made.name
    facts["model"] = {
        "family": FAMILY,
        "file": {"name": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()},
        "in_place_of": {"run": run.name, "weights_sha256": facts["model"]["weights_sha256"]},
        "seed": facts["model"]["seed"],
        "readout": readout,
        "hidden": [],
        "parameters": int(network.count_params()),
        "weights_sha256": weights_sha256(fitted),
    }
    made.write_json("run.json", facts)
    return made


def _loaded(tf: Any, path: Path) -> Any:
    if path.suffix not in (".keras", ".h5"):
        raise ModelError(f"{path}: give a Keras network, saved as .keras or .h5")
    try:
        return tf.keras.models.load_model(path, compile=False)
    except Exception as error:  # Keras raises many kinds, with the layer in the text
        text = str(error).strip().splitlines() or [type(error).__name__]
        raise ModelError(
            f"{path}: Keras cannot load it: {text[0]}; save it with model.save, without layers of "
            "your own"
        ) from error


def _without_sigmoid(tf: Any, network: Any, note: Callable[[str], None]) -> Any:
    """The logit: a sigmoid at the end is taken off, for its 1/256 steps would ruin calibration."""
    last = network.layers[-1]
    if getattr(last, "activation", None) is not tf.keras.activations.sigmoid:
        return network
    note("the sigmoid at the end is taken off: the score is read from the logit before it")
    if isinstance(last, tf.keras.layers.Activation):
        return tf.keras.Model(network.inputs, last.input)
    last.activation = tf.keras.activations.linear
    # built anew, so that nothing that was traced with the sigmoid is left
    return tf.keras.models.clone_model(network, clone_function=lambda layer: layer)


def _check_shape(network: Any, path: Path, width: int, readout: Readout) -> None:
    takes, gives = tuple(network.input_shape), tuple(network.output_shape)
    if takes != (None, width):
        raise ModelError(
            f"{path}: takes {takes}; the run has {width} inputs, so (None, {width}) is needed, "
            f"each the int8 code over {INPUT_STEPS}"
        )
    wanted = {"accumulator": (None, 1), "reconstruction": (None, width)}.get(readout)
    if len(gives) != 2 or (wanted is not None and gives != wanted):
        raise ModelError(
            f"{path}: gives {gives}; read-out {readout} needs {wanted or '(None, outputs)'}"
        )
    if readout == "accumulator" and getattr(network.layers[-1], "units", None) != 1:
        raise ModelError(
            f"{path}: ends in {type(network.layers[-1]).__name__}; the score is the accumulator "
            "of a last Dense(1) layer"
        )

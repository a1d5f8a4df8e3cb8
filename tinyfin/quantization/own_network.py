# SPDX-License-Identifier: Apache-2.0
"""A model of your own in the place of the one that a run trained: a network or trees, made by
Keras, PyTorch, scikit-learn, XGBoost or LightGBM.

Features, input maps and the rows to calibrate and test on are the run's; so its figures can be
compared with the run's own, on the same rows.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from tinyfin.errors import ModelError
from tinyfin.progress import stage
from tinyfin.quantization.own_models import keras_file
from tinyfin.quantization.own_models.ensemble import Ensemble, fitted
from tinyfin.quantization.own_models.layers import Layers
from tinyfin.quantization.own_models.lightgbm_file import read_lightgbm
from tinyfin.quantization.own_models.onnx_file import read_onnx
from tinyfin.quantization.own_models.run_inputs import Meaning, RunInputs
from tinyfin.quantization.own_models.sklearn_file import read_skops
from tinyfin.quantization.own_models.tflite_file import read_tflite
from tinyfin.quantization.own_models.xgboost_file import read_xgboost
from tinyfin.results.reference import Reference
from tinyfin.results.run import FitFacts, ModelFacts, ModelFile, Replaced
from tinyfin.text import one_line
from tinyfin.training.families import Fitted, Learned, Readout, score_rows, weights_sha256
from tinyfin.training.run_folder import RunFolder, making_run, open_run

__all__ = ["FAMILY", "adopt", "adopting", "default_name", "read_file"]

FAMILY = "own"
"""What ``run.json`` calls a model that was not trained here."""

_COPIED = ("config.toml", "program.bin", "maps.json")
_MAX_BYTES = 1 << 28
_KERAS = (".keras", ".h5")
_KNOWN = (
    ".keras (Keras), .onnx (PyTorch and others), .skops (scikit-learn), .json or .ubj (XGBoost), "
    ".txt or .json (LightGBM), .tflite (int8, on the run's codes)"
)
_SAVE_AS = {
    **dict.fromkeys(
        (".joblib", ".pickle", ".pkl", ".sav"),
        "a pickle runs whatever code is in it, so none is read; write the estimator with "
        '`skops.io.dump(estimator, "FILE.skops")`, a booster with its save_model',
    ),
    **dict.fromkeys(
        (".pt", ".pth"),
        "weights alone are no network; write it with "
        '`torch.onnx.export(network.eval(), (x,), "FILE.onnx", external_data=False)`',
    ),
}


def default_name(run: RunFolder, path: Path) -> str:
    """Name of the run that :func:`adopt` makes when none is asked for."""
    stem = "".join(c if c.isalnum() or c in "._-" else "-" for c in path.stem)
    return f"{run.name}-{stem}"[:64]


def adopt(
    run: RunFolder | str | Path,
    path: Path,
    *,
    name: str | None = None,
    readout: Readout = "accumulator",
    inputs: Meaning = "scaled",
    note: Callable[[str], None] = lambda _: None,
) -> RunFolder:
    """Make the run ``name`` next to ``run``, as :func:`adopting` does."""
    with adopting(
        open_run(run), path, name=name, readout=readout, inputs=inputs, note=note
    ) as made:
        pass
    return open_run(made.shown)


@contextmanager
def adopting(
    run: RunFolder,
    path: Path,
    *,
    name: str | None = None,
    readout: Readout = "accumulator",
    inputs: Meaning = "scaled",
    note: Callable[[str], None] = lambda _: None,
) -> Iterator[RunFolder]:
    """Make the run ``name`` next to ``run``: the same but for the model, which is that of the file
    ``path`` (``.keras``, ``.onnx``, ``.skops``, ``.json``, ``.ubj``, ``.txt``, ``.tflite``). It is
    there when the ``with`` block ends, and not after an exception.

    The model takes [n, F]; ``inputs`` says what
    (:data:`tinyfin.quantization.own_models.run_inputs.Meaning`): the int8 codes of the run's input
    maps over ``INPUT_STEPS`` as float32, or the codes, or, of trees, the features before the maps.
    ``readout`` says how a network's score is taken: ``accumulator`` of one output, the logit (a
    sigmoid at the end is taken off); ``sum_of_squares`` of the outputs; ``reconstruction`` of
    inputs less outputs. Raises ModelError for a file that holds no such model or one of another
    shape, InputError when a run of that name is there, ToolError when the package that reads the
    file is missing.
    """
    from tinyfin.training.reproducible import tensorflow

    facts = run.facts()
    slices = run.slices()
    meant = RunInputs(tuple(facts.features.names), run.maps(), inputs)
    learned = _learned(path, meant, readout, facts.model.seed, note)
    with stage("scoring the run's rows"):
        for part in ("calibration", "test"):
            if len(slices[part]):
                slices[f"{part}_float"] = score_rows(learned, slices[part])
    scores = np.concatenate([slices[f"{part}_float"] for part in ("calibration", "test")])
    if not np.isfinite(scores).all():
        raise ModelError(f"{path}: gives NaN or infinity on the run's rows; train it again")
    if np.ptp(scores) == 0:
        why = "train it again, on the run's inputs"
        if isinstance(learned, Fitted):
            tf = tensorflow(facts.model.seed)
            why = keras_file.why_still(tf, learned.keras_model, slices["calibration"])
        raise ModelError(
            f"{path}: gives one and the same score for every row ({scores[0]:.4g}); {why}"
        )
    facts.model = ModelFacts(
        **learned.history.model_dump(exclude_unset=True),
        family=FAMILY,
        file=ModelFile(
            name=path.name, sha256=hashlib.sha256(path.read_bytes()).hexdigest(), inputs=inputs
        ),
        in_place_of=Replaced(run=run.name, weights_sha256=facts.model.weights_sha256),
        seed=facts.model.seed,
        readout=readout,
        weights_sha256=weights_sha256(learned),
    )
    name = name or default_name(run, path)
    with making_run(run.path.parent, name, run.config()) as made:
        for file in _COPIED:
            shutil.copyfile(run.file(file), made.path / file)
        if (run.path / Reference.NAME).is_file():
            shutil.copyfile(run.path / Reference.NAME, made.path / Reference.NAME)
        learned.save(made.path)
        made.write_arrays("slices.npz", slices)
        facts.name = made.name
        made.write(facts)
        yield made


def _learned(
    path: Path, inputs: RunInputs, readout: Readout, seed: int, note: Callable[[str], None]
) -> Learned:
    """The model of a file, ready to score the run's codes."""
    from tinyfin.training.reproducible import tensorflow

    where, names = str(path), inputs.names
    if path.suffix in (*_KERAS, ".tflite") and inputs.meaning != "scaled":
        raise ModelError(f"{where}: takes the codes over 64; leave --inputs {inputs.meaning} out")
    if path.suffix == ".tflite":
        return read_tflite(_bytes(path), where, len(names), readout)
    if path.suffix in _KERAS:
        tf = tensorflow(seed)
        network = keras_file.loaded(tf, path)
    else:
        found = read_file(path, factor=inputs.factor, note=note)
        if isinstance(found, Ensemble):
            if readout != "accumulator":
                raise ModelError(f"{where}: trees are summed; leave --readout {readout} out")
            return fitted(found, inputs, where, note)
        if inputs.meaning == "features":
            raise ModelError(
                f"{where}: a network takes the codes, for the input maps bend the features; train "
                "it on them, and leave --inputs features out"
            )
        if found.names is not None and found.names != names:
            raise ModelError(
                f"{where}: was trained on {', '.join(found.names)}; the run's inputs are "
                f"{', '.join(names)}, in this order"
            )
        logit = found.logit(found.output) if readout == "accumulator" else None
        if logit is not None:
            note("the sigmoid at the end is taken off: the score is read from the logit before it")
            found.output = logit
        tf = tensorflow(seed)
        network = found.network(tf)
    network = keras_file.checked(tf, network, list(names), readout, where, note)
    return Fitted(network, readout, FitFacts(parameters=int(network.count_params())))


def read_file(
    path: Path, *, factor: float = 1.0, note: Callable[[str], None] = lambda _: None
) -> Layers | Ensemble:
    """The network, its inputs multiplied by ``factor`` first, or the trees of a file that is
    neither Keras' nor TFLite's. Raises ModelError."""
    where = str(path)
    if path.suffix in _SAVE_AS:
        raise ModelError(f"{where}: {_SAVE_AS[path.suffix]}")
    if path.suffix not in (".onnx", ".skops", ".json", ".ubj", ".txt"):
        raise ModelError(f"{where}: give a model in one of {_KNOWN}")
    data = _bytes(path)
    try:
        if path.suffix == ".onnx":
            return read_onnx(data, where, factor=factor)
        if path.suffix == ".skops":
            return read_skops(data, where, factor=factor, note=note)
        if path.suffix == ".txt" or (path.suffix == ".json" and b'"tree_structure"' in data):
            return read_lightgbm(data, where)
        return read_xgboost(data, where, note=note)
    except ModelError as error:  # names of the file stand in it
        raise ModelError(one_line(str(error))) from error


def _bytes(path: Path) -> bytes:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ModelError(f"{path}: is larger than {_MAX_BYTES} bytes; no terminal holds it")
        return path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror}; check the path") from error

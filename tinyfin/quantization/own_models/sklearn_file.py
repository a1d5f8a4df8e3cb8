# SPDX-License-Identifier: Apache-2.0
"""Fitted estimators of scikit-learn, in files of skops.

A file names its types before any object is made; only those that skops trusts and the few listed
here are made. The scalers' ``transform`` is called, and no other method that computes: scores are
computed here, from arrays that were checked.
"""

from __future__ import annotations

import io
import json
import warnings
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from tinyfin.errors import ModelError
from tinyfin.optional_packages import require
from tinyfin.quantization.own_models import first_line
from tinyfin.quantization.own_models.ensemble import Ensemble, Tree
from tinyfin.quantization.own_models.layers import Activation, Layers
from tinyfin.training.families.forest import average_path

__all__ = ["read_skops"]

_MAX_BYTES = 1 << 28
"""Of a file's contents, unpacked, each as often as the file names it."""
_MAX_SCHEMA_BYTES = 1 << 26
"""Of what names them: a tree takes about 30 kB."""
_TRUSTED = (
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
    "sklearn.tree._tree.Tree",
)
_ACTIVATIONS: dict[str, Activation | None] = {
    "identity": None,
    "logistic": "sigmoid",
    "tanh": "tanh",
    "relu": "relu",
}
_SCHEMA = "schema.json"
_SCALERS = ("StandardScaler", "MinMaxScaler")

Estimator = Any
Numbers = npt.NDArray[np.number]


def read_skops(
    data: bytes, where: str, *, factor: float = 1.0, note: Callable[[str], None] = lambda _: None
) -> Layers | Ensemble:
    """The estimator of a skops file: a network, its inputs multiplied by ``factor`` first, or
    trees. Raises ModelError; ToolError without the package ``skops``."""
    require(["skops", "sklearn"], "to read .skops")
    estimator = _loaded(data, where, note)
    try:
        return _read(estimator, factor)
    except ModelError as error:
        raise ModelError(f"{where}: {error}") from error
    except Exception as error:  # an attribute that is missing, or of another type or shape
        raise ModelError(
            f"{where}: {type(estimator).__name__} is not as scikit-learn fits it "
            f"({type(error).__name__}: {first_line(error)[:200]}); fit and save it again"
        ) from error


def _loaded(data: bytes, where: str, note: Callable[[str], None]) -> Estimator:
    from skops import io as skops_io

    try:
        _check_size(data, where)
        strange = sorted(set(skops_io.get_untrusted_types(data=data)) - {*_TRUSTED})
        if strange:
            raise ModelError(
                f"{where}: holds {', '.join(map(str, strange[:5]))}, which may run any code; save "
                "an estimator of scikit-learn's own, without categorical features, alone or in a "
                "Pipeline with a scaler"
            )
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            found = skops_io.loads(data, trusted=[*_TRUSTED])
    except ModelError:
        raise
    except Exception as error:  # zipfile's, json's, skops', scikit-learn's
        text = f"{type(error).__name__}: {first_line(error)[:200]}"
        raise ModelError(
            f"{where}: skops cannot read it ({text}); save it with skops.io.dump, with the "
            "scikit-learn that fitted it"
        ) from error
    for one in warned:
        if "version" in str(one.message):
            note(f"{where}: {str(one.message).splitlines()[0]}")
            break
    return found


def _check_size(data: bytes, where: str) -> None:
    """Refuse what would take too much memory; raises ModelError, and others for what is no file of
    skops. An array is read again for each object that names it."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        sizes = {member.filename: member.file_size for member in archive.infolist()}
        size = sum(member.file_size for member in archive.infolist())
        schema_bytes = sizes.get(_SCHEMA, 0)
        if size <= _MAX_BYTES and schema_bytes <= _MAX_SCHEMA_BYTES:
            todo = [json.loads(archive.read(_SCHEMA))]
            size = schema_bytes
            while todo:
                node = todo.pop()
                if isinstance(node, dict):
                    if node.get("__loader__") == "SparseMatrixNode":
                        raise ModelError(f"{where}: holds a sparse matrix; call densify() first")
                    name = node.get("file")
                    size += sizes.get(name, 0) if isinstance(name, str) else 0
                    todo += node.values()
                elif isinstance(node, list):
                    todo += node
    for found, most in ((size, _MAX_BYTES), (schema_bytes, _MAX_SCHEMA_BYTES)):
        if found > most:
            raise ModelError(
                f"{where}: unpacks to {found} bytes, of {most} at most; use fewer trees"
            )


def _read(estimator: Estimator, factor: float) -> Layers | Ensemble:
    from sklearn import ensemble, linear_model, neural_network, pipeline

    scalers: list[Estimator] = []
    if isinstance(estimator, pipeline.Pipeline):
        *steps, (_, estimator) = estimator.steps
        scalers = [step for _, step in steps if step not in (None, "passthrough")]
    for scaler in scalers:
        if type(scaler).__name__ not in _SCALERS:
            raise ModelError(
                f"step {type(scaler).__name__} of the Pipeline; known are {', '.join(_SCALERS)}"
            )
    kinds: dict[type, Callable[[Estimator, list[Estimator], float], Layers | Ensemble]] = {
        neural_network.MLPClassifier: _dense,
        linear_model.LogisticRegression: _dense,
        ensemble.RandomForestClassifier: _random_forest,
        ensemble.IsolationForest: _isolation_forest,
        ensemble.HistGradientBoostingClassifier: _histogram_boosting,
    }
    read = kinds.get(type(estimator))
    if read is None:
        raise ModelError(
            f"holds a {type(estimator).__name__}; known are "
            f"{', '.join(kind.__name__ for kind in kinds)}, alone or last in a Pipeline"
        )
    if hasattr(estimator, "classes_") and np.asarray(estimator.classes_).tolist() != [0, 1]:
        raise ModelError(
            f"tells {np.asarray(estimator.classes_).tolist()} apart; train it with the labels 0, "
            "genuine, and 1, fraud"
        )
    return read(estimator, scalers, factor)


def _names(first: Estimator) -> tuple[str, ...] | None:
    found = getattr(first, "feature_names_in_", None)
    return None if found is None else tuple(str(name) for name in found)


# networks


def _scaled(layers: Layers, scalers: list[Estimator]) -> int:
    x, width = layers.input, layers.width(0)
    for scaler in scalers:
        if type(scaler).__name__ == "MinMaxScaler":
            if scaler.clip:
                raise ModelError("MinMaxScaler clips; fit it with clip=False")
            x = layers.scale(x, np.asarray(scaler.scale_), np.asarray(scaler.min_))
            continue
        slope = 1.0 / np.asarray(scaler.scale_) if scaler.with_std else np.ones(width)
        mean = np.asarray(scaler.mean_) if scaler.with_mean else np.zeros(width)
        x = layers.scale(x, slope, -mean * slope)
    return x


def _dense(estimator: Estimator, scalers: list[Estimator], factor: float) -> Layers:
    """A perceptron, or a logistic regression, which is one without a hidden layer."""
    if hasattr(estimator, "coefs_"):
        weights, biases = estimator.coefs_, estimator.intercepts_
        activation = _ACTIVATIONS[estimator.activation]
    else:
        weights, biases = [np.asarray(estimator.coef_).T], [estimator.intercept_]
        activation = None
    layers = Layers(len(np.asarray(weights[0])), factor)
    layers.names = _names(scalers[0] if scalers else estimator)
    x = _scaled(layers, scalers)
    for k, (w, b) in enumerate(zip(weights, biases, strict=True)):
        x = layers.dense(x, np.asarray(w, np.float64), np.asarray(b, np.float64))
        if k + 1 < len(weights) and activation is not None:
            x = layers.activate(x, activation)
    layers.output = layers.activate(x, "sigmoid")
    return layers


# trees


def _grown(
    estimator: Estimator,
    scalers: list[Estimator],
    trees: list[Tree],
    *,
    kind: type[np.floating] = np.float32,
    base: float = 0.0,
) -> Ensemble:
    names = _names(scalers[0] if scalers else estimator)
    for scaler in scalers:  # it would warn of arrays, which have no names
        scaler.__dict__.pop("feature_names_in_", None)

    def scale(x: Numbers) -> Numbers:
        for scaler in scalers:
            x = np.asarray(scaler.transform(x))
        return x.astype(kind)

    return Ensemble(
        tuple(trees), int(estimator.n_features_in_), names=names, scaler=scale, base=base
    )


def _nodes(tree: Estimator, value: Callable[[Estimator], npt.NDArray[np.float64]]) -> Tree:
    """A tree of scikit-learn's C code."""
    return Tree(
        np.asarray(tree.feature, np.int64),
        np.asarray(tree.threshold, np.float64),
        np.asarray(tree.children_left, np.int64),
        np.asarray(tree.children_right, np.int64),
        value(tree),
    )


def _random_forest(estimator: Estimator, scalers: list[Estimator], factor: float) -> Ensemble:
    """Leaves are shares of fraud; their mean is predict_proba."""
    count = len(estimator.estimators_)

    def value(tree: Estimator) -> npt.NDArray[np.float64]:
        of_class = np.asarray(tree.value, np.float64)[:, 0, :]
        return np.asarray(of_class[:, 1] / of_class.sum(axis=1) / count)

    trees = [_nodes(one.tree_, value) for one in estimator.estimators_]
    return _grown(estimator, scalers, trees)


def _isolation_forest(estimator: Estimator, scalers: list[Estimator], factor: float) -> Ensemble:
    """The sum is the binary logarithm of the published score 2^(-E[h] / c)."""
    trees = []
    mean_path = average_path(int(estimator._max_samples)) * len(estimator.estimators_)
    chosen = estimator.estimators_features_
    for one, features in zip(estimator.estimators_, chosen, strict=True):
        tree = _nodes(one.tree_, lambda tree: np.zeros(tree.node_count))
        rows = np.asarray(one.tree_.n_node_samples)
        depth = _depths(tree)
        paths = depth + np.array([average_path(int(n)) for n in rows])
        used = np.asarray(features, np.int64)
        feature = np.where(tree.left < 0, 0, used[np.clip(tree.feature, 0, len(used) - 1)])
        trees.append(Tree(feature, tree.threshold, tree.left, tree.right, -paths / mean_path))
    return _grown(estimator, scalers, trees)


def _depths(tree: Tree) -> npt.NDArray[np.int64]:
    """Of each node, its distance from the root."""
    depth = np.zeros(len(tree.left), np.int64)
    for node in np.flatnonzero(tree.left >= 0):  # scikit-learn numbers parents before children
        for child in (tree.left[node], tree.right[node]):
            if not node < child < len(depth):
                raise ModelError(f"node {node} of a tree has the child {child}; save it again")
            depth[child] = depth[node] + 1
    return depth


def _histogram_boosting(estimator: Estimator, scalers: list[Estimator], factor: float) -> Ensemble:
    """Leaves add up to the log-odds, with the baseline."""
    trees = []
    for iteration in estimator._predictors:
        (predictor,) = iteration
        nodes = predictor.nodes
        leaf = nodes["is_leaf"].astype(bool)
        if np.any(nodes["is_categorical"][~leaf]):
            raise ModelError("has categorical splits; train it with categorical_features=None")
        left = np.where(leaf, -1, nodes["left"].astype(np.int64))
        trees.append(
            Tree(
                nodes["feature_idx"].astype(np.int64),
                nodes["num_threshold"].astype(np.float64),
                left,
                nodes["right"].astype(np.int64),
                nodes["value"].astype(np.float64),
            )
        )
    base = float(np.asarray(estimator._baseline_prediction).item())
    return _grown(estimator, scalers, trees, kind=np.float64, base=base)

# SPDX-License-Identifier: Apache-2.0
"""Networks in ONNX and of scikit-learn: onnxruntime's and scikit-learn's own outputs; and what no
terminal runs is refused by its node."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper
from onnxruntime import InferenceSession
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from skops.io import dump

from tests.quantization.own_models import graphs
from tests.quantization.own_models.graphs import EXPORTS, SCORE, Graph
from tests.quantization.own_models.rows import data, every_code
from tests.support.cli import tinyfin
from tinyfin.errors import ModelError
from tinyfin.optional_packages import install_command
from tinyfin.quantization.own_models import layers as layers_module
from tinyfin.quantization.own_models.layers import Layers
from tinyfin.quantization.own_models.onnx_file import read_onnx
from tinyfin.quantization.own_network import adopt, read_file
from tinyfin.training.families import codes_to_float
from tinyfin.training.reproducible import tensorflow
from tinyfin.training.run_folder import open_run

WIDTH = 5


def outputs(layers: Layers, x: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(layers.network(tensorflow(0))(x, training=False))


def expected(model: ModelProto, x: NDArray[np.float32]) -> NDArray[np.float32]:
    """onnxruntime's output ``y``, a row at a time: some exports fix the rows."""
    session = InferenceSession(model.SerializeToString())
    rows = [session.run(["y"], {"x": row[None]})[0] for row in x]
    plain = [[one[0][0], one[0][1]] if isinstance(one[0], dict) else one for one in rows]
    return np.array(plain, np.float32).reshape(len(x), -1)


def rows(width: int = WIDTH) -> NDArray[np.float32]:
    codes = np.random.default_rng(8).integers(-128, 128, (40, width))
    return codes_to_float(codes.astype(np.int8))


@pytest.mark.parametrize("name", EXPORTS)
def test_onnxruntimes_own_outputs(name: str) -> None:
    model = EXPORTS[name](WIDTH)
    layers = read_onnx(model.SerializeToString(), name)
    x = rows()
    wanted = expected(model, x)
    np.testing.assert_allclose(outputs(layers, x), wanted, atol=1e-5)
    logit = layers.logit(layers.output)
    assert (logit is None) == (name == "plain")
    if logit is None:
        return
    layers.output = logit
    p = 1 / (1 + np.exp(-outputs(layers, x)[:, 0].astype(np.float64)))
    np.testing.assert_allclose(p, wanted[:, -1], atol=1e-5)


def test_codes_are_read_as_codes() -> None:
    model = graphs.plain(WIDTH)
    codes = np.arange(-60, 60, dtype=np.float32).reshape(-1, WIDTH)
    layers = read_onnx(model.SerializeToString(), "own", factor=64.0)
    np.testing.assert_allclose(
        outputs(layers, codes / 64), expected(model, codes), rtol=1e-5, atol=1e-4
    )


def test_scaling_by_constants_costs_no_layer() -> None:
    network = read_onnx(graphs.residual(WIDTH).SerializeToString(), "own").network(tensorflow(0))
    kinds = [type(layer).__name__ for layer in network.layers]
    # what is left are the two that a clip between -1 and 1 needs around its ReLU6
    assert kinds.count("BatchNormalization") == 2
    assert kinds.count("Dense") == 3


KINDS = (
    *("Gemm", "Add", "Sub", "Mul", "Div", "Relu", "Clip", "Concat"),
    *("LeakyRelu", "Tanh", "Softmax", "Sigmoid", "Identity"),
)


@st.composite
def network(draw: st.DrawFn) -> ModelProto:
    """Operators in any order on vectors of any width."""
    g = Graph(seed=draw(st.integers(0, 99)))
    values = [("x", WIDTH)]
    for k in range(draw(st.integers(1, 8))):
        (x, width), (other, wide) = draw(st.sampled_from(values)), draw(st.sampled_from(values))
        kind = draw(st.sampled_from(KINDS))
        out = f"v{k}"
        if kind == "Gemm":
            wide = draw(st.integers(1, 6))
            values.append((g.gemm(x, out, width, wide), wide))
            continue
        if kind == "Concat":
            values.append((g.node(kind, [x, other], out, axis=-1), width + wide))
            continue
        if kind in ("Add", "Sub", "Mul", "Div"):
            c = g.constant(f"c{k}", g.rng.uniform(0.5, 2, draw(st.sampled_from([1, width]))))
            if kind == "Div":
                given = [x, c]
            elif width == wide and draw(st.booleans()):
                given = [x, other]
            else:
                given = draw(st.sampled_from([[x, c], [c, x]]))
        elif kind == "Clip":
            ends = draw(st.sampled_from([("low", ""), ("", "high"), ("low", "high")]))
            given = [
                x,
                *(g.constant(f"{e}{k}", {"low": -0.4, "high": 0.7}[e]) if e else "" for e in ends),
            ]
        else:
            given = [x]
        values.append((g.node(kind, given, out), width))
    g.node("Identity", [values[-1][0]], "y")
    return g.model(WIDTH, SCORE)


@settings(max_examples=25)
@given(network())
def test_any_network_is_computed_alike(model: ModelProto) -> None:
    x = rows()[:6]
    found = outputs(read_onnx(model.SerializeToString(), "own"), x)
    np.testing.assert_allclose(found, expected(model, x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("scaler", [None, StandardScaler(), MinMaxScaler((-1, 2))])
@pytest.mark.parametrize(
    "last",
    [
        MLPClassifier((6, 4), "tanh", max_iter=20, random_state=1),
        MLPClassifier((6,), "logistic", max_iter=20, random_state=1),
        LogisticRegression(),
    ],
)
def test_scikit_learns_own_probabilities(scaler: Any, last: Any, tmp_path: Path) -> None:
    _, scaled, y = data()
    estimator = clone(last) if scaler is None else make_pipeline(clone(scaler), clone(last))
    estimator.fit(scaled[:600], y[:600])
    dump(estimator, tmp_path / "own.skops")
    layers = read_file(tmp_path / "own.skops")
    assert isinstance(layers, Layers)
    layers.output = layers.logit(layers.output) or 0
    x = codes_to_float(every_code())
    p = 1 / (1 + np.exp(-outputs(layers, x)[:, 0].astype(np.float64)))
    np.testing.assert_allclose(p, estimator.predict_proba(x)[:, 1], atol=1e-5)


def refused(model: ModelProto, said: str) -> None:
    with pytest.raises(ModelError, match=said) as caught:
        read_onnx(model.SerializeToString(), "own.onnx")
    assert str(caught.value).startswith("own.onnx: ")


@pytest.mark.parametrize(
    ("kind", "inputs", "of", "said"),
    [
        ("LayerNormalization", ["x", "w"], {}, "node '/y', LayerNormalization: no .* BatchNorm1d"),
        ("Gelu", ["x"], {}, "node '/y', Gelu: .*use ReLU, LeakyReLU, tanh, sigmoid or SiLU"),
        ("GRU", ["x"], {}, "dense layers over features that carry the history"),
        ("Conv", ["x"], {}, "flattened window"),
        ("QuantizeLinear", ["x"], {}, "export the float network"),
        ("TreeEnsembleClassifier", ["x"], {}, r"saved with skops\.io\.dump"),
        ("Nonsense", ["x"], {}, "no terminal runs Nonsense; known are Add, BatchNorm"),
        ("Gemm", ["x", "x"], {}, "its B must be a constant"),
        ("Gemm", ["x", "square"], {"transA": 1}, "mixes rows"),
        ("MatMul", ["x", "w"], {}, r"weights of shape \[5\]"),
        ("Softmax", ["x"], {"axis": 0}, "is over rows"),
        ("Concat", ["x", "x"], {"axis": 0}, "is along the rows"),
        ("Reshape", ["x", "shape"], {}, r"makes \[2, -1\] of rows of 5"),
        ("Squeeze", ["x"], {}, "of rows of 5; use the last, of one"),
        ("Add", ["x", "table"], {}, r"constants of shape \[3, 5\]"),
        ("Div", ["w", "x"], {}, "divides by what comes from the input"),
        ("Div", ["x", "zeros"], {}, "divides by 0"),
        ("Mul", ["x", "broken"], {}, "hold NaN or infinity"),
        ("Add", ["x", "gone"], {}, r"reads \['gone'\], which nothing before it makes"),
        ("Cast", ["x"], {"to": 7}, "makes type 7 of its input; only floats"),
        ("Clip", ["x", "one", "one"], {}, "clips to 1.0 ... 1.0"),
    ],
)
def test_what_no_terminal_runs_is_refused_by_its_node(
    kind: str, inputs: list[str], of: dict[str, Any], said: str
) -> None:
    g = Graph()
    g.weights("w", WIDTH)
    g.weights("square", WIDTH, WIDTH)
    g.weights("table", 3, WIDTH)
    g.constant("zeros", np.zeros(WIDTH))
    g.constant("broken", [np.nan])
    g.constant("one", 1.0)
    g.constant("shape", [2, -1], "i8")
    g.node(kind, inputs, "y", **of)
    refused(g.model(WIDTH, SCORE), said)


def test_files_that_mean_harm_are_refused() -> None:
    outside = graphs.plain(WIDTH)
    tensor = outside.graph.initializer[0]
    onnx.external_data_helper.set_external_data(tensor, "../../etc/passwd")
    tensor.ClearField("raw_data")
    refused(outside, r"constant '0.weight': its values are in another file; .*external_data=False")
    giant = graphs.plain(WIDTH)
    giant.graph.initializer[0].dims[:] = [1 << 40, 1 << 40]
    refused(giant, "constant '0.weight': cannot be read")
    doubled = Graph()
    doubled.node("Identity", ["x"], "0")
    for k in range(64):
        doubled.node("Concat", [f"{k}", f"{k}"], f"{k + 1}", axis=1)
    doubled.node("Identity", ["64"], "y")
    refused(doubled.model(WIDTH, SCORE), "node '/14', Concat: a vector of 81920 values")
    wide = graphs.plain(WIDTH)
    wide.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 1 << 40
    refused(wide, "input 'x': a vector of")
    circle = Graph()
    circle.node("Add", ["x", "b"], "a")
    circle.node("Add", ["x", "a"], "b")
    circle.node("Identity", ["b"], "y")
    refused(circle.model(WIDTH, SCORE), r"reads \['b'\], which nothing before it makes")
    branch = Graph()
    branch.node("Relu", ["x"], "y", inner=graphs.plain(WIDTH).graph)
    refused(branch.model(WIDTH, SCORE), "holds a graph; export the network without control flow")


def test_what_keras_would_not_build_is_refused_by_its_node() -> None:
    for kind, of, said in (
        ("LeakyRelu", {"alpha": -0.1}, "its slope below 0 is -0.1; use a slope of 0 or more"),
        ("LeakyRelu", {"alpha": float("inf")}, "its alpha is inf"),
    ):
        g = Graph()
        g.node(kind, ["x"], "y", **of)
        refused(g.model(WIDTH, SCORE), f"node '/y', {kind}: {said}")
    g = Graph()
    g.node("MatMul", ["x", g.constant("w", np.full((WIDTH, 1), 1e300), "f8")], "y")
    refused(g.model(WIDTH, SCORE), "node '/y', MatMul: its constants, .* infinity in float32")
    layers = Layers(WIDTH)
    with pytest.raises(ModelError, match="infinity in float32"):
        layers.activate(layers.input, "leaky_relu", 1e39)


def test_as_many_layers_as_are_taken_are_built(monkeypatch: pytest.MonkeyPatch) -> None:
    def row(n: int, kind: str, *more: str) -> ModelProto:
        g = Graph()
        g.constant("w", np.eye(WIDTH))
        for k in range(n):
            g.node(kind, [f"{k - 1}" if k else "x", *more], f"{k}")
        g.node("Identity", [f"{n - 1}"], "y")
        return g.model(WIDTH, SCORE)

    most = layers_module._MAX_NODES
    x = rows()[:2]
    layers = read_onnx(row(most - 1, "Relu").SerializeToString(), "own")
    np.testing.assert_array_equal(outputs(layers, x), np.maximum(x, 0))
    refused(row(most, "Relu"), f"node '/{most - 1}', Relu: more than {most} layers")
    # one constant of the file, a copy of it in each layer
    monkeypatch.setattr(layers_module, "_MAX_NUMBERS", 7 * WIDTH * WIDTH)
    read_onnx(row(7, "MatMul", "w").SerializeToString(), "own")
    refused(row(8, "MatMul", "w"), f"node '/7', MatMul: more than {7 * WIDTH * WIDTH} weights")


def test_other_signatures_are_refused() -> None:
    g = Graph()
    g.node("Relu", ["x"], "y")
    two = g.model(WIDTH, SCORE)
    two.graph.input.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, [1, 2]))
    refused(two, r"2 inputs \(x, z\)")
    images = g.model(WIDTH, SCORE)
    images.graph.input[0].type.tensor_type.shape.dim.add().dim_value = 3
    refused(images, r"input 'x' has shape \(\?, 5, 3\); rows of features are needed")
    g.node("Tanh", ["x"], "z")
    refused(g.model(WIDTH, SCORE, ("z", TensorProto.FLOAT)), r"2 outputs \(y, z\); keep one")
    refused(graphs.skl2onnx(WIDTH, classes=(1, 2)), "labels 0, genuine, and 1, fraud")
    refused(ModelProto(), "holds no ONNX graph")
    with pytest.raises(ModelError, match="is no ONNX file"):
        read_onnx(b"\xff\xff", "own.onnx")
    constant = g.model(WIDTH, SCORE)
    constant.graph.initializer.append(numpy_helper.from_array(np.zeros(3, "f4"), "alone"))
    constant.graph.output[0].name = "alone"
    refused(constant, "no node makes the output 'alone' of the input")


def test_a_network_on_features_in_another_order_is_refused(run_copy: Path) -> None:
    run = open_run(run_copy)
    names = run.facts().features.names
    x = np.random.default_rng(1).normal(size=(60, len(names)))
    path = run_copy.parent / "own.skops"
    for order in ([*names[::-1]], ["other", *names[1:]]):
        table = pandas.DataFrame(x, columns=order)
        dump(LogisticRegression().fit(table, x[:, 0] > 0), path)
        with pytest.raises(ModelError, match=f"was trained on {order[0]}, .* in this order"):
            adopt(run, path)
    dump(LogisticRegression().fit(x, x[:, 0] > 0), path)
    with pytest.raises(ModelError, match="a network takes the codes"):
        adopt(run, path, inputs="features")


@pytest.mark.parametrize("extra", ["onnx", "skops"])
def test_a_missing_package_is_named_with_its_extra(
    extra: str, run_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == extra else find(name)
    )
    path = run_copy.parent / f"own.{extra}"
    path.write_bytes(b"")
    answer = tinyfin(f"quantize {run_copy} --model {path}", code=6)
    assert install_command(extra) in " ".join(answer.output.split())
    assert not list(run_copy.parent.glob("run-*"))

# SPDX-License-Identifier: Apache-2.0
"""A Keras network of the user's own goes into a pack as a trained one does. Files of other tools
are in own_models."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.support.cli import tinyfin
from tinyfin.errors import InputError, ModelError
from tinyfin.pack.container import parse_pack
from tinyfin.pack.maps import map_inputs
from tinyfin.quantization.own_network import adopt
from tinyfin.results.run import SliceSize
from tinyfin.training.families import codes_to_float
from tinyfin.training.network_inputs import PARTS, network_inputs
from tinyfin.training.reproducible import tensorflow
from tinyfin.training.run_folder import open_run
from tinyfin.twin import Twin


def saved(folder: Path, width: int, end: str = "linear", units: int = 1) -> Path:
    tf = tensorflow(5)
    layers = tf.keras.layers
    x = first = tf.keras.Input((width,))
    x = layers.Dense(9, "relu")(x)
    if end == "layer":
        x = layers.Activation("sigmoid")(layers.Dense(units, name="last")(x))
    else:
        x = layers.Dense(units, end, name="last")(x)
    path = folder / f"mine_{end}.keras"
    tf.keras.Model(first, x).save(path)
    return path


def width_of(run: Path) -> int:
    return len(open_run(run).read_json("run.json")["features"]["names"])


def test_it_is_quantized_compared_and_packed_next_to_the_run(run_copy: Path) -> None:
    before = {p.name: p.read_bytes() for p in run_copy.iterdir() if p.is_file()}
    mine = saved(run_copy.parent, width_of(run_copy))
    answer = tinyfin(f"quantize {run_copy} --model {mine}")
    assert "0 of" in answer.output
    made = open_run(run_copy.parent / "run-mine_linear")
    assert made.read_json("parity.json")["plan"]["differing_bytes"] == 0
    facts = made.read_json("run.json")["model"]
    assert (facts["family"], facts["in_place_of"]["run"]) == ("own", "run")
    old, new = (
        open_run(x).read_json("metrics.json")["populations"]["all"] for x in (run_copy, made.path)
    )
    assert old["rule_a"] == new["rule_a"], "the same rows"
    assert old["model_int8"] != new["model_int8"]
    rows = made.slices()["test"][:64]
    network = tensorflow(0).keras.models.load_model(mine, compile=False)
    logit = network.predict(codes_to_float(rows), verbose=0)[:, 0]
    raw = Twin(made.pack_bytes()).infer(rows)[1]
    assert np.corrcoef(logit, raw)[0, 1] > 0.99
    assert before == {p.name: p.read_bytes() for p in run_copy.iterdir() if p.is_file()}
    again = tinyfin(f"quantize {run_copy} --model {mine}", code=3)
    assert "there is a run of that name" in again.output


def test_a_layer_that_no_terminal_knows_leaves_no_run(run_copy: Path) -> None:
    tf = tensorflow(5)
    layers = tf.keras.layers
    path = run_copy.parent / "gelu.keras"
    tf.keras.Sequential(
        [tf.keras.Input((width_of(run_copy),)), layers.Dense(4, "gelu"), layers.Dense(1)]
    ).save(path)
    answer = tinyfin(f"quantize {run_copy} --model {path}", code=3)
    assert "GELU" in answer.output
    assert not list(run_copy.parent.glob("run-*")), "the name is free for the next attempt"


def test_a_square_is_a_product(run_copy: Path) -> None:
    """The converter has no int8 SQUARE; what comes out equals the interpreter's bytes."""
    tf = tensorflow(5)
    first = tf.keras.Input((width_of(run_copy),))
    squared = tf.keras.ops.square(tf.keras.layers.Dense(5)(first))
    path = run_copy.parent / "square.keras"
    tf.keras.Model(first, tf.keras.layers.Dense(1)(squared)).save(path)
    tinyfin(f"quantize {run_copy} --model {path}")
    made = open_run(run_copy.parent / "run-square")
    assert made.read_json("parity.json")["plan"]["differing_bytes"] == 0
    network = parse_pack(made.pack_bytes()).network
    assert network is not None
    assert [op["name"] for op in network["operators"]] == [
        "FULLY_CONNECTED",
        "MUL",
        "FULLY_CONNECTED",
    ]
    rows = made.slices()["test"]
    logit = tf.keras.models.load_model(path, compile=False).predict(
        codes_to_float(rows), verbose=0
    )[:, 0]
    assert np.corrcoef(logit, Twin(made.pack_bytes()).infer(rows)[1])[0, 1] > 0.98


def test_an_input_that_never_varied_does_not_take_the_256_steps_of_the_others(
    run_copy: Path,
) -> None:
    tf = tensorflow(5)
    layers = tf.keras.layers
    width = width_of(run_copy)
    x = np.random.default_rng(1).normal(size=(300, width)).astype(np.float32)
    x[:, 2] = 0
    normalization = layers.Normalization()
    normalization.adapt(x)
    path = run_copy.parent / "norm.keras"
    tf.keras.Sequential(
        [
            tf.keras.Input((width,)),
            normalization,
            layers.Dense(6),
            layers.LeakyReLU(),
            layers.Dense(4, "silu"),
            layers.Dense(1),
        ]
    ).save(path)
    answer = tinyfin(f"quantize {run_copy} --model {path}")
    names = open_run(run_copy).read_json("run.json")["features"]["names"]
    assert f"taken as constant: {names[2]}\n" in answer.output
    made = open_run(run_copy.parent / "run-norm")
    rows = made.slices()["test"].copy()
    rows[:, 2] = 0
    logit = tf.keras.models.load_model(path, compile=False).predict(
        codes_to_float(rows), verbose=0
    )[:, 0]
    raw = Twin(made.pack_bytes()).infer(rows)[1]
    assert np.corrcoef(logit, raw)[0, 1] > 0.98


@pytest.mark.parametrize("end", ["sigmoid", "layer"])
def test_a_sigmoid_at_the_end_is_taken_off(run_copy: Path, end: str) -> None:
    mine = saved(run_copy.parent, width_of(run_copy), end)
    told: list[str] = []
    made = adopt(open_run(run_copy), mine, note=told.append)
    assert "sigmoid" in told[0]
    score = made.slices()["test_float"]
    network = tensorflow(0).keras.models.load_model(mine, compile=False)
    p = network.predict(codes_to_float(made.slices()["test"]), verbose=0)[:, 0]
    np.testing.assert_allclose(1 / (1 + np.exp(-score)), p, atol=1e-6)
    kept = tensorflow(0).keras.models.load_model(made.file("model.keras"), compile=False)
    again = kept.predict(codes_to_float(made.slices()["test"]), verbose=0)[:, 0]
    np.testing.assert_allclose(again, score, atol=1e-5)


def test_what_does_not_fit_is_refused_with_the_reason(run_copy: Path) -> None:
    run, folder = open_run(run_copy), run_copy.parent
    width = width_of(run_copy)

    def refused(path: Path, kind: type[Exception], text: str, **options: Any) -> None:
        with pytest.raises(kind, match=text):
            adopt(run, path, **options)

    refused(saved(folder, width + 1), ModelError, rf"the run has {width} inputs")
    refused(saved(folder, width, units=3), ModelError, r"read-out accumulator needs \(None, 1\)")
    refused(saved(folder, width), ModelError, r"needs \(None, \d+\)", readout="reconstruction")
    tf = tensorflow(5)
    for end in ("relu", "tanh"):  # what is read is the logit before it
        refused(saved(folder, width, end), ModelError, f"Dense layer with {end}.*linear")
    layers = tf.keras.layers
    # the converter does not refuse these, it ends the process
    for layer in (layers.LSTM(2), layers.Bidirectional(layers.GRU(2))):
        history = folder / "history.keras"
        tf.keras.Sequential(
            [tf.keras.Input((width,)), layers.Reshape((1, width)), layer, layers.Dense(1)]
        ).save(history)
        refused(history, ModelError, f"is a {type(layer).__name__}.*use Dense layers")
    junk = folder / "junk.keras"
    junk.write_bytes(b"not a network")
    refused(junk, ModelError, "Keras cannot load it")
    refused(folder / "mine.model", ModelError, r"give a model in one of \.keras \(Keras\)")
    keras = saved(folder, width)
    refused(keras, ModelError, "takes the codes over 64", inputs="codes")
    refused(saved(folder, width), InputError, "run name", name="../out")
    assert not list(folder.glob("run-*")), "nothing is left of what was refused"


def test_the_inputs_to_train_on_are_the_runs(small: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "inputs.parquet"
    tinyfin(f"network-inputs {small['run']} {small['data']} --out {out} --with-label")
    table = pq.read_table(out)
    run = open_run(small["run"])
    names = run.read_json("run.json")["features"]["names"]
    codes = np.column_stack([table[name].to_numpy() for name in names])
    assert codes.dtype == np.int8
    slices = run.slices()
    assert np.array_equal(codes[slices["test_row"]], slices["test"])
    plain = tmp_path / "features.parquet"
    tinyfin(f"features {small['data']} --config {run.file('config.toml')} --out {plain}")
    features = np.column_stack([pq.read_table(plain)[name].to_numpy() for name in names])
    assert np.array_equal(map_inputs(run.maps(), features), codes)
    line = f"network-inputs {small['run']} {small['data']} --out {out}"
    tinyfin(f"{line} --config {small['config']}", code=2)


def test_the_parts_to_train_on_are_the_runs(small: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "inputs.parquet"
    line = f"{small['data']} --out {out} --with-label --with-part"
    tinyfin(f"network-inputs {small['run']} {line}")
    table = pq.read_table(out)
    found = network_inputs(small["run"], [small["data"]])
    part = table["part"].to_pylist()
    assert part == [None if i < 0 else PARTS[i] for i in found.part]
    run = open_run(small["run"])
    facts, slices = run.facts(), run.slices()
    assert table.column_names[4:-2] == list(found.names) == facts.features.names
    for name in PARTS:
        x, y = found.of(name)
        assert getattr(facts.split, name) == SliceSize(rows=len(x), frauds=int(np.sum(y == 1)))
        if name in ("calibration", "test"):
            np.testing.assert_array_equal(np.sort(slices[name], 0), np.sort(x * 64, 0))
            assert np.sort(slices[f"{name}_label"]).tolist() == np.sort(y).tolist()
    immature = (found.part == -1) & (found.transactions.label >= 0)
    assert np.count_nonzero(immature) == facts.split.immature_refused > 0
    assert not np.any(found.label[immature] >= 0), "labels that came too late are not told"
    with pytest.raises(InputError, match="fit, validation, calibration, test"):
        found.of("train")
    alone = tinyfin(f"features {line} --config {small['config']}", code=2)
    assert "--with-part" in alone.output


def test_the_python_of_the_page_runs(
    small: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "python.md").read_text()
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "town").symlink_to(small["run"])
    (tmp_path / "town.parquet").symlink_to(small["data"])
    monkeypatch.chdir(tmp_path)
    tensorflow(0)
    names: dict[str, Any] = {}
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert blocks
    # the first is run by tests/project/test_python_interface.py
    for block in blocks[1:]:
        exec(block, names)
    for module, name in re.findall(r"`(tinyfin(?:\.[a-z_]+)+)\.(\w+)\(", text):
        assert callable(getattr(__import__(module, fromlist=[name]), name))
    assert names["twin"].stats(0)["committed"] == 1
    assert 0 < names["verdict"].score_q32 < 2**32


def test_the_python_of_the_readme_runs(
    small: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")
    (tmp_path / "tinyfin.toml").symlink_to(small["config"])
    (tmp_path / "tx.parquet").symlink_to(small["data"])
    monkeypatch.chdir(tmp_path)
    tensorflow(0)
    names: dict[str, Any] = {}
    [block] = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    exec(block, names)
    rows = (tmp_path / "scores.csv").read_text(encoding="utf-8").splitlines()[1:]
    assert sum(names["counts"]["actions"].values()) == len(rows) > 1000


@pytest.mark.parametrize(
    ("dead", "said"),
    [
        (0, r"layer 'first' is the first whose output never varies: .*ReLU is dead"),
        (1, r"layer 'last' is the first whose output never varies"),
    ],
)
def test_a_network_that_tells_no_row_from_another_is_named_with_its_layer(
    run_copy: Path, dead: int, said: str
) -> None:
    tf = tensorflow(5)
    layers = tf.keras.layers
    network = tf.keras.Sequential(
        [
            tf.keras.Input((width_of(run_copy),)),
            layers.Dense(8, "relu", name="first"),
            layers.Dense(1, name="last"),
        ]
    )
    weights = network.get_weights()
    weights[2 * dead] *= 0
    weights[2 * dead + 1] -= 1e3
    network.set_weights(weights)
    path = run_copy.parent / "dead.keras"
    network.save(path)
    answer = tinyfin(f"quantize {run_copy} --model {path}", code=3)
    assert "gives one and the same score for every row" in answer.output
    assert re.search(said, answer.output)
    assert not (run_copy.parent / "run-dead").exists()


def test_a_dense_layer_on_more_than_two_dimensions_is_named(run_copy: Path) -> None:
    tf = tensorflow(5)
    layers = tf.keras.layers
    width = width_of(run_copy)
    path = run_copy.parent / "wide.keras"
    tf.keras.Sequential(
        [
            tf.keras.Input((width,)),
            layers.Reshape((width, 1)),
            layers.Dense(3, name="wide"),
            layers.Flatten(),
            layers.Dense(1),
        ]
    ).save(path)
    answer = tinyfin(f"quantize {run_copy} --model {path}", code=3)
    assert "layer 'wide' is a Dense layer on" in answer.output
    assert "batch" not in answer.output

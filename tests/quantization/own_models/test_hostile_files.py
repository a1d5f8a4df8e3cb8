# SPDX-License-Identifier: Apache-2.0
"""Whatever the bytes of a model's file are, it is read or refused with a ModelError.

``make modelfuzz`` reads many more of them; a finding is printed with its number and seed.
"""

from __future__ import annotations

import io
import json
import os
import random
import re
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pytest
import xgboost
from onnx import TensorProto, helper
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier, IsolationForest, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skops.io import dumps

from tests.quantization.own_models.graphs import EXPORTS
from tests.quantization.own_models.rows import data, inputs
from tests.quantization.own_models.tflites import own_tflite
from tinyfin.errors import ModelError
from tinyfin.quantization import own_network
from tinyfin.quantization.own_models import sklearn_file
from tinyfin.quantization.own_models.ensemble import Ensemble, fitted
from tinyfin.quantization.own_models.tflite_file import read_tflite
from tinyfin.quantization.own_network import read_file

RUNS = int(os.environ.get("OWN_MODEL_RUNS", "60"))
KINDS = ("onnx", "skops", "xgboost.json", "ubj", "txt", "lightgbm.json", "tflite")
EXTREMES = ("-1", "0", "2147483647", "-2147483648", "9" * 30, "1e999", "NaN", "null", "[]", '""')


def sound(kind: str) -> list[bytes]:
    """Files as they should be."""
    x, scaled, y = data()
    if kind == "onnx":
        return [make(4).SerializeToString() for make in EXPORTS.values()]
    if kind == "tflite":
        return [own_tflite(4)]
    if kind == "skops":
        some = (
            make_pipeline(StandardScaler(), RandomForestClassifier(2, max_depth=2)),
            make_pipeline(StandardScaler(), MLPClassifier((3,), max_iter=2)),
            HistGradientBoostingClassifier(max_iter=2, max_depth=2),
            IsolationForest(n_estimators=2, max_samples=8),
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return [dumps(clone(one).fit(scaled, y)) for one in some]
    if kind in ("ubj", "xgboost.json"):
        own = xgboost.train({"max_depth": 2, "nthread": 1}, xgboost.DMatrix(scaled, y), 2)
        return [bytes(own.save_raw("ubj" if kind == "ubj" else "json"))]
    options = {"objective": "binary", "verbose": -1, "num_leaves": 4, "num_threads": 1}
    leaves = lightgbm.train(options, lightgbm.Dataset(x, y), 2)
    text = leaves.model_to_string() if kind == "txt" else json.dumps(leaves.dump_model())
    return [text.encode()]


def damaged(data: bytes, of: random.Random) -> bytes:
    """With a few bytes or numbers changed, taken out, or put in."""
    if data[:2] == b"PK":
        return rezipped(data, of)
    made = bytearray(data)
    for _ in range(of.choice((1, 1, 1, 2, 4))):
        at = of.randrange(len(made) + 1)
        how = of.choice((0, 0, 0, 1, 2, 3, 4))
        if how == 0 and at < len(made):
            made[at] = of.choice((0, 1, 127, 128, 255, of.randrange(256)))
        elif how == 1:
            del made[at : at + of.randint(1, 40)]
        elif how == 2:
            other = of.randrange(len(made) + 1)
            made[at:at] = made[other : other + of.randint(1, 40)]
        elif how == 3 and (numbers := [*re.finditer(rb"-?\d[\d.eE+-]*", bytes(made))]):
            found = of.choice(numbers)
            made[found.start() : found.end()] = of.choice(EXTREMES).encode()
        else:
            made[at:at] = of.randbytes(of.randint(1, 8))
    return bytes(made)


def rezipped(data: bytes, of: random.Random) -> bytes:
    """A zip file with one of its members damaged, so that its checksums are right."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = of.choice([*members, "schema.json"])
    members[name] = damaged(members[name].removeprefix(b"PK"), of)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


def taken(path: Path) -> None:
    """All that is done with a file before a network is converted or trees are packed."""
    if path.suffix == ".tflite":
        read_tflite(path.read_bytes(), str(path), 4, "accumulator")
        return
    found = read_file(path)
    if isinstance(found, Ensemble):
        score = fitted(found, inputs(), str(path), lambda _: None).score
        assert np.isfinite(score(np.zeros((2, 4), np.int8))).all()
    else:
        found.logit(found.output)


def run(kind: str, path: Path, runs: int, seed: int = 1) -> int:
    """Damaged files that were read all the same; an AssertionError names what was not refused."""
    files, readable = sound(kind), 0
    for k in range(runs):
        of = random.Random(seed * 1_000_003 + k)
        path.write_bytes(damaged(of.choice(files), of))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                taken(path)
        except ModelError as error:
            said = str(error)
        except Exception as error:
            raise AssertionError(f"{kind}, run {k} of seed {seed}: {error!r}") from error
        else:
            readable += 1
            continue
        one_line = "\n" not in said and str(path) in said
        assert one_line, f"{kind}, run {k} of seed {seed}: {said}"
    return readable


@pytest.mark.timeout(0 if RUNS > 1000 else 300)
@pytest.mark.parametrize("kind", KINDS)
def test_no_bytes_bring_it_down(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"own.{kind.rpartition('.')[2]}"
    for file in sound(kind):
        path.write_bytes(file)
        taken(path)
    readable = run(kind, path, RUNS)
    print(f"{kind}: {RUNS} files, {readable} of them read all the same")
    assert readable < RUNS


def test_a_reader_that_lets_an_error_through_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control of the test above."""

    def careless(*_: object, **__: object) -> None:
        raise IndexError("out of it")

    monkeypatch.setattr(own_network, "read_skops", careless)
    with pytest.raises(AssertionError, match=r"skops, run 0 of seed 1: IndexError"):
        run("skops", tmp_path / "own.skops", 1)


def test_a_name_of_the_file_breaks_no_line(tmp_path: Path) -> None:
    path = tmp_path / "own.onnx"
    node = helper.make_node("F\n\x1batten", ["x"], ["y"], name="n\n")
    shapes = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 4]) for n in "xy"]
    graph = helper.make_graph([node], "g", shapes[:1], shapes[1:])
    path.write_bytes(helper.make_model(graph).SerializeToString())
    with pytest.raises(ModelError, match=r"no terminal runs F\\n\\x1batten"):
        read_file(path)


def test_a_file_that_unpacks_to_more_than_a_terminal_holds_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "own.skops"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("schema.json", "{}")
        archive.writestr("0.npy", bytes(1 << 20))
    assert path.stat().st_size < 10_000
    monkeypatch.setattr(sklearn_file, "_MAX_BYTES", 1 << 19)
    with pytest.raises(ModelError, match="unpacks to 1048578 bytes, of 524288 at most"):
        read_file(path)


def renamed(estimator: object, change: Callable[[dict[str, Any]], None]) -> bytes:
    """A file of skops whose schema is changed."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(dumps(estimator))) as archive:
        schema = json.loads(archive.read("schema.json"))
        change(schema["content"]["content"])
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
            for name in archive.namelist():
                own = json.dumps(schema) if name == "schema.json" else archive.read(name)
                made.writestr(name, own)
    return out.getvalue()


def test_trees_whose_lists_differ_in_length_are_refused(tmp_path: Path) -> None:
    [sound_file] = sound("xgboost.json")
    file = json.loads(sound_file)
    tree = file["learner"]["gradient_booster"]["model"]["trees"][1]
    tree |= {"split_type": [1], "split_indices": []}
    path = tmp_path / "own.json"
    path.write_text(json.dumps(file))
    with pytest.raises(ModelError, match=r"own\.json: tree 1: damaged, its lists are not of one"):
        taken(path)


@pytest.mark.parametrize("wrong", [{"scale_": np.ones(2)}, {"n_features_in_": 3}, {"mean_": "?"}])
def test_a_scaler_that_does_not_fit_its_trees_is_refused(
    wrong: dict[str, object], tmp_path: Path
) -> None:
    _, scaled, y = data()
    own = make_pipeline(StandardScaler(), RandomForestClassifier(2, max_depth=2)).fit(scaled, y)
    vars(own[0]).update(wrong)
    path = tmp_path / "own.skops"
    path.write_bytes(dumps(own))
    with pytest.raises(ModelError, match=r"own\.skops: its scaler is not as scikit-learn fits it"):
        taken(path)


@pytest.mark.parametrize("times", [1, 40])
def test_an_array_that_a_file_names_many_times_is_counted_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    _, scaled, y = data()
    estimator = LogisticRegression().fit(scaled, y)
    estimator.extra = [np.zeros(1 << 17)]  # 1 MB

    def again(of: dict[str, Any]) -> None:
        one = of["extra"]["content"][0]
        of["extra"]["content"] = [{**one, "__id__": 10**15 + i} for i in range(times)]

    path = tmp_path / "own.skops"
    path.write_bytes(renamed(estimator, again))
    assert path.stat().st_size < 100_000
    monkeypatch.setattr(sklearn_file, "_MAX_BYTES", 1 << 22)
    if times == 1:
        read_file(path)  # the control
        return
    monkeypatch.setattr("skops.io.get_untrusted_types", lambda **_: pytest.fail("was unpacked"))
    with pytest.raises(ModelError, match=r"unpacks to 419\d{5} bytes, of 4194304 at most"):
        read_file(path)


def test_what_unpacks_in_another_way_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A matrix of scipy is compressed once more; a schema takes far more memory than it is long."""
    _, scaled, y = data()
    path = tmp_path / "own.skops"
    path.write_bytes(dumps(LogisticRegression().fit(scaled, y).sparsify()))
    with pytest.raises(ModelError, match=r"holds a sparse matrix; call densify\(\) first"):
        read_file(path)
    estimator = LogisticRegression().fit(scaled, y)
    estimator.extra = [0] * 1000
    path.write_bytes(dumps(estimator))
    read_file(path)
    monkeypatch.setattr(sklearn_file, "_MAX_SCHEMA_BYTES", 100_000)
    with pytest.raises(ModelError, match=r"unpacks to \d{6} bytes, of 100000 at most"):
        read_file(path)

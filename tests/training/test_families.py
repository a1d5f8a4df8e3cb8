# SPDX-License-Identifier: Apache-2.0
"""Families that are no network trained on labels: from data to a pack, with labels and without."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.support.cli import tinyfin
from tinyfin.config import from_table, load
from tinyfin.data.readers import read
from tinyfin.errors import ConfigError
from tinyfin.oracle.terms import terms_network
from tinyfin.pack.container import parse_pack
from tinyfin.pack.integer_model import decode_integer_model
from tinyfin.quantization.run_network import network_of
from tinyfin.quantization.workflow import assemble, quantize
from tinyfin.training.calibration import fit_ranks, probability
from tinyfin.training.families import Problem, family
from tinyfin.training.families.density import density_terms
from tinyfin.training.input_maps import FAR, fit_tail_maps
from tinyfin.training.run_folder import RunFolder, open_run
from tinyfin.training.split import known_labels, split_by_time
from tinyfin.training.workflow import train
from tinyfin.twin import Twin

FAMILIES = {
    "boosted": {"options": {"trees": 30, "depth": 3}},
    "density": {},
    "forest": {"options": {"trees": 16, "samples": 32}},
    "whitening": {},
    "autoencoder": {"hidden": [8], "epochs": 2, "batch_size": 256, "learning_rate": 5e-3},
}


def config_of(name: str, small: dict[str, Path], **changes: object) -> str:
    import tomllib

    table = tomllib.loads(small["config"].read_text())
    table["model"] = {"family": name, **FAMILIES[name]}
    table["evaluate"] = {"baselines": []}
    return _toml(table | changes)


def _toml(table: dict[str, object]) -> str:
    lines = []
    for section, entries in table.items():
        lines.append(f"[{section}]")
        for key, value in dict(entries).items():  # type: ignore[call-overload]
            if isinstance(value, dict):
                inner = ", ".join(f"{k} = {json.dumps(v)}" for k, v in value.items())
                lines.append(f"{key} = {{{inner}}}")
            else:
                lines.append(f"{key} = {json.dumps(value)}")
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module", params=list(FAMILIES))
def run(
    request: pytest.FixtureRequest, small: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> RunFolder:
    folder = tmp_path_factory.mktemp(request.param)
    (folder / "tinyfin.toml").write_text(config_of(request.param, small))
    made = train([small["data"]], load(folder / "tinyfin.toml"), name="run", out=folder)
    quantize(made)
    return made


def test_the_pack_answers_as_its_reference(run: RunFolder) -> None:
    report = run.read_json("parity.json")
    assert report["plan"]["differing_bytes"] == 0
    integers = (run.path / "model.json").is_file()
    assert report["reference"] == ("the oracle" if integers else "TFLM")
    assert integers != run.tflite.is_file()
    metrics = run.read_json("metrics.json")
    found = metrics["populations"]["all"]
    chance = found["model_int8"]["frauds"] / found["model_int8"]["rows"]
    assert found["model_int8"]["average_precision"] > 3 * chance
    assert abs(found["model_int8"]["roc_auc"] - found["model_float"]["roc_auc"]) < 0.02
    assert metrics["decision"]["calibration"]["false_alerts_per_1000"] <= 1.0
    facts, slices = run.facts(), run.slices()
    if facts.model.family == "boosted":
        assert facts.model.fit_rows == facts.split.fit.rows + facts.split.validation.rows
    file = (run.path / "model.json" if integers else run.tflite).read_bytes()
    assert assemble(run, file, facts, slices).pack == run.pack_bytes()


def test_no_input_leaves_the_calibrated_range(run: RunFolder) -> None:
    pack = parse_pack(run.pack_bytes())
    assert pack.calibration is not None
    rng = np.random.default_rng(0)
    wild = rng.choice([-128, 127], (2000, len(pack.maps or ()))).astype(np.int8)
    raw = Twin(pack.data).infer(wild)[1]
    assert pack.calibration.raw[0] <= raw.min()
    assert raw.max() <= pack.calibration.raw[-1]
    assert pack.meta["score"] == "probability"


def test_it_learns_without_a_single_label(small: dict[str, Path], tmp_path: Path) -> None:
    data = pq.read_table(small["data"])
    bare = data.drop_columns(
        [c for c in ("label", "label_time", "scenario") if c in data.column_names]
    )
    pq.write_table(bare, tmp_path / "bare.parquet")
    (tmp_path / "tinyfin.toml").write_text(config_of("density", small))
    words = [
        "train",
        tmp_path / "bare.parquet",
        "--config",
        tmp_path / "tinyfin.toml",
        "--name",
        "bare",
        "--out",
        tmp_path,
    ]
    for line in (words, ["quantize", tmp_path / "bare"]):
        tinyfin(*line)
    made = open_run(tmp_path / "bare")
    pack = parse_pack(made.pack_bytes())
    assert pack.meta["score"] == "rank"
    slices = made.slices()
    p = np.sort(Twin(pack.data).infer(slices["calibration"])[1])
    table = pack.calibration
    assert table is not None
    share = probability(table, p.astype(np.int32))
    assert abs(float(np.median(share)) - 0.5) < 0.1
    decision = json.loads((made.path / "metrics.json").read_text())["decision"]
    assert 0 < decision["calibration"]["false_alerts_per_1000"] <= 1.0


def test_a_label_that_comes_later_changes_nothing_that_is_learned(small: dict[str, Path]) -> None:
    data = read(small["data"], load(small["config"]))
    until = int(np.quantile(data.t_mono_s, 0.7))
    year = np.uint32(365 * 86400)
    for tx in (data, replace(data, label_known_s=data.label_known_s + year)):
        late = tx.label_known_s > until
        flipped = replace(tx, label=np.where(late, 1 - tx.label, tx.label).astype(np.int8))
        assert np.any(flipped.label != tx.label)
        found = [split_by_time(one, until_s=until, supervised=False) for one in (tx, flipped)]
        for part in ("fit", "validation", "calibration"):
            a, b = (getattr(split, part) for split in found)
            np.testing.assert_array_equal(a, b)
            np.testing.assert_array_equal(
                known_labels(tx, found[0].until_s)[a], known_labels(flipped, found[1].until_s)[b]
            )
        fit = found[0].fit
        assert len(fit) > 1000
        assert not np.any((tx.label[fit] == 1) & ~late[fit]), "known frauds are left out"


@pytest.mark.parametrize("name", list(FAMILIES))
def test_a_wrong_option_is_named(name: str) -> None:
    config = from_table({"model": {"family": name, "options": {"wings": 2}}})
    rows = np.zeros((10, 3), np.int8)
    label = np.zeros(10, np.int8)
    problem = Problem(rows, label, rows, label, ("a", "b", "c"))
    with pytest.raises(ConfigError, match=rf"model\.options\.wings.*family {name} knows"):
        family(name).fit(problem, config.model, lambda *_: None)


def test_terms_of_a_table() -> None:
    column = np.repeat(np.array([-100, 0, 100], np.int8), [10, 980, 10])
    tails = density_terms(column, 8, "tails")
    assert tails[0] == tails[20] > tails[28] > tails[128]
    assert tails[255] == tails[240] > tails[228]
    assert np.isclose(tails[228], -np.log(10.5 / 1001))
    mass = density_terms(column, 8, "auto")
    assert mass[128] == 0.0
    assert np.isclose(mass[28], np.log(980.5 / 10.5))
    assert np.isclose(mass[60], np.log(980.5 / 0.5)), "a code that never came is the rarest"


def test_tail_maps_reach_far_and_never_fall() -> None:
    rng = np.random.default_rng(3)
    columns = [
        rng.normal(0, 50, 5000),
        rng.poisson(0.02, 5000),
        np.full(5000, 7),
        rng.integers(0, 12, 5000),
        rng.normal(0, 9000, 5000),
        np.full(5000, 32767),
    ]
    features = np.clip(np.column_stack(columns), -32768, 32767).astype(np.int16)
    maps = fit_tail_maps(features)
    whole = np.arange(-32768, 32768)
    for i, one in enumerate(maps):
        codes = one.evaluate(whole.astype(np.int16)).astype(int)
        assert np.all(np.diff(codes) >= 0)
        assert abs(int(one.evaluate(np.median(features[:, i : i + 1])).item())) <= 1
    normal = maps[0].evaluate(np.array([50, 100, 50 * FAR], np.int16))
    assert np.allclose(normal, 127 * np.arcsinh([1, 2, FAR]) / np.arcsinh(FAR), atol=3)
    few = maps[3].evaluate(np.arange(12))
    assert len(np.unique(few)) == 12, "codes of few values stay apart"


def test_trees_rank_as_scikit_learn_does() -> None:
    rng = np.random.default_rng(5)
    x = rng.integers(-60, 60, (900, 4)).astype(np.int8)
    wild = rng.integers(-128, 128, (300, 4)).astype(np.int8)
    label = np.zeros(900, np.int8)
    config = from_table({"model": {"family": "forest"}})
    found = family("forest").fit(
        Problem(x, label, x, label, tuple("abcd")), config.model, lambda *_: None
    )
    network = network_of(found.model.encode(), Path("model.json"), "accumulator")  # type: ignore[attr-defined]
    oracle = terms_network(network.file)
    own = np.array([oracle(row.tolist())[1][0] for row in wild])
    theirs = found.score(wild)
    assert np.corrcoef(np.argsort(np.argsort(own)), np.argsort(np.argsort(theirs)))[0, 1] > 0.999
    assert decode_integer_model(network.file).encode() == network.file


def test_ranks_are_shares_and_always_rise() -> None:
    raw = np.random.default_rng(1).integers(0, 300, 4000).astype(np.int32)
    table = fit_ranks(raw, (-50, 100_000))
    at = np.arange(-50, 100_001)
    assert np.all(np.diff(table.evaluate(at)) > 0)
    for value in (10, 150, 290):
        assert abs(float(probability(table, np.array([value]))[0]) - np.mean(raw < value)) < 0.06


def test_the_committed_pack_opens_and_its_file_makes_its_plan() -> None:
    from tinyfin.pack.integer_plan import compile_integer_plan

    folder = Path(__file__).parents[2] / "models" / "label_free"
    pack = parse_pack((folder / "model.tfpack").read_bytes())
    model = decode_integer_model((folder / "model.json").read_bytes())
    assert compile_integer_plan(model) == pack.plan
    assert pack.meta["family"] == "density"
    assert Twin(pack.data).input_count == len(load(folder / "tinyfin.toml").features.names)

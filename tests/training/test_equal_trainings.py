# SPDX-License-Identifier: Apache-2.0
"""The same data, configuration and seed give the same bytes, whatever the run is called and
whenever it is trained."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from tinyfin.config import load
from tinyfin.pack.container import parse_pack
from tinyfin.quantization.repack import other_decision, repack
from tinyfin.quantization.workflow import quantize
from tinyfin.training.families import codes_to_float
from tinyfin.training.reproducible import tensorflow
from tinyfin.training.run_folder import RunFolder, open_run
from tinyfin.training.workflow import train
from tinyfin.twin import Twin

FIXTURE = Path(__file__).parents[1] / "pack" / "fixtures" / "network_format1.tfpack"
MODEL = ("model.keras", "model.tflite", "model.json", "model.tfpack", "maps.json", "program.bin")


def made(small: dict[str, Path], folder: Path, name: str, family: str) -> RunFolder:
    config = folder / "tinyfin.toml"
    text = small["config"].read_text().replace('family = "mlp"', f'family = "{family}"')
    if family == "mlp":
        text = text.replace("epochs = 3", "epochs = 1\ndropout = 0.1")
    else:
        text = text.replace("epochs = 3", "epochs = 1").replace("options = {genuine_rows", "#")
    config.write_text(text.replace('baselines = ["logistic_regression"]', "baselines = []"))
    run = train([small["data"]], load(config), name=name, out=folder / "runs")
    quantize(run)
    return run


@pytest.mark.parametrize("family", ["mlp", "density"])
def test_equal_trainings_give_equal_bytes(
    small: dict[str, Path], tmp_path: Path, family: str
) -> None:
    first = made(small, tmp_path, "first", family)
    second = made(small, tmp_path, "a-longer.name_of_the-second", family)
    written = [name for name in MODEL if (first.path / name).is_file()]
    assert "model.tfpack" in written
    assert ("model.json" if family == "density" else "model.keras") in written
    for name in written:
        assert (first.path / name).read_bytes() == (second.path / name).read_bytes(), name
    assert b"first" not in first.pack_bytes()
    assert [run.read_json("run.json")["name"] for run in (first, second)] == [
        "first",
        "a-longer.name_of_the-second",
    ]
    if family == "density":
        return
    with zipfile.ZipFile(first.path / "model.keras") as archive:
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert b"date" not in archive.read("metadata.json")
    network = tensorflow(1).keras.models.load_model(first.path / "model.keras", compile=False)
    slices = first.slices()
    out = network(codes_to_float(slices["test"])).numpy()
    assert np.allclose(out[:, 0], slices["test_float"], rtol=1e-3, atol=1e-3)
    # another seed gives another model, or the comparison would mean nothing
    config = load(tmp_path / "tinyfin.toml")
    other = train([small["data"]], config, name="other", out=tmp_path / "runs", seed=2)
    assert (first.path / "model.keras").read_bytes() != (other.path / "model.keras").read_bytes()


def test_a_pack_with_a_name_stays_valid(run_copy: Path) -> None:
    """Packs of before bear the run's name, and one reason on both sides."""
    old = parse_pack(FIXTURE.read_bytes())
    assert old.meta["name"] == "payment"
    assert old.decision is not None
    assert old.decision.below == old.decision.reasons
    assert Twin(old.data).input_count == len(old.decision.reasons)
    run = open_run(run_copy)
    new = parse_pack(run.pack_bytes())
    assert "name" not in new.meta
    repack(run, other_decision(run.config().decision, per_1000=2.0))
    assert parse_pack(run.pack_bytes()).decision != new.decision

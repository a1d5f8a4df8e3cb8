# SPDX-License-Identifier: Apache-2.0
"""Every pack of models/ is made again, byte for byte, from what stands next to it.

The transactions are simulated again, and features, input maps, calibration, thresholds, golden
vectors and signature follow from them on any machine. A float network does not: TensorFlow adds in
another order on another processor. Where the family is one, ``model.tflite`` takes the place of the
training, and the hash of the float weights is the only thing that is taken from the pack. The
integer family is trained.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tinyfin import paths, simulator
from tinyfin.config import Config, load
from tinyfin.config.lineage import of_the_model
from tinyfin.evaluation.gates import load_gate
from tinyfin.pack.container import parse_pack
from tinyfin.quantization.workflow import assemble
from tinyfin.results.run import FitFacts
from tinyfin.simulator.health import simulate_health
from tinyfin.training import fit
from tinyfin.training.dataset import prepare
from tinyfin.training.families import family
from tinyfin.training.host_fields import write_host_fields
from tinyfin.training.run_folder import RunFolder, new_run
from tinyfin.training.split import split_by_time

MODELS = paths.project_dir() / "models"


@dataclass(frozen=True)
class Trained:
    """The place of a network that was trained elsewhere."""

    readout: str = "accumulator"
    history: FitFacts = field(default_factory=FitFacts)
    thinned: tuple[()] = ()

    def score(self, inputs: npt.NDArray[np.int8]) -> npt.NDArray[np.float32]:
        return np.zeros(len(inputs), np.float32)

    def weights(self) -> list[npt.NDArray[Any]]:
        return []

    def save(self, folder: Path) -> None:
        pass


def data_of(name: str, config: Config, folder: Path) -> Path:
    path = folder / "data.parquet"
    health = name == "terminal_health"
    simulator.write((simulate_health if health else simulator.simulate)(config.simulate), path)
    if name == "payment_host":
        write_host_fields([path], config, folder / "host.parquet")
        path = folder / "host.parquet"
    return path


def features_of(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """A run with everything but a trained network."""
    config = load(MODELS / name / "tinyfin.toml")
    dataset = prepare([data_of(name, config, folder)], config)
    chosen = family(config.model.family)
    if chosen.name != "density":
        monkeypatch.setattr(type(chosen), "fit", lambda *_: Trained())
    shares = config.train.train, config.train.validation, config.train.test
    split = split_by_time(dataset.tx, shares=shares, supervised=chosen.supervised)
    run = new_run(folder, name, config)
    fit.learn(run, dataset, split, config, baselines=[])
    return run


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", ["payment", "payment_host", "terminal_health", "label_free"])
def test_a_pack_is_made_again(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = (MODELS / name / "model.tfpack").read_bytes()
    lineage = parse_pack(shipped).lineage
    run = features_of(name, tmp_path, monkeypatch)
    facts, slices = run.facts(), run.slices()
    facts.versions["tinyfin"] = lineage["code"]
    if name == "label_free":
        file = run.file("model.json").read_bytes()
        assert file == (MODELS / name / "model.json").read_bytes()
        assert facts.model.weights_sha256 == lineage["weights"]
    else:
        file = (MODELS / name / "model.tflite").read_bytes()
        facts.model.weights_sha256 = lineage["weights"]
        # only a network that stands still is told by its float scores
        slices["calibration_float"] = np.arange(len(slices["calibration"]), dtype=np.float32)
    assert assemble(run, file, facts, slices).pack == shipped
    # the control: one label that was another gives another pack
    slices["calibration_label"][np.flatnonzero(slices["calibration_label"] == 1)[0]] = 0
    assert assemble(run, file, facts, slices).pack != shipped


def test_checksums_are_those_of_the_files() -> None:
    """``sha256sum --check`` of a clone, and no pack or network that is not listed."""
    rows = [line.split("  ") for line in (MODELS / "SHA256SUMS").read_text().splitlines()]
    listed = {name: digest for digest, name in rows}
    found = {
        path.relative_to(MODELS).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for pattern in ("*/model.tfpack", "*/model.tflite", "*/model.json")
        for path in MODELS.glob(pattern)
    }
    assert found == listed, "write it again: cd models && sha256sum */model.* > SHA256SUMS"


def test_the_index_lists_every_pack_as_it_is() -> None:
    index = (MODELS / "README.md").read_text()
    for path in MODELS.glob("*/model.tfpack"):
        (row,) = [line for line in index.splitlines() if f"]({path.parent.name}/" in line]
        data = path.read_bytes()
        pack = parse_pack(data)
        assert f"{len(data):,}" in row
        assert f"| {len(pack.meta['features'])} |" in row
        assert f"`{pack.meta['family']}`" in row
        assert hashlib.sha256(data).hexdigest()[:16] in row


def test_a_card_and_a_gate_stand_next_to_every_pack() -> None:
    for path in MODELS.glob("*/model.tfpack"):
        assert load_gate(path.with_name("gate.toml"))
        card = path.with_name("MODEL_CARD.md").read_text()
        text = of_the_model(path.with_name("tinyfin.toml").read_bytes().decode())
        config = hashlib.sha256(text.encode()).hexdigest()
        assert f"sha256 {config}" in card, f"{path.parent.name}: evaluate its tinyfin.toml again"

# SPDX-License-Identifier: Apache-2.0
"""A file and a mapping are enough: what the configuration leaves open is settled by the data."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.support.cli import tinyfin
from tests.support.run_json import RUN
from tinyfin.config import Config, from_table, load
from tinyfin.config.sections import Risk
from tinyfin.evaluation.folds import Fold
from tinyfin.evaluation.workflow import evaluate
from tinyfin.features.catalogue import AUTO
from tinyfin.training.dataset import Dataset, prepare
from tinyfin.training.resolve_auto import resolve_auto
from tinyfin.training.run_folder import new_run, open_run

MAPPING = """
[data]
time = "t"
terminal = "shop"
token = "card"
amount = "cents"
mcc = {column = "kind", hash = true}
label = {column = "bad", values = {Y = 1, N = 0}}
label_delay = "1d"
"""


def write(path: Path, *, frauds: float, rows: int = 3000, label: bool = True) -> Path:
    rng = np.random.default_rng(1)
    t = np.sort(rng.integers(1_600_000_000, 1_600_000_000 + 20 * 86_400, rows))
    bad = rng.random(rows) < frauds
    cents = np.where(bad, rng.integers(9000, 20_000, rows), rng.integers(100, 9900, rows))
    kind = np.array(["food", "fuel", "fun"])[np.where(bad, 2, rng.integers(0, 3, rows))]
    told = np.where(bad, ",Y", ",N") if label else np.full(rows, "")
    lines = [f"{t[i]},S{i % 7},{i % 83},{cents[i]},{kind[i]}{told[i]}" for i in range(rows)]
    path.write_text(
        "t,shop,card,cents,kind" + (",bad" if label else "") + "\n" + "\n".join(lines) + "\n"
    )
    return path


@pytest.fixture(scope="module")
def mapping(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mapping") / "tinyfin.toml"
    path.write_text(MAPPING)
    return path


class Seen(Exception):
    """Ends an evaluation where its first part would be learned."""


def test_every_week_learns_its_cuts_and_tables_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a run has learned knows labels that came after the weeks it is judged on began."""
    data = write(tmp_path / "shop.csv", frauds=0.05)
    (tmp_path / "tinyfin.toml").write_text(
        MAPPING
        + """
[model]
family = "mlp"
[features]
names = ["amt_log", "kind_risk", "amt_over_learned"]
[features.kind_risk]
expression = "mcc"
risk = "learn"
"""
    )
    run = new_run(tmp_path, "run", load(tmp_path / "tinyfin.toml"))
    later = {"kind_risk": Risk(cuts=[7], values=[1, 2])}
    run.write_json("run.json", RUN)
    run.add_learned({"amt_over_learned": 1234}, later)
    assert (run.config().features.cuts, run.config().features.risks) == (
        {"amt_over_learned": 1234},
        later,
    )
    seen = []

    def look(folder: Path, dataset: Dataset, part: Fold, config: Config, **more: Any) -> None:
        assert config.path is not None
        text = config.path.read_text()
        made = dataset.featured(config, part.split)
        seen.append((config, from_table(tomllib.loads(text)), made))
        raise Seen

    monkeypatch.setattr("tinyfin.evaluation.workflow.score_fold", look)
    with pytest.raises(Seen):
        evaluate(run, [data], weeks=1, seeds=1)
    config, written, made = seen[0]
    assert config.features.cuts == written.features.cuts == {}
    assert config.features.risks == written.features.risks == {}
    assert 9000 < made.cuts["amt_over_learned"] <= 9900
    assert made.risks["kind_risk"] != later["kind_risk"]
    assert max(made.risks["kind_risk"].values) > 60


@pytest.mark.parametrize(
    ("frauds", "label", "delay"), [(0.0, True, "1d"), (0.02, False, "1d"), (0.02, True, "60d")]
)
def test_where_no_fraud_is_known_nothing_is_learned_from_labels(
    tmp_path: Path, frauds: float, label: bool, delay: str
) -> None:
    data = write(tmp_path / "shop.csv", frauds=frauds, label=label, rows=1500)
    text = MAPPING.replace('"1d"', f'"{delay}"')
    if not label:
        text = "\n".join(line for line in text.splitlines() if not line.startswith("label"))
    (tmp_path / "tinyfin.toml").write_text(text)
    made = tinyfin(f"train {data} --config {tmp_path}/tinyfin.toml --name shop --out {tmp_path}")
    assert "so no labels are used: family density" in made.output
    run = open_run(tmp_path / "shop")
    assert run.config().model.family == "density"
    assert not [name for name in run.config().features.names if name.startswith("known_")]
    assert "mcc_risk" not in run.config().features.names
    tinyfin("quantize", run.path)
    tinyfin("score", run.path, data, "--out", tmp_path / "scores.parquet")
    assert pq.read_table(tmp_path / "scores.parquet").num_rows == 1500
    facts = json.loads((run.path / "run.json").read_text())
    assert facts["split"]["fit"]["frauds"] == 0


@pytest.mark.parametrize(
    ("bad", "verb", "told"),
    [
        ("Y", ("train",), "cannot be split"),
        ("", ("train", "--until", "2030-01-01"), "cannot be split"),
    ],
)
def test_nothing_clean_is_said_plainly(
    tmp_path: Path, mapping: Path, bad: str, verb: tuple[str, ...], told: str
) -> None:
    path = tmp_path / "one.csv"
    path.write_text("t,shop,card,cents,kind,bad\n1600000000,S1,1,100,food," + (bad or "Y") + "\n")
    line = f"--config {mapping} --name one --out {tmp_path}"
    made = tinyfin(*verb, path, *line.split(), code=3)
    assert told in made.output
    assert "Traceback" not in made.output


def test_what_is_written_stays(mapping: Path, tmp_path: Path) -> None:
    data = write(tmp_path / "shop.csv", frauds=0.02, rows=500)
    table = {
        "data": {
            "time": "t",
            "amount": "cents",
            "label": {"column": "bad", "values": {"Y": 1, "N": 0}},
            "label_delay": "1d",
        },
        "model": {"family": "forest"},
        "features": {"names": ["amt_log"]},
    }
    config = from_table(table)
    run = new_run(tmp_path, "run", config)
    settled, _ = resolve_auto(run, prepare([data], config), config)
    assert settled == config
    assert (run.path / "config.toml").read_text() == ""


def test_the_choice_depends_on_columns_and_nothing_else(tmp_path: Path) -> None:
    chosen = []
    for seed_rows in (400, 900):
        data = write(tmp_path / f"{seed_rows}.csv", frauds=0.05, rows=seed_rows)
        config = from_table(
            {
                "data": {
                    "time": "t",
                    "amount": "cents",
                    "label": {"column": "bad", "values": {"Y": 1, "N": 0}},
                    "label_delay": "1d",
                }
            }
        )
        run = new_run(tmp_path, f"run{seed_rows}", config)
        settled, _ = resolve_auto(run, prepare([data], config), config)
        assert settled.model.family == "distilled"
        assert run.config().model.family == "distilled"
        assert run.config().features.names == settled.features.names
        chosen.append(settled.features.names)
    assert chosen[0] == chosen[1]
    assert set(chosen[0]) < set(AUTO)

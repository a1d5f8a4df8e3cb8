# SPDX-License-Identifier: Apache-2.0
"""One small simulated data set and one small run, shared by the room's tests."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

CONFIG = """
[simulate]
terminals = 10
days = 36
seed = 7

[features]
names = "default"

[model]
family = "mlp"
hidden = [12, 8]
epochs = 3
learning_rate = 5e-3
batch_size = 256
options = {genuine_rows = 6000}

[evaluate]
baselines = ["logistic_regression"]
seeds = 1

[train]
train = 0.5
validation = 0.25
test = 0.25
"""


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """``data`` and ``config`` of a small simulation, and a quantized ``run``. Read only."""
    from tinyfin import simulator
    from tinyfin.config import load
    from tinyfin.quantization.workflow import quantize
    from tinyfin.training.workflow import train

    folder = tmp_path_factory.mktemp("training")
    config = folder / "tinyfin.toml"
    config.write_text(CONFIG)
    data = folder / "small.parquet"
    settings = load(config)
    simulator.write(simulator.simulate(settings.simulate), data)
    run = train([data], settings, name="small", out=folder / "runs")
    quantize(run)
    return {"data": data, "config": config, "run": run.path}


@pytest.fixture
def run_copy(small: dict[str, Path], tmp_path: Path) -> Path:
    """The small run, to be changed."""
    target = tmp_path / "run"
    shutil.copytree(small["run"], target)
    return target


@pytest.fixture(scope="session")
def unseen_town(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty days of sixteen terminals that no reference model has seen, with more attacks than
    usual. Read only."""
    from tinyfin import simulator
    from tinyfin.config import Simulate

    data = tmp_path_factory.mktemp("unseen") / "town.parquet"
    attacks = {
        "stolen_terminal": 3.0,
        "card_testing": 3.0,
        "split_sale": 3.0,
        "forced_post": 5.0,
        "distraction_refund": 2.0,
    }
    settings = Simulate(terminals=16, days=30, seed=99, attacks=attacks)
    simulator.write(simulator.simulate(settings), data)
    return data


@pytest.fixture(scope="session")
def judged(small: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small run, evaluated over two weeks. Its parts may be used again, and are not changed."""
    from click.testing import CliRunner

    from tinyfin.cli import main

    folder = tmp_path_factory.mktemp("judged") / "small"
    shutil.copytree(small["run"], folder)
    words = ["evaluate", str(folder), str(small["data"]), "--weeks", "2"]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    return folder

# SPDX-License-Identifier: Apache-2.0
"""``--track``: what a server of MLflow gets, and that nothing else does."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.support.cli import tinyfin
from tinyfin import optional_packages, simulator, tracking
from tinyfin.config import Simulate
from tinyfin.results.trials import Trial, Trials
from tinyfin.training.run_folder import open_run

pytestmark = pytest.mark.xdist_group("tracking")

CONFIG = """
[features]
names = ["amt_log", "amt_dev", "gap_s"]

[model]
family = "boosted"
options = {trees = 8, depth = 2}

[train]
until = "2025-01-26"

[evaluate]
baselines = []
protocol = "holdout"
delays = []
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A run that was trained, quantized and evaluated with ``--track``, without a network."""
    folder = tmp_path_factory.mktemp("track")
    settings = Simulate.model_validate({"terminals": 12, "days": 27, "seed": 5})
    simulator.write(simulator.simulate(settings), folder / "tx.parquet")
    (folder / "tinyfin.toml").write_text(CONFIG)
    key = "cold.all.model_int8.roc_auc"
    (folder / "gate.toml").write_text(f'[gate]\n"{key}" = {{min = 1.5}}\n')
    uri = f"sqlite:///{folder}/runs.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(socket.socket, "connect", refused)
        tinyfin(f"train tx.parquet --config tinyfin.toml --name first --track {uri}")
        tinyfin("quantize runs/first")
        tinyfin(f"evaluate runs/first --gate gate.toml --track {uri}", code=4)
        run = open_run(folder / "runs" / "first")
        tried = [Trial(n, {}, None, (), n / 10) for n in (1, 2)]
        run.write(Trials(best=2, trials=[*tried, Trial(3, {}, None, ("flash",), None)]))
        tracking.log_run(uri, run, "search", pytest.fail)
    return SimpleNamespace(folder=folder, uri=uri, run=run)


def refused(*_: object) -> None:
    raise AssertionError("somebody wants a network")


def tracked(uri: str) -> dict[str, SimpleNamespace]:
    """By verb what the server has, asked for by the client of MLflow."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("tinyfin")
    assert experiment is not None
    found = {}
    for run in client.search_runs([experiment.experiment_id]):
        names = [one.path for one in client.list_artifacts(run.info.run_id)]
        data = {"params": run.data.params, "metrics": run.data.metrics, "artifacts": names}
        found[run.data.tags["tinyfin.verb"]] = SimpleNamespace(
            **data, status=run.info.status, client=client, id=run.info.run_id
        )
    return found


def test_a_server_has_the_figures_and_the_pack(place: SimpleNamespace, tmp_path: Path) -> None:
    found = tracked(place.uri)
    assert set(found) == {"train", "evaluate", "search"}
    facts = json.loads((place.run.path / "run.json").read_text())
    metrics = json.loads((place.run.path / "metrics.json").read_text())
    evaluation = json.loads((place.run.path / "evaluation.json").read_text())
    train, evaluate = found["train"], found["evaluate"]
    assert train.params["model.family"] == "boosted"
    assert train.params["data"] == facts["data"]["known_fingerprint"]
    float_ = metrics["populations"]["all"]["model_float"]["average_precision"]
    assert train.metrics["metrics.populations.all.model_float.average_precision"] == float_
    int8 = metrics["populations"]["all"]["model_int8"]
    for key in ("average_precision", "recall_at_0.1%"):
        name = f"metrics.populations.all.model_int8.{key.replace('%', '_percent')}"
        assert evaluate.metrics[name] == int8[key]
    assert evaluate.metrics["gate.cold.all.model_int8.roc_auc.ok"] == 0
    [gate] = evaluation["gate"]
    assert evaluate.metrics["gate.cold.all.model_int8.roc_auc"] == pytest.approx(gate["found"])
    assert {"run.json", "config.toml", "metrics.json"} <= set(train.artifacts)
    assert "model.tfpack" not in train.artifacts
    assert {"model.tfpack", "evaluation.json", "MODEL_CARD.md"} <= set(evaluate.artifacts)
    pack = evaluate.client.download_artifacts(evaluate.id, "model.tfpack", str(tmp_path))
    assert Path(pack).read_bytes() == place.run.pack.read_bytes()
    assert {one.status for one in found.values()} == {"FINISHED"}
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == os.environ["DO_NOT_TRACK"] == "true"


def test_trials_of_a_search_are_steps(place: SimpleNamespace) -> None:
    found = tracked(place.uri)["search"]
    history = found.client.get_metric_history(found.id, "trial.average_precision")
    assert {one.step: one.value for one in history} == {1: 0.1, 2: 0.2}


@pytest.mark.parametrize("uri", ["http://name:secret@127.0.0.1:9", "sqlite:////dev/null/runs.db"])
def test_a_server_that_is_away_is_a_warning(place: SimpleNamespace, uri: str) -> None:
    said: list[str] = []
    tracking.log_run(uri, place.run, "train", said.append)
    [warning] = said
    assert warning.startswith("WARNING: ")
    assert "was not tracked" in warning
    assert "secret" not in warning.split(": ")[1]


def test_the_package_is_asked_for_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    real = optional_packages.importlib.util.find_spec
    monkeypatch.setattr(
        optional_packages.importlib.util,
        "find_spec",
        lambda name, *rest: None if name == "mlflow" else real(name, *rest),
    )
    (tmp_path / "tx.csv").write_text("nothing\n")
    said = tinyfin(f"train {tmp_path}/tx.csv --track sqlite:///x.db", code=6).output
    assert "mlflow is not installed" in said
    assert "[track]" in said


def test_it_is_not_imported_unless_it_is_asked_for(place: SimpleNamespace) -> None:
    """The control: this process has asked for it."""
    words = ["train", "tx.parquet", "--config", "tinyfin.toml", "--name", "other", "-q"]
    code = (
        "import sys; from tinyfin.cli import main; "
        f"main({words!r}, standalone_mode=False); "
        "sys.exit(10 + ('mlflow' in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=place.folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 10, done.stderr.decode()
    assert "mlflow" in sys.modules

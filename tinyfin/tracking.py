# SPDX-License-Identifier: Apache-2.0
"""Runs on a tracking server of MLflow: parameters, figures, gates, documents and the pack.

MLflow is imported by who asks for it and by nobody else, and is told to send no telemetry. What
goes wrong is a warning: training does not fail because a server is away.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from tinyfin import optional_packages
from tinyfin.registry.contents import OF_RELEASE, OF_RUN, RELEASE
from tinyfin.results.evaluation import Evaluation
from tinyfin.results.metrics import Metrics
from tinyfin.results.trials import Trials
from tinyfin.training.run_folder import RunFolder

__all__ = ["log_run", "require_tracking"]

EXPERIMENT = "tinyfin"
_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}
_FILES = (*OF_RUN, "asked.toml", "maps.json", "trials.json", "retraining.json", "model.tfpack")
_SQLITE = "sqlite:///"
_BATCH = 500


def require_tracking() -> None:
    """ToolError unless what `--track` needs is installed."""
    optional_packages.require(["mlflow", "sqlalchemy", "alembic"], "for --track")


def log_run(uri: str, run: RunFolder, verb: str, note: Callable[[str], None]) -> None:
    """Put what a run folder holds on a tracking server, as one run of MLflow. ``uri``: as MLflow
    takes it; artifacts of an SQLite file lie next to it. A failure is a warning."""
    os.environ.update(_QUIET)
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _log(uri, run, verb)
    except Exception as error:  # whatever a server or its client does
        said = [*str(error).strip().splitlines(), type(error).__name__][0]
        where = uri.rpartition("@")[2]  # without a password
        note(f"WARNING: {where}: {run.path} was not tracked: {said}; the run itself is whole")


def _log(uri: str, run: RunFolder, verb: str) -> None:
    from mlflow.entities import Metric, Param
    from mlflow.tracking import MlflowClient

    client = MlflowClient(uri)
    found = client.get_experiment_by_name(EXPERIMENT)
    place = None
    if uri.startswith(_SQLITE):
        place = Path(uri.removeprefix(_SQLITE)).absolute().with_suffix(".artifacts").as_uri()
    experiment = found.experiment_id if found else client.create_experiment(EXPERIMENT, place)
    tags = {"tinyfin.verb": verb, "tinyfin.run": str(run.path)}
    made = client.create_run(experiment, run_name=run.name, tags=tags).info
    figures = [Metric(k, v, made.start_time, step) for k, v, step in _figures(run)]
    for at in range(0, len(figures), _BATCH):
        client.log_batch(made.run_id, metrics=figures[at : at + _BATCH])
    params = [Param(k, str(v)[:500]) for k, v in _params(run).items()]
    client.log_batch(made.run_id, params=params[:100])
    places = [run.path / name for name in _FILES]
    places += [run.path / RELEASE / name for name in (*OF_RELEASE, "model.tfpack")]
    for path in places:
        if path.is_file():
            folder = path.relative_to(run.path).parent
            client.log_artifact(made.run_id, str(path), None if folder == Path() else str(folder))
    client.set_terminated(made.run_id)


def _params(run: RunFolder) -> dict[str, object]:
    facts = run.facts()
    return {
        **{f"model.{key}": value for key, value in run.config().model.model_dump().items()},
        "model.seed": facts.model.seed,
        "split.until": facts.split.until,
        "features": len(facts.features.names),
        "config_sha256": facts.config_sha256,
        "data": facts.data.known_fingerprint,
    }


def _figures(run: RunFolder) -> Iterator[tuple[str, float, int]]:
    """Name, value and step: of metrics, evaluation and trials, as far as there are any."""
    yield from _numbers("metrics", run.read(Metrics).as_json())
    if (run.path / Evaluation.NAME).is_file():
        found = run.read(Evaluation)
        yield from _numbers("evaluation", {"means": found.as_json().get("means", {})})
        for row in found.gate:
            yield f"gate.{_name(row.name)}.ok", float(row.ok), 0
            if row.found is not None:
                yield f"gate.{_name(row.name)}", row.found, 0
    if (run.path / Trials.NAME).is_file():
        for trial in run.read(Trials).trials:
            if trial.average_precision is not None:
                yield "trial.average_precision", trial.average_precision, trial.number


def _numbers(name: str, value: object) -> Iterator[tuple[str, float, int]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _numbers(f"{name}.{_name(key)}", inner)
    elif isinstance(value, (int, float)):
        yield name, float(value), 0


def _name(key: str) -> str:
    return "".join(c if c.isalnum() or c in "_-. /" else "_" for c in key.replace("%", "_percent"))

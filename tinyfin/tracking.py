# SPDX-License-Identifier: Apache-2.0
"""Runs on a tracking server of MLflow: parameters, figures, gates, documents and the pack.

MLflow is imported by who asks for it and by nobody else, and is told to send no telemetry. What
goes wrong is a warning: training does not fail because a server is away.
"""

from __future__ import annotations

import logging
import os
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinyfin import optional_packages
from tinyfin.errors import TinyfinError, ToolError
from tinyfin.registry.contents import OF_RELEASE, OF_RUN, RELEASE
from tinyfin.results.evaluation import Evaluation
from tinyfin.results.metrics import Metrics
from tinyfin.results.trials import Trials
from tinyfin.training.run_folder import RunFolder

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

__all__ = ["calling_mlflow", "experiment_of", "figures", "log_run", "require_tracking"]

EXPERIMENT = "tinyfin"
_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}
_FILES = (*OF_RUN, "asked.toml", "maps.json", "trials.json", "retraining.json", "model.tfpack")
_SQLITE = "sqlite:///"
_BATCH = 500


def require_tracking(option: str = "--track") -> None:
    """ToolError unless what an option needs is installed."""
    optional_packages.require(["mlflow", "sqlalchemy", "alembic"], f"for {option}")


def log_run(uri: str, run: RunFolder, verb: str, note: Callable[[str], None]) -> None:
    """Put what a run folder holds on a tracking server, as one run of MLflow. ``uri``: as MLflow
    takes it; artifacts of an SQLite file lie next to it. A failure is a warning."""
    try:
        with calling_mlflow(uri):
            _log(uri, run, verb)
    except ToolError as error:
        note(f"WARNING: {error}: {run.path} was not tracked; the run itself is whole")


@contextmanager
def calling_mlflow(uri: str) -> Iterator[None]:
    """Whatever a server of MLflow or its client does wrong in the block is a ToolError, without
    the password of ``uri``. No telemetry is sent."""
    os.environ.update(_QUIET)
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except TinyfinError:
        raise
    except Exception as error:
        said = [*str(error).strip().splitlines(), type(error).__name__][0]
        said = re.sub(r"//[^/\s]*@", "//", said)
        raise ToolError(f"{uri.rpartition('@')[2]}: {said}") from error


def _log(uri: str, run: RunFolder, verb: str) -> None:
    from mlflow.entities import Metric, Param
    from mlflow.tracking import MlflowClient

    client = MlflowClient(uri)
    experiment = experiment_of(client, uri)
    tags = {"tinyfin.verb": verb, "tinyfin.run": str(run.path)}
    made = client.create_run(experiment, run_name=run.name, tags=tags).info
    found = [Metric(k, v, made.start_time, step) for k, v, step in _figures(run)]
    for at in range(0, len(found), _BATCH):
        client.log_batch(made.run_id, metrics=found[at : at + _BATCH])
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


def experiment_of(client: MlflowClient, uri: str) -> str:
    """The id of tinyfin's experiment, made if it is not there."""
    found = client.get_experiment_by_name(EXPERIMENT)
    place = None
    if uri.startswith(_SQLITE):
        place = Path(uri.removeprefix(_SQLITE)).absolute().with_suffix(".artifacts").as_uri()
    return str(found.experiment_id if found else client.create_experiment(EXPERIMENT, place))


def _figures(run: RunFolder) -> Iterator[tuple[str, float, int]]:
    """Name, value and step: of metrics, evaluation and trials, as far as there are any."""
    evaluated = (run.path / Evaluation.NAME).is_file()
    evaluation = run.read(Evaluation).as_json() if evaluated else {}
    for name, value in figures(run.read(Metrics).as_json(), evaluation):
        yield name, value, 0
    if (run.path / Trials.NAME).is_file():
        for trial in run.read(Trials).trials:
            if trial.average_precision is not None:
                yield "trial.average_precision", trial.average_precision, trial.number


def figures(
    metrics: Mapping[str, Any], evaluation: Mapping[str, Any]
) -> Iterator[tuple[str, float]]:
    """Names and values of what ``metrics.json`` and ``evaluation.json`` say."""
    yield from _numbers("metrics", metrics)
    yield from _numbers("evaluation", {"means": evaluation.get("means", {})})
    for row in evaluation.get("gate", []):
        yield f"gate.{_name(row['name'])}.ok", float(row["ok"])
        if row["found"] is not None:
            yield f"gate.{_name(row['name'])}", row["found"]


def _numbers(name: str, value: object) -> Iterator[tuple[str, float]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _numbers(f"{name}.{_name(key)}", inner)
    elif isinstance(value, (int, float)):
        yield name, float(value)


def _name(key: str) -> str:
    return "".join(c if c.isalnum() or c in "_-. /" else "_" for c in key.replace("%", "_percent"))

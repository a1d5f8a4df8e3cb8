# SPDX-License-Identifier: Apache-2.0
"""What deploy/ ships: commands that tinyfin has, manifests that Kubernetes takes, nobody's root."""

from __future__ import annotations

import copy
import importlib.util
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import kubernetes_validate as kubernetes
import pytest
import yaml

from tests.support.cli import parsed
from tests.support.process import ROOT

DEPLOY = ROOT / "deploy"


def documents() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((DEPLOY / "kubernetes" / "fleet.yaml").read_text()))


def pods(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The pod that a document describes, if it does."""
    spec = document.get("spec", {})
    if document["kind"] == "CronJob":
        spec = spec["jobTemplate"]["spec"]
    if "template" in spec:
        yield spec["template"]["spec"]


def commands() -> Iterator[list[str]]:
    """Each call of tinyfin, without its own name."""
    for document in documents():
        for pod in pods(document):
            for one in pod["containers"]:
                yield one["args"]
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    yield from (one["command"] for one in services.values() if "command" in one)
    texts = [*(DEPLOY / "schedulers").iterdir(), *DEPLOY.glob("Containerfile*")]
    for path in texts:
        for line in path.read_text().splitlines():
            if line.startswith("ExecStart="):
                yield shlex.split(line)[1:]
            if re.match(r"[*\d]", line):
                plain = re.sub(r"\$\([^)]*\)", "x", line.partition(" >")[0])
                yield shlex.split(plain)[7:]
    yield ["fleet", "init", "/data/lake"]


def test_tinyfin_has_every_command() -> None:
    found = list(commands())
    assert len(found) >= 9
    for words in found:
        parsed(words)
    with pytest.raises(AssertionError):
        parsed(["fleet", "ingest", "lake", "--never"])
    with pytest.raises(AssertionError):
        parsed(["fleet", "swerve", "lake"])


def test_kubernetes_takes_the_manifests() -> None:
    version = kubernetes.latest_version()
    for document in documents():
        kubernetes.validate(document, version, strict=True)
    wrong = copy.deepcopy(next(one for one in documents() if one["kind"] == "Deployment"))
    wrong["spec"]["replicaz"] = 1
    with pytest.raises(kubernetes.ValidationError):
        kubernetes.validate(wrong, version, strict=True)


def test_nothing_runs_as_root_or_holds_a_secret() -> None:
    found = [pod for document in documents() for pod in pods(document)]
    assert len(found) == 2
    for pod in found:
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["automountServiceAccountToken"] is False
        for one in [*pod["containers"], *pod["initContainers"]]:
            context = one["securityContext"]
            assert context["readOnlyRootFilesystem"] is True
            assert context["allowPrivilegeEscalation"] is False
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert "env" not in one
    assert not any(document["kind"] == "Secret" for document in documents())
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    for one in services.values():
        assert one["read_only"] is True
        assert one["cap_drop"] == ["ALL"]
        assert "environment" not in one
    for path in DEPLOY.glob("Containerfile*"):
        users = re.findall(r"^USER (\S+)", path.read_text(), re.MULTILINE)
        assert users[-1] == "10001"


def test_systemd_takes_the_units(tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd is not the init system here: there is no systemd-analyze")
    for path in (DEPLOY / "schedulers").glob("tinyfin-tick.*"):
        text = path.read_text().replace("/opt/tinyfin/bin/tinyfin", "/bin/true")
        (tmp_path / path.name).write_text(text)
    units = sorted(map(str, tmp_path.iterdir()))

    def said() -> str:
        done = subprocess.run(
            [program, "verify", *units], capture_output=True, text=True, timeout=60
        )
        return done.stdout + done.stderr

    mine = [line for line in said().splitlines() if "tinyfin-tick" in line]
    assert mine == []
    timer = tmp_path / "tinyfin-tick.timer"
    timer.write_text(timer.read_text().replace("OnCalendar=*:05", "OnCalendar=sometimes"))
    assert "tinyfin-tick" in said()


def loaded(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_dag_of_airflow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against stand-ins for Airflow, which is not installed: names, arguments, order."""
    tasks: list[Any] = []

    class Operator:
        def __init__(self, *, task_id: str, bash_command: str, retries: int = 0) -> None:
            self.task_id, self.command, self.after = task_id, bash_command, None
            tasks.append(self)

        def __rshift__(self, other: Operator) -> Operator:
            other.after = self  # type: ignore[assignment]
            return other

    class Dag:
        def __init__(self, name: str, **more: object) -> None:
            assert set(more) == {"schedule", "start_date", "catchup", "max_active_runs"}

        def __enter__(self) -> None:
            pass

        def __exit__(self, *_: object) -> None:
            pass

    names = ("airflow", "airflow.providers", "airflow.providers.standard", "airflow.sdk")
    names += ("airflow.providers.standard.operators", "airflow.providers.standard.operators.bash")
    for name in (*names, "pendulum"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    sys.modules["airflow.providers.standard.operators.bash"].BashOperator = Operator  # type: ignore[attr-defined]
    sys.modules["airflow.sdk"].DAG = Dag  # type: ignore[attr-defined]
    sys.modules["pendulum"].datetime = lambda *_, tz: tz  # type: ignore[attr-defined]
    loaded("airflow_dag", DEPLOY / "schedulers" / "airflow_dag.py")
    assert [one.task_id for one in tasks] == ["ingest", "tick"]
    assert tasks[1].after is tasks[0]
    for one in tasks:
        parsed(shlex.split(one.command)[1:])


def test_the_schedule_of_dagster(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against stand-ins for Dagster, which is not installed."""
    made = ModuleType("dagster")
    made.op = made.job = lambda function: function  # type: ignore[attr-defined]
    made.ScheduleDefinition = lambda *, job, cron_schedule: (job, cron_schedule)  # type: ignore[attr-defined]
    made.Definitions = lambda *, schedules: schedules  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "dagster", made)
    module = loaded("dagster_job", DEPLOY / "schedulers" / "dagster_job.py")
    called: list[list[str]] = []
    monkeypatch.setattr(module.subprocess, "run", lambda words, **_: called.append(words))
    [(job, schedule)] = module.defs
    job()
    parsed(called[0][1:])
    assert schedule == "5 * * * *"

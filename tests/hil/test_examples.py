# SPDX-License-Identifier: Apache-2.0
"""The rig files and CI files in hil/ are what today's commands take."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from tinyfin.cli.hil import command as hil
from tinyfin.errors import ConfigError
from tinyfin.hil.rigs import rigfile
from tinyfin.hil.runs import suites
from tinyfin.paths import project_dir

HIL = project_dir() / "hil"
RIGS = sorted((HIL / "rigs").glob("*.toml"))
CI = sorted((HIL / "ci").iterdir())


def commands(text: str) -> list[list[str]]:
    """The words after ``tinyfin hil`` of every such command."""
    found = re.findall(r"\btinyfin hil (.*?)(?='\s*\}|$)", text, re.M)
    return [shlex.split(words) for words in found]


def check(words: list[str]) -> dict[str, Any]:
    """The parameters of a command of `tinyfin hil`; click refuses what it does not know."""
    name, *rest = words
    chosen = hil.get_command(click.Context(hil), name)  # type: ignore[attr-defined]  # a group
    assert chosen is not None, name
    given: dict[str, Any] = chosen.make_context(name, list(rest)).params
    for suite in given.get("suites", ()):
        suites.find(suite)
    if given.get("rig_path") is not None:
        rigfile.load(project_dir() / given["rig_path"])
    return given


@pytest.mark.parametrize("path", RIGS, ids=lambda path: path.stem)
def test_a_rig_of_each_family_is_read(path: Path) -> None:
    rig = rigfile.load(path)
    assert rig.name == path.stem
    assert rig.run is not None
    assert rig.run.is_file()
    rigfile.select(rig, ())
    assert "Not run on hardware" in path.read_text()
    for spec in rig.targets.values():
        assert spec.reset.line or spec.reset.command, "a board that hangs needs a way back"


@pytest.mark.parametrize("path", CI, ids=lambda path: path.name)
def test_every_command_of_a_ci_file_is_understood(path: Path) -> None:
    found = commands(path.read_text())
    assert len(found) >= 2
    given = [check(words) for words in found]
    assert any(one.get("rig_path") for one in given)
    assert any("hostile" in one.get("suites", ()) for one in given)


@pytest.mark.parametrize(
    "words", ["run --suit parity", "run --suite paritty", "run --rig gone.toml"]
)
def test_control_a_command_that_is_misspelt(words: str) -> None:
    with pytest.raises((click.UsageError, ConfigError, OSError)):
        check(words.split())


@pytest.mark.parametrize("path", CI, ids=lambda path: path.name)
def test_results_are_kept_also_of_failures_and_never_transcripts(path: Path) -> None:
    """They hold card tokens."""
    text = path.read_text()
    if path.suffix == ".yml":
        assert yaml.safe_load(text)
    jobs = {"github.yml": 2, "gitlab.yml": 1, "Jenkinsfile": 1}[path.name]
    assert text.count("always") == jobs
    assert text.count("*.transcript.gz") == jobs


def test_the_jobs_of_yaml() -> None:
    github = yaml.safe_load((HIL / "ci" / "github.yml").read_text())
    gitlab = yaml.safe_load((HIL / "ci" / "gitlab.yml").read_text())
    assert set(github["jobs"]) == {"emulated", "boards"} == set(gitlab)
    for job in github["jobs"].values():
        upload = job["steps"][-1]
        assert upload["if"] == "always()"
        assert "hil/results" in upload["with"]["path"].split()
    for job in gitlab.values():
        assert job["artifacts"]["reports"]["junit"] == "hil/results/junit.xml"

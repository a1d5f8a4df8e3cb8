# SPDX-License-Identifier: Apache-2.0
"""The pytest plugin as a firmware team meets it: from where paths are seen, and short errors."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.process import call

pytestmark = pytest.mark.live

TESTS = "def test_a(terminal):\n    assert terminal.stats()\n\ndef test_b(replay):\n    pass\n"


def ran(
    folder: Path, *words: str, cwd: Path | None = None, environment: str | None = None
) -> subprocess.CompletedProcess[str]:
    """pytest in a process of its own, in the project of ``folder``."""
    env = {key: value for key, value in os.environ.items() if key != "PYTEST_ADDOPTS"}
    if environment is not None:
        env["PYTEST_ADDOPTS"] = environment
    command = sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *words
    return call(*command, code=None, cwd=cwd or folder, env=env, deadline_s=200)


@pytest.fixture
def project(tmp_path: Path, pack: Path) -> Path:
    """rigs/desk.toml and tests/test_it.py under settings of their own."""
    for name in ("rigs", "tests"):
        (tmp_path / name).mkdir()
    (tmp_path / "rigs" / "desk.toml").write_text(
        f'[rig]\nrun = "{pack}"\n[targets.here]\ntarget = "host"\n'
    )
    (tmp_path / "tests" / "test_it.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    return tmp_path


def addopts(project: Path, *words: str) -> None:
    (project / "pytest.ini").write_text(f"[pytest]\naddopts = {' '.join(words)}\n")


def test_paths_of_addopts_are_seen_from_their_file(project: Path, pack: Path) -> None:
    """As users of pytest expect, from whichever folder it is called; with warnings as errors."""
    addopts(project, "--tinyfin-rig=rigs/desk.toml", "--tinyfin-run=model.tfpack")
    (project / "model.tfpack").write_bytes(pack.read_bytes())
    for cwd in (project, project / "tests"):
        done = ran(project, "-W", "error", "--collect-only", cwd=cwd)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "test_a[here]" in done.stdout
    passed = ran(project, "-W", "error", cwd=project / "tests")
    assert "2 passed" in passed.stdout, passed.stdout + passed.stderr
    (project / "model.tfpack").unlink()
    gone = ran(project, cwd=project / "tests")
    assert gone.returncode == 4
    assert f"ERROR: --tinyfin-run: {project / 'model.tfpack'} is not there" in gone.stderr


def test_paths_of_the_command_line_are_seen_from_where_it_is_called(project: Path) -> None:
    addopts(project, "--tinyfin-rig=none.toml")
    there = project / "rigs"
    for words, environment in (
        (["--tinyfin-rig=desk.toml"], None),
        ([], "--tinyfin-rig=desk.toml"),
        (["--tinyfin-rig=desk.toml"], "--tinyfin-rig=none.toml"),
    ):
        done = ran(
            project, "--collect-only", *words, "../tests", cwd=there, environment=environment
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "test_a[here]" in done.stdout


WRONG = {
    "baud": ("baud = 3\n", "rigs/desk.toml: targets.here.baud = 3: "),
    "unknown": ("speed = 3\n", "rigs/desk.toml: targets.here.speed: unknown key 'speed'"),
    "placeholder": ('reset = { command = "x {y}" }\n', "rigs/desk.toml: targets.here"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_rig_file_is_a_usage_error(name: str, project: Path) -> None:
    more, words = WRONG[name]
    with (project / "rigs" / "desk.toml").open("a") as file:
        file.write(more)
    done = ran(project, "--tinyfin-rig=rigs/desk.toml")
    assert done.returncode == 4
    assert f"ERROR: {project}/{words}" in done.stderr
    assert len((done.stdout + done.stderr).strip().splitlines()) <= 6, done.stdout + done.stderr
    (project / "tests" / "test_other.py").write_text("def test_of_no_rig():\n    pass\n")
    other = ran(project, "--tinyfin-rig=rigs/desk.toml", "tests/test_other.py")
    assert other.returncode == 0, "a test that needs no rig does not read it"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--tinyfin-rig=gone.toml"], "gone.toml: cannot be read"),
        (["--tinyfin-rig=rigs/desk.toml", "--tinyfin-target=her"], "did you mean here?"),
        (["--tinyfin-rig=rigs/desk.toml", "--tinyfin-run=x.tfpack"], "x.tfpack is not there"),
    ],
)
def test_whatever_else_is_wrong_with_the_options(
    words: list[str], said: str, project: Path
) -> None:
    done = ran(project, *words)
    assert done.returncode == 4, done.stdout
    assert said in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert len((done.stdout + done.stderr).strip().splitlines()) <= 6


def test_in_processes_of_xdist_it_is_short_too(project: Path) -> None:
    done = ran(project, "--tinyfin-rig=gone.toml", "-n", "1")
    assert done.returncode not in (0, 5)
    assert f"{project / 'gone.toml'}: cannot be read" in done.stdout
    assert "Traceback" not in done.stdout
    assert "INTERNALERROR" not in done.stdout + done.stderr


def test_a_terminal_that_cannot_be_reached_shows_no_inside(project: Path, silent_url: str) -> None:
    rig = project / "rigs" / "desk.toml"
    rig.write_text(
        rig.read_text() + f'port = {{ url = "{silent_url}" }}\n[deadlines]\nport_s = 0.2\n'
    )
    done = ran(project, "--tinyfin-rig=rigs/desk.toml")
    assert done.returncode == 1
    assert "nothing listens there" in done.stdout
    assert "During handling" not in done.stdout
    assert "bench_terminal.py" not in done.stdout

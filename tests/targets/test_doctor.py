# SPDX-License-Identifier: Apache-2.0
"""doctor names what is missing and how to get it."""

from __future__ import annotations

import importlib.metadata
import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.support.cli import tinyfin
from tests.support.process import call
from tinyfin.optional_packages import install_command
from tinyfin.targets import system

ROOT = Path(__file__).resolve().parents[2]


def examine(*words: str) -> tuple[int, dict]:
    done = tinyfin("doctor --json", *words, code=None)
    return done.exit_code, json.loads(done.stdout)


def test_everything_is_here_where_the_tests_run() -> None:
    code, report = examine()
    assert (code, report["ok"], report["missing"]) == (0, True, [])
    found = {finding["name"]: finding for finding in report["findings"]}
    assert found["platformio"]["kind"] == "package of [build]"
    assert found["qemu-system-arm"]["version"]


def test_a_missing_program_is_exit_code_6_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    which = shutil.which
    monkeypatch.setattr(
        shutil, "which", lambda name, *a: None if name == "qemu-system-arm" else which(name, *a)
    )
    code, report = examine()
    assert (code, report["missing"]) == (6, ["qemu-system-arm"])
    finding = next(f for f in report["findings"] if f["name"] == "qemu-system-arm")
    assert "install" in finding["get"]


def test_a_missing_package_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    version = importlib.metadata.version

    def lacking(name: str) -> str:
        if name == "scikit-learn":
            raise importlib.metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(importlib.metadata, "version", lacking)
    code, report = examine()
    assert (code, report["missing"]) == (6, ["scikit-learn"])
    finding = next(f for f in report["findings"] if f["name"] == "scikit-learn")
    assert finding["get"] == install_command("train")


def test_what_only_other_targets_need_is_optional(monkeypatch: pytest.MonkeyPatch) -> None:
    which = shutil.which
    monkeypatch.setattr(
        shutil, "which", lambda name, *a: None if "riscv" in name else which(name, *a)
    )
    code, report = examine()
    assert (code, report["missing"]) == (0, [])


@pytest.mark.parametrize("manager", ["apt-get", "dnf", "brew"])
def test_every_program_has_a_way_to_get_it(manager: str) -> None:
    for program in system.PROGRAMS:
        told = system.install_command([program], manager)
        assert program.package(manager) or program.name in told


def test_bootstrap_without_the_right_to_install_prints_the_command(tmp_path: Path) -> None:
    """No program and no package manager on PATH: it names what to run, and stops."""
    script, path = ROOT / ".ci" / "bootstrap.py", {"PATH": str(tmp_path)}
    done = call(sys.executable, script, "demo", code=6, env=path)
    assert "qemu-system-arm: runs Cortex-M firmware without a board" in done.stderr
    assert "install -y" in done.stderr
    assert "gcc-arm-none-eabi" in done.stderr


@pytest.mark.parametrize(
    ("origin", "command"),
    [
        (None, "pip install 'tinyfin[train]'"),
        ('{"url": "https://example.org/t.whl"}', "pip install 'tinyfin[train]'"),
        (
            '{"url": "file:///a%20b/t", "dir_info": {"editable": true}}',
            "pip install -e '/a b/t[train]'",
        ),
        (
            '{"url": "file:///t/tinyfin-1.whl", "archive_info": {}}',
            "pip install '/t/tinyfin-1.whl[train]'",
        ),
    ],
)
def test_an_extra_comes_from_where_tinyfin_came_from(
    monkeypatch: pytest.MonkeyPatch, origin: str | None, command: str
) -> None:
    installed = SimpleNamespace(read_text=lambda name: origin)
    monkeypatch.setattr("importlib.metadata.distribution", lambda name: installed)
    assert install_command("train") == command

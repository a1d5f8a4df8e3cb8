# SPDX-License-Identifier: Apache-2.0
"""Monocypher's C is fetched once, checked, and never taken on trust."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tinyfin import paths
from tinyfin.codegen import monocypher
from tinyfin.errors import ToolError

ROOT = Path(__file__).resolve().parents[2]


def test_the_files_are_kept_and_need_no_network_again(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = monocypher.obtain()
    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "run", None)
        assert monocypher.obtain() == folder
    assert "BLAKE2_NO_UNROLLING" in (folder / "monocypher.c").read_text()


def test_the_files_are_not_committed() -> None:
    tracked = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "*monocypher.c", "*monocypher.h"],
        capture_output=True,
        text=True,
    ).stdout
    assert [name for name in tracked.split() if Path(name).name.startswith("monocypher.")] == []


def test_a_file_that_was_changed_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    mine = shutil.copytree(monocypher.obtain(), tmp_path / "mine")
    monkeypatch.setenv("TINYFIN_MONOCYPHER", str(mine))
    assert monocypher.obtain() == mine
    with (mine / "monocypher.c").open("a") as file:
        file.write("\n")
    with pytest.raises(ToolError, match=r"monocypher\.c has SHA-256"):
        monocypher.obtain()


def test_no_network_is_said_plainly(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(ToolError, match="TINYFIN_MONOCYPHER"):
        monocypher.obtain(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_script_needs_only_the_standard_library() -> None:
    script = paths.firmware_dir() / "scripts" / "monocypher.py"
    subprocess.run([sys.executable, "-I", "-S", str(script)], check=True, timeout=60)

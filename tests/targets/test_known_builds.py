# SPDX-License-Identifier: Apache-2.0
"""A process builds an image once, and again as soon as anything that it is made of changes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tinyfin import paths
from tinyfin.targets import build as building
from tinyfin.targets import catalogue
from tinyfin.targets.build import BuildResult

PACK = paths.project_dir() / "models" / "payment" / "model.tfpack"


@pytest.fixture
def builds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How often PlatformIO was asked; it makes nothing here. The project is a copy."""
    project = tmp_path / "project"
    shutil.copytree(paths.firmware_dir() / "src", project / "firmware" / "src")
    (project / "platformio.ini").write_text("[platformio]\n")
    asked: list[int] = []

    def run(*_: object) -> int:
        asked.append(1)
        return 0

    def measure(target: catalogue.Target, workspace: Path, log: Path) -> BuildResult:
        folder = workspace / f"image{len(asked)}"
        folder.mkdir(parents=True)
        return BuildResult(target, folder / "firmware.elf", 1, 1, {}, folder, log)

    monkeypatch.setattr(building, "_require_tools", lambda target: None)
    monkeypatch.setattr(building, "_run_platformio", run)
    monkeypatch.setattr(building, "_measure", measure)
    return asked


def changes(tmp_path: Path, pack: Path, made: BuildResult) -> dict[str, Callable[[], object]]:
    source = tmp_path / "project" / "firmware" / "src" / "main.c"
    return {
        "a source": lambda: source.write_text(source.read_text() + "\n"),
        "a new source": lambda: source.with_name("added.h").write_text(""),
        "a source less": lambda: source.with_name("events.c").unlink(missing_ok=True),
        "the pack": lambda: pack.write_bytes(pack.read_bytes() + b"x"),
        "settings of PlatformIO": lambda: (tmp_path / "project" / "platformio.ini").write_text(""),
        "the image is gone": lambda: shutil.rmtree(made.build_dir),
    }


def test_what_changes_is_built_again_and_nothing_else(
    builds: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = next(iter(catalogue.load().values()))
    monkeypatch.setattr(paths, "project_dir", lambda: tmp_path / "project")
    pack = tmp_path / "model.tfpack"
    shutil.copyfile(PACK, pack)

    def build(*defines: str) -> BuildResult:
        return building.build(target, pack=pack, defines=defines, build_dir=tmp_path / "workspace")

    made = build()
    pack.touch()
    assert build() is made
    for number, what in enumerate(changes(tmp_path, pack, made), 2):
        changes(tmp_path, pack, made)[what]()
        made = build()
        assert len(builds) == number, what
        assert build() is made, what
    monkeypatch.setenv("TINYFIN_WERROR", "1")
    monkeypatch.setenv("TINYFIN_MONOCYPHER", str(tmp_path / "own"))
    assert build() is not made
    assert build("ANOTHER") is not made
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "monocypher.c").write_text("")
    assert build() is not made
    assert len(builds) == number + 3

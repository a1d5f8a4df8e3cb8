# SPDX-License-Identifier: Apache-2.0
"""flash leaves an image that runs the run's own pack, and nothing running."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.cli import tinyfin
from tinyfin import paths
from tinyfin.targets import catalogue, flash

pytestmark = pytest.mark.live

PACK = paths.project_dir() / "models" / "payment" / "model.tfpack"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "model.tfpack").write_bytes(PACK.read_bytes())
    return folder


@pytest.mark.parametrize("name", ["cortex-m4", "stm32f405"])
def test_an_emulated_target_keeps_the_image(run: Path, name: str) -> None:
    assert flash.flashed_image(run, catalogue.get(name)) is None
    done = tinyfin(f"flash {run} --target {name} --json")
    facts = json.loads(done.stdout)
    assert facts["checked"] is True
    image = flash.flashed_image(run, catalogue.get(name))
    assert image == run / "firmware" / name / "firmware.elf"
    assert facts["image"] == str(image)
    assert json.loads((image.parent / "image.json").read_text())["flash_bytes"] > 10_000
    facts_path = image.parent / "image.json"
    text = facts_path.read_text()
    facts_path.write_text(text.replace(json.loads(text)["build_id"], "of other sources"))
    assert flash.flashed_image(run, catalogue.get(name)) is None, "it may speak another protocol"
    facts_path.write_text(text)
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            assert str(image).encode() not in process.read_bytes()
        except OSError:
            continue  # it has ended meanwhile


def test_another_pack_on_the_target_is_noticed(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tinyfin.hil.links import session

    honest = session.emulated

    @contextmanager
    def another(*args: Any, **kwargs: Any) -> Iterator[Any]:
        with honest(*args, **kwargs) as reached:
            hello = replace(reached.client.connect(), pack_id=bytes(16).hex())
            monkeypatch.setattr(reached.client, "connect", lambda: hello)
            yield reached

    monkeypatch.setattr(session, "emulated", another)
    done = tinyfin(f"flash {run} --target cortex-m4", code=5)
    assert f"runs pack {bytes(16).hex()}, not " in done.stderr


def test_a_board_without_a_flash_tool_names_them(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue.Target, "flash_tool", None)
    words = ["flash", str(run), "--target", "stm32f405", "--board"]
    done = tinyfin(*words, code=6)
    for tool in ("st-flash", "openocd", "dfu-util"):
        assert f"{tool}: " in done.stderr


def test_a_flash_tool_that_fails_is_a_target_that_does_not_answer(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = ("sh", "-c", "echo no probe; exit 1")
    monkeypatch.setattr(catalogue.Target, "flash_tool", failing)
    words = ["flash", str(run), "--target", "stm32f405", "--board"]
    done = tinyfin(*words, code=5)
    assert "no probe" in done.stderr

# SPDX-License-Identifier: Apache-2.0
"""Rig files: what is refused says file, key and fix; what the repository ships is right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tinyfin import paths
from tinyfin.errors import ConfigError
from tinyfin.hil.rigs import rigfile as rig
from tinyfin.hil.runs import suites

HIL = paths.project_dir() / "hil"


@pytest.mark.parametrize("name", sorted(path.name for path in HIL.glob("rig*.toml")))
def test_what_the_repository_ships_is_valid(name: str) -> None:
    found = rig.load(HIL / name)
    assert rig.select(found, ())
    assert found.run is not None
    assert found.run.is_file()


def test_the_default_is_the_emulated_one() -> None:
    assert rig.default_path().name == "rig.emulated.toml"
    chosen = rig.select(rig.load(rig.default_path()), ())
    assert len(chosen) == 2
    assert all(spec.emulated for spec in chosen.values())


def board(**more: Any) -> dict[str, Any]:
    return {"targets": {"a": {"target": "stm32f405", "port": {"serial_number": "1"}, **more}}}


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({}, ["rig: targets", "is missing"]),
        (board(port="/dev/ttyUSB0"), ["targets.a.port", "another board's tomorrow", "suggest"]),
        (board(port={"device": "COM3"}), ["targets.a.port", "device name such as COM3"]),
        (board(port={"url": "/dev/ttyACM0"}), ["targets.a.port", "device name"]),
        (board(port={}), ["targets.a.port", "give serial_number, location or vid_pid"]),
        (board(port={"vid_pid": "483:374b"}), ["vid_pid", "four hex digits each"]),
        (board(port={"interface": "A"}), ["interface alone may fit many"]),
        (board(port={"serial": "1"}), ["targets.a.port.serial", "did you mean 'serial_number'"]),
        (board(emulated=True), ["targets.a", "an emulated target has no port"]),
        (board(target="stm32f406"), ["targets.a.target", "did you mean stm32f405"]),
        (board(target="cortex-m4"), ["targets.a.flash", "has no flash tool", "flash = false"]),
        (board(baud=3), ["targets.a.baud = 3", "greater than or equal to 1200"]),
        (board(reset={"power": True}), ["targets.a", "a board needs", "uhubctl"]),
        (board(reset={"power": {"comand": "x"}}), ["targets.a.reset.power", "comand"]),
        (board(reset={"line": {"set": "cts"}}), ["targets.a.reset.line.set = 'cts'"]),
        (board(reset={"sofft": True}), ["reset.sofft", "did you mean 'soft'"]),
        (board(flash=3), ["targets.a.flash = 3", "list of words"]),
        (board(flash=[]), ["targets.a.flash", "list of words"]),
        ({**board(), "deadlines": {"boot_s": 0}}, ["deadlines.boot_s = 0", "greater than 0"]),
        ({"targets": {"a": {"target": "stm32f405"}}}, ["targets.a", "a board needs port"]),
        ({"targets": {"a": {"target": "host", "reset": {"line": {}}}}}, ["needs a serial port"]),
    ],
)
def test_errors_name_key_and_fix(table: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ConfigError) as told:
        rig.from_table(table)
    for word in words:
        assert word in str(told.value)


def test_a_file_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="check the path"):
        rig.load(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("[rig")
    with pytest.raises(ConfigError, match="is not TOML"):
        rig.load(tmp_path / "bad.toml")


def test_selecting_targets() -> None:
    found = rig.load(HIL / "rig.emulated.toml")
    assert "host" not in rig.select(found, ())
    assert list(rig.select(found, ("host",))) == ["host"]
    with pytest.raises(ConfigError, match="did you mean riscv"):
        rig.select(found, ("risc",))


@pytest.mark.parametrize("path", sorted((HIL / "suites").glob("*.toml")), ids=lambda p: p.stem)
def test_every_suite_is_valid(path: Path) -> None:
    suite = suites.load(path)
    assert suite.name == path.stem
    assert suite.about


def test_a_suite_that_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    for text, words in (
        ('[replay]\nchaos = "flp=1"', "did you mean flip"),
        ('[replay]\nchaos = "reboot=1/10"', 'needs on_reboot = "resume"'),
        ('[[change]]\nkind = "clock-jump"', "needs seconds"),
        ("needs = ['wings']", "needs"),
        ("[data]\nlimitt = 3", "did you mean 'limit'"),
    ):
        path.write_text(text)
        with pytest.raises(ConfigError, match=words):
            suites.load(path)
    with pytest.raises(ConfigError, match="did you mean parity"):
        suites.find("partiy")

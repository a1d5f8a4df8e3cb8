# SPDX-License-Identifier: Apache-2.0
"""The catalogue of targets agrees with what PlatformIO builds."""

from __future__ import annotations

import configparser
import json
from pathlib import Path

import pytest

from tests.support.cli import tinyfin
from tinyfin import paths
from tinyfin.errors import ConfigError
from tinyfin.targets import catalogue

TARGETS = catalogue.load()


def test_every_board_has_an_environment_of_its_name_and_the_other_way_round() -> None:
    ini = configparser.ConfigParser(interpolation=None)
    ini.read(paths.project_dir() / "platformio.ini")
    environments = {
        section.removeprefix("env:"): ini[section]["board"]
        for section in ini.sections()
        if section.startswith("env:") and section != "env:native"
    }
    assert environments == {name: name for name in TARGETS}
    defaults = {name.strip() for name in ini["platformio"]["default_envs"].split(",")}
    assert defaults == {"cortex-m4", "stm32f405"}


def test_list_as_json() -> None:
    done = tinyfin("targets --json")
    rows = {row["name"]: row for row in json.loads(done.stdout)["targets"]}
    assert rows["cortex-m4"]["core"] == "Cortex-M4"
    assert rows["stm32f405"]["flash_bytes"] == 512 << 10
    assert rows["stm32f405"]["ram_bytes"] == 128 * 1024
    assert "st-flash" in rows["stm32f405"]["flash"]
    assert rows["stm32vldiscovery"]["ram_bytes"] == 8 * 1024


def test_list_for_people_is_by_family_and_says_what_was_executed() -> None:
    lines = tinyfin("targets").stdout.splitlines()
    at = lines.index("STM32")
    assert lines[at + 1].startswith(("bluepill ", "stm32f405 "))
    [row] = [line for line in lines if line.startswith("stm32f405 ")]
    assert "qemu: self-test, conformance, replay" in row
    assert lines.index("QEMU machine") < lines.index(next(x for x in lines if "cortex-m4 " in x))


def test_what_was_executed_is_true_of_the_board_file() -> None:
    """QEMU can only have run what has an emulator, and nothing claims hardware."""
    for target in TARGETS.values():
        claims = [one.where for one in target.executed]
        assert target.emulator is not None or "qemu" not in claims, target.name
        assert not any("hardware" in one.what for one in target.executed)


@pytest.mark.parametrize("claim", [{"where": "hardware", "what": "replay"}, {"where": "qemu"}, 7])
def test_a_claim_of_no_emulator_is_refused(claim: object, tmp_path: Path) -> None:
    board = json.loads(TARGETS["stm32f405"].board_file.read_text())
    board["tinyfin"]["executed"] = [claim]
    (tmp_path / "mine.json").write_text(json.dumps(board))
    with pytest.raises(ConfigError, match=r"mine\.json: tinyfin\.executed: .*qemu, unicorn"):
        catalogue.load(tmp_path)


def test_an_unknown_target_is_named_with_its_neighbours() -> None:
    with pytest.raises(ConfigError, match=r"'cortex-m5' .* cortex-m55"):
        catalogue.get("cortex-m5")


@pytest.mark.parametrize("name", catalogue.emulated())
def test_counting_is_exact(name: str) -> None:
    """Every phase of the tick counter gives the same number of instructions."""
    emulator = TARGETS[name].emulator
    assert emulator is not None
    ns = 1 << emulator.icount_shift
    for count in (1, 2, 7, 6279, 24_697, 1_000_003):
        exact = count * ns * emulator.tick_hz
        low = exact // 1_000_000_000
        high = -(-exact // 1_000_000_000)
        assert {emulator.instructions(ticks) for ticks in (low, high)} == {count}


def test_a_board_file_that_lacks_a_key_is_named(tmp_path) -> None:
    (tmp_path / "odd.json").write_text(
        '{"name": "odd", "build": {"arch": "arm"}, "upload": {}, "tinyfin": {}}'
    )
    with pytest.raises(ConfigError, match=r"odd\.json.*'cpu'"):
        catalogue.load(tmp_path)

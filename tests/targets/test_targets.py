# SPDX-License-Identifier: Apache-2.0
"""The catalogue of targets agrees with what PlatformIO builds."""

from __future__ import annotations

import configparser
import json

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
    assert rows["stm32f405"]["flash_bytes"] == 1 << 20
    assert rows["stm32f405"]["ram_bytes"] == 128 * 1024
    assert "st-flash" in rows["stm32f405"]["flash"]
    assert rows["stm32vldiscovery"]["ram_bytes"] == 8 * 1024


def test_an_unknown_target_is_named_with_its_neighbours() -> None:
    with pytest.raises(ConfigError, match=r"'cortex-m5' .* cortex-m55"):
        catalogue.get("cortex-m5")


@pytest.mark.parametrize("name", TARGETS)
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

# SPDX-License-Identifier: Apache-2.0
"""A board of a user's own: docs/boards.md, carried out in a folder of a stranger."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support import sample
from tests.support.cli import tinyfin
from tests.support.cortex_m_chips import KIB, nucleo_g071rb, stm32f405
from tests.support.process import call
from tinyfin import paths
from tinyfin.errors import ConfigError, FlashError, InputError, ToolError
from tinyfin.hil.links.session import at_link
from tinyfin.hil.rigs import rigfile
from tinyfin.targets import boards, build, catalogue, flash, system
from tinyfin.targets.emulate import Emulator

# these share the folder of one target's images for one pack
pytestmark = [pytest.mark.live, pytest.mark.xdist_group("target-pos_f407")]

ROOT = paths.project_dir()
PACK = ROOT / "models" / "payment" / "model.tfpack"
DOC = (ROOT / "docs" / "boards.md").read_text(encoding="utf-8")
DEADLINE_S = 280


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", DOC, re.DOTALL)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stranger's folder, as the page says; it is the current one."""
    folder = tmp_path / "terminal"
    (folder / "boards").mkdir(parents=True)
    (board, _), (ini,) = blocks("json"), blocks("ini")
    (folder / "boards" / "pos_f407.json").write_text(board)
    (folder / "platformio.ini").write_text(ini.replace("../tinyfin", str(ROOT)))
    monkeypatch.chdir(folder)
    for name in ("TINYFIN_BOARDS", "PLATFORMIO_BOARDS_DIR"):
        monkeypatch.delenv(name, raising=False)
    return folder


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Put a flash tool on PATH that notes its words in a file, which is returned."""
    programs = tmp_path / "programs"
    programs.mkdir()
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")

    def make(name: str, says: str = "", code: int = 0) -> Path:
        noted = programs / f"{name}.words"
        script = programs / name
        script.write_text(f'#!/bin/sh\necho "$*" >> {noted}\necho "{says}"\nexit {code}\n')
        script.chmod(0o755)
        return noted

    return make


def shell(line: str) -> subprocess.CompletedProcess[str]:
    words = shlex.split(line)
    module = {"tinyfin": "tinyfin", "pio": "platformio"}[words[0]]
    env = {**os.environ, "PLATFORMIO_SETTING_ENABLE_TELEMETRY": "no"}
    return call(sys.executable, "-m", module, *words[1:], deadline_s=DEADLINE_S, env=env)


def test_the_page_is_followed_in_a_strangers_folder(
    project: Path, tool: Callable[..., Path]
) -> None:
    words = tool("openocd")
    emulated, on_a_board, pio = (block.splitlines() for block in blocks("sh")[:3])
    said = [shell(line.replace("RUN", str(PACK))).stdout for line in emulated]
    assert re.search(r"^pos_f407 .* openocd, dfu-util$", said[0], re.MULTILINE)
    assert "200 of 200 transactions answered by pos_f407" in said[3]
    assert "mismatches: 0" in said[3]
    assert "pos_f407" in said[4]
    # the emulator stands in for the board; whatever openocd gets is not what it runs
    target = catalogue.get("pos_f407")
    image = flash.flashed_image(PACK, target)
    assert image is not None
    for line in on_a_board:
        with Emulator(target, image, icount=False) as emulator:
            shell(line.replace("RUN", str(PACK)).replace("/dev/ttyUSB0", emulator.url))
    (flashed,) = words.read_text().splitlines()
    assert re.fullmatch(
        r"-f interface/stlink.cfg -f target/stm32f4x.cfg -c program \S+\.elf verify reset exit",
        flashed,
    )
    said = [shell(line).stdout for line in pio]
    assert (project / ".pio" / "build" / "pos_f407" / "firmware.elf").is_file()
    assert (project / ".pio" / "platforms").is_dir(), "the link is of this project alone"
    assert "12 test cases: 12 succeeded" in said[1]
    assert ".pio/build/pos_f407/firmware.elf verify" in words.read_text().splitlines()[-1]
    assert not [path for path in project.rglob("*.json") if ".pio" not in path.parts][1:]


def test_a_family_is_added_as_the_page_says(project: Path) -> None:
    """The port's text and the board file, copied from the page; the image starts on a model of the
    chip and replays."""
    (port,), (_, board), command = blocks("c"), blocks("json"), blocks("sh")[3]
    (project / "boards" / "stm32g0").mkdir()
    (project / "boards" / "stm32g0" / "port.c").write_text(port)
    (project / "boards" / "nucleo-g071rb.json").write_text(board)
    shell(command.replace("RUN", str(PACK)))
    target = catalogue.get("nucleo-g071rb")
    pack = flash.target_pack(PACK, target)
    chip = nucleo_g071rb(build.build(target, pack=pack).binary)
    with at_link(chip.machine, target.name) as session:
        how = {"limit": 60, "target": target.name, "checkpoint_events": 50}
        result = sample.replayed(session.client, pack.read_bytes(), **how)
    result.check()
    assert result.verdicts == 60


def test_an_image_behind_a_bootloader_has_its_own_vectors(project: Path, tmp_path: Path) -> None:
    """The one here reads the first two of them, jumps, and leaves the core with its own."""
    board = json.loads((boards.built_in() / "stm32f405.json").read_text())
    board["build"]["flash_origin"] = "0x08010000"
    board["upload"]["maximum_size"] -= 64 * KIB
    (project / "boards" / "second.json").write_text(json.dumps(board))
    image = build.build("second", pack=PACK).binary.read_bytes()
    whole = tmp_path / "whole.bin"
    whole.write_bytes(image[:8].ljust(64 * KIB, b"\xff") + image)
    with at_link(stm32f405(whole).machine, "second") as session:
        how = {"limit": 60, "target": "second", "checkpoint_events": 50}
        result = sample.replayed(session.client, PACK.read_bytes(), **how)
    result.check()
    assert result.verdicts == 60


def test_the_table_of_boards_is_that_of_the_board_files() -> None:
    rows = re.findall(r"^\| `([\w-]+)` \| .* \| .* \| (.*) \|$", DOC, re.MULTILINE)
    programs = {"OpenOCD": "openocd", "pyOCD": "pyocd"}
    told = {name: [programs.get(t, t) for t in tools.split(", ")] for name, tools in rows}
    ours = [target for target in catalogue.load().values() if target.flash_commands]
    espressif = {target.name for target in ours if target.family == "Espressif"}
    ours = [target for target in ours if target.name not in espressif]
    told = {name: tools for name, tools in told.items() if name not in espressif}
    assert told == {target.name: [c[0] for c in target.flash_commands] for target in ours}


def test_the_rig_file_of_the_page_takes_the_board(project: Path, tmp_path: Path) -> None:
    (fragment,) = blocks("toml")
    table = tomllib.loads(fragment)
    os.chdir(tmp_path)
    assert rigfile.from_table(table, project / "rig.toml").boards == project / "boards"
    with pytest.raises(ConfigError, match=r"targets\.left\.target: target 'pos_f407' is not known"):
        rigfile.from_table({"targets": table["targets"]}, project / "rig.toml")


def test_boards_are_found_where_platformio_finds_them(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def names() -> set[str]:
        return set(catalogue.load()) - {path.stem for path in boards.built_in().glob("*.json")}

    assert names() == {"pos_f407"}
    (project / "boards").rename(project / "mine")
    assert names() == set()
    (project / "platformio.ini").write_text("[platformio]\nboards_dir = mine\n")
    assert names() == {"pos_f407"}
    (project / "platformio.ini").unlink()
    monkeypatch.setenv("PLATFORMIO_BOARDS_DIR", str(project / "mine"))
    assert names() == {"pos_f407"}
    monkeypatch.delenv("PLATFORMIO_BOARDS_DIR")
    other = tmp_path / "other"
    shutil.copytree(project / "mine", other)
    (other / "pos_f407.json").rename(other / "third.json")
    monkeypatch.setenv("TINYFIN_BOARDS", f"{other}{os.pathsep}{project / 'mine'}")
    assert names() == {"third", "pos_f407"}
    monkeypatch.delenv("TINYFIN_BOARDS")
    done = tinyfin(f"targets --boards {other} --json")
    assert "third" in {row["name"] for row in json.loads(done.stdout)["targets"]}
    assert names() == set(), "the option holds for its verb"
    monkeypatch.setenv("TINYFIN_BOARDS", str(tmp_path / "none"))
    with pytest.raises(ConfigError, match=r"none: no such folder; --boards, TINYFIN_BOARDS"):
        catalogue.load()


def test_files_of_other_platforms_are_left_alone_and_explained(project: Path) -> None:
    (project / "boards" / "uno.json").write_text('{"name": "Uno", "build": {}, "upload": {}}')
    assert "uno" not in catalogue.load()
    with pytest.raises(ConfigError, match=r'uno\.json: has no section "tinyfin"'):
        catalogue.get("uno")


def edited(project: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = project / "boards" / "pos_f407.json"
    board = json.loads(path.read_text())
    change(board)
    path.write_text(json.dumps(board))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda b: b["build"].pop("port"), "key 'port' is missing; docs/boards.md"),
        (lambda b: b["build"].update(arch="avr"), "build.arch = 'avr'"),
        (lambda b: b["tinyfin"].update(flash=["st-flash"]), "a command is a list of words"),
        (lambda b: b["tinyfin"]["emulator"].update(command="qemu"), "a command is a list of words"),
        (lambda b: b["upload"].update(maximum_size="big"), "docs/boards.md lists the keys"),
        (lambda b: b.update(build=[]), "docs/boards.md lists the keys"),
        (lambda b: b["tinyfin"].update(flsh=[]), "tinyfin.flsh is no key; did you mean flash?"),
        (lambda b: b["tinyfin"]["emulator"].update(speed=1), "speed is no key; there are command"),
        (lambda b: b["build"].update(port="stm32f9"), "there is no C file in "),
        (lambda b: b["build"].update(port="./port"), "there is no C file in "),
    ],
)
def test_a_board_file_that_is_wrong_is_named(
    project: Path, change: Callable[[dict[str, Any]], object], words: str
) -> None:
    edited(project, change)
    with pytest.raises(ConfigError, match=r"pos_f407\.json: ") as told:
        catalogue.load()
    assert words in str(told.value)


def test_a_name_that_is_taken_and_files_that_are_no_json(project: Path) -> None:
    mine = project / "boards" / "pos_f407.json"
    for name, text, words in (
        ("cortex-m4.json", mine.read_text(), "is the name of a target of tinyfin; rename"),
        ("a b.json", mine.read_text(), "letters, digits"),
        ("deep.json", "[" * 100_000, "is not JSON"),
        ("long.json", "1" * 5_000, "is not JSON"),
        ("latin.json", b"\xe9", "is not JSON"),
    ):
        path = project / "boards" / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        done = tinyfin("targets", code=3)
        assert words in done.stderr
        assert name in done.stderr
        path.unlink()


def test_a_port_that_comes_with_the_board_file(project: Path) -> None:
    """The folder next to the board file is compiled; a change of it is another image."""
    shutil.copytree(paths.firmware_dir() / "ports" / "stm32f4", project / "boards" / "port")
    edited(project, lambda board: board["build"].update(port="./port"))
    target = catalogue.get("pos_f407")
    first = build.build(target, pack=PACK)
    ours = build.build(replace(target, port="stm32f4"), pack=PACK)
    assert first.flash_bytes == ours.flash_bytes
    stored = flash.store_image(first, flash.run_folder(PACK))
    assert flash.flashed_image(PACK, target) == stored
    source = project / "boards" / "port" / "port.c"
    source.write_text(source.read_text() + "int tfin_mine(void);\nint tfin_mine(void) { ??? }\n")
    assert flash.flashed_image(PACK, target) is None
    with pytest.raises(ToolError, match=r"the build failed"):
        build.build(target, pack=PACK)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("ram_origin", "20000000", "the origin of RAM is '20000000'; write the address as"),
        ("defines", "TFIN_PORT_BUAD=921600", "did you mean TFIN_PORT_BAUD"),
        ("defines", "TFIN_FLASH_AT=0x08080000u", "slots for packs from 0x8080000 on overlap FLASH"),
        ("defines", "TFIN_FLASH_AT=(1<<20)", "TFIN_FLASH_AT and TFIN_FLASH_SLOT: write numbers"),
    ],
)
def test_a_board_file_whose_image_would_not_run_is_refused(
    key: str, value: str, words: str, project: Path
) -> None:
    """By the builder, so by ``pio run`` too; each of these compiles and links."""

    def change(board: dict[str, Any]) -> None:
        board["build"][key] = [*board["build"][key], value] if key == "defines" else value

    edited(project, change)
    with pytest.raises(ToolError, match=words) as told:
        build.build("pos_f407", pack=PACK)
    assert "boards/pos_f407.json: " in str(told.value)


def test_another_board_file_is_another_image(project: Path) -> None:
    target = catalogue.get("pos_f407")
    stored = flash.store_image(build.build(target, pack=PACK), flash.run_folder(PACK))
    assert flash.flashed_image(PACK, target) == stored
    edited(project, lambda board: board["build"]["defines"].append("TFIN_PORT_BAUD=921600"))
    assert flash.flashed_image(PACK, catalogue.get("pos_f407")) is None


def test_two_projects_with_one_name_do_not_share_a_build(project: Path, tmp_path: Path) -> None:
    first = build.build("pos_f407", pack=PACK)
    other = tmp_path / "other"
    shutil.copytree(project / "boards", other / "boards")
    os.chdir(other)
    edited(other, lambda board: board["build"]["defines"].append("TFIN_PORT_BAUD=921600"))
    second = build.build("pos_f407", pack=PACK)
    assert first.log_path != second.log_path
    assert first.elf.read_bytes() != second.elf.read_bytes()


def flashing(*commands: tuple[str, ...]) -> catalogue.Target:
    return replace(catalogue.get("stm32f405"), flash_commands=commands)


class Built:
    elf = Path("firmware.elf")
    binary = Path("firmware.bin")


@pytest.mark.parametrize(
    "name", sorted(json.loads((paths.firmware_dir() / "platform" / "flash_tools.json").read_text()))
)
@pytest.mark.parametrize("manager", ["apt-get", "dnf", "brew", None])
def test_every_tool_has_advice_of_its_own(
    name: str, manager: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(system, "package_manager", lambda: manager)
    monkeypatch.setattr(shutil, "which", lambda word: None)
    with pytest.raises(ToolError) as told:
        flash.flash_board(flashing((f"{name}", "{bin}")), Built())  # type: ignore[arg-type]
    way = str(told.value).partition(f"{name}: ")[2]
    assert re.search(r"install|https://|see its documentation", way)
    if name != "st-flash":
        assert "stlink" not in str(told.value)


def test_tools_get_what_they_ask_for(tool: Callable[..., Path]) -> None:
    words = tool("bossac")
    target = flashing(("no-such-tool", "{bin}"), ("bossac", "--port={port}", "-w", "{bin}"))
    with pytest.raises(InputError, match=r"bossac flashes through .*--port"):
        flash.flash_board(target, Built())  # type: ignore[arg-type]
    flash.flash_board(target, Built(), "/dev/ttyACM0")  # type: ignore[arg-type]
    assert words.read_text() == "--port=/dev/ttyACM0 -w firmware.bin\n"


@pytest.mark.parametrize(
    ("says", "advice"),
    [
        ("libusb: error LIBUSB_ERROR_ACCESS", "70-tinyfin.rules"),
        ("Error: libusb_open() failed with LIBUSB_ERROR_ACCESS", "70-tinyfin.rules"),
        ("could not open port /dev/ttyACM0: [Errno 13] Permission denied", "70-tinyfin.rules"),
        ("Couldn't find any ST-Link devices", "found no debugger"),
        ("No DFU capable USB device available", "found no debugger"),
        ("verify failed", "check cable and power"),
    ],
)
def test_a_tool_that_fails_is_explained(says: str, advice: str, tool: Callable[..., Path]) -> None:
    tool("st-flash", says, 1)
    with pytest.raises(FlashError, match=r"failed with code 1") as told:
        flash.flash_board(flashing(("st-flash", "{bin}")), Built())  # type: ignore[arg-type]
    assert advice in str(told.value)
    assert says in str(told.value)

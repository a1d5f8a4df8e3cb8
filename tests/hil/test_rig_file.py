# SPDX-License-Identifier: Apache-2.0
"""Rig files: what is refused says file, key and fix; what the repository ships is right."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.hil.test_ports import BUS, usb
from tinyfin import paths
from tinyfin.command_templates import filled_in
from tinyfin.errors import ConfigError
from tinyfin.hil.rigs import rigfile as rig
from tinyfin.hil.runs import suites
from tinyfin.targets import catalogue

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


def emulated(**more: Any) -> dict[str, Any]:
    return {"targets": {"a": {"target": "cortex-m4", "emulated": True, **more}}}


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
        (board(port={"location": ""}), ["targets.a.port.location", "at least 1 character"]),
        (board(port={"url": ""}), ["targets.a.port.url", "at least 1 character"]),
        (board(port={"url": "http://x:80"}), ["targets.a.port", "is no line of a target"]),
        (board(port={"url": "socket://x"}), ["targets.a.port", "use socket://host:port"]),
        (board(port={"url": "rfc2217://x:99999"}), ["targets.a.port", "use rfc2217://host:port"]),
        (board(port={"url": "exec: "}), ["targets.a.port", "names no program"]),
        (board(port={"url": "/dev/pts/3"}), ["targets.a.port", "device name"]),
        (board(port="/dev/serial/by-id/x"), ['write port = { url = "/dev/serial/by-id/x" }']),
        (
            board(port={"url": "socket://x:1"}, reset={"line": {}}),
            ["targets.a", "need a serial port", "rfc2217://"],
        ),
        (board(port={"url": "exec:x"}, dtr=False), ["targets.a", "need a serial port"]),
        (board(image="x.elf", flash=False), ["targets.a", "image is what is flashed"]),
        (board(image=""), ["targets.a.image", "at least 1 character"]),
        (
            board(target="host", image="x"),
            ["targets.a", "was started elsewhere; remove image, or port"],
        ),
        (emulated(flash=["x"]), ["targets.a", "a flash command is for boards"]),
        (emulated(reset={"command": "x"}), ["targets.a", "reset.command is for boards"]),
        (emulated(reset={"power": {"command": "x"}}), ["targets.a", "reset.power = true"]),
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


COMMANDS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "flash": lambda command: {"flash": command},
    "reset.command": lambda command: {"reset": {"command": command}},
    "reset.power.command": lambda command: {"reset": {"power": {"command": command}}},
}
USB: dict[str, Any] = {"serial_number": "1"}


@pytest.mark.parametrize("key", COMMANDS)
@pytest.mark.parametrize("made", [lambda text: ["tool", text], lambda text: f"tool {text}"])
def test_an_unknown_placeholder_is_named(key: str, made: Callable[[str], Any]) -> None:
    """In a list of words and in a line for the shell, with what is known there."""
    with pytest.raises(ConfigError) as told:
        rig.from_table(board(**COMMANDS[key](made("x={binn}"))), Path("desk.toml"))
    known = ", ".join(f"{{{name}}}" for name in rig.PLACEHOLDERS[key])
    assert f"desk.toml: targets.a.{key}: unknown placeholder {{binn}}; " in str(told.value)
    assert f"known here are {known}" in str(told.value)
    every = " ".join(f"{{{name}}}" for name in rig.PLACEHOLDERS[key])
    kept = "${HOME} {} { print } {a,b} {1}"
    assert rig.from_table(board(**COMMANDS[key](made(f"{every} {kept}"))))


def test_an_image_is_no_word_of_a_reset() -> None:
    with pytest.raises(ConfigError, match=r"reset\.command: unknown placeholder {elf}"):
        rig.from_table(board(**COMMANDS["reset.command"](["tool", "{elf}"])))


@pytest.mark.parametrize("key", COMMANDS)
@pytest.mark.parametrize("port", [{"location": "1-1"}, {"url": "socket://x:1"}])
def test_a_serial_number_that_is_not_there(key: str, port: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"a\." + key + r": {serial_number} is empty.*add it"):
        rig.from_table(board(port=port, **COMMANDS[key](["tool", "{serial_number}"])))
    assert rig.from_table(board(port=USB, **COMMANDS[key](["tool", "{serial_number}"])))
    with pytest.raises(ConfigError, match=r"{port} is empty"):
        rig.from_table(board(port={"url": "exec:x"}, **COMMANDS[key](["tool", "{port}"])))


def test_what_is_filled_in_is_not_looked_at_again() -> None:
    values = {"elf": "/a {bin}/x.elf", "bin": "x.bin"}
    assert filled_in(["{elf}", "${elf}", "{bin}{bin}", "{ bin }", "{no}"], values) == [
        "/a {bin}/x.elf",
        "${elf}",
        "x.binx.bin",
        "{ bin }",
        "{no}",
    ]


def test_a_board_file_names_its_placeholders_too(tmp_path: Path) -> None:
    shipped = paths.firmware_dir() / "platform" / "boards" / "stm32f405.json"
    facts = json.loads(shipped.read_text(encoding="utf-8"))
    facts["tinyfin"]["flash"] = [["dfu-util", "-D", "{binn}"]]
    (tmp_path / "mine.json").write_text(json.dumps(facts))
    with pytest.raises(ConfigError, match=r"mine\.json: tinyfin\.flash: unknown .*{binn}.*{bin}"):
        catalogue.get("mine", tmp_path)


def several(**ports: Any) -> rig.Rig:
    targets = {
        name: {"target": "stm32f405", "flash": False, "port": port} for name, port in ports.items()
    }
    return rig.from_table({"targets": targets}, Path("desk.toml"))


@pytest.fixture
def bus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serial.tools.list_ports.comports", lambda: BUS)


@pytest.mark.usefixtures("bus")
@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"serial_number": "gone"}, {"serial_number": "gone"}),
        ({"vid_pid": "10C4:EA60"}, {"vid_pid": "10c4:ea60"}),
        ({"serial_number": "066B"}, {"location": "1-1.1"}),
        ({"serial_number": "066B"}, {"serial_number": "066B", "vid_pid": "0483:374b"}),
        ({"url": "socket://Bench:4001"}, {"url": "tcp://bench.:04001/"}),
        ({"url": "socket://localhost:4001"}, {"url": "rfc2217://127.0.0.1:4001"}),
        ({"url": "socket://[::1]:4001"}, {"url": "socket://[0:0:0:0:0:0:0:1]:4001"}),
        ({"url": "/dev/serial/by-id/x"}, {"url": "/dev/serial/by-id/../by-id/x"}),
    ],
)
def test_two_targets_at_one_port(one: dict[str, str], other: dict[str, str]) -> None:
    found = several(left=one, right=other)
    with pytest.raises(ConfigError) as told:
        rig.select(found, ())
    assert "desk.toml: targets.right.port: is the port of targets.left, too" in str(told.value)
    assert list(rig.select(found, ("right",))) == ["right"], "alone it is no other one's"


@pytest.mark.usefixtures("bus")
@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"serial_number": "066B"}, {"location": "1-1.4"}),
        ({"serial_number": "FT9", "interface": "A"}, {"serial_number": "FT9", "interface": "B"}),
        ({"url": "socket://bench:4001"}, {"url": "socket://bench:4002"}),
        ({"url": "exec:./terminal"}, {"url": "exec:./terminal"}),
    ],
)
def test_two_targets_at_two_ports(one: dict[str, str], other: dict[str, str]) -> None:
    assert len(rig.select(several(left=one, right=other), ())) == 2


def test_one_port_under_two_names_of_udev(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ttyUSB7").touch()
    by_id, by_path = tmp_path / "by-id", tmp_path / "pci-0000:00:14.0-usb-0:2:1.0"
    by_id.symlink_to("ttyUSB7")
    by_path.symlink_to(by_id)
    monkeypatch.setattr("serial.tools.list_ports.comports", list)
    for one, other in ((by_id, by_path), (by_id, tmp_path / "ttyUSB7")):
        found = several(left={"url": str(one)}, right={"url": str(other)})
        with pytest.raises(ConfigError, match=r"is the port of targets.left, too"):
            rig.select(found, ())
    named = usb(str(tmp_path / "ttyUSB7"), "066B", "1-1.1")
    monkeypatch.setattr("serial.tools.list_ports.comports", lambda: [named])
    found = several(left={"serial_number": "066B"}, right={"url": str(by_path)})
    with pytest.raises(ConfigError, match=r"is the port of targets.left, too"):
        rig.select(found, ())


def test_one_that_is_off_may_share_a_port_and_boards_a_relay() -> None:
    table = {"target": "stm32f405", "flash": False, "port": {"serial_number": "1"}}
    found = rig.from_table({"targets": {"a": table, "b": {**table, "off": "another firmware"}}})
    assert list(rig.select(found, ())) == ["a"]
    with pytest.raises(ConfigError, match=r"is the port of targets.a, too"):
        rig.select(found, ("a", "b"))
    shared = {**table, "lease": "relay"}
    other = {**shared, "port": {"serial_number": "2"}}
    assert len(rig.select(rig.from_table({"targets": {"a": shared, "b": other}}), ())) == 2


@pytest.mark.parametrize("name", ["README.md", "rig.toml"])
def test_every_port_that_the_guide_shows_is_taken(name: str) -> None:
    text = (HIL / name).read_text(encoding="utf-8")
    lines = re.findall(r"^port = \{.*\}", text, re.M)
    assert len(lines) >= 4
    for line in lines:
        assert rig.Port.model_validate(tomllib.loads(line)["port"])

# SPDX-License-Identifier: Apache-2.0
"""What a rig engineer needs on the first day: access to ports, and the wire of a failing test."""

from __future__ import annotations

import fnmatch
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as xml

import pytest

from tests.hil.test_ports import usb
from tests.support.process import call
from tinyfin import paths
from tinyfin.errors import BenchError, ConfigError
from tinyfin.hil.links.transcript import read
from tinyfin.hil.rigs import rigfile
from tinyfin.hil.rigs.rigfile import Port
from tinyfin.targets import doctor
from tinyfin.wire.serial_link import open_link

pytestmark = pytest.mark.live

RULES = paths.project_dir() / "hil" / "70-tinyfin.rules"
RULE = re.compile(r'([A-Z]+)(?:\{(\w+)\})?(==|!=|\+=|=)"([^"]*)"')
MATCHES = {"ACTION", "SUBSYSTEM", "SUBSYSTEMS", "ATTR", "ATTRS"}
ASSIGNS = {
    "MODE": "=",
    "GROUP": "=",
    "TAG": "+=",
    "ENV": "=",
    "SYMLINK": "+=",
    "GOTO": "=",
    "LABEL": "=",
}


def parsed(*, examples: bool = False) -> list[list[tuple[str, str, str, str]]]:
    """The rules, by the grammar of udev(7); ``examples``: also those that are commented out."""
    rules = []
    for line in RULES.read_text(encoding="utf-8").splitlines():
        if examples and line.startswith("#SUBSYSTEM"):
            line = line[1:]
        if not line or line.startswith("#"):
            continue
        words = [word.strip() for word in line.split(", ")]
        found = [RULE.fullmatch(word) for word in words]
        assert all(found), line
        rules.append([m.groups(default="") for m in found if m])
    return rules


def access(device: dict[str, str], *, examples: bool = False) -> dict[str, str]:
    """What the rules give a device: MODE, GROUP, TAG, properties by their names."""
    given: dict[str, str] = {}
    goto = ""
    for rule in parsed(examples=examples):
        if goto and ("LABEL", "", "=", goto) not in rule:
            continue
        goto = ""
        wanted = [part for part in rule if part[2] in ("==", "!=")]
        for key, attribute, operator, pattern in wanted:
            value = device.get(attribute or key, "")
            hit = any(fnmatch.fnmatchcase(value, one) for one in pattern.split("|"))
            if hit != (operator == "=="):
                break
        else:
            for key, attribute, _, value in (part for part in rule if part not in wanted):
                goto = value if key == "GOTO" else goto
                given[attribute or key] = value
    return given


def test_rules_are_well_formed() -> None:
    labels = [p[3] for rule in parsed() for p in rule if p[0] == "LABEL"]
    for rule in parsed(examples=True):
        for key, attribute, operator, value in rule:
            assert bool(attribute) == (key in ("ATTR", "ATTRS", "ENV"))
            if operator in ("==", "!="):
                assert key in MATCHES
            else:
                assert ASSIGNS[key] == operator
            if key == "GOTO":
                assert value in labels


def test_udev_finds_no_fault() -> None:
    version = call("udevadm", "--version").stdout if shutil.which("udevadm") else "0"
    if int(version or 0) < 254:
        return  # it has no `verify` yet; the tests around this one read the rules themselves
    call("udevadm", "verify", RULES)


DEBUGGERS = ["0483:374b", "0483:3748", "0483:374e", "0483:3752", "0483:df11", "1366:0101"]
DEBUGGERS += ["0d28:0204", "2e8a:0003", "2e8a:000c", "1915:521f", "0403:6010", "303a:1001"]
DEBUGGERS += ["1fc9:0143"]


@pytest.mark.parametrize("vid_pid", DEBUGGERS)
def test_debuggers_are_let_in(vid_pid: str) -> None:
    vendor, product = vid_pid.split(":")
    found = access({"SUBSYSTEM": "usb", "idVendor": vendor, "idProduct": product})
    assert (found["MODE"], found["GROUP"], found["TAG"]) == ("0660", "dialout", "uaccess")


def test_serial_ports_are_let_in_and_nothing_else() -> None:
    found = access({"SUBSYSTEM": "tty", "SUBSYSTEMS": "usb"})
    assert (found["MODE"], found["GROUP"], found["TAG"]) == ("0660", "dialout", "uaccess")
    for other in (
        {"SUBSYSTEM": "tty", "SUBSYSTEMS": "platform"},
        {"SUBSYSTEM": "block"},
        {"SUBSYSTEM": "usb", "idVendor": "046d", "idProduct": "c31c"},
        {"SUBSYSTEM": "tty", "SUBSYSTEMS": "usb", "ACTION": "remove"},
    ):
        assert "MODE" not in access(other), other


def test_modem_manager_leaves_serial_ports_alone() -> None:
    port = {"SUBSYSTEM": "tty", "SUBSYSTEMS": "usb", "idVendor": "1a86"}
    found = access(port)
    assert found["ID_MM_DEVICE_IGNORE"] == found["ID_MM_PORT_IGNORE"] == "1"
    onboard = {"SUBSYSTEM": "tty", "SUBSYSTEMS": "platform"}
    assert "ID_MM_DEVICE_IGNORE" not in access(onboard)
    modem = access({**port, "idVendor": "12d1"}, examples=True)
    assert "ID_MM_DEVICE_IGNORE" not in modem, "the example spares a modem"
    assert modem["MODE"] == "0660"
    assert access(port, examples=True)["ID_MM_DEVICE_IGNORE"] == "1"


def test_a_name_of_ones_own_is_one_that_a_rig_file_takes() -> None:
    device = {"SUBSYSTEM": "tty", "SUBSYSTEMS": "usb", "serial": "066BFF485550755187121723"}
    name = access(device, examples=True)["SYMLINK"]
    assert Port(url=f"/dev/{name}").is_serial


def test_the_rules_come_before_access_is_given() -> None:
    assert int(RULES.name[:2]) < 73, "73-seat-late.rules evaluates uaccess"
    assert int(RULES.name[:2]) < 77, "ModemManager's own rules begin with 77"


def test_doctor_says_who_may_open_what(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ttyUSB0").touch()
    ports = [usb(str(tmp_path / "ttyUSB0"), "S", "1-1"), usb(str(tmp_path / "gone"), "T", "1-2")]
    monkeypatch.setattr("serial.tools.list_ports.comports", lambda: ports)
    (found,) = [f for f in doctor.examine() if f.name == "serial ports"]
    assert not found.found
    assert not found.needed
    assert found.version == "1 of 2"
    assert "70-tinyfin.rules" in found.get
    monkeypatch.setattr("serial.tools.list_ports.comports", list)
    assert doctor._ports().found


@pytest.mark.parametrize("name", ["COM3", "com12", r"\\.\COM10", "COM3:"])
def test_a_port_of_windows(name: str) -> None:
    with pytest.raises(BenchError, match="WSL 2"):
        open_link(name)
    table = {"targets": {"a": {"target": "stm32f405", "port": {"url": name}}}}
    with pytest.raises(ConfigError, match="a device name such as"):
        rigfile.from_table(table)


def test_every_reset_recipe_is_a_valid_rig_file(tmp_path: Path) -> None:
    text = (paths.project_dir() / "hil" / "README.md").read_text(encoding="utf-8")
    part = text.partition("### Resets by adapter")[2].partition("\n## ")[0]
    recipes = re.findall(r"```toml\n(.*?)```", part, re.S)
    assert len(recipes) >= 5
    for recipe in recipes:
        found = rigfile.from_table(tomllib.loads(recipe))
        (spec,) = found.targets.values()
        assert spec.reset.line or spec.reset.command


TESTS = """
def test_red(terminal):
    terminal.score(amount_minor=500, token=77)
    assert terminal.stats()["scored"] == 2

def test_green(terminal):
    terminal.score(amount_minor=500, token=77)
"""


def test_a_failing_test_shows_its_wire(pack: Path, tmp_path: Path) -> None:
    (tmp_path / "rig.toml").write_text(f'[rig]\nrun = "{pack}"\n[targets.a]\ntarget = "host"\n')
    (tmp_path / "test_wire.py").write_text(TESTS)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "--tinyfin-rig=rig.toml",
            "--basetemp=base",
            "--junit-xml=junit.xml",
            f"--rootdir={tmp_path}",
            "-c",
            os.devnull,
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stdout.count("wire of a") == 1
    wire = done.stdout.partition("wire of a")[2]
    assert "note test test_wire.py::test_red" in wire
    assert "EVENTS" in wire
    assert "VERDICTS" in wire
    assert "test_green" not in wire
    root = xml.parse(tmp_path / "junit.xml").getroot()
    named: dict[Any, Any] = {
        case.get("name"): [p.get("value") for p in case.iter("property")]
        for case in root.iter("testcase")
    }
    (path,) = named["test_red[a]"]
    assert named["test_green[a]"] == []
    assert f"tinyfin hil transcript {path}" in done.stdout
    assert read(Path(path)).whole
    assert os.stat(path).st_mode & 0o777 == 0o600

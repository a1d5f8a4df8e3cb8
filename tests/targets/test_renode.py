# SPDX-License-Identifier: Apache-2.0
"""What tinyfin says to Renode, and what it makes of its answers. A fake Renode answers here: that
the platform descriptions themselves work, only Renode can show."""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
import sys
import time
from pathlib import Path

import pytest

from tests.support.cli import tinyfin
from tinyfin import paths
from tinyfin.errors import TargetError, ToolError
from tinyfin.targets import catalogue, renode
from tinyfin.targets.build import build, disassembly
from tinyfin.targets.renode import Renode

pytestmark = pytest.mark.live

PACK = paths.project_dir() / "models" / "payment" / "model.tfpack"
APP = Path(__file__).parent / "boot"
DESCRIBED = [name for name, target in catalogue.load().items() if target.renode is not None]


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A renode on PATH that is a script which starts another program; the file of its commands."""
    programs = tmp_path / "programs"
    programs.mkdir()
    script = programs / "renode"
    program = Path(__file__).with_name("fake_renode.py")
    script.write_text(f'#!/bin/sh\n{sys.executable} {program} "$@" {programs}\n')
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_RENODE_LOG", str(tmp_path / "commands"))
    return tmp_path / "commands"


def image() -> Path:
    return build("stm32f405", pack="none", app=APP).elf


def running(path: Path) -> bool:
    """Whether any process of this machine has that path among its words."""
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = process.read_bytes()
        except OSError:
            continue  # it has ended meanwhile
        if str(path).encode() in words:
            return True
    return False


def ends(path: Path) -> bool:
    """Whether such processes end soon."""
    deadline = time.monotonic() + 10
    while running(path) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not running(path)


def test_it_boots_counts_restarts_and_leaves_nothing_running(fake: Path) -> None:
    elf = image()
    with Renode(catalogue.get("stm32f405"), elf, seed=7) as emulator:
        with emulator.connect(10) as link:
            link.settimeout(0.5)
            said, deadline = b"", time.monotonic() + 30
            while b"=1\n" not in said and time.monotonic() < deadline:
                link.sendall(b"!v")  # lost before the guest has set up its UART
                with contextlib.suppress(TimeoutError):
                    said += link.recv(100)
            assert b"=1\n" in said
        first = emulator.executed()
        assert emulator.executed() > first > 0
        assert emulator.url == f"socket://127.0.0.1:{emulator.address[1]}"
        before = emulator.address
        assert emulator.restart() != before
        assert running(elf)
    assert ends(elf)
    commands = [line for line in fake.read_text().splitlines() if not line.startswith("echo")]
    platform = paths.firmware_dir() / "platform" / "renode" / "stm32f405.repl"
    assert commands[:9] == [
        'mach create "tinyfin"',
        f"machine LoadPlatformDescription @{platform}",
        f'emulation CreateServerSocketTerminal {before[1]} "line" false',
        "connector Connect sysbus.usart1 line",
        f"sysbus LoadELF @{elf}",
        "sysbus WriteDoubleWord 0x20000000 0x7",
        "sysbus.cpu PerformanceInMips 168",
        "logLevel 3",
        "start",
    ]
    assert commands.count("quit") == 2


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("refuses", r"refuses `machine LoadPlatform.*Error E11: Could not resolve type"),
        ("silent", r"did not answer within"),
        ("closes", r"ended with code 1: Fatal: out of memory"),
        ("dies", r"ended with code 3: The GUI could not be started"),
        ("no monitor", r"opened no monitor within"),
    ],
)
def test_what_goes_wrong_is_said(
    fault: str, words: str, fake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_RENODE", fault)
    if fault in ("silent", "no monitor"):
        monkeypatch.setattr(renode, "ANSWER_DEADLINE_S", 1.0)
        monkeypatch.setattr(renode, "START_DEADLINE_S", 15.0 if fault == "silent" else 1.0)
    elf = image()
    with pytest.raises(TargetError, match=words):
        Renode(catalogue.get("stm32f405"), elf).start()
    assert ends(fake.with_name("programs"))


def test_flash_replay_and_a_rig_run_in_it(fake: Path, tmp_path: Path) -> None:
    data, run = tmp_path / "tx.parquet", tmp_path / "run"
    run.mkdir()
    (run / "model.tfpack").write_bytes(PACK.read_bytes())
    tinyfin(f"simulate --out {data} --terminals 2 --days 2")
    done = tinyfin(f"flash {run} --target stm32f405 --emulator renode --json")
    assert json.loads(done.stdout)["checked"] is True
    done = tinyfin(f"replay {run} {data} --target stm32f405 --emulator renode --limit 60 --json")
    facts = json.loads(done.stdout)
    assert (facts["verdicts"], facts["mismatches"]) == (60, 0)
    assert facts.get("instructions") is None, "not counted by transaction"
    assert re.search(r"[\d,]+ instructions were executed", done.stderr)
    rig = tmp_path / "rig.toml"
    rig.write_text('[targets.left]\ntarget = "stm32f405"\nemulated = true\n')
    words = f"hil run --rig {rig} --run {run} --events 60 --out {tmp_path / 'out'} --json"
    result = json.loads(tinyfin(f"{words} --emulator renode").stdout)
    assert {case["status"] for case in result["targets"][0]["cases"]} == {"passed"}
    starts = fake.read_text().splitlines().count("start")
    assert starts >= 3
    rig.write_text(rig.read_text() + 'emulator = "renode"\n')
    tinyfin(words)
    assert fake.read_text().splitlines().count("start") > starts


def test_what_it_cannot_run_is_named(
    fake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = tinyfin(f"flash {PACK} --target cortex-m7 --emulator renode", code=5)
    assert "cortex-m7: has no description for Renode" in done.stderr
    rig = tmp_path / "rig.toml"
    for target, emulator, other in (
        ("cortex-m7", "renode", "another emulator"),
        ("nrf52840dk", "qemu", "another emulator"),
        ("bluepill", "renode", "give its port"),
    ):
        rig.write_text(
            f'[targets.a]\ntarget = "{target}"\nemulated = true\nemulator = "{emulator}"\n'
        )
        done = tinyfin(f"hil run --rig {rig} --run {PACK} --out {tmp_path / 'out'}", code=3)
        assert f"{target} has no emulator ({emulator})" in done.stderr
        assert other in done.stderr
    for words in (f"flash {PACK} --target stm32f405 --board", f"replay {PACK} {rig} --port y"):
        done = tinyfin(f"{words} --emulator renode", code=2)
        assert "--emulator is for an emulated target" in done.stderr
    monkeypatch.setattr(renode.shutil, "which", lambda name: None)
    with pytest.raises(ToolError, match=r"renode is not on PATH; .*github\.com/renode/renode"):
        renode.require(catalogue.get("stm32f405"))


@pytest.mark.parametrize("name", DESCRIBED)
def test_a_description_has_what_the_board_file_says_and_downloads_nothing(name: str) -> None:
    target = catalogue.get(name)
    assert target.renode is not None
    text = target.renode.platform.read_text()
    assert "http" not in text
    assert "ApplySVD" not in text
    build_keys = json.loads(target.board_file.read_text())["build"]
    memory = {
        int(at, 16): int(size, 16)
        for at, size in re.findall(r"MappedMemory @ sysbus (0x\w+)\n    size: (0x\w+)", text)
    }
    assert set(memory) == {int(build_keys["flash_origin"], 16), target.ram_origin}
    assert memory[target.ram_origin] == target.ram_bytes
    # behind the image there may be packs
    assert memory[int(build_keys["flash_origin"], 16)] >= target.flash_bytes
    uart = target.renode.uart.removeprefix("sysbus.")
    assert re.search(rf"^{uart}: UART\.\w+ @ sysbus", text, re.MULTILINE)
    named = set(re.findall(r"^(\w+): \w+\.\w+ @", text, re.MULTILINE))
    used = set(re.findall(r"-> (\w+)@|^ +(?:nvic|timeProvider|rtcPeripheral): (\w+)", text, re.M))
    assert {one or other for one, other in used} <= named


def test_ssub16_and_its_kin_are_not_in_the_firmware() -> None:
    """Renode up to 1.12 adds where they subtract."""
    text = disassembly(build("stm32f405", pack=PACK))
    assert "smlad" in text, "the kernel for DSP instructions is in it"
    assert not re.findall(r"\b(?:[suq]|sh|uh|uq)(?:sub16|asx|sax)\b|\buqsub8\b", text)

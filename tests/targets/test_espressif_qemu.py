# SPDX-License-Identifier: Apache-2.0
"""Targets that Espressif's QEMU runs: with a program that answers as it does, and, where it is
installed, with itself."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.support import fake_espressif_qemu, sample
from tests.support.boot_app import expected_arithmetic
from tests.support.cli import tinyfin
from tinyfin import paths, simulator
from tinyfin.config import Simulate
from tinyfin.errors import TargetError, ToolError
from tinyfin.hil.links.session import emulated
from tinyfin.targets import catalogue
from tinyfin.targets.build import build
from tinyfin.targets.emulate import Emulator

pytestmark = pytest.mark.live

PACK = paths.project_dir() / "models" / "payment" / "model.tfpack"
BOOT_APP = Path(__file__).parent / "boot"
TARGETS = [
    name
    for name, target in catalogue.load().items()
    if target.emulator is not None and not target.emulator.loads_elf
]


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    program = fake_espressif_qemu.install(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    return program


@pytest.mark.xdist_group("target-esp32-c3")
def test_a_flash_file_boots_and_a_replay_is_equal_over_a_reset(fake: Path) -> None:
    image = build("esp32-c3", pack=PACK)
    with emulated("esp32-c3", image.elf) as session:
        how = {"limit": 60, "target": "esp32-c3", "checkpoint_events": 100}
        result = sample.replayed(session.client, PACK.read_bytes(), **how)
        result.check()
        assert result.verdicts == 60
        first = session.client.connect().boot_nonce
        session.client.link.reset()
        assert session.client.connect().target == "esp32-c3"
        assert session.client.connect().boot_nonce != 0
        assert first != 0


@pytest.mark.xdist_group("target-esp32-c3")
def test_the_commands_take_it_like_any_emulated_target(fake: Path, tmp_path: Path) -> None:
    data = tmp_path / "town.parquet"
    simulator.write(simulator.simulate(Simulate(terminals=2, days=2, seed=3)), data)
    words = ["--target", "esp32-c3", "--limit", 40, "--json"]
    done = tinyfin("replay", PACK, data, *words)
    facts = json.loads(done.stdout)
    assert (facts["verdicts"], facts["mismatches"]) == (40, 0)
    rows = {row["name"]: row for row in json.loads(tinyfin("targets --json").stdout)["targets"]}
    assert rows["esp32-c3"]["emulator"]["installed"] is True
    assert rows["rv32imc"]["emulator"]["installed"] is True
    found = {row["name"]: row for row in json.loads(tinyfin("doctor --json").stdout)["findings"]}
    here = found["qemu-system-xtensa -M esp32"]["found"]
    assert rows["esp32"]["emulator"]["installed"] is here
    row = found["qemu-system-riscv32 -M esp32c3"]
    assert (row["found"], row["needed"], row["version"]) == (True, False, "9.2.2")


def distributions_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """PATH as a distribution has it: without Espressif's QEMU, wherever that may be."""
    monkeypatch.setattr(catalogue, "_machines", lambda program: frozenset({"virt", "sim"}))


def test_without_it_the_way_to_get_it_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    distributions_only(monkeypatch)
    (tmp_path / "firmware.elf").touch()
    for name in TARGETS:
        with pytest.raises(ToolError, match=rf"{name}: .* is not Espressif's QEMU; `tinyfin doc"):
            Emulator(catalogue.get(name), tmp_path / "firmware.elf").start()
    report = json.loads(tinyfin("doctor --json", code=None).stdout)
    found = {row["name"]: row for row in report["findings"]}
    for row in (found[f"qemu-system-xtensa -M {machine}"] for machine in ("esp32", "esp32s3")):
        assert not row["found"]
        assert "https://github.com/espressif/qemu" in row["get"]
    assert report["ok"]


def test_an_image_that_is_larger_than_the_flash_is_refused(fake: Path, tmp_path: Path) -> None:
    (tmp_path / "firmware.elf").touch()
    (tmp_path / "firmware.bin").write_bytes(bytes((4 << 20) + 1))
    with pytest.raises(TargetError, match=r"4194305 B are more than the flash of 4194304 B"):
        Emulator(catalogue.get("esp32-c3"), tmp_path / "firmware.elf").start()


def real(name: str) -> catalogue.Target:
    target = catalogue.get(name)
    assert target.emulator is not None
    if why := target.emulator.why_missing():
        pytest.skip(f"Espressif's QEMU is not here: {why}")
    return target


@pytest.mark.parametrize("name", TARGETS)
def test_boots_in_espressifs_qemu(name: str) -> None:
    target = real(name)
    image = build(name, pack="none", app=BOOT_APP)
    with Emulator(target, image.elf) as emulator, emulator.connect(20) as link:
        while (line := sample.line_of(link)) != b"boot %s\n" % name.encode():
            assert line, "the ROM talks first"
        for question, answer in (("v", 1), ("m", 0), ("a", expected_arithmetic())):
            link.sendall(b"!" + question.encode())
            assert int(sample.line_of(link)[1:]) == answer
        link.sendall(b"!r")
        while sample.line_of(link) != b"boot %s\n" % name.encode():
            pass


@pytest.mark.parametrize("name", TARGETS)
def test_a_replay_is_equal_in_espressifs_qemu(name: str) -> None:
    target = real(name)
    image = build(name, pack=PACK)
    with emulated(target, image.elf) as session:
        how = {"limit": 300, "target": name, "checkpoint_events": 200}
        result = sample.replayed(session.client, PACK.read_bytes(), **how)
    result.check()
    assert result.verdicts == 300

# SPDX-License-Identifier: Apache-2.0
"""Boards that QEMU has no machine for: their image in unicorn, from the reset vector to a replay,
with models of the chip's registers."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.support import sample
from tests.support.boot_app import expected_arithmetic
from tests.support.cortex_m_chips import CHIPS, checksum
from tests.support.unicorn_machine import Crash, Machine
from tinyfin import paths
from tinyfin.hil.links.session import at_link
from tinyfin.targets import catalogue, flash
from tinyfin.targets.build import BuildResult, build

PACK = paths.project_dir() / "models" / "payment" / "model.tfpack"
APP = Path(__file__).parent / "boot"
LIMIT = 300


def on_board() -> list[object]:
    """Tests of one board share a worker, and its build."""
    return [pytest.param(n, marks=pytest.mark.xdist_group(f"target-{n}"), id=n) for n in CHIPS]


def image_of(name: str) -> BuildResult:
    return build(name, pack=flash.target_pack(PACK, catalogue.get(name)))


@pytest.mark.parametrize("name", on_board())
def test_a_board_starts_and_replays(name: str) -> None:
    """Clock, pins and UART as the manual wants them, or the line is dead."""
    image = image_of(name)
    chip = CHIPS[name](image.binary)
    pack = flash.target_pack(PACK, image.target).read_bytes()
    with at_link(chip.machine, name) as session:
        how = {"limit": LIMIT, "target": name, "checkpoint_events": 200}
        result = sample.replayed(session.client, pack, **how)
        hello = session.client.connect()
        before = chip.machine.resets
        session.client.reboot()
        again = session.client.connect()
    assert chip.machine.resets == before + 1, "a reset of the chip, not a jump"
    assert again.boot_nonce != hello.boot_nonce
    result.check()
    assert result.verdicts == LIMIT
    assert hello.target == name
    build_keys = json.loads(image.target.board_file.read_text())["build"]
    assert chip.core_hz() == int(build_keys["f_cpu"].rstrip("L"))
    assert chip.baud() == pytest.approx(115_200, rel=0.01)


def ask(machine: Machine, question: bytes) -> int:
    """The answer of the firmware in boot/ to a question."""
    machine.write(b"!" + question)
    said = b""
    for _ in range(2_000):
        said += machine.read(0.0)
        if said.endswith(b"\n"):
            break
    assert re.fullmatch(rb"=\d+\n", said), said
    return int(said[1:])


@pytest.mark.parametrize("name", on_board())
def test_a_port_keeps_its_promises(name: str) -> None:
    """What test_boot asks of the ports that QEMU runs."""
    image = build(name, pack="none", app=APP)
    chip = CHIPS[name](image.binary)
    machine = chip.machine
    banner = b"boot %s\n" % name.encode()
    assert b"".join(machine.read(0.0) for _ in range(20)) == banner
    assert ask(machine, b"v") == 1, "variables are initialised and zeroed"
    assert ask(machine, b"m") == 0, "memcpy, memset, memcmp at every alignment"
    assert ask(machine, b"a") == expected_arithmetic()
    assert ask(machine, b"h") == chip.core_hz()
    assert 1000 <= ask(machine, b"s") <= 1100, "a call that holds 1,024 bytes"
    assert ask(machine, b"t") in (20_000, 30_000, 40_000), "10,000 turns of a loop, in instructions"
    first = ask(machine, b"e")
    ask(machine, b"d")
    machine.write(b"!r")
    assert b"".join(machine.read(0.0) for _ in range(200)) == banner
    assert machine.resets == 1
    assert ask(machine, b"v") == 1
    assert ask(machine, b"e") != first, "the boot nonce moved"


def test_every_board_that_claims_unicorn_is_run_here() -> None:
    claimed = {
        target.name
        for target in catalogue.load().values()
        if target.family != "Espressif" and any(e.where == "unicorn" for e in target.executed)
    }
    assert claimed == set(CHIPS)


def own_board(folder: Path, name: str, old: str, new: str) -> catalogue.Target:
    """A board as one of ours, but for one thing."""
    text = catalogue.get(name).board_file.read_text()
    assert old in text
    (folder / f"{name}-odd.json").write_text(text.replace(old, new))
    return catalogue.get(f"{name}-odd", folder)


def says(machine: Machine) -> bytes:
    """What comes when a byte is sent: nothing, where the line is dead."""
    machine.write(b"\0" * 4)
    for _ in range(400):
        machine.step()
    return bytes(machine.line.sent)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        pytest.param("nucleo-l476rg", '"TFIN_PORT_TX=PA2"', '"TFIN_PORT_TX=PA9"', id="pin"),
        pytest.param("nucleo-l476rg", '"TFIN_PORT_RX=PA3"', '"TFIN_PORT_BAUD=57600"', id="speed"),
    ],
)
def test_a_line_that_is_set_up_wrongly_is_dead(
    name: str, old: str, new: str, tmp_path: Path
) -> None:
    """Negative control of the models."""
    new = f"{old}, {new}" if "BAUD" in new else new
    for target, silent in (
        (catalogue.get(name), False),
        (own_board(tmp_path, name, old, new), True),
    ):
        image = build(target, pack="none", app=APP)
        assert (says(CHIPS[name](image.binary).machine) == b"") is silent, target.name


def test_the_boot_rom_of_an_rp2040_refuses_a_second_stage_that_is_damaged(tmp_path: Path) -> None:
    data = bytearray(image_of("rp2040").binary.read_bytes())
    assert checksum(bytes(data[:252])) == int.from_bytes(data[252:256], "little")
    data[5] ^= 1
    (tmp_path / "firmware.bin").write_bytes(data)
    with pytest.raises(Crash, match="second stage of boot"):
        CHIPS["rp2040"](tmp_path / "firmware.bin")

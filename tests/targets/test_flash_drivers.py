# SPDX-License-Identifier: Apache-2.0
"""The flash drivers of chips: a pack is installed, tried and confirmed on a model of the chip."""

from __future__ import annotations

from pathlib import Path

import pytest
from unicorn import UcError, arm_const

from tests.support import sample
from tests.support.cortex_m_chips import CHIPS
from tests.targets.test_cortex_m_boards import PACK, image_of
from tinyfin.hil.links.session import at_link
from tinyfin.pack import layouts
from tinyfin.pack.container import parse_pack, sign_with
from tinyfin.pack.signing import DEVELOPMENT_KEY
from tinyfin.targets import catalogue
from tinyfin.wire import slot_frames
from tinyfin.wire.slot_frames import Command, Journal, Phase, Place, Reason

BOARDS = [
    pytest.param(name, marks=pytest.mark.xdist_group(f"target-{name}"))
    for name in ("microbit", "nrf52840dk", "stm32vldiscovery")
]


def newer(target: str, folder: Path) -> bytes:
    """The reference pack with a higher counter, in the board's layout."""
    path = folder / "model.tfpack"
    path.write_bytes(sign_with(parse_pack(PACK.read_bytes()), DEVELOPMENT_KEY, security_counter=1))
    return layouts.choose(path, catalogue.get(target).layout, [])


@pytest.mark.parametrize("name", BOARDS)
def test_a_pack_is_installed_tried_and_confirmed(name: str, tmp_path: Path) -> None:
    pack = newer(name, tmp_path)
    chip = CHIPS[name](image_of(name).binary)
    with at_link(chip.machine, name) as session:
        client = session.client
        client.connect()
        assert slot_frames.info(client).journal == Journal.BLANK
        before = chip.machine.instructions
        assert slot_frames.install(client, pack).phase == Phase.STAGED
        print(f"{name}: {chip.machine.instructions - before:,} instructions of an install")
        slot_frames.command(client, Command.ACTIVATE)
        client.reboot()
        client.connect()
        sample.replayed(client, pack, limit=20).check()
        slots = slot_frames.command(client, Command.CONFIRM)
        assert (slots.active, slots.floor) == (Place.SLOT_0, 1)
        client.reboot()
        client.connect()
        again = slot_frames.info(client)
        assert (again.journal, again.running) == (Journal.FOUND, Place.SLOT_0)
        assert again.reason == Reason.CONFIRMED


@pytest.mark.parametrize("address", [0x0801_0000, 0x0800_0000])
def test_the_model_refuses_what_a_chip_refuses(address: int) -> None:
    """Negative control: flash that is written without its controller is a fault."""
    machine = CHIPS["stm32vldiscovery"](image_of("stm32vldiscovery").binary).machine
    machine.allow(10)
    uc = machine.uc
    uc.mem_write(0x2000_0000, bytes.fromhex("0880"))  # strh r0, [r1]
    uc.reg_write(arm_const.UC_ARM_REG_R1, address)
    with pytest.raises(UcError, match="protected"):
        uc.emu_start(0x2000_0001, 0x2000_0002)

# SPDX-License-Identifier: Apache-2.0
"""The flash drivers of chips: a pack is installed, tried and confirmed on a model of the chip."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from unicorn import UcError, arm_const, riscv_const

from tests.support import espressif_chips, sample
from tests.support.cortex_m_chips import CHIPS, Chip
from tests.support.espressif_chips import Espressif
from tests.support.kept_terminal import learned
from tests.support.unicorn_machine import Crash, Machine
from tests.targets.test_cortex_m_boards import PACK, image_of
from tinyfin.errors import ToolError
from tinyfin.field.keys import terminal_keys
from tinyfin.field.sealing import key_id, open_sealed, seal_pack, terminal_sealing_key
from tinyfin.hil.links.session import at_link
from tinyfin.pack import layouts
from tinyfin.pack.container import parse_pack, sign_with
from tinyfin.pack.signing import DEVELOPMENT_KEY, hash32
from tinyfin.targets import build as building
from tinyfin.targets import catalogue, flash
from tinyfin.wire import field_frames, slot_frames
from tinyfin.wire.sealed_frames import read_sealed_state
from tinyfin.wire.slot_frames import Command, Journal, Phase, Place, Reason, StateFound

BOARDS = [
    pytest.param(name, marks=pytest.mark.xdist_group(f"target-{name}"))
    for name in (
        "esp32-c3",
        "esp32-c6",
        "esp32-h2",
        "microbit",
        "nrf52840dk",
        "nucleo-h743zi",
        "nucleo-l476rg",
        "rp2040",
        "stm32f405",
        "stm32vldiscovery",
    )
]


def newer(target: str, folder: Path) -> bytes:
    """The reference pack with a higher counter, in the board's layout."""
    path = folder / "model.tfpack"
    path.write_bytes(sign_with(parse_pack(PACK.read_bytes()), DEVELOPMENT_KEY, security_counter=1))
    return layouts.choose(path, catalogue.get(target).layout, [])


def machine_of(name: str, *defines: str) -> Machine:
    if defines:
        target = catalogue.get(name)
        pack = flash.target_pack(PACK, target)
        binary = building.build(target, pack=pack, defines=defines).binary
    else:
        binary = image_of(name).binary
    if name in espressif_chips.CHIPS:
        return Espressif(espressif_chips.CHIPS[name], binary.read_bytes())
    return CHIPS[name](binary).machine


@pytest.mark.parametrize("name", BOARDS)
def test_a_pack_is_installed_tried_and_confirmed(name: str, tmp_path: Path) -> None:
    pack = newer(name, tmp_path)
    machine = machine_of(name)
    with at_link(machine, name) as session:
        client = session.client
        client.connect()
        assert slot_frames.info(client).journal == Journal.BLANK
        before = machine.instructions
        assert slot_frames.install(client, pack).phase == Phase.STAGED
        print(f"{name}: {machine.instructions - before:,} instructions of an install")
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


@pytest.mark.xdist_group("target-stm32vldiscovery")
def test_small_frames_have_room_for_what_is_sealed(tmp_path: Path) -> None:
    """A board with 8 kB of RAM installs a sealed pack, and seals its state."""
    name, fleet, terminal = "stm32vldiscovery", hash32(b"fleet"), b"terminal"
    key = terminal_sealing_key(fleet, terminal)
    pack = newer(name, tmp_path)
    machine = machine_of(name, "TFIN_SEALED")
    with at_link(machine, name) as session:
        client = session.client
        client.connect()
        field_frames.provision(client, terminal, terminal_keys(fleet, terminal))
        before = machine.instructions
        assert slot_frames.install(client, seal_pack(pack, key)).phase == Phase.STAGED
        print(f"{name}: {machine.instructions - before:,} instructions of a sealed install")
        before = machine.instructions
        sealed = read_sealed_state(client, key_id(key))
        print(f"{name}: {machine.instructions - before:,} instructions of a sealed state")
        before = machine.instructions
        assert open_sealed(sealed, key, name) == client.read_state()
        print(f"{name}: {machine.instructions - before:,} instructions of a state")


LARGE_SECTORS = ("stm32f405", "nucleo-h743zi")
"""Slots and journal fill their flash: there is no space for the state."""


@pytest.mark.parametrize("name", [one for one in BOARDS if one.values[0] not in LARGE_SECTORS])
def test_what_was_learned_outlives_a_restart(name: str) -> None:
    pack = flash.target_pack(PACK, catalogue.get(name)).read_bytes()
    machine = machine_of(name, "TFIN_STATE_LOG")
    with at_link(machine, name) as session:
        client = session.client
        client.connect()
        sample.replayed(client, pack, limit=20, target=name).check()
        before = learned(client.read_state(), pack)
        log = slot_frames.info(client).state_log
        assert log is not None
        assert log.works
        assert log.events > 0
        client.reboot()
        client.connect()
        again = slot_frames.info(client).state_log
        assert again is not None
        assert (again.found, again.restored) == (StateFound.FOUND, log.events)
        assert learned(client.read_state(), pack) == before


@pytest.mark.parametrize(
    ("name", "define", "words"),
    [
        ("stm32vldiscovery", "TFIN_FLASH_STATE=1000u", "whole erase units"),
        ("nrf52840dk", "TFIN_FLASH_SLOT=20000u", "whole erase units"),
        ("nrf52840dk", "TFIN_FLASH_AUDIT=4096u", "two erase units, or none"),
        ("stm32f405", "TFIN_FLASH_STATE=131072u", "sectors of 128 kB from 0x08020000"),
        ("nucleo-h743zi", "TFIN_FLASH_STATE=524288u", "sectors of 128 kB of bank 2"),
    ],
)
def test_areas_that_are_no_erase_units_or_not_there_do_not_compile(
    name: str, define: str, words: str, tmp_path: Path
) -> None:
    board = json.loads(catalogue.get(name).board_file.read_text())
    key = define.partition("=")[0]
    kept = [one for one in board["build"]["defines"] if not one.startswith(key)]
    board["build"]["defines"] = [*kept, define]
    (tmp_path / "odd.json").write_text(json.dumps(board))
    with pytest.raises(ToolError, match=words):
        building.build(catalogue.get("odd", tmp_path), pack=PACK)


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


# ------------------------------------------------------------------- one operation after another


class Area(NamedTuple):
    """tfin_flash_area."""

    address: int
    size: int
    erase_bytes: int


@dataclass
class Driver:
    """The functions of a board's driver, called one by one."""

    chip: Chip
    addresses: dict[str, int]

    @property
    def flash(self) -> Any:
        """StFlash of an STM32, a RomFlash of another."""
        assert self.chip.flash is not None
        return self.chip.flash

    def __post_init__(self) -> None:
        machine = self.chip.machine
        for _ in range(1500):  # slices; a chip whose UART is polled never sleeps
            if not machine.step():
                break
        self.data = self.addresses["tfin_ld_bss_end"] + 0x100
        raw = self.memory(self.call("map"), 88)
        words = struct.unpack("<21I", raw[:84])
        areas = [Area(*words[i : i + 3]) for i in range(0, 21, 3)]
        self.slots, self.journal, self.audit = areas[:2], areas[2:4], areas[6]
        self.unit, self.erased, self.worst_ms = struct.unpack("<BBH", raw[84:])

    def call(self, name: str, *arguments: int) -> int:
        core: Any = self.chip.machine.core
        return int(
            core.call(self.chip.machine, self.addresses[f"tfin_port_flash_{name}"], *arguments)
        )

    def memory(self, at: int, size: int) -> bytes:
        return self.flash.peek(at, size)

    def program(self, at: int, data: bytes, shift: int = 0) -> int:
        self.chip.machine.uc.mem_write(self.data + shift, data)
        return self.call("program", at, self.data + shift)

    def erase(self, at: int) -> int:
        return self.call("erase", at)

    def read(self, at: int, size: int) -> bytes | None:
        """None: the driver says that it cannot be read."""
        self.chip.machine.uc.mem_write(self.data, b"\xa5" * size)
        return self.memory(self.data, size) if self.call("read", at, self.data, size) else None

    def newest_record(self) -> int:
        """Where the journal's last record lies."""
        written = [
            at
            for area in self.journal
            for at in range(area.address, area.address + area.size, 32)
            if self.memory(at, 32) != b"\xff" * 32
        ]
        return max(written, key=lambda at: struct.unpack("<I", self.memory(at + 4, 4)))

    def execute(self, code: str, r0: int, r1: int, instructions: int = 1) -> None:
        """One instruction of the guest, with these registers, and what it leads to."""
        machine = self.chip.machine
        machine.uc.mem_write(self.data, bytes.fromhex(code))
        machine.uc.ctl_remove_cache(self.data, self.data + 4)
        machine.uc.reg_write(arm_const.UC_ARM_REG_R0, r0)
        machine.uc.reg_write(arm_const.UC_ARM_REG_R1, r1)
        machine.uc.reg_write(arm_const.UC_ARM_REG_PC, self.data | 1)
        machine.run(instructions)


def driver(name: str, defines: tuple[str, ...] = ()) -> Driver:
    target = catalogue.get(name)
    image = building.build(name, pack=flash.target_pack(PACK, target), defines=list(defines))
    addresses = building.symbol_addresses(image)
    if name in espressif_chips.CHIPS:
        made = Espressif(espressif_chips.CHIPS[name], image.binary.read_bytes())
        return Driver(Chip(made, lambda: 0.0, lambda: made.uart.baud, made.flash), addresses)
    return Driver(CHIPS[name](image.binary), addresses)


ESPRESSIF = [
    pytest.param(name, marks=pytest.mark.xdist_group(f"target-{name}"))
    for name in espressif_chips.CHIPS
]
MODES = {"nucleo-h743zi": 0x32, "nucleo-l476rg": 0x001, "stm32f405": 0x201}
"""What a control register holds while its controller programs."""
BY_ROM = [
    pytest.param(name, marks=pytest.mark.xdist_group(f"target-{name}"))
    for name in ("esp32-c3", "esp32-c6", "esp32-h2", "rp2040")
]
ST = [pytest.param(name, marks=pytest.mark.xdist_group(f"target-{name}")) for name in MODES]


@pytest.mark.parametrize("name", [*ST, *BY_ROM])
def test_a_driver_programs_erases_and_locks(name: str) -> None:
    chip = driver(name)
    at, unit = chip.slots[1].address, chip.unit
    data = bytes(range(1, 1 + unit))
    for turn, shift in enumerate((0, 1, 2, 3)):
        assert chip.program(at + turn * unit, data, shift) == 1, "data may lie anywhere"
    assert chip.read(at, 5 * unit) == data * 4 + b"\xff" * unit
    assert chip.erase(at) == 1
    assert chip.read(at, 5 * unit) == b"\xff" * 5 * unit
    last = chip.audit.address + chip.audit.size - unit  # of what is before it without a log
    assert chip.program(last, data) == 1
    assert chip.erase(last - last % chip.audit.erase_bytes) == 1
    assert chip.read(last, unit) == b"\xff" * unit
    if name in MODES:
        assert chip.flash.registers.values[chip.flash.control] == chip.flash.lock


@pytest.mark.parametrize("name", [*ST, *BY_ROM])
def test_a_driver_touches_nothing_outside_of_its_map(name: str) -> None:
    chip = driver(name)
    size = chip.flash.memory.size
    first, page = chip.slots[0].address, chip.slots[0].erase_bytes
    end = chip.audit.address + chip.audit.size
    base = chip.flash.memory.base
    before = chip.memory(base, size)
    for at in (0, base, first - chip.unit, first + chip.unit // 2, end, 0xFFFF_FFF0):
        assert chip.program(at, b"\0" * chip.unit) == 0
    for at in (0, base, first - page, first + page // 2, end, 0xFFFF_F800):
        assert chip.erase(at) == 0
    assert chip.memory(base, size) == before


@pytest.mark.parametrize("name", ST)
def test_what_the_chip_refuses_is_told_and_forgotten(name: str) -> None:
    chip = driver(name)
    at, data = chip.slots[0].address, b"\x5a" * chip.unit
    chip.flash.refuses = 1 << 4 if name != "nucleo-h743zi" else 1 << 17  # write-protected
    assert chip.program(at, data) == 0
    assert chip.flash.errors == 0
    assert chip.program(at, data) == 1
    chip.flash.refuses = 1 << 4 if name != "nucleo-h743zi" else 1 << 17
    assert chip.erase(at) == 0
    assert chip.read(at, chip.unit) == data
    chip.flash.errors = chip.flash.sequence_error  # of something else, before
    assert chip.erase(at) == 1


@pytest.mark.parametrize("name", ST)
def test_an_operation_that_never_ends_is_given_up(name: str) -> None:
    chip = driver(name, ("FLASH_WAIT_TURNS=1000u",))
    chip.flash.stuck = True
    assert chip.erase(chip.slots[0].address) == 0
    assert chip.program(chip.slots[0].address, b"\0" * chip.unit) == 0
    chip.flash.stuck, chip.flash.looks = False, 0
    assert chip.erase(chip.slots[0].address) == 1


@pytest.mark.parametrize("name", ST)
def test_the_controllers_of_st_refuse(name: str) -> None:
    """Negative control of the models: locked, not aligned, too narrow, a wrong key, too early."""
    chip = driver(name)
    model, at = chip.flash, chip.slots[0].address
    chip.execute("0860", 0, at)  # str r0, [r1]
    assert model.errors == model.sequence_error
    model.registers.write(model.control, 0x201)
    assert model.registers.values[model.control] == model.lock, "no key, no mode"
    with pytest.raises(Crash, match="wrong key"):
        model.registers.write(model.keys, 1)
    chip = driver(name)
    model = chip.flash

    def unlock() -> None:
        for key in (0x4567_0123, 0xCDEF_89AB):
            model.registers.write(model.keys, key)

    unlock()
    model.registers.write(model.control, MODES[name])
    chip.execute("0880", 0, at)  # strh r0, [r1]
    assert model.errors == model.size_error
    model.errors = 0
    if chip.unit > 4:
        chip.execute("0860", 0, at + 4)
        assert model.errors == model.align_error, "a word is begun at its start"
    assert chip.memory(at, chip.unit) == b"\xff" * chip.unit
    for word in range(chip.unit // 4):
        chip.execute("0860", 0, at + 4 * word)
    assert chip.memory(at, chip.unit) == b"\0" * chip.unit
    with pytest.raises(Crash, match="while it is busy"):
        model.registers.write(model.control, model.lock)


WITH_CODE = [
    pytest.param(name, marks=pytest.mark.xdist_group(f"target-{name}"))
    for name in ("nucleo-h743zi", "nucleo-l476rg")
]


@pytest.mark.parametrize("name", WITH_CODE)
def test_a_word_that_cannot_be_read_is_told(name: str) -> None:
    chip = driver(name)
    at, data = chip.slots[1].address, bytes(range(32))
    for piece in range(0, 96, chip.unit):
        assert chip.program(at + piece, data[piece % 32 :][: chip.unit]) == 1
    chip.flash.spoil(at + 32)
    assert [chip.read(at + piece, 32) for piece in (0, 32, 64)] == [data, None, data]
    assert chip.read(at, 64) is None
    assert chip.flash.errors == 0
    if name == "nucleo-l476rg":
        assert chip.program(at + 32, data[:8]) == 0, "it is not erased"
    assert chip.erase(at) == 1
    assert chip.read(at, 96) == b"\xff" * 96


@pytest.mark.parametrize("name", WITH_CODE)
def test_what_a_cut_left_unreadable_costs_a_record_or_a_pack_and_nothing_else(
    name: str, tmp_path: Path
) -> None:
    pack = newer(name, tmp_path)
    chip = driver(name)
    with at_link(chip.chip.machine, name) as session:
        client = session.client
        client.connect()
        assert slot_frames.install(client, pack).phase == Phase.STAGED
        slot_frames.command(client, Command.ACTIVATE)
        newest = chip.newest_record()
        chip.flash.spoil(newest)
        client.reboot()
        client.connect()
        info = slot_frames.info(client)
        assert (info.journal, info.phase) == (Journal.FOUND, Phase.TRIAL)
        assert info.running == Place.SLOT_0
        chip.flash.spoil(chip.slots[0].address + len(pack) // 2)
        client.reboot()
        client.connect()
        info = slot_frames.info(client)
        assert (info.running, info.phase) == (Place.FACTORY, Phase.NONE)
        assert info.reason == Reason.DAMAGED


def test_flash_that_an_h7_cannot_read_is_a_bus_fault() -> None:
    """Negative control: a load without the driver's care."""
    chip = driver("nucleo-h743zi")
    chip.flash.spoil(chip.slots[0].address)
    with pytest.raises(Crash, match="bus fault"):
        chip.execute("0868", 0, chip.slots[0].address)  # ldr r0, [r1]


def test_an_nmi_that_is_not_of_the_map_stays_a_fault() -> None:
    chip = driver("nucleo-l476rg")
    unused = 0x0807_0000
    chip.flash.spoil(unused)
    chip.execute("0868", 0, unused)
    chip.chip.machine.run(1000)
    loop = chip.addresses["tfin_cortex_m_fault"]
    assert chip.chip.machine.uc.reg_read(arm_const.UC_ARM_REG_PC) & ~7 == loop & ~7


@pytest.mark.parametrize("name", WITH_CODE)
def test_a_word_with_a_code_is_not_programmed_twice(name: str) -> None:
    """Negative control of the models."""
    chip = driver(name)
    at = chip.slots[0].address
    assert chip.program(at, b"\xff" * chip.unit) == 1
    if name == "nucleo-l476rg":
        assert chip.program(at, b"\0" * chip.unit) == 0
    else:
        with pytest.raises(Crash, match="twice"):
            chip.program(at, b"\0" * chip.unit)


@pytest.mark.parametrize("name", ["stm32f405", "nucleo-l476rg"])
def test_a_data_cache_remembers_what_was_erased(name: str) -> None:
    """Negative control: an erasure without the driver, which empties the cache."""
    chip = driver(name)
    model, at = chip.flash, chip.slots[0].address
    assert chip.program(at, b"\0" * chip.unit) == 1
    model.looks = 0
    for key in (0x4567_0123, 0xCDEF_89AB):
        model.registers.write(model.keys, key)
    erase = {"stm32f405": 1 << 16 | 8 << 3 | 1 << 1, "nucleo-l476rg": 1 << 16 | 1 << 11 | 1 << 1}
    model.registers.write(model.control, erase[name])
    assert chip.read(at, chip.unit) == b"\0" * chip.unit
    with pytest.raises(Crash, match="the data cache is on"):
        model.registers.write(model.access, 1 << 12 | 1 << 10)
    model.registers.write(model.access, 1 << 12)
    assert chip.read(at, chip.unit) == b"\xff" * chip.unit


# ----------------------------------------------------------------------------------------- RP2040


def test_flash_of_an_rp2040_comes_back_as_the_second_stage_had_set_it() -> None:
    chip = driver("rp2040")
    at, before = chip.slots[0].address, dict(chip.flash.interface.values)
    chip.flash.steps.clear()
    assert chip.program(at + 0x120, bytes(32)) == 1
    assert chip.flash.steps == ["IF", "EX", "RP", "FC", "CX"]
    assert chip.flash.interface.values == before
    assert chip.read(at + 0x100, 96) == b"\xff" * 32 + bytes(32) + b"\xff" * 32
    chip.flash.steps.clear()
    assert chip.erase(at) == 1
    assert chip.flash.steps == ["IF", "EX", "RE", "FC", "CX"]
    assert chip.flash.interface.values == before
    masked = chip.chip.machine.uc.reg_read(arm_const.UC_ARM_REG_PRIMASK)
    assert masked == 1, "the firmware sleeps like that; the driver leaves it"


@pytest.mark.parametrize("name", BY_ROM)
def test_flash_that_takes_nothing_is_told(name: str) -> None:
    """The ROM does not notice; what is read back says it."""
    chip = driver(name)
    at = chip.slots[0].address
    assert chip.program(at, bytes(32)) == 1
    chip.flash.broken = True
    assert chip.erase(at) == 0
    assert chip.program(at + 32, bytes(32)) == 0


def test_the_model_of_the_rom_refuses_what_a_chip_cannot_do() -> None:
    """Negative control: flash that is used while it is away, a wrong order, an interrupt."""
    chip = driver("rp2040")
    machine, at = chip.chip.machine, chip.slots[0].address
    machine.show(chip.flash.memory, False)
    machine.run(1)
    with pytest.raises(Crash, match="READ_PROT"):
        chip.execute("0868", 0, at)  # ldr r0, [r1]
    with pytest.raises(Crash, match="which is away"):
        chip.execute("8847", 0, chip.addresses["memcpy"] | 1, 2)  # blx r1
    for name, masked, words in (("EX", 1, "comes after"), ("IF", 0, "an interrupt may come")):
        chip = driver("rp2040")
        chip.flash.steps.clear()
        machine = chip.chip.machine
        machine.uc.reg_write(arm_const.UC_ARM_REG_PRIMASK, masked)
        function = chip.flash.FUNCTIONS + 4 * chip.flash.NAMES.index(name)
        with pytest.raises(Crash, match=words):
            chip.execute("8847", 0, function | 1, 5)


def test_an_emulator_without_the_rom_keeps_packs_in_the_image() -> None:
    chip = driver("rp2040")
    machine: Any = chip.chip.machine
    machine.uc.mem_write(0x10, bytes(4))
    assert machine.core.call(machine, chip.addresses["tfin_port_flash_map"]) == 0


# -------------------------------------------------------------------------------------- Espressif


@pytest.mark.parametrize("name", ESPRESSIF)
def test_the_rom_of_a_chip_is_asked_in_order_and_what_it_refuses_is_told(name: str) -> None:
    chip = driver(name)
    at = chip.slots[0].address
    chip.flash.steps.clear()
    assert chip.program(at + 32, bytes(32)) == 1
    assert chip.flash.steps == ["suspend", "write", "invalidate", "resume"]
    assert not chip.flash.suspended
    assert chip.flash.content[at + 32 - chip.flash.memory.base :][:32] == bytes(32)
    chip.flash.steps.clear()
    assert chip.erase(at) == 1
    assert chip.flash.steps == ["suspend", "erase", "invalidate", "resume"]
    chip.flash.refuses = True
    assert chip.program(at, bytes(32)) == 0
    assert chip.erase(at) == 0
    chip.flash.refuses = False
    assert chip.program(at, bytes(32)) == 1


def test_the_model_of_an_esp32_c3_refuses_what_the_chip_cannot_do() -> None:
    """Negative control: flash that is used while the cache is suspended, code where data lies, an
    interrupt, a cache that holds what was there, a wrong order."""
    chip = driver("esp32-c3")
    machine: Any = chip.chip.machine
    at, base = chip.slots[0].address, chip.flash.memory.base
    names = {name: chip.flash.AT + offset for offset, name in chip.flash.names.items()}
    with pytest.raises(Crash, match="while the cache reads flash"):
        machine.core.call(machine, names["erase"], (at - base) // 4096)
    chip = driver("esp32-c3")
    machine = chip.chip.machine
    machine.uc.reg_write(riscv_const.UC_RISCV_REG_MSTATUS, 8)
    with pytest.raises(Crash, match="an interrupt may come"):
        machine.core.call(machine, names["suspend"])
    chip = driver("esp32-c3")
    machine = chip.chip.machine
    machine.uc.mem_write(chip.data, bytes.fromhex("08418280"))  # lw a0, 0(a0); ret
    load = chip.data + machine.chip.alias
    assert machine.core.call(machine, load, at) == 0xFFFF_FFFF
    machine.core.call(machine, names["suspend"])
    with pytest.raises(Crash, match="READ_PROT"):
        machine.core.call(machine, load, at)
    with pytest.raises(Crash, match="which is away"):
        machine.core.call(machine, chip.addresses["memcpy"], chip.data, chip.data, 4)
    chip = driver("esp32-c3")
    machine = chip.chip.machine
    with pytest.raises(Crash, match="PROT"):
        machine.core.call(machine, chip.addresses["operate"], at, 0)
    chip = driver("esp32-c3")
    chip.flash.content[at - base] = 0
    assert chip.read(at, 1) == b"\xff", "until the cache is told"

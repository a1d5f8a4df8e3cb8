# SPDX-License-Identifier: Apache-2.0
"""ESP32-C3, C6 and H2 for :mod:`tests.support.unicorn_machine`, from where the ROM jumps into
flash.

Written from the chips' technical reference manuals: memory map, UART controller, USB Serial/JTAG
controller, interrupt matrix (C3), watchdogs, low-power registers. The ROM has left the watchdogs
on, and the UART at a speed of its own.
"""

from __future__ import annotations

import ctypes
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

import unicorn
from unicorn import riscv_const

from tests.support.unicorn_machine import Device, Machine, Memory, Registers
from tests.support.unicorn_riscv import RiscV

MIB = 1 << 20
FLASH_BYTES = 4 * MIB
DIRECT_BOOT = bytes.fromhex("1d04dbae") * 2
UART = 0x6000_0000
FIFO_BYTES, USB_BYTES = 128, 64
FULL, OVERFLOW, SILENCE = 1 << 0, 1 << 4, 1 << 8
WDT_KEY, SWD_KEY = 0x50D8_3AA1, 0x8F1D_312A
WDT_ON = 1 << 31 | 1 << 14
"""Enabled, in general and for the boot from flash."""


class Uart:
    """UART0 with its FIFOs of 128 bytes; what is sent has gone out at once.

    clock_hz: what the divider divides. needs_update: a new divider waits for a write of UPDATE.
    ``leaving`` bytes are still in the FIFO, and go one by one when the status is looked at; then
    one is in the sender for as many looks as ``shifting`` says.
    """

    base, size = UART, 0x1000
    RAW, PENDING, ENABLED, CLEAR = 0x04, 0x08, 0x0C, 0x10
    DIVIDER, STATUS, CONF1, UPDATE = 0x14, 0x1C, 0x24, 0x98

    def __init__(self, clock_hz: Callable[[Mapping[int, int]], int], needs_update: bool) -> None:
        self.received: deque[int] = deque()
        self.sent = bytearray()
        self.fifo: deque[int] = deque()
        self.values: dict[int, int] = {self.CONF1: 96}
        self.raw = 0
        self.divider = 0
        self.leaving = self.shifting = 0
        self.cut_short = False
        """Whether the speed was changed before the last byte had left."""
        self._clock_hz = clock_hz
        self._needs_update = needs_update

    @property
    def baud(self) -> float:
        """The speed of the line, in bits per second."""
        whole, sixteenths = self.divider & 0xFFF, self.divider >> 20 & 15
        return self._clock_hz(self.values) / (whole + sixteenths / 16)

    def deliver(self) -> None:
        while self.received and len(self.fifo) < FIFO_BYTES:
            self.fifo.append(self.received.popleft())
        if self.fifo and not self.received and self.values[self.CONF1] >> 21 & 1:
            self.raw |= SILENCE
        self._look_at_level()

    def lose(self) -> None:
        """A byte came when the FIFO was full."""
        self.raw |= OVERFLOW

    def _look_at_level(self) -> None:
        if len(self.fifo) >= self.values[self.CONF1] & 0x1FF:
            self.raw |= FULL

    @property
    def asks(self) -> bool:
        """Whether its interrupt is asserted."""
        return self.read(self.PENDING) != 0

    def read(self, offset: int) -> int:
        if offset == 0:
            return self.fifo.popleft() if self.fifo else 0
        if offset == self.RAW:
            return self.raw
        if offset == self.PENDING:
            return self.raw & self.values.get(self.ENABLED, 0)
        if offset == self.STATUS:
            self.leaving = max(0, self.leaving - 1)
            return len(self.fifo) | self.leaving << 16
        if offset == (0x70 if self._needs_update else 0x6C):
            self.shifting = max(0, self.shifting - 1)
            return 0xE0 if self.shifting else 0
        return self.values.get(offset, 0)

    def write(self, offset: int, value: int) -> None:
        if offset == 0:
            self.sent.append(value & 0xFF)
        elif offset == self.CLEAR:
            self.raw &= ~value
            self._look_at_level()
        else:
            self.values[offset] = value
            if offset == self.DIVIDER and (self.leaving or self.shifting):
                self.cut_short = True
            if offset == (self.UPDATE if self._needs_update else self.DIVIDER):
                self.divider = self.values.get(self.DIVIDER, 0)


class Usb:
    """The USB serial port: packets of at most 64 bytes, sent when they are flushed or full."""

    size = 0x1000

    def __init__(self, base: int) -> None:
        self.base = base
        self.received: deque[int] = deque()
        self.sent = bytearray()
        self._packet: deque[int] = deque()
        self._outgoing = bytearray()

    def deliver(self) -> None:
        if not self._packet:
            while self.received and len(self._packet) < USB_BYTES:
                self._packet.append(self.received.popleft())

    def read(self, offset: int) -> int:
        if offset == 0:
            return self._packet.popleft() if self._packet else 0
        if offset == 4:
            return 2 | (4 if self._packet else 0)
        return 0

    def write(self, offset: int, value: int) -> None:
        if offset == 0:
            self._outgoing.append(value & 0xFF)
        if (offset == 4 and value & 1) or len(self._outgoing) == USB_BYTES:
            self.sent += self._outgoing
            self._outgoing.clear()


@dataclass
class Guarded(Registers):
    """Registers of which some take no value while their lock does not hold the key."""

    locks: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Offset of a register: offset of its lock, key."""

    def write(self, offset: int, value: int) -> None:
        if offset in self.locks:
            lock, key = self.locks[offset]
            if self.values.get(lock, 0) != key:
                return
        super().write(offset, value)


@dataclass(frozen=True)
class Chip:
    """Where things are, by name. Addresses of watchdogs: register, lock, key."""

    name: str
    constants: int | None
    ram: int
    ram_bytes: int
    crystal_hz: int
    usb: int
    timer_groups: tuple[int, int]
    rtc_watchdog: tuple[int, int, int]
    super_watchdog: tuple[int, int, int]
    feeds_itself: int
    random: int
    reset: int
    uart_source: int | None
    """Where the UART's clock is chosen; None: in the UART itself."""
    matrix: int | None
    rom: dict[int, str]
    """Functions of the ROM that write to flash, by their place in it."""
    alias: int = 0
    """From where internal RAM holds data to where it is executed, if that differs."""
    more: tuple[int, ...] = ()
    """Other registers that start-up writes."""

    @property
    def watchdogs(self) -> list[tuple[int, int, int]]:
        groups = [(at + 0x48, at + 0x64, WDT_KEY) for at in self.timer_groups]
        return [*groups, self.rtc_watchdog, self.super_watchdog]


CODE = 0x4200_0000
C3 = Chip(
    "esp32-c3",
    constants=0x3C00_0000,
    ram=0x3FC8_0000,
    ram_bytes=0x60000,
    crystal_hz=40_000_000,
    usb=0x6004_3000,
    timer_groups=(0x6001_F000, 0x6002_0000),
    rtc_watchdog=(0x6000_8090, 0x6000_80A8, WDT_KEY),
    super_watchdog=(0x6000_80AC, 0x6000_80B0, SWD_KEY),
    feeds_itself=1 << 31,
    random=0x6002_60B0,
    reset=0x6000_8000,
    uart_source=None,
    matrix=0x600C_2000,
    rom={
        0x128: "erase",
        0x12C: "write",
        0x140: "unlock",
        0x4D4: "invalidate",
        0x524: "suspend",
        0x528: "resume",
    },
    alias=0x70_0000,
    more=(0x600C_0000,),
)
C6 = Chip(
    "esp32-c6",
    constants=None,
    ram=0x4080_0000,
    ram_bytes=0x80000,
    crystal_hz=40_000_000,
    usb=0x6000_F000,
    timer_groups=(0x6000_8000, 0x6000_9000),
    rtc_watchdog=(0x600B_1C00, 0x600B_1C18, WDT_KEY),
    super_watchdog=(0x600B_1C1C, 0x600B_1C20, WDT_KEY),
    feeds_itself=1 << 18,
    random=0x600B_2808,
    reset=0x600B_1034,
    uart_source=0x6009_6004,
    matrix=None,
    rom={
        0x144: "erase",
        0x14C: "write",
        0x154: "unlock",
        0x648: "invalidate",
        0x698: "suspend",
        0x69C: "resume",
    },
)
H2 = replace(
    C6,
    name="esp32-h2",
    ram_bytes=0x50000,
    crystal_hz=32_000_000,
    timer_groups=(0x6000_9000, 0x6000_A000),
    rtc_watchdog=(0x600B_1C00, 0x600B_1C1C, WDT_KEY),
    super_watchdog=(0x600B_1C20, 0x600B_1C24, WDT_KEY),
    rom={
        0x13C: "erase",
        0x144: "write",
        0x14C: "unlock",
        0x61C: "invalidate",
        0x66C: "suspend",
        0x670: "resume",
    },
)
CHIPS = {chip.name: chip for chip in (C3, C6, H2)}


class RomFlash:
    """The functions of a ROM that write to flash, at the addresses that Espressif publishes. While
    the cache is suspended, no window of flash is there; what the cache holds stays in it until it
    is invalidated."""

    AT = 0x4000_0000
    FAILED = 1

    @classmethod
    def rom(cls, chip: Chip) -> Memory:
        data = bytearray(0x1000)
        for at in chip.rom:
            data[at : at + 2] = b"\x82\x80"  # ret
        return Memory(cls.AT, len(data), bytes(data), keeps=True)

    def __init__(self, made: Machine, chip: Chip, windows: list[Memory]) -> None:
        self.made = made
        self.names = chip.rom
        self.windows = windows
        self.content = bytearray(windows[0].data)
        self.steps: list[str] = []
        self.suspended = self.unlocked = False
        self.broken = False
        """Whether flash takes nothing any more, and the ROM does not notice."""
        self.refuses = False
        """Whether the ROM fails."""
        ends = min(self.names), max(self.names) + 2
        uc = made.uc
        uc.hook_add(
            unicorn.UC_HOOK_CODE, self._called, begin=self.AT + ends[0], end=self.AT + ends[1]
        )

    @property
    def memory(self) -> Memory:
        """The window for data."""
        return self.windows[-1]

    def peek(self, at: int, size: int) -> bytes:
        return bytes(self.made.uc.mem_read(at, size))

    def _called(self, uc: Any, at: int, _size: int, _: object) -> None:
        name = self.names[at - self.AT]
        a = [uc.reg_read(riscv_const.UC_RISCV_REG_X10 + i) for i in range(3)]
        self.steps.append(name)
        if uc.reg_read(riscv_const.UC_RISCV_REG_MSTATUS) & 8:
            self.made.crash("an interrupt may come while flash is away")
        if name != "suspend" and not self.suspended:
            self.made.crash(f"the ROM's {name} while the cache reads flash")
        uc.reg_write(riscv_const.UC_RISCV_REG_X10, getattr(self, f"_{name}")(uc, *a))

    def _suspend(self, _uc: Any, *_: int) -> int:
        self.suspended = True
        for window in self.windows[::-1]:
            self.made.show(window, False)
        return 0x1_2345

    def _resume(self, _uc: Any, autoload: int, *_: int) -> int:
        if autoload != 0x1_2345:
            self.made.crash("the cache is resumed with another setting")
        self.suspended = False
        for window in self.windows[::-1]:
            self.made.show(window, True)
        return 0

    def _unlock(self, _uc: Any, *_: int) -> int:
        self.unlocked = True
        return 0

    def _erase(self, _uc: Any, sector: int, *_: int) -> int:
        return self._change(4096 * sector, b"\xff" * 4096)

    def _write(self, uc: Any, at: int, data: int, size: int) -> int:
        if at % 4 or data % 4 or size % 4:
            return self.FAILED
        new = bytes(uc.mem_read(data, size))
        old = self.content[at : at + size]
        return self._change(at, bytes(a & b for a, b in zip(old, new, strict=True)))

    def _change(self, at: int, data: bytes) -> int:
        if self.refuses or not self.unlocked or at + len(data) > len(self.content):
            return self.FAILED
        if not self.broken:
            self.content[at : at + len(data)] = data
        return 0

    def _invalidate(self, uc: Any, at: int, size: int, *_: int) -> int:
        offset = at - self.windows[-1].base
        for window in self.windows:
            uc.mem_write(window.base + offset, bytes(self.content[offset : offset + size]))
        return 0


class Espressif(Machine):
    """A chip whose flash holds ``image`` from its start on, and ``behind`` at an offset.

    usb: the host is at the USB connector, not at UART0.
    """

    def __init__(
        self, chip: Chip, image: bytes, *, behind: tuple[int, bytes] = (0, b""), usb: bool = False
    ) -> None:
        assert image.startswith(DIRECT_BOOT), "the ROM does not run this"
        flash = bytearray(image.ljust(FLASH_BYTES, b"\xff"))
        at, content = behind
        flash[at : at + len(content)] = content
        self.chip = chip
        self.registers = self._registers()
        self.uart = Uart(self._uart_hz, needs_update=chip.uart_source is not None)
        line = Usb(chip.usb) if usb else self.uart
        windows = [Memory(CODE, FLASH_BYTES, bytes(flash), keeps=True)]
        if chip.constants is not None:
            # byte loads from the window for code fault; no load at all is what is allowed here
            windows = [replace(windows[0], readable=False)]
            windows += [Memory(chip.constants, FLASH_BYTES, bytes(flash), keeps=True)]
        devices: list[Device] = [self.uart, *self.registers.values()]
        ram = Memory(chip.ram, chip.ram_bytes)
        super().__init__(
            chip.name,
            RiscV(),
            [*windows, RomFlash.rom(chip), *([] if chip.alias else [ram])],
            [*devices, line] if usb else devices,
            line,
            CODE + len(DIRECT_BOOT),
            interrupt=self._asked,
        )
        if chip.alias:
            # RAM has two addresses, and code runs at one of them only
            self._ram = ctypes.create_string_buffer(chip.ram_bytes + 4096)
            at = -(-ctypes.addressof(self._ram) // 4096) * 4096
            data = unicorn.UC_PROT_READ | unicorn.UC_PROT_WRITE
            self.uc.mem_map_ptr(chip.ram, chip.ram_bytes, data, at)
            code = chip.ram + chip.alias
            self.uc.mem_map_ptr(code, chip.ram_bytes, unicorn.UC_PROT_EXEC, at)
        self.flash = RomFlash(self, chip, windows)

    def _registers(self) -> dict[int, Guarded]:
        """By page: everything but UART and USB."""
        chip = self.chip
        pages: dict[int, Guarded] = {}

        def page(address: int) -> tuple[Guarded, int]:
            base = address & ~0xFFF
            return pages.setdefault(base, Guarded(base, 0x1000)), address - base

        for register, lock, key in chip.watchdogs:
            on, at = page(register)
            on.locks[at] = (page(lock)[1], key)
            on.values[at] = WDT_ON if register != chip.super_watchdog[0] else 0
        noise = count(1)
        on, at = page(chip.random)
        on.on_read[at] = lambda: next(noise) * 0x9E37_79B1 & 0xFFFF_FFFF
        on, at = page(chip.reset)
        on.on_write[at] = lambda value: self.ask_reset() if value >> 31 else None
        for address in (chip.uart_source, chip.matrix, *chip.more):
            if address is not None:
                page(address)
        return pages

    def value(self, address: int) -> int:
        """What a register holds."""
        return self.registers[address & ~0xFFF].values.get(address & 0xFFF, 0)

    def _uart_hz(self, own: Mapping[int, int]) -> int:
        where = self.chip.uart_source
        source = own.get(0x78, 0) if where is None else self.value(where)
        assert source >> 20 & 3 == 3, "the UART does not run from the crystal"
        assert source & 0xFFFFF == 0, "its clock is divided before it gets there"
        return self.chip.crystal_hz

    def _asked(self) -> int | None:
        """The line of the interrupt matrix at which UART0 asks, if the core may hear it."""
        if self.chip.matrix is None:
            return None
        at = self.chip.matrix
        line = self.value(at + 0x54) & 31
        enabled = self.value(at + 0x104) >> line & 1
        priority = self.value(at + 0x114 + 4 * line)
        audible = line and enabled and priority >= max(1, self.value(at + 0x194))
        return line if self.uart.asks and audible else None

    def watchdogs_off(self) -> bool:
        """Whether none will bite: the super watchdog cannot be switched off, but feeds itself."""
        *others, own = self.chip.watchdogs
        off = all(self.value(register) & WDT_ON == 0 for register, _, _ in others)
        locked = all(self.value(lock) != key for _, lock, key in self.chip.watchdogs)
        return off and locked and self.value(own[0]) & self.chip.feeds_itself != 0

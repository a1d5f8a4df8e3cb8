# SPDX-License-Identifier: Apache-2.0
"""Chips with a Cortex-M for :mod:`tests.support.unicorn_machine`, each written from its manual:

STM32F1 RM0008, STM32L4 RM0351, STM32H7 RM0433, STM32G0 RM0444, nRF51 Series Reference Manual 3.0,
nRF52840 Product Specification 1.7, RP2040 Datasheet. A block without a clock, or in reset, does not
answer. A UART whose speed or pins are wrong hears and says nothing.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import unicorn

from tests.support.unicorn_cortex_m import CortexM, SystemControl
from tests.support.unicorn_machine import Crash, Device, Machine, Memory, Registers

KIB = 1 << 10
BAUD = 115_200
TOLERANCE = 0.02
RAM = 0x2000_0000


@dataclass
class Block(Registers):
    """Registers that answer while ``on``; otherwise writes are lost and reads are 0."""

    on: Callable[[], bool] = lambda: True

    def read(self, offset: int) -> int:
        return super().read(offset) if self.on() else 0

    def write(self, offset: int, value: int) -> None:
        if self.on():
            super().write(offset, value)

    def bit(self, offset: int, number: int) -> int:
        return self.values.get(offset, 0) >> number & 1

    def bits(self, offset: int, low: int, count: int) -> int:
        return self.values.get(offset, 0) >> low & (1 << count) - 1


class Wire:
    """What leads to the host; one byte at a time reaches the UART, when it ``hears``."""

    def __init__(self) -> None:
        self.received: deque[int] = deque()
        self.sent = bytearray()
        self.data: deque[int] = deque()
        self.room = 1
        self.hears: Callable[[], bool] = lambda: True

    def deliver(self) -> None:
        while self.received and len(self.data) < self.room and self.hears():
            self.data.append(self.received.popleft())

    def send(self, value: int) -> None:
        if self.hears():
            self.sent.append(value & 0xFF)


@dataclass
class Chip:
    """What became of an image: the machine, and what its clocks and its line are set to."""

    machine: Machine
    core_hz: Callable[[], float]
    baud: Callable[[], float]


def machine(
    name: str,
    model: str,
    flash: Memory,
    ram_bytes: int,
    devices: Iterable[Device],
    wire: Wire,
    interrupt: int,
    asks: Callable[[], bool],
    *,
    systick: bool = True,
    core: type[CortexM] = CortexM,
) -> Machine:
    """A chip with one UART that interrupts."""
    control = SystemControl(systick)
    devices = list(devices)
    made = Machine(
        name,
        core(model, control, devices),
        [flash, Memory(RAM, ram_bytes)],
        [control, *devices],
        wire,
        flash.base,
        interrupt=lambda: 16 + interrupt if asks() and control.enabled(interrupt) else None,
    )
    control.machine = made
    return made


def programmable(
    made: Machine, flash: Memory, unit: int, page: int, programs: Callable[[], bool]
) -> Callable[[int], None]:
    """Let the guest program erased flash, ``unit`` bytes at once, while its controller
    ``programs``; any other write is a fault, as without one. Returns what erases a page."""
    uc = made.uc
    uc.mem_write(flash.base, flash.data + b"\xff" * (flash.size - len(flash.data)))

    def write(_uc: object, _access: int, at: int, size: int, value: int, _: object) -> bool:
        erased = bytes(uc.mem_read(at, size)) == b"\xff" * size
        if not (programs() and erased and size == unit and at % unit == 0):
            return False
        uc.mem_write(at, value.to_bytes(size, "little"))
        return True

    def erase(at: int) -> None:
        if at % page or not flash.base <= at < flash.base + flash.size:
            raise Crash(f"{made.name}: {at:#x} is no page")
        uc.mem_write(at, b"\xff" * page)

    uc.hook_add(unicorn.UC_HOOK_MEM_WRITE_PROT, write)
    return erase


def near(baud: float) -> bool:
    return abs(baud / BAUD - 1) < TOLERANCE


# ------------------------------------------------------------------------------------------ STM32


def old_usart(base: int, wire: Wire, on: Callable[[], bool]) -> tuple[Block, Callable[[], bool]]:
    """The USART of the F1: status, data, BRR, CR1. And whether it interrupts."""
    usart = Block(base & ~0xFFF, 0x1000, on=on)
    at = base & 0xFFF
    usart.on_read[at] = lambda: 0xC0 | (0x20 if wire.data else 0)
    usart.on_read[at + 4] = lambda: wire.data.popleft() if wire.data else 0
    usart.on_write[at + 4] = lambda value: wire.send(value) if sends() else None

    def sends() -> bool:
        return bool(usart.bit(at + 0xC, 13) and usart.bit(at + 0xC, 3))

    def asks() -> bool:
        control = usart.values.get(at + 0xC, 0)
        return bool(wire.data) and control & 0x2024 == 0x2024

    return usart, asks


def young_usart(base: int, wire: Wire, on: Callable[[], bool]) -> tuple[Block, Callable[[], bool]]:
    """The USART of F0, F3, F7, G0, L4, H7...: CR1, BRR at 0xC, ISR at 0x1C, RDR, TDR."""
    usart = Block(base & ~0xFFF, 0x1000, on=on)
    at = base & 0xFFF
    usart.on_read[at + 0x1C] = lambda: 0xC0 | (0x20 if wire.data else 0)
    usart.on_read[at + 0x24] = lambda: wire.data.popleft() if wire.data else 0
    usart.on_write[at + 0x28] = lambda value: wire.send(value) if sends() else None

    def sends() -> bool:
        return usart.values.get(at, 0) & 9 == 9

    def asks() -> bool:
        return bool(wire.data) and usart.values.get(at, 0) & 0x25 == 0x25

    return usart, asks


def has_function(gpio: Block, pin: int, function: int) -> bool:
    """Whether a pin of a GPIO with AFR registers is that alternate function's."""
    mode = gpio.bits(0x00, 2 * pin, 2)
    return mode == 2 and gpio.bits(0x20 + pin // 8 * 4, 4 * (pin % 8), 4) == function


def ready_with(register: Block, offset: int, *pairs: tuple[int, int]) -> None:
    """A control register whose ready bits follow the bits that switch something on."""

    def value() -> int:
        word = register.values.get(offset, 0)
        for on, ready in pairs:
            word = word & ~(1 << ready) | (word >> on & 1) << ready
        return word

    register.on_read[offset] = value


def slow_enough(name: str, hz: float, waits: int, steps: tuple[float, ...]) -> None:
    """Crash when the flash has fewer wait states than its clock needs; the machine's own hook would
    read nonsense there."""
    needed = sum(hz > step * 1e6 for step in steps)
    if waits < needed:
        raise Crash(f"{name}: {hz / 1e6:.0f} MHz with {waits} wait states, needs {needed}")


def bluepill(image: Path) -> Chip:
    """An STM32F103C8; USART1 on PA9 and PA10."""
    return stm32f1(image, "bluepill", 20 * KIB)


def stm32vldiscovery(image: Path) -> Chip:
    """An STM32F100RB; USART1 on PA9 and PA10."""
    return stm32f1(image, "stm32vldiscovery", 8 * KIB)


def stm32f1(image: Path, name: str, ram_bytes: int) -> Chip:
    """A chip with 128 kB of flash in pages of 1 kB, and USART1 on PA9 and PA10."""
    wire = Wire()
    rcc = Block(0x4002_1000, 0x1000, {0x00: 0x83})
    flash = Block(0x4002_2000, 0x1000, {0x10: 0x80})
    gpio = Block(0x4001_0000, 0x2000, on=lambda: bool(rcc.bit(0x18, 2)))
    usart, asks = old_usart(0x4001_3800, wire, lambda: bool(rcc.bit(0x18, 14)))
    ready_with(rcc, 0x00, (0, 1), (16, 17), (24, 25))

    def source() -> int:
        asked = rcc.bits(0x04, 0, 2)
        return asked if asked == 0 or (asked == 2 and rcc.bit(0x00, 24)) else 0

    def core_hz() -> float:
        return 8e6 if source() == 0 else 4e6 * (rcc.bits(0x04, 18, 4) + 2)

    def switched(_: int) -> None:
        slow_enough(name, core_hz(), flash.bits(0x00, 0, 3), (24, 48))

    rcc.on_write[0x04] = switched
    rcc.on_read[0x04] = lambda: rcc.values.get(0x04, 0) & ~0xC | source() << 2

    def baud() -> float:
        return core_hz() / max(1, usart.values.get(0x808, 0))

    wire.hears = lambda: near(baud()) and gpio.bits(0x804, 4, 8) == 0x4B
    memory = Memory(0x0800_0000, 128 * KIB, image.read_bytes(), keeps=True)
    made = machine(name, "M3", memory, ram_bytes, [rcc, flash, gpio, usart], wire, 37, asks)
    keys: deque[int] = deque(maxlen=2)
    erase = programmable(made, memory, 2, KIB, lambda: flash.values[0x10] == 0x01)

    def control(value: int) -> None:
        """Locked until both keys came; a lock lasts until they come again."""
        if list(keys) != [0x4567_0123, 0xCDEF_89AB]:
            flash.values[0x10] = 0x80
        elif value & 0x80:
            keys.clear()
        elif value == 0x42:
            erase(flash.values.get(0x14, 0))

    flash.on_write[0x04] = keys.append
    flash.on_write[0x10] = control
    flash.on_read[0x0C] = lambda: 0x20
    return Chip(made, core_hz, baud)


def nucleo_l476rg(image: Path) -> Chip:
    """An STM32L476RG; USART2 on PA2 and PA3."""
    wire = Wire()
    rcc = Block(0x4002_1000, 0x1000, {0x00: 0x63})
    flash = Block(0x4002_2000, 0x1000)
    gpio = Block(0x4800_0000, 0x2000, on=lambda: bool(rcc.bit(0x4C, 0)))
    usart, asks = young_usart(0x4000_4400, wire, lambda: bool(rcc.bit(0x58, 17)))
    noise = Block(0x5006_0000, 0x1000, on=lambda: bool(rcc.bit(0x4C, 18)))
    noise.on_read[0x804] = lambda: noise.bit(0x800, 2)
    noise.on_read[0x808] = lambda: 0x1234_5678
    identity = Registers(0x1FFF_7000, 0x1000, {0x590: 1, 0x594: 2, 0x598: 3})
    ready_with(rcc, 0x00, (0, 1), (8, 10), (24, 25))

    def source() -> int:
        asked = rcc.bits(0x08, 0, 2)
        works = {0: True, 1: rcc.bit(0, 8), 3: rcc.bit(0, 24) and rcc.bit(0, 8)}
        return asked if works.get(asked) else 0

    def core_hz() -> float:
        vco = 16e6 / (rcc.bits(0x0C, 4, 3) + 1) * rcc.bits(0x0C, 8, 7)
        pll = vco / (2 * rcc.bits(0x0C, 25, 2) + 2)
        if source() == 3 and not (
            rcc.bits(0x0C, 0, 2) == 2 and rcc.bit(0x0C, 24) and 64e6 <= vco <= 344e6 and pll <= 80e6
        ):
            raise Crash("the PLL has no source, no output, or a clock out of its range")
        return {0: 4e6, 1: 16e6, 3: pll}[source()]

    def switched(_: int) -> None:
        slow_enough("nucleo-l476rg", core_hz(), flash.bits(0, 0, 3), (16, 32, 48, 64))

    rcc.on_write[0x08] = switched
    rcc.on_read[0x08] = lambda: rcc.values.get(0x08, 0) & ~0xC | source() << 2

    def baud() -> float:
        return core_hz() / max(1, usart.values.get(0x40C, 0))

    wire.hears = lambda: near(baud()) and has_function(gpio, 2, 7) and has_function(gpio, 3, 7)
    made = machine(
        "nucleo-l476rg",
        "M4",
        Memory(0x0800_0000, 1024 * KIB, image.read_bytes(), keeps=True),
        96 * KIB,
        [rcc, flash, gpio, usart, noise, identity],
        wire,
        38,
        asks,
    )
    return Chip(made, core_hz, baud)


def nucleo_h743zi(image: Path) -> Chip:
    """An STM32H743ZI, its supply the LDO; USART3 on PD8 and PD9. RAM is the DTCM."""
    wire = Wire()
    rcc = Block(0x5802_4000, 0x1000, {0x400: 0x83})  # PWR is in the same page, at 0x800
    flash = Block(0x5200_2000, 0x1000)
    gpio = Block(0x5802_0000, 0x2000, on=lambda: bool(rcc.bit(0x4E0, 3)))
    usart, asks = young_usart(0x4000_4800, wire, lambda: bool(rcc.bit(0x4E8, 18)))
    noise = Block(0x4802_1000, 0x1000, on=lambda: bool(rcc.bit(0x4DC, 6)))
    noise.on_read[0x804] = lambda: noise.bit(0x800, 2) and rcc.bit(0x400, 12)
    noise.on_read[0x808] = lambda: 0x1234_5678
    identity = Registers(0x1FF1_E000, 0x1000, {0x800: 1, 0x804: 2, 0x808: 3})
    ready_with(rcc, 0x400, (0, 2), (12, 13), (24, 25))

    def supplied() -> bool:
        return rcc.values.get(0x80C) == 2  # LDO, written since power-up

    rcc.on_read[0x804] = lambda: 1 << 13 if supplied() else 0
    rcc.on_read[0x818] = lambda: rcc.values.get(0x818, 1 << 14) | (1 << 13 if supplied() else 0)

    def source() -> int:
        asked = rcc.bits(0x410, 0, 3)
        return asked if asked == 0 or (asked == 3 and rcc.bit(0x400, 24)) else 0

    def core_hz() -> float:
        if source() == 0:
            return 64e6
        reference = 64e6 / max(1, rcc.bits(0x428, 4, 6))
        vco = reference * (rcc.bits(0x430, 0, 9) + 1)
        wrong = [
            rcc.bits(0x428, 0, 2) != 0,
            not rcc.bit(0x42C, 16),
            rcc.bits(0x42C, 2, 2) != 3 or not 8e6 <= reference <= 16e6,
            rcc.bit(0x42C, 1) or not 192e6 <= vco <= 836e6,
            rcc.bits(0x818, 14, 2) != 3,
        ]
        if any(wrong):
            raise Crash(f"the PLL is not set up, or the voltage is too low: {wrong}")
        return vco / (rcc.bits(0x430, 9, 7) + 1)

    def matrix_hz() -> float:
        return core_hz() / {0: 1, 8: 2}[rcc.bits(0x418, 0, 4)]

    def bus_hz() -> float:
        return matrix_hz() / {0: 1, 4: 2}[rcc.bits(0x41C, 4, 3)]

    def switched(_: int) -> None:
        slow_enough("nucleo-h743zi", matrix_hz(), flash.bits(0, 0, 4), (70, 140, 210))
        if core_hz() > 400e6 or matrix_hz() > 200e6 or bus_hz() > 100e6:
            raise Crash("a clock is above its limit")

    rcc.on_write[0x410] = switched
    rcc.on_read[0x410] = lambda: rcc.values.get(0x410, 0) & ~0x38 | source() << 3

    def baud() -> float:
        return bus_hz() / max(1, usart.values.get(0x80C, 0))

    wire.hears = lambda: near(baud()) and has_function(port_d, 8, 7) and has_function(port_d, 9, 7)
    port_d = Block(0, 0x1000)
    for offset in (0x00, 0x20, 0x24):
        gpio.on_write[0xC00 + offset] = lambda value, at=offset: port_d.values.update({at: value})
    made = machine(
        "nucleo-h743zi",
        "M7",
        Memory(0x0800_0000, 2048 * KIB, image.read_bytes(), keeps=True),
        128 * KIB,
        [rcc, flash, gpio, usart, noise, identity],
        wire,
        39,
        asks,
    )
    return Chip(made, core_hz, baud)


def nucleo_g071rb(image: Path) -> Chip:
    """An STM32G071RB at the 16 MHz it starts with; USART2 on PA2 and PA3. The page on own boards
    adds it."""
    wire = Wire()
    rcc = Block(0x4002_1000, 0x1000)
    gpio = Block(0x5000_0000, 0x2000, on=lambda: bool(rcc.bit(0x34, 0)))
    usart, asks = young_usart(0x4000_4400, wire, lambda: bool(rcc.bit(0x3C, 17)))

    def baud() -> float:
        return 16e6 / max(1, usart.values.get(0x40C, 0))

    wire.hears = lambda: near(baud()) and has_function(gpio, 2, 1) and has_function(gpio, 3, 1)
    flash = Memory(0x0800_0000, 128 * KIB, image.read_bytes(), keeps=True)
    made = machine("nucleo-g071rb", "M0", flash, 36 * KIB, [rcc, gpio, usart], wire, 28, asks)
    return Chip(made, lambda: 16e6, baud)


# -------------------------------------------------------------------------------------------- nRF


@dataclass
class NrfUart(Registers):
    """The UART with single bytes: six places for received ones, events instead of a status."""

    wire: Wire = field(default_factory=Wire)

    def read(self, offset: int) -> int:
        if offset == 0x108:
            return self.arrived()
        if offset == 0x518:
            value = self.wire.data.popleft() if self.wire.data else 0
            self.values[0x108] = 0
            return value
        return super().read(offset)

    def arrived(self) -> int:
        return int(bool(self.wire.data and self.values.get(0x000) and self.works()))

    def works(self) -> bool:
        return self.values.get(0x500, 0) == 4

    def write(self, offset: int, value: int) -> None:
        if offset in (0x304, 0x308):  # sets, and clears, bits of one register
            mask = self.values.get(0x304, 0)
            mask = mask | value if offset == 0x304 else mask & ~value
            self.values.update({0x304: mask, 0x308: mask})
        elif offset == 0x51C:
            if self.values.get(0x008) and self.works():
                self.wire.send(value)
                self.values[0x11C] = 1
        else:
            super().write(offset, value)

    def asks(self) -> bool:
        return bool(self.arrived() and self.values.get(0x304, 0) & 1 << 2)


def nrf(
    image: Path, name: str, model: str, core_hz: float, sizes: tuple[int, int], **how: Any
) -> Chip:
    """A chip of Nordic's; the pins are those of its board."""
    tx, rx = how.pop("pins")
    flash_bytes, ram_bytes = sizes
    uart = NrfUart(0x4000_2000, 0x1000)
    uart.wire.room = 6
    clock = Registers(0x4000_0000, 0x1000)
    clock.on_read[0x100] = lambda: clock.values.get(0x000, 0)
    gpio = Registers(0x5000_0000, 0x1000)
    timer = Registers(0x4000_8000, 0x1000)
    noise = Registers(0x4000_D000, 0x1000)
    noise.on_read[0x100] = lambda: noise.values.get(0x000, 0)
    noise.on_read[0x508] = lambda: 0xA5

    def baud() -> float:
        return uart.values.get(0x524, 0) * 16e6 / (1 << 32)

    def wired() -> bool:
        output, pulled_up = gpio.values.get(0x700 + 4 * tx, 2), gpio.values.get(0x700 + 4 * rx, 2)
        return (
            uart.values.get(0x50C) == tx
            and uart.values.get(0x514) == rx
            and (output & 1 == 1 and pulled_up & 3 == 0)
        )

    uart.wire.hears = lambda: near(baud()) and wired()
    memory = Memory(0, flash_bytes, image.read_bytes(), keeps=True)
    nvmc = Registers(0x4001_E000, 0x1000, {0x400: 1})
    chip_id = Registers(0x1000_0000, 0x1000, {0x060: 0xCAFE})
    made = machine(
        name,
        model,
        memory,
        ram_bytes,
        [clock, uart, gpio, timer, noise, nvmc, chip_id],
        uart.wire,
        2,
        uart.asks,
        **how,
    )

    def capture(_: int) -> None:
        """TIMER0 at 16 MHz; the core executes about an instruction a tick here."""
        widths = {0: 16, 1: 8, 2: 24, 3: 32}
        if timer.values.get(0x000) and timer.values.get(0x510, 4) == 0:
            width = widths[timer.values.get(0x508, 0)]
            timer.values[0x540] = made.instructions & (1 << width) - 1

    timer.on_write[0x040] = capture
    page = flash_bytes // 256
    erase = programmable(made, memory, 4, page, lambda: nvmc.values.get(0x504) == 1)
    nvmc.on_write[0x508] = lambda at: erase(at) if nvmc.values.get(0x504) == 2 else None
    return Chip(made, lambda: core_hz, baud)


def microbit(image: Path) -> Chip:
    """An nRF51822, which has no SysTick; UART on P0.24 and P0.25."""
    sizes = 256 * KIB, 16 * KIB
    return nrf(image, "microbit", "M0", 16e6, sizes, pins=(24, 25), systick=False)


def nrf52840dk(image: Path) -> Chip:
    """An nRF52840; UART on P0.06 and P0.08."""
    return nrf(image, "nrf52840dk", "M4", 64e6, (1024 * KIB, 256 * KIB), pins=(6, 8))


# ----------------------------------------------------------------------------------------- RP2040


def checksum(data: bytes) -> int:
    """CRC-32 as the boot ROM has it: not reflected, from all ones, nothing at its end."""
    value = 0xFFFF_FFFF
    for byte in data:
        value ^= byte << 24
        for _ in range(8):
            value = (value << 1 ^ (0x04C1_1DB7 if value >> 31 else 0)) & 0xFFFF_FFFF
    return value


class BootRom(CortexM):
    """Starts as the RP2040's ROM does: 256 bytes of flash to RAM, checked, run there."""

    AT = 0x2004_1F00

    def start(self, uc: Any, address: int) -> None:
        super().start(uc, address + 0x100)
        self.control.values[0xD08] = 0
        stage = bytes(uc.mem_read(address, 256))
        if checksum(stage[:252]) != struct.unpack("<I", stage[252:])[0]:
            raise Crash("the checksum of the second stage of boot is wrong: the ROM waits for USB")
        uc.mem_write(self.AT, stage)
        self.jump(uc, self.AT, self.AT | 1)


@dataclass
class Aliased(Block):
    """Four addresses of each register: plain, XOR, set, clear."""

    def write(self, offset: int, value: int) -> None:
        register, way = offset & 0x0FFF, offset >> 12
        before = self.values.get(register, 0)
        ways = {0: value, 1: before ^ value, 2: before | value, 3: before & ~value}
        super().write(register, ways[way])

    def read(self, offset: int) -> int:
        return super().read(offset & 0x0FFF)


def rp2040(image: Path) -> Chip:
    """An RP2040 with a crystal of 12 MHz; UART0 on GPIO0 and GPIO1."""
    wire = Wire()
    wire.room = 32
    resets = Aliased(0x4000_C000, 0x4000, {0: 0x01FF_FFFF})
    resets.on_read[8] = lambda: ~resets.values[0] & 0x01FF_FFFF

    def out(number: int) -> Callable[[], bool]:
        return lambda: not resets.values[0] >> number & 1

    clocks = Aliased(0x4000_8000, 0x4000)
    crystal = Aliased(0x4002_4000, 0x4000)
    crystal.on_read[4] = lambda: (crystal.bits(0, 12, 12) == 0xFAB) << 31
    pll = Aliased(0x4002_8000, 0x4000, {4: 0x2D}, on=out(12))
    pll.on_read[0] = lambda: pll.bits(0, 0, 6) | (pll.values[4] & 0x21 == 0) << 31
    functions = Aliased(0x4001_4000, 0x4000, on=out(5))
    pads = Aliased(0x4001_C000, 0x4000, {4: 0x56, 8: 0x56}, on=out(8))
    uart = Aliased(0x4003_4000, 0x4000, on=out(22))
    power = Aliased(0x4001_0000, 0x4000)
    oscillator = Aliased(0x4006_0000, 0x4000)
    flash = Registers(0x1800_0000, 0x1000)
    watchdog = Aliased(0x4005_8000, 0x4000)
    uart.on_read[0x18] = lambda: 0 if wire.data else 1 << 4
    uart.on_read[0x00] = lambda: wire.data.popleft() if wire.data else 0
    uart.on_write[0x00] = lambda value: wire.send(value) if uart.bits(0x30, 8, 1) else None
    clocks.on_read[0x38] = lambda: 1 << clocks.bits(0x30, 0, 2)
    clocks.on_read[0x44] = lambda: 1 << clocks.bit(0x3C, 0)

    def core_hz() -> float:
        if not clocks.bit(0x3C, 0):
            return 12e6 if clocks.bits(0x30, 0, 2) == 2 else 6.5e6
        vco = 12e6 / max(1, pll.bits(0, 0, 6)) * pll.values.get(8, 0)
        if not (750e6 <= vco <= 1600e6) or pll.values[4] & 0x29 or clocks.bits(0x3C, 5, 3):
            raise Crash("the core runs from a PLL that is off, or out of its range")
        return vco / pll.bits(0x0C, 16, 3) / pll.bits(0x0C, 12, 3)

    def baud() -> float:
        divisor = uart.values.get(0x24, 0) + uart.values.get(0x28, 0) / 64
        return core_hz() / 16 / max(divisor, 1 / 64) if clocks.bit(0x48, 11) else 0.0

    def hears() -> bool:
        routed = functions.values.get(0x04) == 2 == functions.values.get(0x0C)
        line = uart.values.get(0x2C, 0) & 0x70 == 0x70 and uart.values.get(0x30, 0) & 0x301 == 0x301
        return near(baud()) and routed and line and pads.bit(8, 6) == 1

    wire.hears = hears

    def asks() -> bool:
        """The time-out says that bytes wait."""
        return bool(wire.data) and uart.bit(0x38, 6) == 1

    def through_flash() -> None:
        """Command 03h with 24 address bits in frames of 32, on one wire."""
        if (flash.values.get(0x00), flash.values.get(0xF4)) != (0x001F_0300, 0x0300_0218):
            raise Crash(f"flash does not appear: {flash.values}")

    flash.on_write[8] = lambda value: through_flash() if value else None
    made = machine(
        "rp2040",
        "M0",
        Memory(0x1000_0000, 2048 * KIB, image.read_bytes(), keeps=True),
        264 * KIB,
        [resets, clocks, crystal, pll, functions, pads, uart, power, oscillator, flash, watchdog],
        wire,
        20,
        asks,
        core=BootRom,
    )

    def triggered(value: int) -> None:
        if value >> 31 and power.values.get(8) == 0x1FFFC:
            made.ask_reset()

    watchdog.on_write[0] = triggered
    return Chip(made, core_hz, baud)


CHIPS: dict[str, Callable[[Path], Chip]] = {
    "bluepill": bluepill,
    "microbit": microbit,
    "nrf52840dk": nrf52840dk,
    "nucleo-h743zi": nucleo_h743zi,
    "nucleo-l476rg": nucleo_l476rg,
    "rp2040": rp2040,
    "stm32vldiscovery": stm32vldiscovery,
}

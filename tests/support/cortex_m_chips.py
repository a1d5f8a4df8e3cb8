# SPDX-License-Identifier: Apache-2.0
"""Chips with a Cortex-M for :mod:`tests.support.unicorn_machine`, each written from its manual:

STM32F1 RM0008, STM32F4 RM0090, STM32L4 RM0351, STM32H7 RM0433, STM32G0 RM0444, nRF51 Series
Reference Manual 3.0, nRF52840 Product Specification 1.7, RP2040 Datasheet. A block without a clock,
or in reset, does not answer. A UART whose speed or pins are wrong hears and says nothing.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import unicorn
from unicorn import arm_const

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
    flash: StFlash | RomFlash | None = None
    """Its flash controller, where that is a model of this class."""


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
    rom: Memory | None = None,
) -> Machine:
    """A chip with one UART that interrupts."""
    control = SystemControl(systick)
    devices = list(devices)
    made = Machine(
        name,
        core(model, control, devices),
        [flash, Memory(RAM, ram_bytes), *([rom] if rom else [])],
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


@dataclass(eq=False, repr=False)
class StFlash:
    """The flash controller of an STM32F4, L4 or H7, at offsets of the registers of a page, locked
    after a reset. What it refuses sets a flag and changes nothing; what hangs or faults on the chip
    is a Crash."""

    made: Machine
    registers: Block
    memory: Memory
    keys: int
    status: int
    clear: int
    control: int
    busy: int
    word: int
    """Bytes that are programmed at once."""
    programs: Callable[[int], bool]
    """Whether the control register's value lets the guest program."""
    erases: Callable[[int], tuple[int, int] | None]
    """What a value that is written there erases: address and bytes."""
    sequence_error: int
    align_error: int
    size_error: int
    has_code: bool = False
    """Whether a word has a code, and so is programmed once: a Crash, or ``twice_error``."""
    twice_error: int = 0
    access: int | None = None
    """Offset of ACR, where there is a data cache."""
    lock: int = 1 << 31
    BUSY_LOOKS = 3

    def __post_init__(self) -> None:
        self.errors = 0
        self.looks = 0
        self.stuck = False
        """Whether the next operation never ends."""
        self.refuses = 0
        """Flags that the next operation sets in place of what it does."""
        self.spoiled: set[int] = set()
        """Words that cannot be read: two bits of their code are wrong."""
        self.on_spoiled: Callable[[int], None] = lambda _: None
        self._programmed: set[int] = set()
        self._taken: list[int] = []
        self._opened = -1
        """In which life of the chip the lock was opened: a reset closes it."""
        self._buffer: dict[int, int] = {}
        self._stale: tuple[int, int] | None = None
        self._pages: dict[int, bytearray] = {}
        uc, memory, on = self.made.uc, self.memory, self.registers
        uc.mem_write(memory.base, memory.data + b"\xff" * (memory.size - len(memory.data)))
        on.on_write[self.keys] = self._key
        on.on_write[self.control] = self._control
        on.on_read[self.status] = self._look
        on.on_write[self.clear] = self._cleared
        if self.access is not None:
            on.on_write[self.access] = self._accessed
        uc.hook_add(unicorn.UC_HOOK_MEM_WRITE_PROT, self._write)

    def spoil(self, at: int) -> None:
        """Let the word at an address be one that a power cut has left unreadable: two of its bits
        read wrong. Its page becomes registers, so that every load is seen: a hook on loads confuses
        unicorn where one is conditional."""
        uc, page = self.made.uc, at - at % 4096
        if page not in self._pages:
            held = bytearray(self.peek(page, 4096))
            uc.mem_unmap(page, 4096)
            self._pages[page] = held

            def load(_uc: object, offset: int, size: int, _: object) -> int:
                word = page + offset - offset % self.word
                if word in self.spoiled:
                    self.on_spoiled(word)
                return int.from_bytes(held[offset : offset + size], "little")

            def store(_uc: object, offset: int, size: int, value: int, _: object) -> None:
                self._write(uc, 0, page + offset, size, value, None)

            uc.mmio_map(page, 4096, load, None, store, None)
        self.spoiled.add(at - at % self.word)
        self.poke(at, bytes([self.peek(at, 1)[0] ^ 0x18]))

    def peek(self, at: int, size: int) -> bytes:
        """What flash holds, whether it can be read or not."""
        if not self._pages:
            return bytes(self.made.uc.mem_read(at, size))
        return b"".join(self._piece(one) for one in range(at, at + size))

    def _piece(self, at: int) -> bytes:
        held = self._pages.get(at - at % 4096)
        return held[at % 4096 :][:1] if held else bytes(self.made.uc.mem_read(at, 1))

    def poke(self, at: int, data: bytes) -> None:
        for page in range(at - at % 4096, at + len(data), 4096):
            begin, end = max(at, page), min(at + len(data), page + 4096)
            piece = data[begin - at : end - at]
            if page in self._pages:
                self._pages[page][begin - page : end - page] = piece
            else:
                self.made.uc.mem_write(begin, piece)

    def _crash(self, what: str) -> Crash:
        return Crash(f"{self.made.name}: {what}")

    def _rests(self) -> None:
        if self.looks:
            raise self._crash("its flash controller is used while it is busy")

    def _key(self, value: int) -> None:
        self._rests()
        self._taken.append(value)
        if not self.registers.values[self.control] & self.lock or self._taken not in (
            [0x4567_0123],
            [0x4567_0123, 0xCDEF_89AB],
        ):
            raise self._crash("a wrong key locks its flash until a reset")
        if len(self._taken) == 2:
            self._taken.clear()
            self.registers.values[self.control] &= ~self.lock
            self._opened = self.made.resets

    def _control(self, value: int) -> None:
        self._rests()
        if self._opened != self.made.resets or value & self.lock:
            self._opened = -1
            self.registers.values[self.control] = self.lock
            return
        erased = self.erases(value)
        if erased is not None and not self._refused():
            at, size = erased
            if at % size or not self.memory.base <= at < self.memory.base + self.memory.size:
                raise self._crash(f"{at:#x} cannot be erased")
            self.spoiled -= set(range(at, at + size, self.word))
            self._programmed -= set(range(at, at + size, self.word))
            self._stale = erased
            if self.access is None:
                self._see()

    def _see(self) -> None:
        """The core sees what was erased; until then its data cache may show what was there."""
        if self._stale is not None:
            at, size = self._stale
            self.poke(at, b"\xff" * size)
            self._stale = None

    def _refused(self) -> bool:
        self.looks = self.BUSY_LOOKS
        self.errors |= self.refuses
        refused, self.refuses = self.refuses != 0, 0
        return refused

    def _look(self) -> int:
        if self.looks and not self.stuck:
            self.looks -= 1
            return self.errors | self.busy
        return self.errors | (self.busy if self.stuck and self.looks else 0)

    def _cleared(self, value: int) -> None:
        self.errors &= ~value

    def _accessed(self, value: int) -> None:
        if value >> 12 & 1:
            if value >> 10 & 1:
                raise self._crash("the data cache is on while it is emptied")
            self._see()

    def _write(self, uc: Any, _access: int, at: int, size: int, value: int, _: object) -> bool:
        if self.looks:
            self.made.crash("its flash is written while it is busy")
        value &= (1 << 8 * size) - 1
        if not self.programs(self.registers.values[self.control]):
            self.errors |= self.sequence_error
        elif size != 4:
            self.errors |= self.size_error
        elif at % 4 or (self._buffer and at - at % self.word != min(self._buffer) // 4 * 4):
            self.errors |= self.align_error
            self._buffer.clear()
        elif self._buffer or at % self.word == 0:
            self._buffer[at] = value
            if len(self._buffer) * 4 == self.word:
                self._program()
        else:
            self.errors |= self.align_error
        return True

    def _program(self) -> None:
        at = min(self._buffer)
        data = b"".join(self._buffer[one].to_bytes(4, "little") for one in sorted(self._buffer))
        self._buffer.clear()
        before = self.peek(at, self.word)
        if self._refused():
            return
        if self._stale is not None:
            self.made.crash("flash is programmed while the data cache holds what was there before")
            return
        used = at in self.spoiled | self._programmed or before != b"\xff" * self.word
        if self.has_code and used:
            self.errors |= self.twice_error
            if not self.twice_error:
                self.made.crash(f"{at:#x} is programmed twice, which spoils its code")
            return
        self._programmed.add(at)
        self.poke(at, bytes(a & b for a, b in zip(before, data, strict=True)))


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


def stm32f405(image: Path) -> Chip:
    """An STM32F405RG; USART1 on PA9 and PA10. RCC and flash controller are in one page."""
    wire = Wire()
    rcc = Block(0x4002_3000, 0x1000, {0x800: 0x83, 0x804: 0x2400_3010, 0xC10: 1 << 31})
    gpio = Block(0x4002_0000, 0x1000, on=lambda: bool(rcc.bit(0x830, 0)))
    usart, asks = old_usart(0x4001_1000, wire, lambda: bool(rcc.bit(0x844, 4)))
    noise = Block(0x5006_0000, 0x1000, on=lambda: bool(rcc.bit(0x834, 6)))
    noise.on_read[0x804] = lambda: noise.bit(0x800, 2)
    noise.on_read[0x808] = lambda: 0x1234_5678
    identity = Registers(0x1FFF_7000, 0x1000, {0xA10: 1, 0xA14: 2, 0xA18: 3})
    ready_with(rcc, 0x800, (0, 1), (16, 17), (24, 25))

    def source() -> int:
        asked = rcc.bits(0x808, 0, 2)
        return asked if asked == 0 or (asked == 2 and rcc.bit(0x800, 24)) else 0

    def core_hz() -> float:
        reference = 16e6 / max(1, rcc.bits(0x804, 0, 6))
        vco = reference * rcc.bits(0x804, 6, 9)
        core = vco / (2 * rcc.bits(0x804, 16, 2) + 2)
        noise_hz = vco / max(1, rcc.bits(0x804, 24, 4))
        limits = 1e6 <= reference <= 2e6 and 100e6 <= vco <= 432e6 and core <= 168e6
        if source() == 2 and (rcc.bit(0x804, 22) or not limits or noise_hz > 48e6):
            raise Crash("the PLL has no source, or a clock out of its range")
        return {0: 16e6, 2: core}[source()]

    def bus_hz(low: int) -> float:
        shift = rcc.bits(0x808, low, 3)
        return core_hz() / (1 << max(0, shift - 3))

    def switched(_: int) -> None:
        slow_enough("stm32f405", core_hz(), rcc.bits(0xC00, 0, 3), (30, 60, 90, 120, 150))
        if bus_hz(10) > 42e6 or bus_hz(13) > 84e6:
            raise Crash("a clock is above its limit")

    rcc.on_write[0x808] = switched
    rcc.on_read[0x808] = lambda: rcc.values.get(0x808, 0) & ~0xC | source() << 2

    def baud() -> float:
        return bus_hz(13) / max(1, usart.values.get(0x008, 0))

    wire.hears = lambda: near(baud()) and has_function(gpio, 9, 7) and has_function(gpio, 10, 7)
    memory = Memory(0x0800_0000, 1024 * KIB, image.read_bytes(), keeps=True)
    devices = [rcc, gpio, usart, noise, identity]
    made = machine("stm32f405", "M4", memory, 128 * KIB, devices, wire, 37, asks)

    def erases(value: int) -> tuple[int, int] | None:
        """A sector: 4 of 16 kB, one of 64 kB, 7 of 128 kB."""
        if value & (1 << 16 | 1 << 2 | 1 << 1) != 1 << 16 | 1 << 1:
            return None
        number = value >> 3 & 15
        sizes = [16, 16, 16, 16, 64, *[128] * 7]
        return memory.base + sum(sizes[:number]) * KIB, sizes[number] * KIB

    controller = StFlash(
        made,
        rcc,
        memory,
        keys=0xC04,
        status=0xC0C,
        clear=0xC0C,
        control=0xC10,
        busy=1 << 16,
        word=4,
        programs=lambda value: value & 0x1_0307 == 0x201,  # PG, words
        erases=erases,
        sequence_error=1 << 7,
        align_error=1 << 5,
        size_error=1 << 6,
        access=0xC00,
    )
    return Chip(made, core_hz, baud, controller)


def nucleo_l476rg(image: Path) -> Chip:
    """An STM32L476RG; USART2 on PA2 and PA3."""
    wire = Wire()
    rcc = Block(0x4002_1000, 0x1000, {0x00: 0x63})
    flash = Block(0x4002_2000, 0x1000, {0x14: 1 << 31})
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
    memory = Memory(0x0800_0000, 1024 * KIB, image.read_bytes(), keeps=True)
    devices = [rcc, flash, gpio, usart, noise, identity]
    made = machine("nucleo-l476rg", "M4", memory, 96 * KIB, devices, wire, 38, asks)

    def erases(value: int) -> tuple[int, int] | None:
        """A page of one of two banks."""
        if value & (1 << 16 | 1 << 15 | 1 << 2 | 1 << 1) != 1 << 16 | 1 << 1:
            return None
        return memory.base + (value >> 11 & 1) * 512 * KIB + (value >> 3 & 0xFF) * 2 * KIB, 2 * KIB

    controller = StFlash(
        made,
        flash,
        memory,
        keys=0x08,
        status=0x10,
        clear=0x10,
        control=0x14,
        busy=1 << 16,
        word=8,
        programs=lambda value: value & 0x7_8007 == 1,
        erases=erases,
        sequence_error=1 << 7,
        align_error=1 << 5,
        size_error=1 << 6,
        has_code=True,
        twice_error=1 << 3,
        access=0x00,
    )

    def spoiled(word: int) -> None:
        """The first one is kept, and the NMI comes, until the flag is cleared."""
        if not flash.bit(0x18, 31):
            flash.values[0x18] = 1 << 31 | word - memory.base
            made.interrupt_now(2)

    def cleared(value: int) -> None:
        if not value >> 31:
            raise Crash("ECCR is written, and its flag stays: the NMI would come again for ever")
        flash.values[0x18] = 0

    flash.on_write[0x18] = cleared
    controller.on_spoiled = spoiled
    return Chip(made, core_hz, baud, controller)


def nucleo_h743zi(image: Path) -> Chip:
    """An STM32H743ZI, its supply the LDO; USART3 on PD8 and PD9. RAM is the DTCM."""
    wire = Wire()
    rcc = Block(0x5802_4000, 0x1000, {0x400: 0x83})  # PWR is in the same page, at 0x800
    flash = Block(0x5200_2000, 0x1000, {0x10C: 0x31})
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
    memory = Memory(0x0800_0000, 2048 * KIB, image.read_bytes(), keeps=True)
    devices = [rcc, flash, gpio, usart, noise, identity]
    made = machine("nucleo-h743zi", "M7", memory, 128 * KIB, devices, wire, 39, asks)

    def erases(value: int) -> tuple[int, int] | None:
        """A sector of bank 2."""
        if value & (1 << 7 | 1 << 3 | 1 << 2) != 1 << 7 | 1 << 2:
            return None
        return memory.base + 1024 * KIB + (value >> 8 & 7) * 128 * KIB, 128 * KIB

    controller = StFlash(
        made,
        flash,
        memory,
        keys=0x104,
        status=0x110,
        clear=0x114,
        control=0x10C,
        busy=1 << 2,
        word=32,
        programs=lambda value: value & 0x8E == 2,
        erases=erases,
        sequence_error=1 << 18,
        align_error=1 << 21,
        size_error=1 << 19,
        has_code=True,
        lock=1,
    )

    def spoiled(word: int) -> None:
        """A bus fault, which a core that masks faults may ignore."""
        controller.errors |= 1 << 26
        ignores = made.core.control.values.get(0xD14, 0) >> 8 & 1
        if not (ignores and made.uc.reg_read(arm_const.UC_ARM_REG_FAULTMASK) & 1):
            made.crash(f"bus fault, {word:#x} cannot be read")

    controller.on_spoiled = spoiled
    return Chip(made, core_hz, baud, controller)


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


@dataclass(eq=False, repr=False)
class RomFlash:
    """The functions of the RP2040's ROM that write to flash (datasheet, 2.8.3.1.3). They say
    nothing of what they did. Flash is away from when XIP ends until its cache is flushed and XIP
    begins anew."""

    made: Machine
    memory: Memory
    interface: Registers
    """The SSI, which the ROM sets up as it likes."""
    TABLE, LOOKUP, FUNCTIONS = 0x100, 0x200, 0x204
    NAMES = ("IF", "EX", "RE", "RP", "FC", "CX")

    @classmethod
    def rom(cls) -> Memory:
        """16 kB: magic, two pointers, a table of names and addresses, and functions that return."""
        data = bytearray(0x300)
        data[0x10:0x14] = b"Mu\x01\x00"
        struct.pack_into("<HH", data, 0x14, cls.TABLE, 0)
        struct.pack_into("<H", data, 0x18, cls.LOOKUP | 1)
        for at in range(cls.LOOKUP, cls.FUNCTIONS + 4 * len(cls.NAMES), 4):
            data[at : at + 2] = b"\x70\x47"  # bx lr
        return Memory(0, 16 * KIB, bytes(data), keeps=True)

    def __post_init__(self) -> None:
        self.steps: list[str] = []
        self.broken = False
        """Whether flash takes nothing any more."""
        uc, memory = self.made.uc, self.memory
        uc.mem_write(memory.base, memory.data + b"\xff" * (memory.size - len(memory.data)))
        end = self.FUNCTIONS + 4 * len(self.NAMES)
        uc.hook_add(unicorn.UC_HOOK_CODE, self._called, begin=self.LOOKUP, end=end)

    def peek(self, at: int, size: int) -> bytes:
        return bytes(self.made.uc.mem_read(at, size))

    def _called(self, uc: Any, at: int, _size: int, _: object) -> None:
        r = [uc.reg_read(arm_const.UC_ARM_REG_R0 + i) for i in range(4)]
        if at == self.LOOKUP:
            name = bytes([r[1] & 0xFF, r[1] >> 8]).decode()
            known = r[0] == self.TABLE and name in self.NAMES
            found = self.FUNCTIONS + 4 * self.NAMES.index(name) | 1 if known else 0
            uc.reg_write(arm_const.UC_ARM_REG_R0, found)
        else:
            self._operate(uc, self.NAMES[(at - self.FUNCTIONS) // 4], r)

    def _operate(self, uc: Any, name: str, r: list[int]) -> None:
        before = self.steps[-1] if self.steps else ""
        after = {"EX": ("IF",), "RE": ("EX",), "RP": ("EX",), "FC": ("RE", "RP"), "CX": ("FC",)}
        if name in after and before not in after[name]:
            self.made.crash(f"the ROM's {name} comes after {before or 'nothing'}")
        if not uc.reg_read(arm_const.UC_ARM_REG_PRIMASK) & 1:
            self.made.crash("an interrupt may come while flash is away")
        self.steps.append(name)
        memory, (offset, second, third, _) = self.memory, r
        if name == "EX":
            self.made.show(memory, False)
            self.interface.values.clear()
        elif name == "CX":
            self.made.show(memory, True)
            self.interface.values.update({0x00: 0x001F_0300, 0x14: 6, 0xF4: 0x0300_0218})
        elif name == "RE" and not self.broken:
            if offset % 4096 or second % 4096 or offset + second > memory.size:
                self.made.crash(f"{offset:#x} is no sector")
            uc.mem_write(memory.base + offset, b"\xff" * second)
        elif name == "RP" and not self.broken:
            if offset % 256 or third % 256 or offset + third > memory.size:
                self.made.crash(f"{offset:#x} is no page")
            if memory.base <= second < memory.base + memory.size:
                self.made.crash("what is programmed lies in flash, which is away")
            old, new = self.peek(memory.base + offset, third), bytes(uc.mem_read(second, third))
            both = bytes(a & b for a, b in zip(old, new, strict=True))
            uc.mem_write(memory.base + offset, both)


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
    memory = Memory(0x1000_0000, 2048 * KIB, image.read_bytes(), keeps=True)
    made = machine(
        "rp2040",
        "M0",
        memory,
        264 * KIB,
        [resets, clocks, crystal, pll, functions, pads, uart, power, oscillator, flash, watchdog],
        wire,
        20,
        asks,
        core=BootRom,
        rom=RomFlash.rom(),
    )

    def triggered(value: int) -> None:
        if value >> 31 and power.values.get(8) == 0x1FFFC:
            made.ask_reset()

    watchdog.on_write[0] = triggered
    return Chip(made, core_hz, baud, RomFlash(made, memory, flash))


CHIPS: dict[str, Callable[[Path], Chip]] = {
    "bluepill": bluepill,
    "microbit": microbit,
    "nrf52840dk": nrf52840dk,
    "nucleo-h743zi": nucleo_h743zi,
    "nucleo-l476rg": nucleo_l476rg,
    "rp2040": rp2040,
    "stm32f405": stm32f405,
    "stm32vldiscovery": stm32vldiscovery,
}

# SPDX-License-Identifier: Apache-2.0
"""A chip without an emulator of its own: its core in unicorn, its devices as Python.

:class:`Machine` runs an image from the reset vector, as the chip would, and is a link of the
harness: what its UART sends is read, what is written arrives in its UART. Nothing runs between two
reads, so every run of a test is the same. Instructions are counted one by one.

A chip is the description of a :class:`Machine`: a :class:`Core`, memory, devices. What a device's
registers mean is written from the chip's reference manual, not from the port that is under test.
"""

from __future__ import annotations

import ctypes
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import pytest

from tests.support.native import compiler
from tests.support.process import ROOT, call

unicorn = pytest.importorskip("unicorn")

SLICE = 20_000
"""Instructions between two looks at the devices: less than a byte takes at 115,200 baud."""
WAKING = 64
"""Instructions that a core may take from its sleep to the place where it lets interrupts in."""

NOWHERE = 0xFFFF_FFF0
"""Where unicorn would stop by itself: never reached."""

COUNT_C = Path(__file__).with_name("unicorn_count.c")


class Crash(Exception):
    """The guest did what its chip cannot do; says where."""


class Core(Protocol):
    """One kind of processor core: how it starts, and how it takes interrupts."""

    architecture: int
    mode: int
    pc: int
    """Unicorn's number of the program counter."""

    def start(self, uc: Any, address: int) -> None:
        """From here on as after a reset."""

    def resume_at(self, uc: Any) -> int:
        """Where it goes on, as unicorn wants it."""

    def ready(self, uc: Any, line: int) -> bool:
        """Whether it would take an interrupt of that line now."""

    def interrupt(self, uc: Any, line: int) -> None:
        """Enter the handler of that line."""

    def exception(self, uc: Any, number: int, count: int) -> bool:
        """An exception inside the core: handled here (True), or a crash. count: instructions so
        far."""


class Device(Protocol):
    """Registers at ``base``, ``size`` bytes of them, a multiple of 4096."""

    base: int
    size: int

    def read(self, offset: int) -> int:
        """A register's value."""

    def write(self, offset: int, value: int) -> None:
        """The guest has written a register."""


class Line(Protocol):
    """The serial line of a machine: a UART, or what takes its place."""

    received: deque[int]
    """Bytes on their way to the guest."""
    sent: bytearray
    """Bytes that the guest has sent."""

    def deliver(self) -> None:
        """Move received bytes to where the guest finds them, as many as there is room for."""


@dataclass
class Registers:
    """Registers that remember: written ones read back, others are 0 or what ``values`` says.

    ``on_write`` maps an offset to what else a write of it does; ``on_read`` to what it reads.
    """

    base: int
    size: int
    values: dict[int, int] = field(default_factory=dict)
    on_read: dict[int, Callable[[], int]] = field(default_factory=dict)
    on_write: dict[int, Callable[[int], object]] = field(default_factory=dict)

    def read(self, offset: int) -> int:
        if offset in self.on_read:
            return self.on_read[offset]()
        return self.values.get(offset, 0)

    def write(self, offset: int, value: int) -> None:
        self.values[offset] = value
        if offset in self.on_write:
            self.on_write[offset](value)


@dataclass(frozen=True)
class Memory:
    """``size`` bytes at ``base``, with what ``data`` holds at its start."""

    base: int
    size: int
    data: bytes = b""
    readable: bool = True
    """False: a window for instructions, where a load of data is a fault."""
    keeps: bool = False
    """Whether a write is a fault: flash."""


class _Counter(ctypes.Structure):
    _fields_ = [
        ("count", ctypes.c_uint64),
        ("limit", ctypes.c_uint64),
        ("stop", ctypes.c_void_p),
        ("closed_from", ctypes.c_uint64),
        ("closed_to", ctypes.c_uint64),
        ("trespass", ctypes.c_uint64),
    ]


@cache
def _counting() -> ctypes.CDLL:
    """The library with the C function that counts; it stays loaded."""
    out = ROOT / "build" / "unicorn" / "count.so"
    out.parent.mkdir(parents=True, exist_ok=True)
    made = out.with_name(f"count.{time.monotonic_ns()}.so")
    call(compiler(), "-O2", "-shared", "-fPIC", COUNT_C, "-o", made)
    library = ctypes.CDLL(str(made))
    made.unlink()
    return library


class Machine:
    """A chip that runs an image; a link of the harness.

    interrupt: the interrupt line that the devices ask for now, or None; looked at between slices.
    """

    can_reset = True

    def __init__(
        self,
        name: str,
        core: Core,
        memory: Sequence[Memory],
        devices: Iterable[Device],
        line: Line,
        entry: int,
        *,
        interrupt: Callable[[], int | None] = lambda: None,
    ) -> None:
        self.name = name
        self.core = core
        self.line = line
        self._entry = entry
        self._interrupt = interrupt
        self._pending_reset = False
        self._crash: str | None = None
        self._urgent: int | None = None
        self._between: list[Callable[[], object]] = []
        self.resets = 0
        self.uc = unicorn.Uc(core.architecture, core.mode, getattr(core, "model", None))
        for part in memory:
            rights = unicorn.UC_PROT_EXEC
            rights |= unicorn.UC_PROT_READ if part.readable else 0
            rights |= 0 if part.keeps else unicorn.UC_PROT_WRITE
            self.uc.mem_map(part.base, part.size, rights)
            self.uc.mem_write(part.base, part.data)
        for device in devices:
            self._map(device)
        self._counter = _Counter()
        self._count_instructions()
        self.uc.hook_add(unicorn.UC_HOOK_INTR, self._exception)
        core.start(self.uc, entry)

    def _map(self, device: Device) -> None:
        def read(_uc: object, offset: int, size: int, _: object) -> int:
            word = device.read(offset & ~3)
            return word >> 8 * (offset & 3) & (1 << 8 * size) - 1

        def write(_uc: object, offset: int, size: int, value: int, _: object) -> None:
            device.write(offset, value)

        self.uc.mmio_map(device.base, device.size, read, None, write, None)

    def _count_instructions(self) -> None:
        from unicorn.unicorn_py3 import unicorn as binding

        library = binding.uclib
        self._counter.stop = ctypes.cast(library.uc_emu_stop, ctypes.c_void_p)
        handle = ctypes.c_size_t()
        status = library.uc_hook_add(
            self.uc._uch,
            ctypes.byref(handle),
            unicorn.UC_HOOK_CODE,
            ctypes.cast(_counting().count_instruction, ctypes.c_void_p),
            ctypes.cast(ctypes.byref(self._counter), ctypes.c_void_p),
            ctypes.c_uint64(1),
            ctypes.c_uint64(0),
        )
        assert status == unicorn.UC_ERR_OK

    def _exception(self, uc: Any, number: int, _: object) -> None:
        if not self.core.exception(uc, number, self.instructions):
            self._crash = f"exception {number} at {uc.reg_read(self.core.pc):#x}"
            uc.emu_stop()

    @property
    def instructions(self) -> int:
        """How many were executed since the first reset."""
        return int(self._counter.count)

    def ask_reset(self) -> None:
        """For a device: the guest resets the chip."""
        self._pending_reset = True
        self.uc.emu_stop()

    def crash(self, what: str) -> None:
        """For a hook of memory, whose own exceptions unicorn hides."""
        self._crash = what
        self.uc.emu_stop()

    def show(self, memory: Memory, there: bool) -> None:
        """For a hook: from the next instruction on this flash is there for the guest, or a load or
        an instruction from it is a crash."""

        def change() -> None:
            rights = unicorn.UC_PROT_EXEC | (unicorn.UC_PROT_READ if memory.readable else 0)
            self.uc.mem_protect(memory.base, memory.size, rights if there else 0)
            self._counter.closed_from = memory.base
            self._counter.closed_to = memory.base + (0 if there else memory.size)
            self.uc.ctl(unicorn.UC_CTL_TLB_FLUSH, unicorn.UC_CTL_IO_WRITE)

        self._between.append(change)  # unicorn does not survive it in a hook
        self._counter.limit = self._counter.count

    def interrupt_now(self, line: int) -> None:
        """For a device: an interrupt that nothing masks, after the present instruction."""
        self._urgent = line
        self._counter.limit = self._counter.count  # prompt, unlike emu_stop outside of that hook

    def run(self, instructions: int = SLICE, until: int = NOWHERE) -> bool:
        """Execute at most so many, or until an address; False when the core sleeps until an
        interrupt comes.

        Raises Crash when the guest does what its chip cannot do.
        """
        limit = self.allow(instructions)
        while True:
            self._start(until)
            if self._urgent is None and not self._between:
                break
            while self._between:
                self._between.pop(0)()
            if self._urgent is not None:
                line, self._urgent = self._urgent, None
                self.core.interrupt(self.uc, line)
            self._counter.limit = limit
        if self._pending_reset:
            self._pending_reset = False
            self.power_on()
            return True
        return self.instructions == limit

    def _start(self, until: int) -> None:
        try:
            self.uc.emu_start(self.core.resume_at(self.uc), until)
        except unicorn.UcError as error:
            where = self.uc.reg_read(self.core.pc)
            raise Crash(f"{self.name}: {error} at {where:#x}") from None
        if self._counter.trespass:
            where, self._counter.trespass = self._counter.trespass, 0
            raise Crash(f"{self.name}: an instruction at {where:#x}, which is away")
        if self._crash is not None:
            what, self._crash = self._crash, None
            raise Crash(f"{self.name}: {what}")

    def allow(self, instructions: int) -> int:
        """Stop after so many more; returns the count at which that is."""
        self._counter.limit = self.instructions + instructions
        return self.instructions + instructions

    def power_on(self) -> None:
        """Start at the reset vector; RAM stays as it is, as at a reset."""
        self.resets += 1
        self.core.start(self.uc, self._entry)

    def step(self) -> bool:
        """One slice, with what the devices ask for; False when nothing more will happen."""
        self.line.deliver()
        asked = self._interrupt()
        if asked is not None and self.core.ready(self.uc, asked):
            self.core.interrupt(self.uc, asked)
            self.run()
            return True
        if self.run():
            return True
        self.line.deliver()
        asked = self._interrupt()
        if asked is None:
            return False
        for _ in range(WAKING):
            if self.core.ready(self.uc, asked):
                self.core.interrupt(self.uc, asked)
                return True
            self.run(1)
        raise Crash(f"{self.name}: sleeps with an interrupt pending and never takes it")

    # ------------------------------------------------------------------------------- a link

    def read(self, timeout_s: float) -> bytes:
        """What the guest has sent; it runs meanwhile, until it sleeps or the time is over."""
        end = time.monotonic() + timeout_s
        while self.step() and time.monotonic() < end:
            if self.line.sent and not self.line.received:
                break
        data = bytes(self.line.sent)
        self.line.sent.clear()
        return data

    def write(self, data: bytes) -> None:
        self.line.received.extend(data)

    def close(self) -> None:
        pass

    def reopen(self, timeout_s: float) -> None:
        self.line.sent.clear()

    def reset(self) -> None:
        self.line.received.clear()
        self.line.sent.clear()
        self.power_on()

# SPDX-License-Identifier: Apache-2.0
"""An emulated Cortex-M4 that skips an instruction, as a fault in the power supply can make it."""

from __future__ import annotations

import shutil
import struct
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pytest

from tests.support.native import LIBRARY, TEST
from tests.support.process import ROOT, call
from tinyfin.hil.links.host_process import _monocypher
from tinyfin.paths import firmware_dir

unicorn = pytest.importorskip("unicorn")
from unicorn import arm_const  # noqa: E402  after the skip

COMPILER = "arm-none-eabi-gcc"
needs_compiler = pytest.mark.skipif(shutil.which(COMPILER) is None, reason=f"needs {COMPILER}")

FLASH, PACK, RAM = 0x10000, 0x0800_0000, 0x2000_0000
RAM_BYTES = 0x20000
APPLICATION = ROOT / "firmware" / "src"
SLOTS = APPLICATION / "slots"
STOP = FLASH - 0x1000
DEADLINE_US = 20_000_000
OFTEN = 3
"""Of an instruction in a loop only the first and the last passes are skipped."""


@dataclass
class Image:
    """A program for the emulated core, and the symbols in it: address and size."""

    code: bytes
    symbols: dict[str, tuple[int, int]]


@cache
def build(
    folder: Path, *flags_of_test: str, program: str = "glitch.c", slots: Path = SLOTS
) -> Image:
    """A program of firmware/test with the engine and, when it uses them, the slots."""
    monocypher = _monocypher(firmware_dir())
    names = "commands", "journal", "keys", "slots"
    sources = [
        *sorted((LIBRARY / "src").rglob("*.c")),
        TEST / program,
        *(slots / f"{name}.c" for name in names),
        APPLICATION / "bytes.c",
        monocypher / "monocypher.c",
        firmware_dir() / "ports" / "common" / "memory.c",
    ]
    elf, binary = folder / "glitch.elf", folder / "glitch.bin"
    includes = LIBRARY / "include", monocypher, firmware_dir() / "ports" / "include"
    includes += slots, APPLICATION, firmware_dir() / "ports"
    flags = ["-mcpu=cortex-m4", "-mthumb", "-Os", "-std=gnu11", "-w", "-ffreestanding"]
    flags += ["-fno-tree-loop-distribute-patterns", "-ffunction-sections", "-fdata-sections"]
    flags += ["-nostdlib", "-DBLAKE2_NO_UNROLLING", "-DTFIN_PORT_FLASH", *flags_of_test]
    flags += [f"-I{path}" for path in includes]
    link = ["-Wl,--gc-sections,-e,glitch_run,--wrap=crypto_eddsa_check"]
    link += [f"-Wl,-Ttext={FLASH:#x},-Tbss={RAM:#x},-z,max-page-size=4096", "-lgcc"]
    call(COMPILER, *flags, *sources, *link, "-o", elf)
    call("arm-none-eabi-objcopy", "-O", "binary", elf, binary)
    listed = call("arm-none-eabi-nm", "-S", elf).stdout
    symbols = {}
    for line in listed.splitlines():
        words = line.split()
        if len(words) == 4:
            name = words[3].partition(".")[0]  # without what says that GCC has cloned it
            symbols[name] = (int(words[0], 16) & ~1, int(words[1], 16))
    return Image(binary.read_bytes(), symbols)


@dataclass
class Core:
    """The emulated core, with one pack, which ``variables`` of the program may point to."""

    image: Image
    on_the_way: list[str]
    """Functions whose instructions are skipped."""
    variables: dict[str, int]
    pack: bytes = b""
    _ram: bytes = bytes(RAM_BYTES)
    _seen: list[tuple[int, int]] = field(default_factory=list)
    _skip_from: int = -1
    _skip_count: int = 0

    def __post_init__(self) -> None:
        self.uc = unicorn.Uc(unicorn.UC_ARCH_ARM, unicorn.UC_MODE_THUMB | unicorn.UC_MODE_MCLASS)
        self.uc.mem_map(FLASH - 0x1000, 0x41000)
        self.uc.mem_map(PACK, 0x10000)
        self.uc.mem_map(RAM, RAM_BYTES)
        if "glitch_begin" in self.image.symbols:
            assert self._call("glitch_begin") is not None
            self._ram = bytes(self.uc.mem_read(RAM, RAM_BYTES))
        for name in self.on_the_way:
            at, size = self.image.symbols[name]
            self.uc.hook_add(unicorn.UC_HOOK_CODE, self._step, begin=at, end=at + size - 1)

    def _step(self, uc: object, address: int, size: int, _: object) -> None:
        number = len(self._seen)
        self._seen.append((address, size))
        if self._skip_from <= number < self._skip_from + self._skip_count:
            self.uc.reg_write(arm_const.UC_ARM_REG_PC, address + size | 1)

    def _call(self, function: str) -> int | None:
        self.uc.mem_write(RAM, self._ram)
        self.uc.mem_write(FLASH, self.image.code)  # a skipped step may have written over it
        self.uc.mem_write(PACK, self.pack)
        for name, value in self.variables.items():
            where = self.image.symbols[name][0]
            self.uc.mem_write(where, struct.pack("<I", value & 0xFFFFFFFF))
        self.uc.reg_write(arm_const.UC_ARM_REG_SP, RAM + RAM_BYTES - 64)
        self.uc.reg_write(arm_const.UC_ARM_REG_LR, STOP | 1)
        entry = self.image.symbols[function][0]
        try:
            self.uc.emu_start(entry | 1, STOP, timeout=DEADLINE_US, count=3_000_000)
        except unicorn.UcError:
            return None
        if self.uc.reg_read(arm_const.UC_ARM_REG_PC) & ~1 != STOP:
            return None
        value = int(self.uc.reg_read(arm_const.UC_ARM_REG_R0))
        return value - (1 << 32) if value >> 31 else value

    def run(self, skip: int = -1, count: int = 1) -> int | None:
        """What glitch_run said, with ``count`` steps from ``skip`` on skipped; None for a crash."""
        self._seen, self._skip_from, self._skip_count = [], skip, count
        return self._call("glitch_run")

    def steps(self) -> list[int]:
        """Which steps to skip: all that a plain run takes on the way."""
        self.run()
        seen = list(self._seen)
        times = Counter(seen)
        passes: Counter[tuple[int, int]] = Counter()
        wanted = []
        for number, step in enumerate(seen):
            passes[step] += 1
            if passes[step] <= OFTEN or passes[step] > times[step] - OFTEN:
                wanted.append(number)
        return wanted


def opened(core: Core, steps: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Steps, and how many were skipped from there, after which glitch_run says 0."""
    return ((step, count) for step in steps for count in (1, 2) if core.run(step, count) == 0)

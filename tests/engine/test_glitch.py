# SPDX-License-Identifier: Apache-2.0
"""No skipped instruction opens a pack that is damaged, not signed, or too old.

A fault in the power supply can make a core skip an instruction. Every instruction of the way from
tfin_open to its answer is skipped in turn, alone and with the one after it, in an emulated
Cortex-M4; afterwards the engine must refuse to score. The signature's own arithmetic is not part of
it: here its answer is given.
"""

from __future__ import annotations

import shutil
import struct
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pytest

from tests.support import packs
from tests.support.native import LIBRARY, TEST
from tests.support.process import call
from tinyfin.hil.links.host_process import _monocypher
from tinyfin.paths import firmware_dir

unicorn = pytest.importorskip("unicorn")
from unicorn import arm_const  # noqa: E402  after the skip

COMPILER = "arm-none-eabi-gcc"
pytestmark = pytest.mark.skipif(shutil.which(COMPILER) is None, reason=f"needs {COMPILER}")

FLASH, PACK, RAM = 0x10000, 0x0800_0000, 0x2000_0000
RAM_BYTES = 0x20000
STOP = FLASH - 0x1000
DEADLINE_US = 20_000_000
OFTEN = 3
"""Of an instruction in a loop only the first and the last passes are skipped."""
ON_THE_WAY = ["tfin_open", "integrity_ok", "frame_ok", "compare_body", "compare", "compare_hash"]
ON_THE_WAY += ["hash_more", "trust_header", "key_of", "open_trusted", "examine", "give_memory"]
ON_THE_WAY += ["compare_state_layout", "tfin_usable", "tfin_u16", "tfin_u32", "tfin_port_verify"]
ON_THE_WAY += ["tfin_port_hash_begin", "tfin_port_hash_update", "tfin_port_hash_end"]


@dataclass
class Image:
    """A program for the emulated core, and the symbols in it: address and size."""

    code: bytes
    symbols: dict[str, tuple[int, int]]


@cache
def build(folder: Path, *defines: str) -> Image:
    monocypher = _monocypher(firmware_dir())
    sources = [
        *sorted((LIBRARY / "src").rglob("*.c")),
        TEST / "glitch.c",
        monocypher / "monocypher.c",
        firmware_dir() / "ports" / "common" / "memory.c",
    ]
    elf, binary = folder / "glitch.elf", folder / "glitch.bin"
    includes = LIBRARY / "include", monocypher, firmware_dir() / "ports" / "include"
    flags = ["-mcpu=cortex-m4", "-mthumb", "-Os", "-std=gnu11", "-w", "-ffreestanding"]
    flags += ["-fno-tree-loop-distribute-patterns", "-ffunction-sections", "-fdata-sections"]
    flags += ["-nostdlib", "-DBLAKE2_NO_UNROLLING", *(f"-D{define}" for define in defines)]
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
    """The emulated core, with one pack."""

    image: Image
    pack: bytes
    signature: int = 0
    minimum_counter: int = 0
    _seen: list[tuple[int, int]] = field(default_factory=list)
    _skip_from: int = -1
    _skip_count: int = 0

    def __post_init__(self) -> None:
        self.uc = unicorn.Uc(unicorn.UC_ARCH_ARM, unicorn.UC_MODE_THUMB | unicorn.UC_MODE_MCLASS)
        self.uc.mem_map(FLASH - 0x1000, 0x41000)
        self.uc.mem_map(PACK, 0x10000)
        self.uc.mem_map(RAM, RAM_BYTES)
        self.uc.mem_write(FLASH, self.image.code)
        self.uc.mem_write(PACK, self.pack)
        for name in ON_THE_WAY:
            at, size = self.image.symbols[name]
            self.uc.hook_add(unicorn.UC_HOOK_CODE, self._step, begin=at, end=at + size - 1)

    def _step(self, uc: object, address: int, size: int, _: object) -> None:
        number = len(self._seen)
        self._seen.append((address, size))
        if self._skip_from <= number < self._skip_from + self._skip_count:
            self.uc.reg_write(arm_const.UC_ARM_REG_PC, address + size | 1)

    def _variable(self, name: str, value: int) -> None:
        self.uc.mem_write(self.image.symbols[name][0], struct.pack("<I", value & 0xFFFFFFFF))

    def run(self, skip: int = -1, count: int = 1) -> int | None:
        """What tfin_score said, with ``count`` steps from ``skip`` on skipped; None for a crash."""
        self._seen, self._skip_from, self._skip_count = [], skip, count
        self.uc.mem_write(RAM, bytes(RAM_BYTES))
        self.uc.mem_write(FLASH, self.image.code)  # a skipped step may have written over it
        self.uc.mem_write(PACK, self.pack)
        self._variable("glitch_signature", self.signature)
        self._variable("glitch_pack", PACK)
        self._variable("glitch_pack_size", len(self.pack))
        self._variable("glitch_minimum_counter", self.minimum_counter)
        self.uc.reg_write(arm_const.UC_ARM_REG_SP, RAM + RAM_BYTES - 64)
        self.uc.reg_write(arm_const.UC_ARM_REG_LR, STOP | 1)
        entry = self.image.symbols["glitch_run"][0]
        try:
            self.uc.emu_start(entry | 1, STOP, timeout=DEADLINE_US, count=3_000_000)
        except unicorn.UcError:
            return None
        value = int(self.uc.reg_read(arm_const.UC_ARM_REG_R0))
        return value - (1 << 32) if value >> 31 else value

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
    """Steps, and how many were skipped from there, after which the engine scores."""
    return ((step, count) for step in steps for count in (1, 2) if core.run(step, count) == 0)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    return build(tmp_path_factory.mktemp("glitch"))


def good() -> bytes:
    return packs.build(packs.small())


def damaged() -> bytes:
    pack = bytearray(good())
    pack[-1] ^= 1
    return bytes(pack)


CASES = {"bad signature": {"signature": -1}, "damaged": {}, "too old": {"minimum_counter": 1}}


def core_of(image: Image, case: str) -> Core:
    return Core(image, damaged() if case == "damaged" else good(), **CASES[case])


def test_a_good_pack_opens_and_scores(image: Image) -> None:
    core = Core(image, good())
    assert core.run() == 0
    assert len(core.steps()) > 300


@pytest.mark.parametrize("case", CASES)
def test_no_skipped_instruction_opens_it(image: Image, case: str) -> None:
    core = core_of(image, case)
    assert core.run() != 0
    steps = core.steps()
    assert len(steps) > 50
    assert list(opened(core, steps)) == []


@pytest.mark.parametrize("case", CASES)
def test_a_verdict_that_hangs_on_a_branch_is_found(case: str, tmp_path: Path) -> None:
    """Negative control: an engine that is open whatever the checks computed."""
    core = core_of(build(tmp_path, "TFIN_SABOTAGE_GLITCH"), case)
    assert core.run() != 0
    assert any(opened(core, core.steps()))

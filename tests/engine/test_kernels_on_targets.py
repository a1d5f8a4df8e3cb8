# SPDX-License-Identifier: Apache-2.0
"""Each family's own kernel on the emulated core: TFLM's bytes, and its caller's registers kept."""

from __future__ import annotations

import json
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.engine.anchors import NAMES, anchor
from tests.engine.test_random_shapes import random_graph, random_inputs
from tests.support.native import LIBRARY, NETWORK, TEST, Network, compile_object, tflm
from tests.support.process import ROOT, call, need
from tinyfin.pack.plan import compile_plan, repack
from tinyfin.targets import catalogue
from tinyfin.tflite.model import load

FIRMWARE = ROOT / "firmware"
RANDOM_MODELS = 40
#: rows longer than 256 columns, where the Cortex-M3's sums are taken apart in between
LONG = {1004: 260, 1005: 300, 1011: 700}
FAMILY = [path for path in NETWORK if path.parent.name == "kernels"]
CASE = struct.Struct("<6I")


@dataclass(frozen=True)
class Core:
    """A target and the layouts that its kernel reads."""

    target: str
    layouts: tuple[str, ...] = ("canonical",)

    @property
    def board(self) -> dict[str, dict[str, str]]:
        path = FIRMWARE / "platform" / "boards" / f"{self.target}.json"
        return dict(json.loads(path.read_text()))


CORES = {
    "cortex-m0": Core("cortex-m0", ("columns", "canonical")),
    "cortex-m3": Core("cortex-m3", ("columns", "canonical")),
    "cortex-m4": Core("cortex-m4"),
    "cortex-m7": Core("cortex-m7"),
    "cortex-m33": Core("cortex-m33"),
    "cortex-m55": Core("cortex-m55", ("rows", "canonical")),
    "rv32imc": Core("rv32imc"),
    "xtensa-lx106": Core("xtensa-lx106"),
}

#: cores that share a kernel are sabotaged once
SABOTAGED = ("cortex-m0", "cortex-m3", "cortex-m4", "cortex-m55", "rv32imc", "xtensa-lx106")


@dataclass(frozen=True)
class Case:
    plan: bytes
    x: NDArray[np.int8]
    y: NDArray[np.int8]
    accumulators: NDArray[np.int32] | None = None


@pytest.fixture(scope="module")
def random_cases(net: Network) -> list[Case]:
    """Canonical plans; every other one keeps accumulators."""
    made = []
    for seed in range(1000, 1000 + RANDOM_MODELS):
        rng = np.random.default_rng(seed)
        width = LONG.get(seed)
        model = random_graph(rng, layers=1 + seed % 3, width=width).build()
        parsed = load(model)
        x = random_inputs(rng, 6, parsed.input_tensor.size)
        plan = compile_plan(parsed, accumulators=bool(seed % 2))
        kept = np.asarray(net.run(plan, x, accumulators=True), np.int32) if seed % 2 else None
        made.append(Case(plan, x, tflm(model, x), kept))
    return made


@pytest.fixture(scope="module")
def anchor_cases() -> list[Case]:
    made = []
    for name in NAMES:
        model = anchor(name)
        rows = [0, -1, -2] if name == "ad01" else [*range(60), -2, -1]
        made.append(Case(compile_plan(load(model.tflite)), model.x[rows], model.y[rows]))
    return made


def _bundle(cases: list[Case], layouts: tuple[str, ...]) -> bytes:
    """What net_on_target.c reads. The first layout is for two plans of three when there are two."""
    table, data = bytearray(), bytearray()
    start = 16 + (CASE.size * len(cases) + 15) // 16 * 16

    def put(blob: bytes) -> int:
        at = start + len(data)
        data.extend(blob + bytes(-len(blob) % 16))
        return at

    for i, case in enumerate(cases):
        plan = repack(case.plan, layouts[-1] if i % 3 == 2 else layouts[0])
        kept = 0 if case.accumulators is None else put(case.accumulators.astype("<i4").tobytes())
        table += CASE.pack(
            put(plan), len(plan), put(case.x.tobytes()), put(case.y.tobytes()), kept, len(case.x)
        )
    head = struct.pack("<I12x", len(cases)) + bytes(table)
    return head.ljust(start, b"\0") + bytes(data)


class Image:
    """The network's code for one core, linked to several bundles of cases."""

    def __init__(self, core: Core, folder: Path) -> None:
        self.core, self.folder = core, folder
        self.target = catalogue.get(core.target)
        self.build = core.board["build"]
        assert self.target.emulator is not None
        self.emulator = self.target.emulator.command
        need(self.target.compiler, self.emulator[0])
        ports = [FIRMWARE / "ports" / "common", FIRMWARE / "ports" / self.build["port"]]
        self.flags = self.build["cpu_flags"].split()
        self.flags += ["-Os", "-std=gnu11", "-Wall", "-Wextra", "-Wshadow", "-Wconversion"]
        self.flags += ["-Werror", "-ffreestanding", "-ffunction-sections", "-fdata-sections"]
        self.flags += [f"-DF_CPU={self.build['f_cpu']}"]
        self.flags += [f"-D{define}" for define in self.build["defines"]]
        self.flags += [f"-I{path}" for path in (LIBRARY / "include", LIBRARY / "src", *ports)]
        self.flags += [f"-I{FIRMWARE / 'ports'}", f"-I{FIRMWARE / 'ports' / 'include'}"]
        common = ["boot.c", "memory.c", "ring.c"]
        of = {"arm": "cortex_m.c", "riscv": "riscv_trap.S", "xtensa": "lx106_integer.c"}
        common.append(of[self.build["arch"]])
        sources = [ports[0] / name for name in common]
        sources += [*ports[1].glob("*.c"), *ports[1].glob("*.S")]
        rest = [path for path in NETWORK if path not in FAMILY]
        self.objects = self.compile([*sources, *rest, TEST / "net_on_target.c"])
        self.watch = self.watching()
        (folder / "memory.ld").write_text(
            "MEMORY {\n"
            f" FLASH (rx) : ORIGIN = {self.build['flash_origin']},"
            f" LENGTH = {self.target.flash_bytes}\n"
            f" RAM (rwx) : ORIGIN = {self.build['ram_origin']},"
            f" LENGTH = {self.target.ram_bytes}\n}}\n"
        )

    def compile(self, sources: list[Path], *defines: str) -> list[Path]:
        flags = [*self.flags, *(f"-D{define}" for define in defines)]
        return [compile_object(path, flags, self.target.compiler) for path in sources]

    def kernels(self, *defines: str) -> list[Path]:
        """Objects of the FULLY_CONNECTED family."""
        return self.compile(FAMILY, *defines)

    def watching(self, spoil: str = "") -> list[Path]:
        """What looks at the registers around a kernel; `spoil` is an instruction that ruins one."""
        define = [f'TFIN_TEST_SPOIL="{spoil}"'] if spoil else []
        return self.compile([TEST / "registers_kept.c"], *define)

    def run(self, kernels: list[Path], bundle: bytes) -> subprocess.CompletedProcess[str]:
        (self.folder / "cases.bin").write_bytes(bundle)
        assembler = self.folder / "cases.S"
        assembler.write_text(
            '.section .rodata.cases, "a"\n.balign 16\n.global net_cases\nnet_cases:\n'
            f'.incbin "{self.folder / "cases.bin"}"\n'
        )
        image = self.folder / "net.elf"
        link = [*self.flags, "-nostdlib", "-nostartfiles", f"-L{self.folder}", "-Wl,--gc-sections"]
        link += ["-Wl,--defsym=TFIN_STACK_MINIMUM=1024", "-Wl,--wrap=tfin_fully_connected"]
        link += ["-T", FIRMWARE / "platform" / "ldscripts" / "tinyfin.ld"]
        link += [assembler, *self.objects, *self.watch, *kernels, "-lgcc"]
        call(self.target.compiler, *link, "-o", image)
        silent = ["-display", "none", "-monitor", "none", "-serial", "stdio"]
        return call(*self.emulator, *silent, "-kernel", image, code=None)


@pytest.mark.parametrize("name", CORES)
def test_every_byte_on_the_core(
    random_cases: list[Case], anchor_cases: list[Case], tmp_path: Path, name: str
) -> None:
    image = Image(CORES[name], tmp_path)
    kernels = image.kernels()
    layouts = CORES[name].layouts
    space = image.target.flash_bytes - (24 << 10)
    anchor_cases = [case for case in anchor_cases if len(case.plan) < space // 2]
    for cases in (random_cases, anchor_cases):
        for some in {layouts, layouts[:1]} if cases is anchor_cases else {layouts}:
            done = image.run(kernels, _bundle(cases, some))
            assert done.returncode == 0, done.stdout + done.stderr
            assert "differing 0" in done.stdout
            assert "registers spoilt 0" in done.stdout
    if name in SABOTAGED:
        spoilt = image.run(image.kernels("TFIN_SABOTAGE_KERNEL"), _bundle(random_cases, layouts))
        assert spoilt.returncode != 0
        assert "differs" in spoilt.stdout


#: the first and the last register of each kind that a callee keeps
SPOILS = {
    "cortex-m0": ("movs r4, #0", "mov r11, r0"),
    "cortex-m3": ("mov r7, #0", "mov r11, #0"),
    "cortex-m4": ("mov r4, #0", "mov r11, #0"),
    "cortex-m55": ("mov r11, #0", "vmov.i32 q4, #0", "vmov.i32 q6, #0"),
    "rv32imc": ("li s0, 0", "li s11, 0"),
    "xtensa-lx106": ("movi a12, 0", "movi a15, 0", "addi a1, a1, -16"),
}


@pytest.mark.parametrize("name", SPOILS)
def test_a_register_that_is_not_kept_is_seen(
    random_cases: list[Case], tmp_path: Path, name: str
) -> None:
    image = Image(CORES[name], tmp_path)
    kernels = image.kernels()
    bundle = _bundle(random_cases[:1], CORES[name].layouts)
    for spoil in SPOILS[name]:
        image.watch = image.watching(spoil)
        done = image.run(kernels, bundle)
        assert done.returncode != 0, spoil
        assert "differing 0" in done.stdout, spoil
        assert "registers spoilt 0" not in done.stdout, spoil


@pytest.mark.parametrize("name", SABOTAGED)
def test_single_rounding_is_caught(random_cases: list[Case], tmp_path: Path, name: str) -> None:
    image = Image(CORES[name], tmp_path)
    done = image.run(
        image.kernels("TFIN_TEST_SINGLE_ROUNDING"), _bundle(random_cases, CORES[name].layouts)
    )
    assert done.returncode != 0
    assert "differs" in done.stdout


def test_longer_rounds_give_the_same_bytes(random_cases: list[Case], tmp_path: Path) -> None:
    image = Image(CORES["cortex-m4"], tmp_path)
    done = image.run(image.kernels("TFIN_DSP_BLOCKS_LOG2=2"), _bundle(random_cases, ("canonical",)))
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_core_refuses_a_layout_that_its_kernels_do_not_read(
    random_cases: list[Case], tmp_path: Path
) -> None:
    image = Image(CORES["cortex-m4"], tmp_path)
    done = image.run(image.kernels(), _bundle(random_cases[:1], ("rows",)))
    assert done.returncode != 0
    assert f"differs {1 << 20}" in done.stdout

# SPDX-License-Identifier: Apache-2.0
"""One source, many compilers: no warning from any, and the same bytes from all that can run.

The engine, the application and the ports' common code are compiled for every architecture that
Debian has a compiler for; where the result can run (this machine, or qemu-user), a long stream of
events gives the same CRC-32 of every verdict, feature, network output and state image.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from tests.support import packs, sample
from tests.support.native import LIBRARY, SOURCES, TEST, WARNINGS
from tests.support.process import call, need
from tinyfin.codegen.emit import emit
from tinyfin.paths import firmware_dir

FIRMWARE = firmware_dir()
DEADLINE_S = 200
EVENTS = 50_000
"""Of each of two packs."""
BARE = ("-ffreestanding", "-fbuiltin")
CLANG = shutil.which("clang-19") or "clang-19"


@dataclass(frozen=True)
class Compiler:
    """A compiler, what makes it compile for one machine, and how to run what it makes."""

    program: str
    flags: tuple[str, ...] = ()
    run: tuple[str, ...] | None = None
    """A command that runs its programs; () is this machine, None nothing."""

    def need(self) -> None:
        need(self.program, *(self.run or ())[:1])


ARM, CROSS_ARM = "arm-none-eabi-gcc", "arm-linux-gnueabi-gcc"
RISCV, CROSS_RISCV = "riscv64-unknown-elf-gcc", "riscv64-linux-gnu-gcc"

COMPILE = {
    "gcc": Compiler("gcc"),
    "clang-14": Compiler("clang-14"),
    "clang-19": Compiler(CLANG),
    "armv4t": Compiler(ARM, ("-march=armv4t", "-mthumb")),
    "arm7tdmi": Compiler(ARM, ("-mcpu=arm7tdmi", "-marm")),
    "arm926ej-s": Compiler(ARM, ("-mcpu=arm926ej-s", "-mthumb")),
    "arm1176": Compiler(ARM, ("-mcpu=arm1176jz-s",)),
    "armv6-m": Compiler(ARM, ("-march=armv6-m", "-mthumb")),
    "armv7-m": Compiler(ARM, ("-march=armv7-m", "-mthumb")),
    "armv7e-m": Compiler(ARM, ("-march=armv7e-m+fp", "-mthumb", "-mfloat-abi=hard")),
    "armv7-r": Compiler(ARM, ("-march=armv7-r", "-mthumb")),
    "armv7-a": Compiler(ARM, ("-march=armv7-a+simd", "-mthumb", "-mfloat-abi=hard")),
    "armv8-m.base": Compiler(ARM, ("-march=armv8-m.base", "-mthumb")),
    "armv8-m.main": Compiler(ARM, ("-march=armv8-m.main+dsp", "-mthumb")),
    "armv8.1-m.main": Compiler(ARM, ("-march=armv8.1-m.main+mve", "-mthumb", "-mfloat-abi=hard")),
    "armv8.1-m soft": Compiler(ARM, ("-march=armv8.1-m.main+dsp", "-mthumb", "-mfloat-abi=soft")),
    "armv8-a": Compiler("aarch64-linux-gnu-gcc"),
    "rv32e": Compiler(RISCV, ("-march=rv32e", "-mabi=ilp32e")),
    "rv32i": Compiler(RISCV, ("-march=rv32i", "-mabi=ilp32")),
    "rv32imac": Compiler(RISCV, ("-march=rv32imac", "-mabi=ilp32")),
    "rv64imac": Compiler(RISCV, ("-march=rv64imac", "-mabi=lp64", "-mcmodel=medany")),
    "xtensa": Compiler("xtensa-lx106-elf-gcc"),
    "i386": Compiler("i686-linux-gnu-gcc", ("-march=i386",)),
    "clang cortex-m4": Compiler(CLANG, ("--target=arm-none-eabi", "-mcpu=cortex-m4", "-mthumb")),
    "clang rv32imc": Compiler(CLANG, ("--target=riscv32", "-march=rv32imc")),
}

RUN = {
    "gcc -O0": Compiler("gcc", ("-O0",), ()),
    "gcc -O3": Compiler("gcc", ("-O3",), ()),
    "clang-14 -Os": Compiler("clang-14", ("-Os",), ()),
    "clang-19 -O2": Compiler(CLANG, ("-O2",), ()),
    "gcc -O2, portable": Compiler("gcc", ("-O2", "-DTFIN_KERNEL_PORTABLE"), ()),
    "i386": Compiler("i686-linux-gnu-gcc", ("-O2", "-static"), ("qemu-i386",)),
    "armv5te": Compiler(CROSS_ARM, ("-O2", "-static"), ("qemu-arm",)),
    "armv4t": Compiler(CROSS_ARM, ("-Os", "-static", "-march=armv4t", "-marm"), ("qemu-arm",)),
    "aarch64": Compiler("aarch64-linux-gnu-gcc", ("-O2", "-static"), ("qemu-aarch64",)),
    "riscv64": Compiler(CROSS_RISCV, ("-O2", "-static"), ("qemu-riscv64",)),
}


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("generated")
    emit(sample.make_pack(), folder)
    return folder


@pytest.mark.parametrize("name", COMPILE)
def test_not_a_warning(name: str, generated: Path, tmp_path: Path) -> None:
    compiler = COMPILE[name]
    compiler.need()
    ports = FIRMWARE / "ports"
    includes = LIBRARY / "include", FIRMWARE / "src", ports, ports / "common", generated
    sources = [
        *SOURCES,
        *sorted((FIRMWARE / "src").glob("*.c")),
        generated / "tinyfin_pack.c",
        *(ports / "common" / f"{file}.c" for file in ("ring", "memory")),
    ]
    flags = ["-std=c11", "-Os", *BARE, *WARNINGS, *compiler.flags, '-DTFIN_TARGET="x"']
    flags += [f"-I{path}" for path in (*includes, ports / "include")]
    said = call(compiler.program, *flags, "-c", *sources, cwd=tmp_path)
    assert said.stdout + said.stderr == ""


@pytest.mark.parametrize("standard", ["c99", "c11", "c17", "c2x"])
def test_every_standard_of_c(standard: str) -> None:
    flags = [f"-std={standard}", *WARNINGS, f"-I{LIBRARY / 'include'}", "-fsyntax-only"]
    for program in ("gcc", CLANG):
        need(program)
        call(program, *flags, *SOURCES)


@pytest.mark.parametrize("standard", ["c++11", "c++14", "c++17", "c++20"])
def test_the_headers_in_every_standard_of_cpp(
    standard: str, generated: Path, tmp_path: Path
) -> None:
    names = [*sorted(p.name for p in (LIBRARY / "include").glob("*.h")), "tinyfin_pack.h"]
    use = tmp_path / "use.cpp"
    use.write_text("".join(f'#include "{name}"\n' for name in names))
    flags = [f"-std={standard}", "-Wall", "-Wextra", "-Werror", "-pedantic", "-fsyntax-only"]
    for program in ("g++", CLANG.replace("clang-", "clang++-")):
        need(program)
        call(program, *flags, f"-I{LIBRARY / 'include'}", f"-I{generated}", use)


def test_a_core_of_the_other_byte_order_is_refused(tmp_path: Path) -> None:
    need(CLANG)
    flags = ["--target=armeb-none-eabi", "-mcpu=cortex-r5", *BARE, f"-I{LIBRARY / 'include'}"]
    flags += [f"-I{FIRMWARE / 'ports' / 'include'}", "-c", "-o", tmp_path / "x.o"]
    done = call(CLANG, *flags, LIBRARY / "src" / "pack.c", code=None)
    assert done.returncode != 0
    assert "little-endian" in done.stderr


@cache
def payment() -> bytes:
    return (FIRMWARE.parent / "models" / "payment" / "model.tfpack").read_bytes()


def crcs(compiler: Compiler, folder: Path, *defines: str) -> list[str]:
    """CRC-32 over the stream, of the reference pack and of one with every operator."""
    compiler.need()
    program = folder / "hash_events"
    flags = ["-std=c11", "-D_GNU_SOURCE", *WARNINGS, *compiler.flags, "-DTFIN_OWN_CRYPTO"]
    flags += [f"-D{define}" for define in defines]
    flags += [f"-I{path}" for path in (LIBRARY / "include", LIBRARY / "src", TEST)]
    driver = [TEST / f"{file}.c" for file in ("rig", "port_accept", "hash_events")]
    call(compiler.program, *flags, *SOURCES, *driver, "-o", program)
    found = []
    for name, pack in (("payment", payment()), ("rich", packs.build(packs.rich()))):
        path = folder / name
        path.write_bytes(pack)
        run = call(*(compiler.run or ()), program, path, EVENTS, deadline_s=DEADLINE_S)
        found.append(run.stdout.strip())
    return found


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return crcs(Compiler("gcc", ("-O2",), ()), tmp_path_factory.mktemp("gcc"))


@pytest.mark.parametrize("name", RUN)
def test_every_machine_gives_the_same_bytes(name: str, expected: list[str], tmp_path: Path) -> None:
    assert crcs(RUN[name], tmp_path) == expected


def test_one_wrong_rounding_gives_other_bytes(expected: list[str], tmp_path: Path) -> None:
    """Negative control."""
    wrong = crcs(RUN["clang-19 -O2"], tmp_path, "TFIN_TEST_SINGLE_ROUNDING")
    assert wrong != expected

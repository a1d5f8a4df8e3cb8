# SPDX-License-Identifier: Apache-2.0
"""A CMake project and a makefile that are not this one build with the engine, by its fragments."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.codegen.test_own_project import MAIN
from tests.support.cli import tinyfin
from tests.support.process import call, need
from tinyfin import paths
from tinyfin.targets import catalogue

LIBRARY = paths.firmware_dir() / "lib" / "tinyfin"
PAGE = paths.project_dir() / "docs" / "firmware.md"
BARE = paths.firmware_dir() / "ports"
PACK = paths.project_dir() / "models" / "payment" / "model.tfpack"
ENTRY = "int main(void);\nvoid _start(void);\nvoid _start(void) { (void)main(); }\n"
MACHINES = {"gcc": "", "arm-none-eabi-gcc": "cortex-m4"}
"""Compilers and the core that the fragments are asked for."""

CMAKE = """
cmake_minimum_required(VERSION 3.13)
project(own C)
add_executable(firmware main.c {more})
{page}
target_link_options(firmware PRIVATE -Wl,--gc-sections)
"""
MAKE = """
{page}
OBJECTS := $(addsuffix .o,$(notdir $(basename main.c $(TINYFIN_SOURCES) $(MORE))))
VPATH := $(sort $(dir $(TINYFIN_SOURCES) $(MORE)))
firmware: $(OBJECTS)
\t$(CC) $(CFLAGS) $(TINYFIN_CFLAGS) -Wl,--gc-sections $^ $(LIBS) -o $@
%.o: %.c
\t$(CC) -Os $(CFLAGS) $(TINYFIN_CFLAGS) -c $< -o $@
"""


def from_page(language: str) -> str:
    """What docs/firmware.md gives such a project."""
    [found] = re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert "../tinyfin/firmware/lib/tinyfin" in found
    return str(found.replace("../tinyfin/firmware/lib/tinyfin", str(LIBRARY)))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with an application and what codegen wrote."""
    tinyfin(f"codegen {PACK} --out {tmp_path}/generated --with-monocypher")
    development = "trust.record = tinyfin_record;"
    assert development in MAIN
    (tmp_path / "main.c").write_text(
        MAIN.replace(development, f"{development} trust.allow_development_key = 1;")
    )
    (tmp_path / "entry.c").write_text(ENTRY)
    return tmp_path


def check(firmware: Path, compiler: str) -> None:
    """The image opens its pack on this machine; for another it is of the core's instruction set.
    Of the network only the kernels of the pack are in it."""
    names = call("nm", firmware).stdout
    assert re.search(r" T tfin_open$", names, re.MULTILINE)
    assert not re.search(r"tfin_\w*softmax", names)
    if compiler == "gcc":
        call(firmware)
    else:
        assert "v7E-M" in call("arm-none-eabi-readelf", "-A", firmware).stdout


@pytest.mark.parametrize("compiler", MACHINES)
def test_cmake(compiler: str, project: Path) -> None:
    need(compiler, "cmake", "make")
    cross = []
    more = ""
    if compiler != "gcc":
        more = f"entry.c {BARE / 'common' / 'memory.c'}"
        quiet = "-ffreestanding -fbuiltin -fno-tree-loop-distribute-patterns"
        cross = [
            "-DCMAKE_SYSTEM_NAME=Generic",
            "-DCMAKE_TRY_COMPILE_TARGET_TYPE=STATIC_LIBRARY",
            f"-DTINYFIN_CORE={MACHINES[compiler]}",
            f"-DCMAKE_C_FLAGS={quiet} -I{BARE / 'include'}",
            "-DCMAKE_EXE_LINKER_FLAGS=-nostdlib",
            "-DCMAKE_C_STANDARD_LIBRARIES=-lgcc",
        ]
    (project / "CMakeLists.txt").write_text(CMAKE.format(page=from_page("cmake"), more=more))
    build = project / "build"
    cmake = ["cmake", "-S", project, "-B", build]
    own = [f"-DCMAKE_C_COMPILER={compiler}", "-DTINYFIN_DEFINES=TFIN_NO_ERROR_TEXT"]
    call(*cmake, "-G", "Unix Makefiles", *cross, *own)
    call("cmake", "--build", build, "-j", "2")
    check(build / "firmware", compiler)
    assert b"signature does not verify" not in (build / "firmware").read_bytes()
    done = call(*cmake, "-DTINYFIN_CORE=z80", code=None)
    assert done.returncode != 0
    assert "TINYFIN_CORE = z80: not a core of" in done.stderr


@pytest.mark.parametrize("compiler", MACHINES)
def test_make(compiler: str, project: Path) -> None:
    need(compiler, "make")
    (project / "Makefile").write_text(MAKE.replace("{page}", from_page("make")))
    words = [f"CC={compiler}"]
    if compiler != "gcc":
        words += [
            f"TINYFIN_CORE={MACHINES[compiler]}",
            f"MORE=entry.c {BARE / 'common' / 'memory.c'}",
            "LIBS=-lgcc",
            "CFLAGS=-ffreestanding -fbuiltin -fno-tree-loop-distribute-patterns "
            f"-nostdlib -I{BARE / 'include'}",
        ]
    make = ["make", "-C", project, *words]
    call(*make, "-j2")
    check(project / "firmware", compiler)
    done = call(*make, "TINYFIN_CORE=z80", code=None)
    assert done.returncode != 0
    assert "TINYFIN_CORE = z80: not a core of" in done.stderr


def test_the_page_names_constants_that_there_are(project: Path) -> None:
    header = (project / "generated" / "tinyfin_pack.h").read_text()
    defined = set(re.findall(r"#define (TINYFIN_\w+)", header))
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| `TINYFIN_")]
    told = {name for row in rows for name in re.findall(r"`(TINYFIN_[A-Z_<>a-z]+)`", row)}
    named = {name.replace("<SCHEMA>", "PAYMENT").replace("<core>", "CORTEX_M4") for name in told}
    assert len(rows) > 5
    assert named <= defined


def test_the_flags_of_a_core_are_the_boards() -> None:
    """Both fragments name every core that the engine is measured on, with the same flags."""
    wanted = {}
    for target in catalogue.load().values():
        flags = json.loads(target.board_file.read_text())["build"]["cpu_flags"]
        if target.name in ("stm32f405", "stm32vldiscovery"):
            assert flags in wanted.values(), "a board of a core that has a target of its own"
        else:
            wanted[target.name] = flags
    make = (LIBRARY / "tinyfin.mk").read_text()
    cmake = (LIBRARY / "CMakeLists.txt").read_text()
    assert dict(re.findall(r"^TINYFIN_FLAGS_(\S+) := (.+)$", make, re.MULTILINE)) == wanted
    assert dict(re.findall(r"^set\(flags_(\S+) (.+)\)$", cmake, re.MULTILINE)) == wanted

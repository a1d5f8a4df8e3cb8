# SPDX-License-Identifier: Apache-2.0
"""A CMake project and a makefile that are not this one build with the engine for a core, by its
fragments. tests/ecosystems/test_page.py runs them on this machine."""

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
ECOSYSTEMS = paths.project_dir() / "docs" / "ecosystems.md"
BARE = paths.firmware_dir() / "ports"
PACK = paths.project_dir() / "models" / "payment" / "model.tfpack"
ENTRY = "int main(void);\nvoid _start(void);\nvoid _start(void) { (void)main(); }\n"
COMPILER = "arm-none-eabi-gcc"


def from_page(language: str, sources: str) -> str:
    """The first project file of docs/ecosystems.md in that language, of these sources."""
    page = ECOSYSTEMS.read_text(encoding="utf-8")
    found = re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)[0]
    for old, new in (
        ("../tinyfin/firmware/lib/tinyfin", str(LIBRARY)),
        ("src/main.c src/payment.c", sources),
    ):
        assert old in found
        found = found.replace(old, new)
    return str(found)


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


def check(firmware: Path) -> None:
    """The image is of the core's instruction set; of the network only the kernels of the pack are
    in it."""
    names = call("nm", firmware).stdout
    assert re.search(r" T tfin_open$", names, re.MULTILINE)
    assert not re.search(r"tfin_\w*softmax", names)
    assert "v7E-M" in call("arm-none-eabi-readelf", "-A", firmware).stdout


def test_cmake(project: Path) -> None:
    need(COMPILER, "cmake", "make")
    sources = f"main.c entry.c {BARE / 'common' / 'memory.c'}"
    (project / "CMakeLists.txt").write_text(from_page("cmake", sources))
    quiet = "-ffreestanding -fbuiltin -fno-tree-loop-distribute-patterns"
    build = project / "build"
    cmake = ["cmake", "-S", project, "-B", build]
    call(
        *cmake,
        *("-G", "Unix Makefiles"),
        f"-DCMAKE_C_COMPILER={COMPILER}",
        "-DCMAKE_SYSTEM_NAME=Generic",
        "-DCMAKE_TRY_COMPILE_TARGET_TYPE=STATIC_LIBRARY",
        "-DTINYFIN_CORE=cortex-m4",
        "-DTINYFIN_DEFINES=TFIN_NO_ERROR_TEXT",
        f"-DCMAKE_C_FLAGS={quiet} -I{BARE / 'include'}",
        "-DCMAKE_EXE_LINKER_FLAGS=-nostdlib",
        "-DCMAKE_C_STANDARD_LIBRARIES=-lgcc",
    )
    call("cmake", "--build", build, "-j", "2")
    check(build / "pos")
    assert b"signature does not verify" not in (build / "pos").read_bytes()
    done = call(*cmake, "-DTINYFIN_CORE=z80", code=None)
    assert done.returncode != 0
    assert "TINYFIN_CORE = z80: not a core of" in done.stderr


def test_make(project: Path) -> None:
    need(COMPILER, "make")
    sources = f"main.c entry.c {BARE / 'common' / 'memory.c'}"
    (project / "Makefile").write_text(from_page("make", sources))
    make = [
        *("make", "-C", project, "pos", f"CC={COMPILER}", "TINYFIN_CORE=cortex-m4", "LIBS=-lgcc"),
        "CFLAGS=-ffreestanding -fbuiltin -fno-tree-loop-distribute-patterns "
        f"-nostdlib -I{BARE / 'include'}",
    ]
    call(*make, "-j2")
    check(project / "pos")
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
    assert named <= defined | {"TINYFIN_VERIFY"}, "that is only of a pack that asks for it"


def test_the_flags_of_a_core_are_the_boards() -> None:
    """Both fragments name every core that the engine is measured on, with the same flags."""
    wanted, of_boards = {}, {}
    for target in catalogue.load().values():
        kind = wanted if target.family == "QEMU machine" else of_boards
        kind[target.name] = json.loads(target.board_file.read_text())["build"]["cpu_flags"]
        if target.counted_on:  # of a core's code there, with flags of its own
            of_boards.pop(target.name)
            assert catalogue.get(target.counted_on).family == "QEMU machine"
    assert set(of_boards.values()) <= set(wanted.values()), "each core has a target of its own"
    make = (LIBRARY / "tinyfin.mk").read_text()
    cmake = (LIBRARY / "CMakeLists.txt").read_text()
    assert dict(re.findall(r"^TINYFIN_FLAGS_(\S+) := (.+)$", make, re.MULTILINE)) == wanted
    assert dict(re.findall(r"^set\(flags_(\S+) (.+)\)$", cmake, re.MULTILINE)) == wanted

# SPDX-License-Identifier: Apache-2.0
"""The programs tinyfin calls that pip cannot install, why, and what package brings them.

Only the standard library: ``.ci/bootstrap.py`` loads this file before any package is installed.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from dataclasses import dataclass

__all__ = [
    "PROGRAMS",
    "SystemProgram",
    "install_command",
    "install_words",
    "missing",
    "package_manager",
]


@dataclass(frozen=True)
class SystemProgram:
    """One program: ``goals`` are the make goals and commands that need it."""

    name: str
    why: str
    goals: frozenset[str]
    apt: str
    dnf: str
    brew: str
    url: str = ""
    """Where to get it when no package manager has it."""

    def package(self, manager: str) -> str:
        """The package's names for ``apt-get``, ``dnf`` or ``brew``; empty when none is known."""
        return {"apt-get": self.apt, "dnf": self.dnf, "brew": self.brew}[manager]


def _program(
    name: str, why: str, goals: str, apt: str, dnf: str, brew: str, url: str = ""
) -> SystemProgram:
    return SystemProgram(name, why, frozenset(goals.split()), apt, dnf, brew, url)


PROGRAMS: tuple[SystemProgram, ...] = (
    _program(
        "cc",
        "compiles the twin, the engine for this machine",
        "demo test bench fuzz",
        "gcc libc6-dev",
        "gcc",
        "llvm",
    ),
    _program(
        "c++",
        "compiles the twin's Python binding",
        "demo test bench fuzz",
        "g++",
        "gcc-c++",
        "llvm",
    ),
    _program(
        "arm-none-eabi-gcc",
        "compiles firmware for Cortex-M",
        "demo test bench",
        "gcc-arm-none-eabi",
        "arm-none-eabi-gcc-cs",
        "arm-none-eabi-gcc",
    ),
    _program(
        "qemu-system-arm",
        "runs Cortex-M firmware without a board",
        "demo test bench",
        "qemu-system-arm",
        "qemu-system-arm-core",
        "qemu",
    ),
    _program(
        "mosquitto",
        "a broker of MQTT, for the tests of `tinyfin fleet serve --mqtt`",
        "test",
        "mosquitto",
        "mosquitto",
        "mosquitto",
    ),
    _program(
        "promtool",
        "a Prometheus, for the tests of `tinyfin fleet metrics`",
        "test",
        "prometheus",
        "golang-github-prometheus",
        "prometheus",
    ),
    _program(
        "amtool",
        "judges the routes of alerts that `tinyfin fleet metrics --setup` writes",
        "test",
        "prometheus-alertmanager",
        "",
        "",
    ),
    _program(
        "chromium", "a browser, for the tests of pages", "test", "chromium", "chromium", "chromium"
    ),
    _program(
        "pg_ctlcluster",
        "a PostgreSQL, for the tests of `tinyfin fleet campaign --store`",
        "test",
        "postgresql",
        "",
        "",
    ),
    _program(
        "riscv64-unknown-elf-gcc",
        "compiles firmware for rv32imc",
        "test bench",
        "gcc-riscv64-unknown-elf",
        "",
        "",
    ),
    _program(
        "qemu-system-riscv32",
        "runs rv32imc firmware without a board",
        "test bench",
        "qemu-system-misc",
        "qemu-system-riscv-core",
        "qemu",
    ),
    _program(
        "xtensa-lx106-elf-gcc",
        "compiles firmware for xtensa-lx106",
        "test bench",
        "gcc-xtensa-lx106",
        "",
        "",
    ),
    _program(
        "qemu-system-xtensa",
        "runs xtensa-lx106 firmware without a board",
        "test bench",
        "qemu-system-misc",
        "qemu-system-xtensa-core",
        "qemu",
    ),
    _program(
        "clang",
        "second compiler for the engine, with sanitizers and libFuzzer",
        "test fuzz",
        "clang libclang-rt-dev",
        "clang compiler-rt",
        "llvm",
    ),
    _program("clang-19", "a newer second compiler for the engine", "test", "clang-19", "", ""),
    _program(
        "qemu-arm",
        "runs the engine as a program of other processors",
        "test",
        "qemu-user",
        "qemu-user",
        "",
    ),
    _program(
        "arm-linux-gnueabi-gcc",
        "compiles the engine for Armv4T and Armv5TE",
        "test",
        "gcc-arm-linux-gnueabi libc6-dev-armel-cross",
        "",
        "",
    ),
    _program(
        "aarch64-linux-gnu-gcc",
        "compiles the engine for Armv8-A",
        "test",
        "gcc-aarch64-linux-gnu libc6-dev-arm64-cross",
        "",
        "",
    ),
    _program(
        "riscv64-linux-gnu-gcc",
        "compiles the engine for RV64",
        "test",
        "gcc-riscv64-linux-gnu libc6-dev-riscv64-cross",
        "",
        "",
    ),
    _program(
        "i686-linux-gnu-gcc",
        "compiles the engine for i386",
        "test",
        "gcc-i686-linux-gnu libc6-dev-i386-cross",
        "",
        "",
    ),
    _program(
        "nano.specs",
        "the C library for Cortex-M that emlearn's C is linked with",
        "bench",
        "libnewlib-arm-none-eabi",
        "arm-none-eabi-newlib",
        "",
    ),
    _program(
        "arduino-builder",
        "builds the library's Arduino sketch in the tests",
        "test",
        "arduino-builder",
        "",
        "",
    ),
    _program(
        "softhsm2-util",
        "stands in for an HSM in the tests",
        "test",
        "softhsm2",
        "softhsm",
        "softhsm",
    ),
    _program("curl", "calls the services as docs/serve.md does", "test", "curl", "curl", "curl"),
    _program(
        "skopeo",
        "reads the OCI image layout of a registry in the tests",
        "test",
        "skopeo",
        "skopeo",
        "skopeo",
    ),
    _program(
        "docker-registry",
        "a registry of containers, for the tests of docs/registry.md",
        "test",
        "docker-registry",
        "docker-distribution",
        "",
    ),
    _program("cppcheck", "what `pio check` runs", "test", "cppcheck", "cppcheck", "cppcheck"),
    _program(
        "renode",
        "runs some boards with --emulator renode",
        "",
        "",
        "",
        "",
        "https://github.com/renode/renode/releases",
    ),
    _program(
        "stress-ng",
        "keeps every core busy under the tests that have deadlines",
        "loaded",
        "stress-ng",
        "stress-ng",
        "stress-ng",
    ),
)

_INSTALL = {
    "apt-get": "apt-get install -y --no-install-recommends",
    "dnf": "dnf install -y",
    "brew": "brew install",
}


def missing(goal: str | None = None) -> list[SystemProgram]:
    """The programs that are not here, of one goal or of all."""
    return [
        program
        for program in PROGRAMS
        if (goal is None or goal in program.goals) and not _is_here(program.name)
    ]


def _is_here(name: str) -> bool:
    """A program on PATH, or a file that the compiler for Cortex-M finds among its own."""
    if not name.endswith(".specs"):
        return shutil.which(name) is not None
    compiler = shutil.which("arm-none-eabi-gcc")
    if compiler is None:
        return False
    asked = [compiler, f"-print-file-name={name}"]
    found = subprocess.run(asked, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    return found.stdout.strip() != name


def package_manager() -> str | None:
    """The system's package manager, one of the three that the table knows."""
    return next((name for name in _INSTALL if shutil.which(name)), None)


def install_command(programs: list[SystemProgram], manager: str | None = None) -> str:
    """What to type to install these programs, with sudo where it is needed."""
    chosen = manager or package_manager() or "apt-get"
    packages = sorted({word for p in programs for word in p.package(chosen).split()})
    by_hand = [
        program.name + (f" (from {program.url})" if program.url else "")
        for program in programs
        if not program.package(chosen)
    ]
    command = install_words(packages, chosen)
    if by_hand:
        told = f"put {' and '.join(by_hand)} on PATH ({chosen} has no package that is known here)"
        return f"{command}; {told}" if packages else told
    return command


def install_words(packages: list[str], manager: str) -> str:
    """What to type to install packages with a package manager."""
    root = manager == "brew" or os.geteuid() == 0
    return ("" if root else "sudo ") + _INSTALL[manager] + " " + shlex.join(packages)

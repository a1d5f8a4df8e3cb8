# SPDX-License-Identifier: Apache-2.0
"""The targets, read from the board files that PlatformIO builds with.

Adding a target is one file in ``firmware/platform/boards`` (and its ``[env:...]`` in
``platformio.ini``); nothing here names a target.
"""

from __future__ import annotations

import difflib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinyfin import paths
from tinyfin.errors import ConfigError

__all__ = ["COMPILERS", "EmulatorSpec", "Target", "get", "load"]

# architecture: compiler prefix, Debian/Ubuntu package
COMPILERS = {
    "arm": ("arm-none-eabi-", "gcc-arm-none-eabi"),
    "riscv": ("riscv64-unknown-elf-", "gcc-riscv64-unknown-elf"),
    "xtensa": ("xtensa-lx106-elf-", "gcc-xtensa-lx106"),
}


@dataclass(frozen=True)
class EmulatorSpec:
    """How QEMU runs the target.

    command: QEMU and its machine options, without serial port, image and -icount
    icount_shift: S of ``-icount shift=S``: every instruction takes 2**S ns of guest time
    tick_hz: frequency of ``tfin_port_ticks`` under this emulator
    """

    command: tuple[str, ...]
    icount_shift: int
    tick_hz: int

    def instructions(self, ticks: int) -> int:
        """Guest instructions behind a difference of ticks, exact under ``-icount``.

        One instruction is 2**S ns, one tick 1e9 / tick_hz ns; S is chosen so that a tick is at most
        half an instruction, so rounding to the nearest removes the phase of the counter.
        """
        ns_per_instruction = 1 << self.icount_shift
        scaled = ticks * 1_000_000_000
        divisor = self.tick_hz * ns_per_instruction
        return (2 * scaled + divisor) // (2 * divisor)


@dataclass(frozen=True)
class Target:
    """One board or emulated machine; sizes in bytes."""

    name: str
    title: str
    core: str
    architecture: str
    flash_bytes: int
    ram_bytes: int
    ram_origin: int
    status: tuple[str, ...]
    emulator: EmulatorSpec | None
    flash_commands: tuple[tuple[str, ...], ...]
    port: str
    note: str
    layout: str = "canonical"
    """How this core's kernels like their weights (docs/formats/plan.md)."""

    @property
    def compiler(self) -> str:
        """The C compiler's name on PATH."""
        return COMPILERS[self.architecture][0] + "gcc"

    def tool(self, name: str) -> str:
        """A binary utility of this target's toolchain, such as ``nm``."""
        return COMPILERS[self.architecture][0] + name

    @property
    def flash_tool(self) -> tuple[str, ...] | None:
        """The first flash command whose program is on PATH."""
        return next((c for c in self.flash_commands if shutil.which(c[0])), None)

    def how_to_flash(self) -> str:
        """One line for people."""
        ways = [command[0] for command in self.flash_commands]
        if self.emulator is not None:
            ways.insert(0, "emulated: " + self.emulator.command[0])
        return ", ".join(ways)

    def as_dict(self) -> dict[str, Any]:
        """The row of ``tinyfin targets --json``."""
        emulator: dict[str, Any] | None = None
        if self.emulator is not None:
            emulator = {
                "command": list(self.emulator.command),
                "icount_shift": self.emulator.icount_shift,
                "tick_hz": self.emulator.tick_hz,
                "installed": shutil.which(self.emulator.command[0]) is not None,
            }
        return {
            "name": self.name,
            "title": self.title,
            "core": self.core,
            "architecture": self.architecture,
            "flash_bytes": self.flash_bytes,
            "ram_bytes": self.ram_bytes,
            "status": list(self.status),
            "emulator": emulator,
            "compiler": self.compiler,
            "compiler_installed": shutil.which(self.compiler) is not None,
            "flash": self.how_to_flash(),
            "note": self.note,
            "layout": self.layout,
        }


def load(boards: Path | None = None) -> dict[str, Target]:
    """All targets by name. Raises ConfigError naming file and key when a board file is wrong."""
    folder = boards or paths.firmware_dir() / "platform" / "boards"
    return {path.stem: _read(path) for path in sorted(folder.glob("*.json"))}


def get(name: str) -> Target:
    """The target of that name; ConfigError with the nearest names when there is none."""
    targets = load()
    if name in targets:
        return targets[name]
    near = difflib.get_close_matches(name, targets, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(targets)}"
    raise ConfigError(f"target {name!r} is not known; {hint} (tinyfin targets lists them)")


def _read(path: Path) -> Target:
    try:
        board = json.loads(path.read_text(encoding="utf-8"))
        build, upload, extra = board["build"], board["upload"], board["tinyfin"]
        emulator = extra.get("emulator")
        if build["arch"] not in COMPILERS:
            raise ConfigError(
                f"{path}: build.arch = {build['arch']!r}; it has to be one of "
                f"{', '.join(COMPILERS)}"
            )
        return Target(
            name=path.stem,
            title=board["name"],
            core=extra["core"],
            architecture=build["arch"],
            flash_bytes=int(upload["maximum_size"]),
            ram_bytes=int(upload["maximum_ram_size"]),
            ram_origin=int(build["ram_origin"], 0),
            status=tuple(word.strip() for word in extra["status"].split(",")),
            emulator=None
            if emulator is None
            else EmulatorSpec(
                tuple(emulator["command"]), int(emulator["icount_shift"]), int(emulator["tick_hz"])
            ),
            flash_commands=tuple(tuple(command) for command in extra.get("flash", [])),
            port=build["port"],
            note=extra.get("note", ""),
            layout=extra.get("layout", "canonical"),
        )
    except KeyError as error:
        raise ConfigError(f"{path}: key {error} is missing; see the files beside it") from error
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{path}: {error}; see the board files beside it") from error

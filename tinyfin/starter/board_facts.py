# SPDX-License-Identifier: Apache-2.0
"""What a build without PlatformIO has to know of a board, from its board file."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinyfin import paths
from tinyfin.errors import ConfigError
from tinyfin.targets.catalogue import COMPILERS, Target

__all__ = ["BoardFacts", "board_facts"]

_VENDOR = "vendor/tinyfin/firmware/ports"
_OF_CORE = {"arm": "cortex_m.c", "riscv": "riscv_trap.S", "xtensa": "lx106_integer.c"}
"""What ports of one architecture have in common, where there is such a file."""
_KNOWN = {
    *("arch", "cpu", "mcu", "f_cpu", "cpu_flags", "port", "defines"),
    *("flash_origin", "ram_origin", "stack_minimum"),
}
"""Keys of ``build`` that compiling and linking need."""


@dataclass(frozen=True)
class BoardFacts:
    """The keys of ``build`` and ``upload`` that the builder of firmware/platform reads."""

    arch: str
    prefix: str
    cpu_flags: str
    f_cpu: str
    defines: tuple[str, ...]
    port: str
    """The folder of the port, seen from the project."""
    common: tuple[str, ...]
    """Files of firmware/ports/common that it is built with."""
    flash_origin: str
    flash_bytes: int
    ram_origin: str
    ram_bytes: int
    stack_minimum: int


def board_facts(target: Target) -> BoardFacts:
    """Raises ConfigError for a board whose image needs more steps than compile and link."""
    board: dict[str, Any] = json.loads(target.board_file.read_text(encoding="utf-8"))
    build, upload = board["build"], board["upload"]
    if more := sorted(build.keys() - _KNOWN):
        raise ConfigError(
            f"{target.name}: its image is more than compiled and linked (build.{more[0]}), and "
            "only the PlatformIO build does that; use --platformio"
        )
    common = ["boot.c", "memory.c", "ring.c"]
    if (paths.firmware_dir() / "ports" / "common" / _OF_CORE[build["arch"]]).is_file():
        common.append(_OF_CORE[build["arch"]])
    return BoardFacts(
        arch=build["arch"],
        prefix=COMPILERS[build["arch"]][0],
        cpu_flags=build["cpu_flags"],
        f_cpu=build["f_cpu"],
        defines=tuple(map(_define, build.get("defines", []))),
        port=_port(target),
        common=tuple(common),
        flash_origin=build["flash_origin"],
        flash_bytes=int(upload["maximum_size"]),
        ram_origin=build["ram_origin"],
        ram_bytes=int(upload["maximum_ram_size"]),
        stack_minimum=int(build.get("stack_minimum", 2048)),
    )


def _port(target: Target) -> str:
    if target.own_port is None:
        return f"{_VENDOR}/{target.port}"
    return f"boards/{Path(target.port)}"


def _define(given: str) -> str:
    """``NAME`` or ``NAME=value``, without anything that a shell or make would read otherwise."""
    if not re.fullmatch(r"\w+(=[\w.+-]+)?", given):
        raise ConfigError(
            f"build.defines: {given!r} has characters that a makefile cannot pass on; use "
            "--platformio"
        )
    return given

# SPDX-License-Identifier: Apache-2.0
"""The targets, read from the board files that PlatformIO builds with.

A target is one board file, in ``firmware/platform/boards`` or in a folder of your own
(:mod:`tinyfin.targets.boards`); nothing here names a target. ``docs/boards.md`` lists the keys.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

from tinyfin import paths
from tinyfin.command_templates import unknown_placeholder
from tinyfin.errors import ConfigError
from tinyfin.targets import boards

__all__ = [
    "COMPILERS",
    "EMULATORS",
    "EmulatorName",
    "EmulatorSpec",
    "Execution",
    "RenodeSpec",
    "Target",
    "counting",
    "emulated",
    "get",
    "load",
]

_FLASH_PLACEHOLDERS = ("elf", "bin", "port")
_ASK_S = 10.0
_WHERE = ("qemu", "unicorn", "renode")
_KEYS = [
    "core",
    "counted_on",
    "emulator",
    "executed",
    "family",
    "flash",
    "layout",
    "note",
    "renode",
]
_EMULATOR_KEYS = ["command", "flash_file_bytes", "icount_shift", "kept", "kept_bytes", "tick_hz"]
_RENODE_KEYS = ["mips", "platform", "uart"]

# architecture: compiler prefix, Debian/Ubuntu package
COMPILERS = {
    "arm": ("arm-none-eabi-", "gcc-arm-none-eabi"),
    "riscv": ("riscv64-unknown-elf-", "gcc-riscv64-unknown-elf"),
    "xtensa": ("xtensa-lx106-elf-", "gcc-xtensa-lx106"),
}

EmulatorName = Literal["qemu", "renode"]
EMULATORS: tuple[EmulatorName, ...] = get_args(EmulatorName)
"""What ``--emulator`` may say."""


@dataclass(frozen=True)
class EmulatorSpec:
    """How QEMU runs the target.

    command: QEMU and its machine options, without serial port, image and -icount
    flash_file_bytes: None when QEMU loads the ELF; else the size of the chip's flash, which is a
        file that the machine boots from, as Espressif's QEMU wants it
    icount_shift: S of ``-icount shift=S``: every instruction takes 2**S ns of guest time
    tick_hz: frequency of ``tfin_port_ticks`` under this emulator
    kept: options that keep the machine's flash in a file, ``{file}``, and perhaps load the
        ``{image}``, too; none without such a flash
    kept_bytes: size of that file, zeros at first, where QEMU does not make it
    """

    command: tuple[str, ...]
    icount_shift: int
    tick_hz: int
    flash_file_bytes: int | None = None
    kept: tuple[str, ...] = ()
    kept_bytes: int | None = None

    @property
    def loads_elf(self) -> bool:
        """Whether QEMU can place bytes in the guest's memory before it starts."""
        return self.flash_file_bytes is None

    @property
    def kept_loads_image(self) -> bool:
        """Whether the options of ``kept`` take the place of ``-kernel``."""
        return any("{image}" in word for word in self.kept)

    @property
    def machine(self) -> str:
        """What QEMU calls the board."""
        return self.command[self.command.index("-M") + 1]

    def why_missing(self) -> str:
        """Empty when this emulator is installed here; else what is missing."""
        program = self.command[0]
        where = shutil.which(program)
        if where is None:
            return f"{program} is not on PATH"
        if self.flash_file_bytes is not None and self.machine not in _machines(where):
            return f"{where} has no machine {self.machine}, it is not Espressif's QEMU"
        return ""

    def instructions(self, ticks: int) -> int:
        """Guest instructions behind a difference of ticks, exact under ``-icount``.

        One instruction is 2**S ns, one tick 1e9 / tick_hz ns; S is chosen so that a tick is at most
        half an instruction, so rounding to the nearest removes the phase of the counter.
        """
        ns_per_instruction = 1 << self.icount_shift
        scaled = ticks * 1_000_000_000
        divisor = self.tick_hz * ns_per_instruction
        return (2 * scaled + divisor) // (2 * divisor)


@cache
def _machines(program: str) -> frozenset[str]:
    """The machines that a QEMU knows."""
    try:
        done = subprocess.run(
            [program, "-M", "help"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_ASK_S,
        )
    except (OSError, subprocess.SubprocessError):
        return frozenset()
    return frozenset(line.split()[0] for line in done.stdout.splitlines() if line.split())


@dataclass(frozen=True)
class RenodeSpec:
    """How Renode runs the target.

    platform: its description of the machine, a .repl file
    uart: the UART in it that leads to the host, as Renode's monitor names it
    mips: million instructions in a second of the guest's time
    """

    platform: Path
    uart: str
    mips: int


@dataclass(frozen=True)
class Execution:
    """That this project's tests, or a run that the docs tell of, executed a board's image: where,
    and what of it."""

    where: str
    what: str


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
    family: str
    """What people call its kind: "STM32", "QEMU machine"."""
    executed: tuple[Execution, ...]
    emulator: EmulatorSpec | None
    flash_commands: tuple[tuple[str, ...], ...]
    port: str
    note: str
    board_file: Path
    renode: RenodeSpec | None = None
    counted_on: str = ""
    """The emulated target whose machine runs this one's code, where no emulator counts it."""
    layout: str = "canonical"
    """How this core's kernels like their weights (docs/formats/plan.md)."""
    keeps_packs: bool = False
    """Whether it has slots for packs in flash (docs/field.md)."""

    @property
    def is_own(self) -> bool:
        """Whether its board file is the user's, not tinyfin's."""
        return self.board_file.parent != boards.built_in().resolve()

    @property
    def own_port(self) -> Path | None:
        """The folder of a port that comes with the board file; None for a port of tinyfin."""
        if not self.port.startswith("."):
            return None
        return Path(os.path.normpath(self.board_file.parent / self.port))

    @property
    def status(self) -> tuple[str, ...]:
        """The same in the words of earlier versions."""
        if self.is_own:
            return ("own",)
        emulated = ("emulated",) if self.emulator is not None else ()
        return (*emulated, "built for hardware") if self.flash_commands else emulated

    def where_executed(self) -> str:
        """One line for people. Nothing has run on hardware."""
        return "; ".join(f"{one.where}: {one.what}" for one in self.executed) or "built only"

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
        elif self.renode is not None:
            ways.insert(0, "emulated: renode")
        return ", ".join(ways)

    def as_dict(self) -> dict[str, object]:
        """The row of ``tinyfin targets --json``."""
        emulator: dict[str, object] | None = None
        if self.emulator is not None:
            emulator = {
                "command": list(self.emulator.command),
                "icount_shift": self.emulator.icount_shift,
                "tick_hz": self.emulator.tick_hz,
                "flash_file_bytes": self.emulator.flash_file_bytes,
                "installed": not self.emulator.why_missing(),
            }
        return {
            "name": self.name,
            "title": self.title,
            "core": self.core,
            "architecture": self.architecture,
            "flash_bytes": self.flash_bytes,
            "ram_bytes": self.ram_bytes,
            "family": self.family,
            "executed": [asdict(one) for one in self.executed],
            "status": list(self.status),
            "emulator": emulator,
            "renode": None
            if self.renode is None
            else {**asdict(self.renode), "platform": str(self.renode.platform)},
            "compiler": self.compiler,
            "compiler_installed": shutil.which(self.compiler) is not None,
            "flash": self.how_to_flash(),
            "note": self.note,
            "counted_on": self.counted_on or None,
            "layout": self.layout,
            "board_file": str(self.board_file),
        }


def load(own: Path | None = None) -> dict[str, Target]:
    """All targets by name: those of tinyfin, then your own.

    own: a folder of own board files that goes before the others. Raises ConfigError naming file and
    key when a board file is wrong.
    """
    files = sorted(boards.built_in().resolve().glob("*.json"))
    targets = {path.stem: _target(path, _parsed(path)) for path in files}
    for path, board in _own_files(own):
        if board is not None:
            targets[path.stem] = _target(path, board)
    return targets


def emulated() -> dict[str, Target]:
    """Those of tinyfin's targets that QEMU runs, as it is in distributions."""
    return {
        name: target
        for name, target in load().items()
        if target.emulator is not None and target.emulator.loads_elf and not target.is_own
    }


def counting(target: Target) -> tuple[Target, str | None] | None:
    """Where instructions of a target are counted: the emulated target, and as ``code_of`` of a
    build the name of the target whose code that one's machine then runs, or None for its own.

    None when there is no such target. Raises ConfigError for a ``counted_on`` that is none.
    """
    if target.emulator is not None and target.emulator.loads_elf:
        return target, None
    if not target.counted_on:
        return None
    machine = load(target.board_file.parent if target.is_own else None).get(target.counted_on)
    if machine is None or machine.emulator is None or not machine.emulator.loads_elf:
        raise ConfigError(
            f"{target.board_file}: tinyfin.counted_on = {target.counted_on!r} is no emulated "
            "target; `tinyfin targets` lists them"
        )
    if machine.architecture != target.architecture:
        raise ConfigError(
            f"{target.board_file}: tinyfin.counted_on = {target.counted_on!r} is not of "
            f"architecture {target.architecture}; choose one that is"
        )
    return machine, target.name


def get(name: str, own: Path | None = None) -> Target:
    """The target of that name, from the places of :func:`load`; ConfigError with the nearest names
    when there is none."""
    targets = load(own)
    if name in targets:
        return targets[name]
    for path, board in _own_files(own):
        if path.stem == name and board is None:
            raise ConfigError(
                f'{path}: has no section "tinyfin", so it is a board of another platform; '
                "docs/boards.md lists what a board file of tinyfin holds"
            )
    near = difflib.get_close_matches(name, targets, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(targets)}"
    raise ConfigError(
        f"target {name!r} is not known; {hint} (`tinyfin targets` lists them; a board file of your "
        "own goes to the folder boards, see docs/boards.md)"
    )


def _own_files(own: Path | None) -> Iterator[tuple[Path, dict[str, object] | None]]:
    """The user's board files, the first of each name, and what is in them; None for a board of
    another PlatformIO platform. Raises ConfigError for one that has the name of a built-in."""
    seen = set()
    for folder in boards.own_folders(own):
        for path in sorted(folder.glob("*.json")):
            if path.stem in seen:
                continue
            seen.add(path.stem)
            board = _parsed(path)
            if not isinstance(board, dict) or "tinyfin" not in board:
                yield path, None
                continue
            if (boards.built_in() / path.name).is_file():
                raise ConfigError(
                    f"{path}: {path.stem} is the name of a target of tinyfin; rename the file"
                )
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", path.stem):
                raise ConfigError(
                    f"{path}: the name of a board has letters, digits, '.', '_' and '-' only; "
                    "rename the file"
                )
            yield path, board


def _parsed(path: Path) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}; check the path") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: is not JSON: {error}; correct it") from error


def _target(path: Path, board: Any) -> Target:
    try:
        build, upload, extra = board["build"], board["upload"], board["tinyfin"]
        emulator = extra.get("emulator")
        if build["arch"] not in COMPILERS:
            raise ConfigError(
                f"{path}: build.arch = {build['arch']!r}; it has to be one of "
                f"{', '.join(COMPILERS)}"
            )
        target = Target(
            name=path.stem,
            title=str(board["name"]),
            core=str(extra.get("core", build["cpu"])),
            architecture=build["arch"],
            flash_bytes=int(upload["maximum_size"]),
            ram_bytes=int(upload["maximum_ram_size"]),
            ram_origin=int(build["ram_origin"], 0),
            family=str(extra.get("family", "own")),
            executed=tuple(_execution(one) for one in extra.get("executed", [])),
            emulator=None
            if emulator is None
            else EmulatorSpec(
                _emulator_words(emulator["command"]),
                int(emulator["icount_shift"]),
                int(emulator["tick_hz"]),
                None
                if emulator.get("flash_file_bytes") is None
                else int(emulator["flash_file_bytes"]),
                _words(emulator["kept"]) if "kept" in emulator else (),
                int(emulator["kept_bytes"]) if "kept_bytes" in emulator else None,
            ),
            flash_commands=tuple(_flash_words(command) for command in extra.get("flash", [])),
            port=str(build["port"]),
            note=str(extra.get("note", "")),
            board_file=path,
            renode=_renode(path, extra.get("renode")),
            counted_on=str(extra.get("counted_on", "")),
            layout=str(extra.get("layout", "canonical")),
            keeps_packs="TFIN_PORT_FLASH" in build.get("defines", []),
        )
        for section, given, keys in (
            ("tinyfin", extra, _KEYS),
            ("tinyfin.emulator", emulator, _EMULATOR_KEYS),
            ("tinyfin.renode", extra.get("renode"), _RENODE_KEYS),
        ):
            _refuse_unknown(section, given or {}, keys)
        _refuse_no_port(path, target.port)
        return target
    except KeyError as error:
        raise ConfigError(
            f"{path}: key {error} is missing; docs/boards.md lists the keys"
        ) from error
    except (ValueError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path}: {error}; docs/boards.md lists the keys") from error


def _refuse_unknown(section: str, given: Mapping[str, object], keys: Sequence[str]) -> None:
    for key in given:
        if key not in keys:
            near = difflib.get_close_matches(key, keys, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(keys)}"
            raise ValueError(f"{section}.{key} is no key; {hint}")


def _refuse_no_port(board_file: Path, port: str) -> None:
    ports = paths.firmware_dir() / "ports"
    folder = board_file.parent / port if port.startswith(".") else ports / port
    if not any(folder.glob("*.c")):
        ours = sorted({one.parent.name for one in ports.glob("*/port.c")} - {"host"})
        raise ValueError(
            f"build.port = {port!r}: there is no C file in {folder}; the ports of tinyfin are "
            f"{', '.join(ours)}"
        )


def _renode(board_file: Path, given: Any) -> RenodeSpec | None:
    """The platform is a file of firmware/platform/renode, or ./one next to the board file."""
    if given is None:
        return None
    name = str(given["platform"])
    folder = board_file.parent if name.startswith(".") else boards.built_in().parent / "renode"
    platform = Path(os.path.normpath(folder.resolve() / name))
    if not platform.is_file():
        raise ValueError(f"tinyfin.renode.platform: {platform}: no such file")
    return RenodeSpec(platform, str(given["uart"]), int(given["mips"]))


def _execution(one: Any) -> Execution:
    if not isinstance(one, dict) or set(one) != {"where", "what"} or one["where"] not in _WHERE:
        raise ValueError(
            f'tinyfin.executed: an entry is such as {{"where": "qemu", "what": "replay"}}, where '
            f"one of {', '.join(_WHERE)}, not {one!r:.80}"
        )
    return Execution(one["where"], str(one["what"]))


def _words(command: object) -> tuple[str, ...]:
    if not isinstance(command, list) or not command or not all(isinstance(w, str) for w in command):
        raise ValueError(
            f'a command is a list of words, such as ["st-flash", "write"], not {command!r:.80}'
        )
    return tuple(command)


def _emulator_words(command: object) -> tuple[str, ...]:
    words = _words(command)
    if "-M" not in words[:-1]:
        raise ValueError('tinyfin.emulator.command: names no machine; add "-M" and its name')
    return words


def _flash_words(command: object) -> tuple[str, ...]:
    words = _words(command)
    if (wrong := unknown_placeholder(words, _FLASH_PLACEHOLDERS)) is not None:
        raise ValueError(f"tinyfin.flash: {wrong}")
    return words

# SPDX-License-Identifier: Apache-2.0
"""Reaches the targets of a rig: builds and flashes them, opens their line, resets them."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tinyfin.command_templates import filled_in, placeholders
from tinyfin.errors import BenchError, BudgetError, FlashError, MissingToolError, TargetError
from tinyfin.hil.rigs.lines import pulse, touch_1200
from tinyfin.hil.rigs.rigfile import HOST, Deadlines, Port, Power, TargetSpec
from tinyfin.text import one_line
from tinyfin.wire.frames import encode_frame
from tinyfin.wire.links import Link, ProcessLink, TcpLink
from tinyfin.wire.messages import Request
from tinyfin.wire.serial_link import SerialLink

if TYPE_CHECKING:
    import serial

    from tinyfin.hil.rigs.meters import Meter
    from tinyfin.targets.catalogue import Target
    from tinyfin.targets.emulate import Emulator
    from tinyfin.targets.flash import Image

__all__ = ["Access", "Flashed", "reach", "run_command"]

Note = Callable[[str], object]

_GONE_S = 2.0
_NOT_ASKED = (
    "flash = false or --no-flash: it holds what was flashed before; boot compares its pack, and "
    "nothing can prove its build"
)
_NOT_FOUND = 127  # what a POSIX shell ends with when there is no such command


@dataclass(frozen=True)
class Flashed:
    """What a target is to hold. Sizes in bytes, None where they are not known."""

    pack: bytes
    keys: tuple[bytes, ...]
    build_id: str | None = None
    """Of the firmware's sources; None when it was flashed elsewhere."""
    flash_bytes: int | None = None
    ram_bytes: int | None = None
    how: str = ""
    skipped: str = ""
    """Why nothing was flashed, where that was not asked for."""


@dataclass(frozen=True)
class _OwnImage:
    """The image that a rig file names; its raw form lies next to it."""

    elf: Path

    @property
    def binary(self) -> Path:
        return self.elf.with_suffix(".bin")


class Access:
    """One target of a rig. ``prepare`` builds and flashes, ``open`` gives its line, ``rungs`` are
    the resets that it has, from gentle to hard; ``close`` lets go of everything."""

    def __init__(
        self, name: str, spec: TargetSpec, deadlines: Deadlines, note: Note, boards: Path | None
    ) -> None:
        self.name, self.spec, self.deadlines, self.note = name, spec, deadlines, note
        self.boards = boards

    meter: Meter | None = None
    """What measures the board's current, once it has power."""

    def power(self) -> None:
        """Give the board its power through its meter, where it has one; before anything else."""

    def prepare(self, run: Path, keys: Sequence[bytes]) -> Flashed:
        """Build the firmware of a run and put it on the target. Raises FlashError, ToolError."""
        raise NotImplementedError

    def _own_image(self) -> _OwnImage | None:
        """The image that the rig file names. FlashError when it is not there."""
        if self.spec.image is None:
            return None
        if not Path(self.spec.image).is_file():
            raise FlashError(f"{self.name}: image: {self.spec.image}: no such file; build it first")
        return _OwnImage(Path(self.spec.image))

    def open(self) -> Link:
        """Its line, powered and open."""
        raise NotImplementedError

    def check(self, lost: bool = False) -> None:
        """BenchError when what carries the target is gone; ``lost``: its line is."""

    def instructions(self, ticks: int) -> int | None:
        """Ticks to guest instructions; None where they are not counted."""
        return None

    @property
    def counts(self) -> bool:
        """Whether :meth:`instructions` works."""
        return False

    def rungs(self) -> list[tuple[str, Callable[[Link], None]]]:
        """The ladder: name and what to do, given the open line."""
        spec = self.spec.reset
        ladder: list[tuple[str, Callable[[Link], None]]] = []
        if spec.soft:
            ladder.append(("soft reset", _ask))
        ladder += self._own_rungs()
        return ladder

    def _own_rungs(self) -> list[tuple[str, Callable[[Link], None]]]:
        return []

    def close(self) -> None:
        """Let go; may be called twice."""


def _ask(link: Link) -> None:
    link.write(b"\0" + encode_frame(Request.REBOOT, 0, b""))


class _Emulated(Access):
    """A target in QEMU or Renode; its power switch is the emulator's process."""

    _emulator: Emulator | None = None

    def prepare(self, run: Path, keys: Sequence[bytes]) -> Flashed:
        from tinyfin.targets import build as building
        from tinyfin.targets import catalogue, flash, renode

        target = catalogue.get(self.spec.target, self.boards)
        own = self._own_image()
        if self.spec.flash is not False and own is None:
            building.require_tools(target, emulated=self.spec.emulator == "qemu")
        if self.spec.emulator == "renode":
            renode.require(target)
        pack = flash.target_pack(run, target, keys, self.note)
        sizes: dict[str, int] = {}
        if own is not None:
            self._image, known, skipped = own.elf, None, ""
        elif self.spec.flash is False:
            found = flash.flashed_image(run, target)
            if found is None:
                raise FlashError(
                    f"{self.name}: nothing was flashed for {run} yet, and --no-flash (or flash = "
                    "false) says to flash nothing; run without it, or run "
                    f"`tinyfin flash {run} --target {target.name}` first"
                )
            self._image, known, skipped = found, None, _NOT_ASKED
        else:
            try:
                built = building.build(
                    target, pack=pack, keys=keys, deadline_s=self.deadlines.build_s
                )
            except BudgetError as error:
                raise FlashError(f"{self.name}: {error}") from error
            self._image = flash.store_image(built, flash.run_folder(run))
            sizes = {"flash_bytes": built.flash_bytes, "ram_bytes": built.ram_bytes}
            known, skipped = building.firmware_build_id(), ""
        self._target = target
        self._emulator = None
        return Flashed(
            pack.read_bytes(), tuple(keys), known, **sizes, how=str(self._image), skipped=skipped
        )

    def open(self) -> Link:
        from tinyfin.targets.emulate import boot

        if self._emulator is None:
            spec = self.spec
            self._emulator = boot(
                self._target, self._image, icount=spec.count, emulator=spec.emulator
            ).start()
        return TcpLink(*self._emulator.address, restart=self._emulator.restart)

    def check(self, lost: bool = False) -> None:
        if self._emulator is None:
            return
        if lost:  # a process that was killed closes its socket before it is gone
            self._emulator.wait(_GONE_S)
        try:
            self._emulator.check()
        except BenchError as error:
            raise BenchError(f"{self.name}: {error}") from error
        except TargetError as error:
            raise BenchError(
                f"{self.name}: {error}; if no one ended it, look at the machine's memory, then "
                "run again"
            ) from error

    @property
    def counts(self) -> bool:
        return (
            self.spec.count and self.spec.emulator == "qemu" and self._target.emulator is not None
        )

    def instructions(self, ticks: int) -> int | None:
        spec = self._target.emulator
        return None if spec is None else int(spec.instructions(ticks))

    @property
    def pid(self) -> int:
        """Process id of the emulator."""
        assert self._emulator is not None
        return self._emulator.pid

    def _own_rungs(self) -> list[tuple[str, Callable[[Link], None]]]:
        return [("power", lambda link: link.reset())] if self.spec.reset.power else []

    def close(self) -> None:
        if self._emulator is not None:
            self._emulator.stop()
            self._emulator = None


class _Host(Access):
    """The terminal application compiled for this machine, in a process."""

    def prepare(self, run: Path, keys: Sequence[bytes]) -> Flashed:
        from tinyfin.hil.links.host_process import build_host_terminal
        from tinyfin.targets.flash import run_pack

        pack = run_pack(run).read_bytes()
        own = self._own_image()
        self._program = build_host_terminal(pack, keys=keys) if own is None else own.elf
        skipped = (
            ""
            if self.spec.flash is not False
            else (
                "flash = false or --no-flash: there is nothing to flash on this machine; the "
                "firmware was compiled for it"
            )
        )
        return Flashed(pack, tuple(keys), how=str(self._program), skipped=skipped)

    def open(self) -> Link:
        return ProcessLink([str(self._program)])

    def _own_rungs(self) -> list[tuple[str, Callable[[Link], None]]]:
        return [("power", lambda link: link.reset())] if self.spec.reset.power else []


class _Board(Access):
    """A board at a serial port, found again after every reset, or at a URL."""

    _boot_loader: str | None = None
    """Its port while it is flashed, where that is another one."""

    def prepare(self, run: Path, keys: Sequence[bytes]) -> Flashed:
        from tinyfin.targets import build as building
        from tinyfin.targets import catalogue, flash

        target = None
        if self.spec.target != HOST:
            target = catalogue.get(self.spec.target, self.boards)
        pack = (
            flash.run_pack(run)
            if target is None
            else flash.target_pack(run, target, keys, self.note)
        )
        how = self.spec.flash
        if how is False or target is None:
            skipped = (
                _NOT_ASKED
                if how is False
                else (
                    f"target = {HOST!r} is no board: what answers at its port was started elsewhere"
                )
            )
            return Flashed(pack.read_bytes(), tuple(keys), how="not flashed here", skipped=skipped)
        self._require_flash_tool(target)
        if (own := self._own_image()) is not None:
            command = self._flash_by(how, target, own)
            return Flashed(pack.read_bytes(), tuple(keys), how=command)
        try:
            built = building.build(target, pack=pack, keys=keys, deadline_s=self.deadlines.build_s)
        except BudgetError as error:
            raise FlashError(f"{self.name}: {error}") from error
        command = self._flash_by(how, target, built)
        return Flashed(
            pack.read_bytes(),
            tuple(keys),
            building.firmware_build_id(),
            built.flash_bytes,
            built.ram_bytes,
            command,
        )

    def _require_flash_tool(self, target: Target) -> None:
        """What would be missing after the build."""
        from tinyfin.targets import flash

        how = self.spec.flash
        if how is True:
            flash.require_flash_tool(target)
        elif isinstance(how, list) and shutil.which(how[0]) is None:
            raise MissingToolError(
                f"{self.name}: flash: {how[0]} is not on PATH; install it, or fix the rig file"
            )

    def _flash_by(self, how: list[str] | str | bool, target: Target, image: Image) -> str:
        from tinyfin.targets import flash

        if self.spec.touch_1200:
            self._boot_loader = touch_1200(self._locate(), self.deadlines.port_s, name=self.name)
        try:
            if isinstance(how, bool):
                port = self._port_for(target.flash_tool)
                return shlex.join(flash.flash_board(target, image, port))
            values = {"elf": str(image.elf), "bin": str(image.binary), **self._values(how)}
            what = f"{self.name}: flash"
            return run_command(how, self.deadlines.flash_s, what, FlashError, values)
        finally:
            self._boot_loader = None

    def _values(self, command: list[str] | str) -> dict[str, str]:
        """What the board's own words mean in a command of the rig file."""
        serial_number = (self.spec.port.serial_number if self.spec.port else None) or ""
        return {"serial_number": serial_number, "port": self._port_for(command) or ""}

    def _port_for(self, command: Sequence[str] | None) -> str | None:
        """The board's port if a command names it; it is not searched for otherwise."""
        if "port" not in placeholders(command or ()):
            return None
        return self._boot_loader or self._locate()

    def _locate(self) -> str:
        assert self.spec.port is not None
        return self._locate_port(self.spec.port)

    def _locate_port(self, port: Port) -> str:
        from tinyfin.hil.rigs.ports import wait_for, wait_for_name

        if port.url is None:
            return wait_for(port, self.deadlines.port_s, name=self.name).device
        if port.url.startswith("/"):
            return wait_for_name(port.url, self.deadlines.port_s, name=self.name)
        return port.url

    def power(self) -> None:
        from tinyfin.hil.rigs.meters import open_meter

        spec = self.spec.meter
        if spec is not None and self.meter is None:
            self.meter = open_meter(spec, lambda: self._locate_port(spec.port), self.name)

    def close(self) -> None:
        if self.meter is not None:
            self.meter.close()
            self.meter = None

    def open(self) -> Link:
        port, spec = self.spec.port, self.spec
        assert port is not None
        if port.is_serial:
            can_reset = bool(spec.reset.line or spec.reset.command or spec.reset.power)
            return SerialLink(
                self._locate(),
                baud=spec.baud,
                dtr=spec.dtr,
                rts=spec.rts,
                locate=self._locate,
                reset=self._reset if can_reset else None,
            )
        assert port.url is not None
        if port.url.startswith("exec:"):
            return ProcessLink(shlex.split(port.url.removeprefix("exec:")))
        parts = urlsplit(port.url)
        assert parts.hostname is not None
        assert parts.port is not None
        return TcpLink(parts.hostname, parts.port, timeout_s=self.deadlines.port_s)

    def _reset(self, port: serial.SerialBase) -> None:
        """As a reset button: the gentlest that the bench has; the port may vanish by it."""
        spec = self.spec.reset
        if spec.line is not None:
            pulse(port, spec.line)
            return
        port.close()
        if spec.command is not None:
            self._command()
        else:
            self._power()

    def _own_rungs(self) -> list[tuple[str, Callable[[Link], None]]]:
        spec = self.spec.reset
        ladder: list[tuple[str, Callable[[Link], None]]] = []
        if spec.line is not None:
            ladder.append(("line reset", lambda link: link.reset()))
        if spec.command is not None:
            ladder.append(("reset command", lambda link: self._without(link, self._command)))
        if isinstance(spec.power, Power):
            ladder.append(("power", lambda link: self._without(link, self._power)))
        return ladder

    def _without(self, link: Link, action: Callable[[], None]) -> None:
        """Do it with the port closed: it may vanish from the bus."""
        link.close()
        action()
        link.reopen(self.deadlines.port_s)

    def _command(self) -> None:
        command = self.spec.reset.command
        assert command is not None
        self._run(command, "reset.command")

    def _power(self) -> None:
        power = self.spec.reset.power
        assert isinstance(power, Power)
        self._run(power.command, "reset.power")
        time.sleep(power.settle_s)

    def _run(self, command: list[str] | str, key: str) -> None:
        run_command(
            command,
            self.deadlines.reset_s,
            f"{self.name}: {key}",
            BenchError,
            self._values(command),
        )


def reach(
    name: str,
    spec: TargetSpec,
    deadlines: Deadlines,
    note: Note = lambda _: None,
    boards: Path | None = None,
) -> Access:
    """The way to a target; ``boards`` is the rig's folder of own board files."""
    kind: type[Access] = _Emulated if spec.emulated else _Board
    if spec.target == HOST and spec.port is None:
        kind = _Host
    return kind(name, spec, deadlines, note, boards)


def run_command(
    command: list[str] | str,
    deadline_s: float,
    what: str,
    failure: type[TargetError],
    values: dict[str, str] | None = None,
) -> str:
    """Run a rig's command with ``values`` put in; what ran. ``failure`` says how it went wrong.

    A list is run as it is, a line by the shell. After ``deadline_s`` it and its children are ended.
    """
    shell = isinstance(command, str)
    words = [command] if isinstance(command, str) else command
    given = values or {}
    words = filled_in(words, {k: shlex.quote(v) if shell else v for k, v in given.items()})
    shown = words[0] if shell else shlex.join(words)
    try:
        process = subprocess.Popen(
            words[0] if shell else words,
            shell=shell,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except OSError as error:
        raise MissingToolError(
            f"{what}: `{shown}` cannot be started: {error.strerror}; install {words[0]}, or fix "
            "the rig file"
        ) from error
    ended = False
    try:
        output, _ = process.communicate(timeout=deadline_s)
        ended = True
    except subprocess.TimeoutExpired as error:
        raise failure(
            f"{what}: `{shown}` did not end within {deadline_s:g} s; check cable and power"
        ) from error
    finally:
        if not ended:  # it, or what it left behind with its output open
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
    if process.returncode != 0:
        tail = one_line(" | ".join(output.strip().splitlines()[-4:])) or "it said nothing"
        if shell and process.returncode == _NOT_FOUND:
            raise MissingToolError(f"{what}: `{shown}`: {tail}; install it, or fix the rig file")
        raise failure(f"{what}: `{shown}` ended with code {process.returncode}: {tail}")
    return shown

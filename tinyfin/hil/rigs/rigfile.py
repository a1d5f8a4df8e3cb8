# SPDX-License-Identifier: Apache-2.0
"""A rig file, read and checked: the targets on a bench, and how to reach, reset and flash them.

    [rig]              name, run (what is flashed and compared)
    [deadlines]        how long each kind of wait may take
    [targets.NAME]     one board or emulated machine

Every error names file, key, value, rule and fix. ``docs/hil.md`` explains the keys to people.
"""

from __future__ import annotations

import difflib
import os
import re
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, ValidationError, model_validator

from tinyfin.command_templates import placeholders, unknown_placeholder
from tinyfin.config.toml import read_toml
from tinyfin.errors import ConfigError
from tinyfin.targets.catalogue import EmulatorName, Target

__all__ = [
    "HOST",
    "PLACEHOLDERS",
    "Deadlines",
    "Line",
    "MeterSpec",
    "Port",
    "Power",
    "Reset",
    "Rig",
    "TargetSpec",
    "default_path",
    "load",
    "run_of",
    "select",
]

HOST = "host"
"""The target that is the terminal application compiled for this machine, in a process."""

DEFAULT_PLACES = ("hil/rig.emulated.toml",)

PLACEHOLDERS = {
    "flash": ("elf", "bin", "serial_number", "port"),
    "reset.command": ("serial_number", "port"),
    "reset.power.command": ("serial_number", "port"),
}
"""What ``{name}`` may be in each command of a target."""

_KERNEL_NAME = re.compile(
    r"/dev/(tty[A-Z]{1,5}\d+|ttymxc\d+|pts/\d+|(tty|cu)\..*|rfcomm\d+)|(\\\\\.\\)?(?i:COM)\d+:?"
)
"""Names that the system gives to ports in the order in which they are found."""

Seconds = Annotated[float, Field(gt=0, le=86_400)]


class _Section(BaseModel):
    """A section refuses keys that it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _command(given: object) -> object:
    words = [given] if isinstance(given, str) else given
    if not isinstance(words, list) or not words or not all(w and isinstance(w, str) for w in words):
        raise ValueError('write a list of words, ["st-flash", "reset"], or one line for the shell')
    return given


def _flash(given: object) -> object:
    return given if isinstance(given, bool) else _command(given)


def _power(given: object) -> object:
    return given if isinstance(given, bool) else Power.model_validate(given)


Command = Annotated[list[str] | str, PlainValidator(_command)]
"""Words of a program, or a line for the shell."""

Words = Annotated[str, Field(min_length=1)]


class Port(_Section):
    """How to find a serial port: by what stays the same when it is plugged in again.

    All keys that are given must hold, and exactly one port must fit.
    """

    serial_number: Words | None = None
    """Of the USB device."""
    location: Words | None = None
    """Which socket it is plugged into, as USB names it: ``1-1.4.2`` or ``1-1.4.2:1.0``."""
    vid_pid: Words | None = None
    """Vendor and product of the USB device, ``0483:374b``."""
    interface: Words | None = None
    """A part of the name of the interface, where a device has several ports."""
    url: Words | None = None
    """Another line: ``socket://host:port``, ``rfc2217://host:port``, ``exec:program arguments``, or
    a name that udev keeps for one port, such as ``/dev/serial/by-id/usb-...``."""

    @model_validator(mode="before")
    @classmethod
    def _no_device_name(cls, given: object) -> object:
        name = given if isinstance(given, str) else None
        if isinstance(given, dict) and "device" in given:
            name = str(given["device"])
        if name is None:
            return given
        if _is_kernel_name(name):
            raise ValueError(_may_change(name))
        raise ValueError(f'write port = {{ url = "{name}" }}')

    @model_validator(mode="after")
    def _something(self) -> Port:
        usb = [self.serial_number, self.location, self.vid_pid, self.interface]
        if not any((*usb, self.url)):
            raise ValueError("give serial_number, location or vid_pid of the port, or its url")
        if self.url and any(usb):
            raise ValueError("a port with url takes no other key; leave out the others, or url")
        if self.url:
            _check_url(self.url)
        if self.interface and not any(usb[:3]):
            raise ValueError("interface alone may fit many: add serial_number, location or vid_pid")
        if self.vid_pid and not re.fullmatch(r"[0-9a-fA-F]{4}:[0-9a-fA-F]{4}", self.vid_pid):
            raise ValueError(f"vid_pid = {self.vid_pid!r}; write four hex digits each: 0483:374b")
        return self

    @property
    def is_serial(self) -> bool:
        """Whether it has a speed, DTR and RTS: not a bare socket, not a program."""
        return self.url is None or urlsplit(self.url).scheme in ("", "rfc2217")

    def __str__(self) -> str:
        given = self.model_dump(exclude_none=True)
        if self.vid_pid is not None:
            given["vid_pid"] = self.vid_pid.lower()
        return ", ".join(f"{key} {value}" for key, value in given.items())


def _is_kernel_name(name: str) -> bool:
    """Whether the system, not a udev rule of your own, has given it."""
    return bool(_KERNEL_NAME.fullmatch(name)) and not os.path.islink(name)


def _may_change(name: str) -> str:
    return (
        f"a device name such as {name} may be another board's tomorrow; write "
        'port = { serial_number = "..." }, or location, or vid_pid: `tinyfin hil suggest` '
        "prints them for what is plugged in"
    )


def _check_url(url: str) -> None:
    """ValueError unless it is one of the lines that a target may have."""
    if _is_kernel_name(url):
        raise ValueError(_may_change(url))
    parts = urlsplit(url)
    if parts.scheme in ("socket", "tcp", "rfc2217"):
        try:
            complete = bool(parts.hostname and parts.port)
        except ValueError:  # no number, or above 65535
            complete = False
        if not complete:
            raise ValueError(f"{url}: the address is incomplete; use {parts.scheme}://host:port")
    elif parts.scheme == "exec":
        if not url.removeprefix("exec:").strip():
            raise ValueError("exec: names no program; use exec:program arguments")
    elif not url.startswith("/"):
        raise ValueError(
            f"{url}: is no line of a target; use socket://host:port, rfc2217://host:port, "
            "exec:program arguments, or a path such as /dev/serial/by-id/usb-..."
        )


class Line(_Section):
    """A reset over DTR or RTS: set, wait, clear; with ``inverted`` clear, wait, set."""

    set: Annotated[str, Field(pattern="^(dtr|rts)$")] = "rts"
    hold_s: Seconds = 0.1
    inverted: bool = False


class Power(_Section):
    """A command that takes the board's power away and gives it back."""

    command: Command
    settle_s: Annotated[float, Field(ge=0, le=600)] = 2.0


class Reset(_Section):
    """The ladder: what may be done to a target that does not answer, from gentle to hard."""

    soft: bool = True
    """Ask the firmware itself, by a REBOOT frame."""
    line: Line | None = None
    command: Command | None = None
    """A debugger's reset, or whatever else this bench has."""
    power: Annotated[Power | bool, PlainValidator(_power)] = False
    """``true`` restarts an emulated target; a board needs a command."""


class MeterSpec(_Section):
    """A meter that the board gets its power through."""

    kind: Literal["ppk2", "scpi"]
    port: Port
    volts: Annotated[float, Field(ge=0.8, le=60)] = 3.3
    """Of the board's supply."""
    supplies: bool = False
    """Whether a PPK2 is the supply itself, not only the meter."""
    query: Words = "MEAS:CURR?"
    """What an SCPI meter answers with a current in amperes."""

    @model_validator(mode="after")
    def _sane(self) -> MeterSpec:
        if self.kind == "ppk2" and self.volts > 5:
            raise ValueError(f"volts = {self.volts:g}: a PPK2 takes 0.8 to 5")
        if self.kind == "scpi" and self.supplies:
            raise ValueError(
                "supplies is for a ppk2; switch the supply of an scpi meter on yourself"
            )
        return self


class TargetSpec(_Section):
    """One target of the rig."""

    target: str
    """A name of `tinyfin targets`, or ``host``."""
    emulated: bool = False
    emulator: EmulatorName = "qemu"
    """What runs it when it is emulated."""
    port: Port | None = None
    baud: Annotated[int, Field(ge=1200, le=12_000_000)] = 115_200
    baud_up_to: Annotated[int, Field(ge=1200, le=12_000_000)] | None = None
    """Make the line faster than that once the terminal answers, as far as both ends can."""
    dtr: bool | None = None
    """The line as it is to be while the port opens; left to the driver if not given."""
    rts: bool | None = None
    flash: Annotated[list[str] | str | bool, PlainValidator(_flash)] = True
    """``true``: the first of the target's flash tools on PATH; a command, with the names of
    :data:`PLACEHOLDERS` in braces; ``false``: it is flashed already."""
    touch_1200: bool = False
    """Start an Arduino's boot loader before the flash command, by opening its port at 1200 baud."""
    image: Words | None = None
    """An image of your own, seen from the rig file, in place of tinyfin's firmware."""
    reset: Reset = Reset()
    meter: MeterSpec | None = None
    """What measures its current, for suites with ``[energy]``."""
    count: bool = False
    """Count instructions on an emulated target; it is slower."""
    lease: str | None = None
    """What else only one job at a time may use: a relay, a debugger that boards share."""
    off: str | None = None
    """Why this target is left out for now."""

    @property
    def commands(self) -> dict[str, list[str] | str]:
        """The commands that are given, by their keys."""
        power = self.reset.power
        given: dict[str, object] = {
            "flash": self.flash,
            "reset.command": self.reset.command,
            "reset.power.command": power.command if isinstance(power, Power) else None,
        }
        return {key: one for key, one in given.items() if isinstance(one, list | str)}

    @property
    def is_emulated(self) -> bool:
        """Nothing is plugged in for it."""
        return self.emulated or (self.target == HOST and self.port is None)

    @model_validator(mode="after")
    def _reachable(self) -> TargetSpec:
        if self.is_emulated and self.port is not None:
            raise ValueError("an emulated target has no port; remove port, or emulated = true")
        if not self.is_emulated and self.port is None:
            raise ValueError(
                'a board needs port = { serial_number = "..." } (`tinyfin hil suggest`), an '
                "emulated target emulated = true"
            )
        if not self.is_emulated and self.reset.power is True:
            raise ValueError(
                'reset.power = true is for emulated targets; a board needs { command = "..." }, '
                "such as uhubctl or a relay"
            )
        if self.is_emulated and self.meter is not None:
            raise ValueError("a meter is for boards; an emulated target draws no current")
        if self.touch_1200 and (
            self.port is None or not self.port.is_serial or (self.port.url or "").startswith("rfc")
        ):
            raise ValueError("touch_1200 needs a serial port of this machine; remove it")
        if self.touch_1200 and self.flash is False:
            raise ValueError("touch_1200 is for the flash command, and flash = false; remove one")
        if self.is_emulated and self.baud_up_to is not None:
            raise ValueError("baud_up_to needs a serial port; an emulated target has none")
        if self.baud_up_to is not None and self.baud_up_to <= self.baud:
            raise ValueError(
                f"baud_up_to = {self.baud_up_to} is not above baud = {self.baud}; remove it, or "
                "write the highest speed to try, such as 921600"
            )
        if self.is_emulated and self.reset.line is not None:
            raise ValueError("reset.line needs a serial port; an emulated target has none")
        if (
            self.port is not None
            and not self.port.is_serial
            and any(
                given is not None
                for given in (self.reset.line, self.dtr, self.rts, self.baud_up_to)
            )
        ):
            raise ValueError(
                f"reset.line, dtr, rts and baud_up_to need a serial port; {self.port.url} has no "
                "such lines. Remove them, or serve the port as rfc2217://host:port"
            )
        if not isinstance(self.flash, bool) and (self.is_emulated or self.target == HOST):
            raise ValueError(
                "a flash command is for boards; write flash = true, or false to flash nothing"
            )
        if self.image is not None and self.flash is False:
            raise ValueError("image is what is flashed; remove it, or flash = false")
        if self.image is not None and self.target == HOST and self.port is not None:
            raise ValueError("what answers at a port was started elsewhere; remove image, or port")
        if self.is_emulated and self.reset.command is not None:
            raise ValueError("reset.command is for boards; an emulated target has reset.power")
        if self.is_emulated and isinstance(self.reset.power, Power):
            raise ValueError("reset.power with a command is for boards; write reset.power = true")
        return self


class Deadlines(_Section):
    """How long a wait may take, in seconds."""

    build_s: Seconds = 600.0
    flash_s: Seconds = 180.0
    port_s: Seconds = 10.0
    """Until a port appears, again after a reset."""
    boot_s: Seconds = 15.0
    """Until HELLO."""
    answer_s: Seconds = 5.0
    """Until a frame is sent again."""
    silence_s: Seconds = 30.0
    """Without any progress."""
    reset_s: Seconds = 30.0
    """For a reset's command."""
    lease_s: Annotated[float, Field(ge=0, le=86_400)] = 300.0
    """For a board that somebody else is using."""


class _Head(_Section):
    name: str = "rig"
    run: str | None = None
    """Run folder or pack, seen from the rig file; `--run` goes before it."""
    boards: str | None = None
    """Folder with board files of the rig's own targets, seen from the rig file."""


class _File(_Section):
    rig: _Head = _Head()
    deadlines: Deadlines = Deadlines()
    targets: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+$")], TargetSpec] = Field(
        min_length=1
    )


class Rig(BaseModel):
    """A checked rig file."""

    model_config = ConfigDict(frozen=True)

    path: Path | None
    name: str
    run: Path | None
    boards: Path | None
    deadlines: Deadlines
    targets: dict[str, TargetSpec]

    @property
    def where(self) -> str:
        """The file's name, for messages."""
        return str(self.path or "rig")


def default_path() -> Path:
    """``hil/rig.emulated.toml`` of this folder, else of the project. ConfigError if neither."""
    from tinyfin import paths

    for root in (Path(), paths.project_dir()):
        for place in DEFAULT_PLACES:
            if (root / place).is_file():
                return root / place
    raise ConfigError(f"{DEFAULT_PLACES[0]}: no such file; name a rig file with --rig")


def load(path: str | Path) -> Rig:
    """Read and check a rig file. Raises ConfigError with every key that is wrong."""
    path = Path(path)
    table = read_toml(path)
    return from_table(table, path)


def from_table(table: dict[str, object], path: Path | None = None) -> Rig:
    """Check a parsed rig file; paths in it are seen from ``path``. Raises ConfigError."""
    where = str(path or "rig")
    try:
        file = _File.model_validate(table)
    except ValidationError as error:
        raise ConfigError(explain(error, where, _File)) from error

    def seen(name: str | None) -> Path | None:
        folder = path.parent if path else Path()
        return None if name is None else Path(os.path.normpath(folder / name))

    boards = seen(file.rig.boards)
    targets = {
        name: spec
        if spec.image is None
        else spec.model_copy(update={"image": str(seen(spec.image))})
        for name, spec in file.targets.items()
    }
    for name, spec in targets.items():
        _check_commands(where, name, spec)
        if spec.target != HOST:
            _check_target(where, name, spec, boards)
    return Rig(
        path=path,
        name=file.rig.name,
        run=seen(file.rig.run),
        boards=boards,
        deadlines=file.deadlines,
        targets=targets,
    )


def _check_commands(where: str, name: str, spec: TargetSpec) -> None:
    """ConfigError unless every name in braces has a meaning."""
    number = spec.port.serial_number if spec.port is not None else None
    for key, command in spec.commands.items():
        at = f"{where}: targets.{name}.{key}"
        if (wrong := unknown_placeholder(command, PLACEHOLDERS[key])) is not None:
            raise ConfigError(f"{at}: {wrong}")
        used = placeholders(command)
        if "serial_number" in used and number is None:
            raise ConfigError(
                f"{at}: {{serial_number}} is empty, because targets.{name}.port has no "
                "serial_number; add it there, or write the number into the command"
            )
        if "port" in used and spec.port and (spec.port.url or "").startswith("exec:"):
            raise ConfigError(
                f"{at}: {{port}} is empty, because targets.{name}.port is a program; remove it "
                "from the command"
            )


def _check_target(where: str, name: str, spec: TargetSpec, boards: Path | None) -> None:
    from tinyfin.targets import catalogue

    try:
        target = catalogue.get(spec.target, boards)
    except ConfigError as error:
        raise ConfigError(f"{where}: targets.{name}.target: {error}") from error
    require_emulator(f"{where}: targets.{name}", spec, target)
    if not spec.emulated and spec.flash is True and not target.flash_commands:
        raise ConfigError(
            f"{where}: targets.{name}.flash: {target.name} has no flash tool of its own; write "
            'flash = ["tool", "{bin}"], or flash = false when it is flashed already'
        )


def require_emulator(where: str, spec: TargetSpec, target: Target) -> None:
    """ConfigError when a target is to be emulated by what cannot do that."""
    if spec.emulated and (target.emulator if spec.emulator == "qemu" else target.renode) is None:
        other = target.renode if spec.emulator == "qemu" else target.emulator
        hint = "" if other is None else ", or another emulator"
        raise ConfigError(
            f"{where}.emulated: {target.name} has no emulator ({spec.emulator}); give its port"
            f"{hint}"
        )


def select(rig: Rig, names: tuple[str, ...] | list[str]) -> dict[str, TargetSpec]:
    """The targets that are named, or all that are not ``off``. ConfigError for an unknown name, and
    for two targets at one port."""
    from tinyfin.hil.rigs.ports import shared

    for name in names:
        if name not in rig.targets:
            near = difflib.get_close_matches(name, rig.targets, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(rig.targets)}"
            raise ConfigError(f"{rig.where}: no target {name!r}; {hint}")
    chosen = {
        name: spec
        for name, spec in rig.targets.items()
        if (name in names if names else spec.off is None)
    }
    if not chosen:
        raise ConfigError(f"{rig.where}: every target is off; name one with --target")
    if (same := shared(chosen)) is not None:
        one, other, what = same
        raise ConfigError(
            f"{rig.where}: targets.{other}.port: is the port of targets.{one}, too ({what}); "
            f'fix one of the two, or write off = "why" into the one that is not used'
        )
    return chosen


def run_of(rig: Rig, given: Path | None, option: str = "--run") -> Path:
    """The run folder or pack of a rig, or the one ``given`` with ``option``. ConfigError if none is
    named, or it is not there."""
    run = given or rig.run
    if run is None:
        raise ConfigError(f"{rig.where}: rig.run is missing; add it, or give {option}")
    if not run.exists():
        where = option if given else f"{rig.where}: rig.run"
        raise ConfigError(f"{where}: {run} is not there; `tinyfin quantize` makes it")
    return run


def explain(error: ValidationError, where: str, root: type[BaseModel]) -> str:
    """One line per key that is wrong: file, key, value, rule, fix."""
    lines = []
    for item in error.errors():
        loc = [str(part) for part in item["loc"] if part != "[key]"]
        key = ".".join(loc) or "file"
        if item["type"] == "extra_forbidden":
            lines.append(f"{where}: {key}: unknown key {loc[-1]!r}; {_nearest(loc, root)}")
        elif item["type"] == "missing":
            lines.append(f"{where}: {key}: is missing; add it")
        else:
            rule = item["msg"].removeprefix("Value error, ")
            given = item["input"]
            shown = "" if isinstance(given, (dict, BaseModel)) else f" = {given!r}"
            lines.append(f"{where}: {key}{shown}: {rule[:1].lower()}{rule[1:]}")
    return "\n".join(dict.fromkeys(lines))


def _nearest(loc: list[str], root: type[BaseModel]) -> str:
    model: object = root
    for part in loc[:-1]:
        fields = getattr(model, "model_fields", {})
        if part in fields:
            model = fields[part].annotation
            inner = [a for a in getattr(model, "__args__", ()) if hasattr(a, "model_fields")]
            model = inner[0] if inner else model
    known = list(getattr(model, "model_fields", ()))
    near = difflib.get_close_matches(loc[-1], known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"

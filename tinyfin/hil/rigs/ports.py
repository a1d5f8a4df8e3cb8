# SPDX-License-Identifier: Apache-2.0
"""Finds a board's serial port by what does not change, and says what is plugged in."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tinyfin.errors import BenchError
from tinyfin.hil.rigs.rigfile import Port, TargetSpec
from tinyfin.text import one_line

if TYPE_CHECKING:
    from serial.tools.list_ports_common import ListPortInfo

__all__ = [
    "Plugged",
    "find",
    "lease_names",
    "matches",
    "names_at",
    "plugged",
    "shared",
    "stanza",
    "udev_rule",
    "wait_for",
    "wait_for_name",
]

_POLL_S = 0.2
BY_ID = Path("/dev/serial/by-id")


@dataclass(frozen=True)
class Plugged:
    """A serial port that is there now."""

    device: str
    serial_number: str | None = None
    location: str | None = None
    vid_pid: str | None = None
    interface: str | None = None
    description: str = ""
    by_id: str | None = None
    """Its name in /dev/serial/by-id, which udev keeps for it."""

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return dict(vars(self))


Comports = Callable[[], "Iterable[ListPortInfo]"]
"""Pyserial's list of ports, or one like it."""


def _comports() -> Iterable[ListPortInfo]:
    from serial.tools.list_ports import comports

    found: Iterable[ListPortInfo] = comports()
    return found


def plugged(comports: Comports | None = None) -> list[Plugged]:
    """The serial ports of this machine; ``comports`` as pyserial's, for tests."""
    ports = []
    links = _by_id()
    for port in (comports or _comports)():
        known = getattr(port, "vid", None) is not None
        vid_pid = f"{port.vid:04x}:{port.pid:04x}" if known and port.pid is not None else None
        ports.append(
            Plugged(
                port.device,
                getattr(port, "serial_number", None) or None,
                getattr(port, "location", None) or None,
                vid_pid,
                getattr(port, "interface", None) or None,
                getattr(port, "description", "") or "",
                links.get(os.path.realpath(port.device)),
            )
        )
    return sorted(ports, key=lambda p: p.device)


def _by_id() -> dict[str, str]:
    """Devices, and their names in :data:`BY_ID`."""
    with contextlib.suppress(OSError):
        return {os.path.realpath(link): str(link) for link in sorted(BY_ID.iterdir())}
    return {}


def matches(wanted: Port, port: Plugged) -> bool:
    """Whether a port is the one: every key that is given holds."""
    if wanted.serial_number is not None and wanted.serial_number != port.serial_number:
        return False
    if wanted.vid_pid is not None and wanted.vid_pid.lower() != port.vid_pid:
        return False
    if wanted.interface is not None and wanted.interface not in (port.interface or ""):
        return False
    if wanted.location is not None:
        there = port.location or ""
        # 1-1.4 is the socket, 1-1.4:1.0 one interface of what is in it
        return there == wanted.location or there.startswith(wanted.location + ":")
    return True


def find(wanted: Port, comports: Comports | None = None, *, name: str = "target") -> Plugged | None:
    """The port that fits, or None. BenchError when several fit: then it is not clear which."""
    found = [port for port in plugged(comports) if matches(wanted, port)]
    if len(found) > 1:
        names = ", ".join(f"{p.device} ({p.location or p.serial_number})" for p in found)
        raise BenchError(
            f"{name}: {len(found)} ports fit {wanted}: {names}; add location or interface to "
            f"targets.{name}.port"
        )
    return found[0] if found else None


def wait_for(
    wanted: Port, deadline_s: float, comports: Comports | None = None, *, name: str = "target"
) -> Plugged:
    """The port that fits, waiting for it to appear. BenchError with what is there instead."""
    end = time.monotonic() + deadline_s
    while True:
        port = find(wanted, comports, name=name)
        if port is not None:
            return port
        if time.monotonic() >= end:
            break
        time.sleep(min(_POLL_S, max(0.0, end - time.monotonic())))
    there = [
        f"{p.device} ({p.vid_pid}, serial_number {p.serial_number}, location {p.location})"
        for p in plugged(comports)
        if p.vid_pid
    ]
    raise BenchError(
        f"{name}: no port with {wanted} within {deadline_s:g} s; check cable and power. "
        f"Plugged in: {'; '.join(there) or 'no USB serial port'}"
    )


def wait_for_name(path: str, deadline_s: float, *, name: str = "target") -> str:
    """A path such as ``/dev/serial/by-id/...``, waiting for it to be there. BenchError if not."""
    end = time.monotonic() + deadline_s
    while not os.path.exists(path):
        if time.monotonic() >= end:
            raise BenchError(
                f"{name}: {path} is not there within {deadline_s:g} s; check cable and power, and "
                "`ls -l /dev/serial/by-id /dev/serial/by-path`"
            )
        time.sleep(min(_POLL_S, max(0.0, end - time.monotonic())))
    return path


def lease_names(spec: TargetSpec, comports: Comports | None = None) -> list[str]:
    """What a job that uses this target has to lease; nothing for an emulated one without ``lease``.

    A board has several names: two rig files may find it in different ways.
    """
    names = [f"lease {spec.lease}"] if spec.lease else []
    for port in (spec.port, spec.meter.port if spec.meter else None):
        names += _port_names(port, comports) if port is not None else []
    return names


def _port_names(wanted: Port, comports: Comports | None) -> list[str]:
    if wanted.url is not None:
        return names_at(wanted.url)
    names = [str(wanted)]
    with contextlib.suppress(BenchError):  # several fit; finding the port will say so
        port = find(wanted, comports)
        names += _names(port) if port is not None else []
    return names


def shared(
    specs: Mapping[str, TargetSpec], comports: Comports | None = None
) -> tuple[str, str, str] | None:
    """Two targets that have one port, and its name; None when there are none.

    Ports that are plugged in are the same however each is found; of one that is not, only the words
    of the rig file are compared.
    """
    seen: dict[str, str] = {}
    there = [spec for spec in specs.values() if spec.port is not None]
    if len(there) < 2:
        return None
    ports = list((comports or _comports)())
    for name, spec in specs.items():
        own = spec.model_copy(update={"lease": None})  # what boards may share
        for what in lease_names(own, lambda: ports):
            if what in seen:
                return seen[what], name, what
            seen[what] = name
    return None


def names_at(url: str, comports: Comports | None = None) -> list[str]:
    """The same for what ``--port`` names: a device or a URL."""
    if ":" in url and not os.path.exists(url) and not url.startswith("/"):
        return [] if url.startswith("exec:") else [_address(url)]
    device = os.path.realpath(url)
    there = next((p for p in plugged(comports) if os.path.realpath(p.device) == device), None)
    return _names(there or Plugged(device))


def _address(url: str) -> str:
    """One spelling for every way in which a server's port is written; who serves it, by whichever
    protocol, has one line behind it."""
    parts = urlsplit(url)
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if parts.scheme not in ("socket", "tcp", "rfc2217") or not host or not port:
        return url.lower()
    host = "127.0.0.1" if host in ("localhost", "localhost.") else host.rstrip(".")
    with contextlib.suppress(ValueError):
        found = ipaddress.ip_address(host)
        host = f"[{found}]" if found.version == 6 else str(found)
    return f"socket://{host}:{port}"


def _names(port: Plugged) -> list[str]:
    names = [f"port {os.path.realpath(port.device)}"]
    return [*names, f"USB location {port.location}"] if port.location else names


def stanza(
    port: Plugged,
    others: Iterable[Plugged],
    *,
    name: str,
    hello: Mapping[str, object] | None = None,
    silent: str | None = None,
) -> str:
    """What to write into a rig file for ``port``, with the fewest keys that none of ``others`` has.

    hello: what answered there (``target``, ``pack_id``, ``build_id``), if something did; silent:
    why nothing did.
    """
    if not port.vid_pid:
        return (
            f"# {port.device}: no USB device, so only its name distinguishes it.\n"
            "# Give it a name of its own (SYMLINK+= in hil/70-tinyfin.rules) and write\n"
            '# port = { url = "/dev/NAME" }; or serve it (ser2net): url = "rfc2217://...".\n'
        )
    rest = [other for other in others if other.device != port.device]
    chosen = _chosen(port, rest)
    words = ", ".join(f'{key} = "{_escape(value)}"' for key, value in chosen.items())
    said = f"answers as {hello['target']}, pack {hello['pack_id']}" if hello else "does not answer"
    reason = [] if silent is None else [f"# {one_line(silent)}"]
    target = str(hello["target"]) if hello else "stm32f405"
    guess = "" if hello else "   # a name of `tinyfin targets`: this one is a guess"
    lines = [
        f"# {port.device} now: {one_line(port.description) or 'no description'}; {said}",
        *reason,
        f"[targets.{re.sub(r'[^A-Za-z0-9_-]', '-', name)}]",
        f'target = "{_escape(target)}"{guess}',
        f"port = {{ {words} }}",
        *([f'# or port = {{ url = "{_escape(port.by_id)}" }}'] if port.by_id else []),
        *_hints(port),
    ]
    if _same(chosen, rest):
        lines.insert(1, "# several ports look the same: name the one by its location")
    return "\n".join(lines) + "\n"


def _chosen(port: Plugged, rest: Iterable[Plugged]) -> dict[str, str]:
    """The fewest keys that none of the others has, as far as there are such."""
    rest = list(rest)
    chosen: dict[str, str] = {}
    for key in ("serial_number", "location", "vid_pid"):
        value = getattr(port, key)
        if value and not (chosen and not _same(chosen, rest)):
            chosen[key] = value
    if _same(chosen, rest) and port.interface:
        chosen["interface"] = port.interface
    return chosen


ADAPTERS = {
    "10c4": "CP210x",
    "1a86": "CH340",
    "303a": "Espressif's USB port",
    "2341": "Arduino",
    "2a03": "Arduino",
    "0483": "ST-LINK",
    "1366": "J-Link",
    "0d28": "DAPLink",
    "2e8a": "Raspberry Pi",
}
"""Vendors of USB ports whose lines behave in a known way."""

_ESP = ("# dtr = false", "# rts = false", '# reset = { line = { set = "rts" } }')
_ARDUINO = ("# dtr = false", '# reset = { line = { set = "dtr" } }')
_HINTS = {
    "CP210x": ("# if an ESP32 or ESP8266 is behind it:", *_ESP),
    "CH340": (
        "# if an ESP32 or ESP8266 is behind it:",
        *_ESP,
        "# if an Arduino is behind it:",
        *_ARDUINO,
    ),
    "Espressif's USB port": _ESP,
    "Arduino": (
        *_ARDUINO,
        "# if its chip has USB itself (Leonardo, Zero, MKR):",
        "# touch_1200 = true",
        "# dtr = true",
    ),
    "ST-LINK": (
        "# it has no DTR and RTS; its debugger resets the board:",
        """# reset = { command = ["st-flash", "--serial", "{serial_number}", "reset"] }""",
    ),
    "J-Link": ("# its port is silent until DTR is set", "# dtr = true"),
    "DAPLink": ("# it has no DTR and RTS; a debugger resets the board (reset.command)",),
    "Raspberry Pi": ("# its port is silent until DTR is set", "# dtr = true"),
}


def _hints(port: Plugged) -> tuple[str, ...]:
    """Comments for a stanza: what the lines of such a port do."""
    return _HINTS.get(ADAPTERS.get((port.vid_pid or "").partition(":")[0], ""), ())


def udev_rule(port: Plugged, others: Iterable[Plugged], *, name: str) -> str:
    """A rule of udev that gives ``port`` the name ``/dev/tinyfin-NAME``, by what :func:`stanza`
    distinguishes it."""
    if not port.vid_pid:
        return f"# {port.device}: no USB device, so udev knows no more of it than its name\n"
    rest = [other for other in others if other.device != port.device]
    chosen = _chosen(port, rest)
    vendor, _, product = port.vid_pid.partition(":")
    matched = ['SUBSYSTEM=="tty"']
    socket_name, _, interface = (port.location or "").partition(":")
    # what begins with KERNELS or ATTRS must be true of one and the same device above the port
    if "location" in chosen:
        matched.append(f'KERNELS=="{_pattern(socket_name)}"')
    matched += [f'ATTRS{{idVendor}}=="{vendor}"', f'ATTRS{{idProduct}}=="{product}"']
    if "serial_number" in chosen:
        matched.append(f'ATTRS{{serial}}=="{_pattern(chosen["serial_number"])}"')
    number = interface.rpartition(".")[2]
    siblings = [p for p in rest if (p.location or "").partition(":")[0] == socket_name]
    if siblings and number.isdigit():
        matched.append(f'ENV{{ID_USB_INTERFACE_NUM}}=="{int(number):02x}"')
    link = re.sub(r"[^A-Za-z0-9_-]", "-", name)
    lines = [
        f"# {port.device} now: {one_line(port.description) or 'no description'}",
        f'# port = {{ url = "/dev/tinyfin-{link}" }}',
        ", ".join([*matched, f'SYMLINK+="tinyfin-{link}"']),
    ]
    if _same(chosen, rest):
        lines.insert(1, "# several ports look the same: this rule fits each of them")
    return "\n".join(lines) + "\n"


def _pattern(text: str) -> str:
    """Text in a pattern of udev: a character that means something there matches as any one."""
    return "".join(c if c.isalnum() or c in " .,:;=+-_/()@#" else "?" for c in text)


def _same(chosen: Mapping[str, str], others: Iterable[Plugged]) -> bool:
    """Whether another port fits what is chosen, too."""
    wanted = Port(**chosen) if chosen else None
    return wanted is None or any(matches(wanted, other) for other in others)


def _escape(text: str) -> str:
    """The inside of a TOML string."""
    plain = text.replace("\\", "\\\\").replace('"', '\\"')
    return "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in plain)

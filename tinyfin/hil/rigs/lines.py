# SPDX-License-Identifier: Apache-2.0
"""What a serial port's lines and speed do to boards: resets, and an Arduino's boot loader."""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING

from tinyfin.errors import BenchError
from tinyfin.hil.rigs.ports import Comports, Plugged, plugged
from tinyfin.hil.rigs.rigfile import Line

if TYPE_CHECKING:
    import serial

__all__ = ["pulse", "touch_1200"]

_TOUCH_BAUD = 1200
_TOUCH_HOLD_S = 0.1
_POLL_S = 0.05


def pulse(port: serial.SerialBase, line: Line) -> None:
    """Set a line of a ``serial.Serial``, hold it, and clear it (or the other way round)."""
    try:
        setattr(port, line.set, not line.inverted)
        time.sleep(line.hold_s)
        setattr(port, line.set, line.inverted)
    except (OSError, ValueError) as error:
        raise BenchError(
            f"{getattr(port, 'port', 'port')}: its {line.set.upper()} line cannot be set: {error}; "
            "this adapter may not have it: remove reset.line"
        ) from error


def touch_1200(
    device: str, deadline_s: float, comports: Comports | None = None, *, name: str = "target"
) -> str:
    """Open a board's port at 1200 baud and close it, which starts an Arduino's boot loader; the
    name of the boot loader's port. BenchError when it does not come.

    The boot loader is another USB device in the same socket, with a name of its own.
    """
    before = _at(device, comports)
    if before is None or before.location is None:
        raise BenchError(
            f"{name}: touch_1200 needs a port of a USB device, and {device} is none; remove "
            "touch_1200"
        )
    _touch(device, name)
    socket_name = before.location.partition(":")[0]
    end = time.monotonic() + deadline_s
    while True:
        for port in plugged(comports):
            there = (port.location or "").partition(":")[0] == socket_name
            if there and _identity(port) != _identity(before):
                return port.device
        if time.monotonic() >= end:
            raise BenchError(
                f"{name}: no boot loader at USB location {socket_name} within {deadline_s:g} s "
                f"after {device} was opened at {_TOUCH_BAUD} baud; press the board's reset button "
                "twice, or remove touch_1200"
            )
        time.sleep(_POLL_S)


def _at(device: str, comports: Comports | None) -> Plugged | None:
    real = os.path.realpath(device)
    return next((p for p in plugged(comports) if os.path.realpath(p.device) == real), None)


def _identity(port: Plugged) -> tuple[str | None, str | None]:
    return port.vid_pid, port.serial_number


def _touch(device: str, name: str) -> None:
    import serial

    try:
        with serial.Serial(device, _TOUCH_BAUD) as port:
            with contextlib.suppress(OSError):  # the speed is what counts
                port.dtr = False
            time.sleep(_TOUCH_HOLD_S)
    except (OSError, ValueError) as error:
        raise BenchError(
            f"{name}: {device} cannot be opened at {_TOUCH_BAUD} baud: {error}; is another "
            "program using it?"
        ) from error

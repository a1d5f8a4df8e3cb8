# SPDX-License-Identifier: Apache-2.0
"""The serial port as a link: no other process uses it while it is open."""

from __future__ import annotations

import contextlib
import os
import select
import time
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tinyfin.errors import BenchError, TargetError
from tinyfin.wire import devices
from tinyfin.wire.links import (
    CHUNK_BYTES,
    WRITE_TIMEOUT_S,
    Deadline,
    Link,
    ProcessLink,
    TcpLink,
    gone,
    no_reset,
)

if TYPE_CHECKING:
    import serial

__all__ = ["SerialLink", "open_link"]

_POLL_S = 0.002


class SerialLink:
    """A serial port, by device name or any URL that pyserial knows, such as
    ``rfc2217://host:port``. While it is open, no other program can open it
    (:mod:`tinyfin.wire.devices`); one that a URL names is kept by whoever serves it.

    ``dtr`` and ``rts`` are set before the port opens, because on many boards they are wired to
    reset; None leaves a line as the driver has it. ``reset`` restarts the board, by whatever means
    the bench has: it gets the open port (a ``serial.Serial``) and may close it, when the board
    vanishes from the bus; ``locate`` then says under which name it is back.
    """

    def __init__(
        self,
        url: str,
        *,
        baud: int = 115200,
        dtr: bool | None = None,
        rts: bool | None = None,
        reset: Callable[[serial.SerialBase], None] | None = None,
        locate: Callable[[], str] | None = None,
    ) -> None:
        import serial

        self.name = url
        self.can_reset = reset is not None
        self._reset = reset
        self._locate = locate
        self.first_baud = baud
        self._lines = (dtr, rts)
        self._errors: tuple[type[Exception], ...] = (
            serial.SerialException,
            OSError,
            TypeError,
            ValueError,
            NotImplementedError,
        )
        try:
            self._open()
        except self._errors as error:
            raise BenchError(devices.explain(url, error)) from error

    def _open(self) -> None:
        import serial

        dtr, rts = self._lines
        self._port: serial.SerialBase = serial.serial_for_url(self.name, do_not_open=True)
        self._port.baudrate = self.first_baud
        self._port.timeout = 0
        if "://" not in self.name:  # a URL's port has a deadline of its own, and refuses this one
            self._port.write_timeout = WRITE_TIMEOUT_S
        if dtr is not None:
            self._port.dtr = dtr
        if rts is not None:
            self._port.rts = rts
        self._port.exclusive = True
        with warnings.catch_warnings():  # pyserial's rfc2217 calls what threading has renamed
            warnings.simplefilter("ignore", DeprecationWarning)
            self._port.open()
        self._fd: int | None = None
        # a port that is no file (a URL of pyserial's) has no number
        with contextlib.suppress(OSError, AttributeError, ValueError):
            self._fd = self._port.fileno()
        self._lock()

    def _lock(self) -> None:
        if self._fd is None:
            return
        try:
            devices.lock(self._fd, self.name)
        except BenchError:
            self.close()
            raise

    def reopen(self, timeout_s: float) -> None:
        self.close()
        deadline = Deadline(timeout_s)
        errors: tuple[type[Exception], ...] = (*self._errors, TargetError)
        while True:
            try:
                if self._locate is not None:
                    self.name = self._locate()
                self._open()
                return
            except errors as error:
                if deadline.passed:
                    if getattr(error, "errno", None) in devices.BUSY:
                        raise BenchError(devices.explain(self.name, error)) from error
                    raise gone(self.name, error) from error
                time.sleep(0.05)

    @property
    def baud(self) -> int:
        """The speed now; it is the first one again after ``reopen`` and ``reset``."""
        return int(self._port.baudrate)

    def set_baud(self, baud: int) -> None:
        """Change the speed when all bytes have left. ValueError when this port cannot do it."""
        before = self.baud
        try:
            self._port.flush()
            self._port.baudrate = baud
        except self._errors as error:
            with contextlib.suppress(*self._errors):
                self._port.baudrate = before
            raise ValueError(f"{self.name}: cannot do {baud} baud: {error}") from error

    def reset(self) -> None:
        if self._reset is None:
            raise no_reset(self.name)
        if self.baud != self.first_baud:
            self.set_baud(self.first_baud)
        self._unlock()
        self._reset(self._port)
        if self._port.is_open:
            self._lock()
        else:
            self.reopen(WRITE_TIMEOUT_S)

    def _unlock(self) -> None:
        if self._fd is not None:
            devices.unlock(self._fd)

    def read(self, timeout_s: float) -> bytes:
        try:
            if self._fd is not None:
                if not select.select([self._fd], [], [], timeout_s)[0]:
                    return b""
                data = os.read(self._fd, CHUNK_BYTES)
                if not data:
                    raise gone(self.name)
                return data
            return self._poll(timeout_s)
        except self._errors as error:
            raise gone(self.name, error) from error

    def _poll(self, timeout_s: float) -> bytes:
        """``read`` of a port that is no file. Its timeout stays 0: a new one would be negotiated
        with whoever serves it."""
        end = Deadline(timeout_s)
        while not (data := bytes(self._port.read(1))):
            if end.passed:
                return b""
            time.sleep(min(_POLL_S, end.left()))
        while (there := self._port.in_waiting) and len(data) < CHUNK_BYTES:
            for _ in range(min(there, CHUNK_BYTES - len(data))):
                data += self._port.read(1)
        return data

    def others(self) -> list[str]:
        """The other programs that have the port open, as far as this user may know."""
        return [] if self._fd is None else devices.users_of(self.name)

    def write(self, data: bytes) -> None:
        try:
            self._port.write(data)
        except self._errors as error:
            raise gone(self.name, error) from error

    def close(self) -> None:
        with contextlib.suppress(*self._errors):
            if self._port.is_open:
                self._unlock()
            self._port.close()


def open_link(url: str, *, baud: int = 115200) -> Link:
    """The link that ``url`` names: ``socket://host:port``, ``exec:program``, else a serial port."""
    parts = urlsplit(url)
    if parts.scheme in ("socket", "tcp"):
        try:
            port = parts.port
        except ValueError:  # no number, or above 65535
            port = None
        if not parts.hostname or not port:
            raise BenchError(f"{url}: the address is incomplete; use socket://host:port")
        return TcpLink(parts.hostname, port)
    if parts.scheme == "exec":
        return ProcessLink([url.removeprefix("exec:")])
    return SerialLink(url, baud=baud)

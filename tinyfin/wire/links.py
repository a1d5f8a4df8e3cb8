# SPDX-License-Identifier: Apache-2.0
"""Byte transports: a TCP socket, a process; :mod:`tinyfin.wire.serial_link` has the serial port.

A link carries bytes and knows nothing of frames. ``read`` never waits longer than asked, and
both directions raise LinkLost once the other end is gone. A link is also how to get it back
(``reopen``) and, where the bench can do that, how to restart the terminal behind it (``reset``).
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

from tinyfin.errors import BenchError, LinkError, TargetError

__all__ = [
    "Deadline",
    "Link",
    "LinkAround",
    "LinkLost",
    "ProcessLink",
    "SerialSpeed",
    "TcpLink",
    "gone",
    "no_reset",
    "others_at",
    "speed_of",
]

CHUNK_BYTES = 65536
"""The most that is read at once."""
WRITE_TIMEOUT_S = 20.0
"""How long the other end may take no bytes."""


class Deadline:
    """A point in time that a wait must not pass."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds left, never below 0."""
        return max(0.0, self._end - time.monotonic())

    def restart(self) -> None:
        """Begin the same span again, from now."""
        self._end = time.monotonic() + self.seconds

    @property
    def passed(self) -> bool:
        """Whether it is too late."""
        return time.monotonic() >= self._end


class LinkLost(LinkError):
    """The other end of a link is gone; ``reopen`` may bring it back."""


class Link(Protocol):
    """A byte transport."""

    @property
    def name(self) -> str:
        """What the user calls it: a port, an address, a program."""

    @property
    def can_reset(self) -> bool:
        """Whether ``reset`` works here."""

    def read(self, timeout_s: float) -> bytes:
        """Bytes that are there, waiting at most ``timeout_s`` for the first; b"" when none came."""

    def write(self, data: bytes) -> None:
        """Send all of ``data``."""

    def close(self) -> None:
        """Let go of it; may be called twice."""

    def reopen(self, timeout_s: float) -> None:
        """Connect again within ``timeout_s``; whatever was on its way is lost. LinkLost if not."""

    def reset(self) -> None:
        """Restart the terminal as its reset button does, without asking; the link is open again.

        BenchError when there is no such means.
        """


class LinkAround:
    """A link that passes everything on to ``inner``: its subclasses change the bytes."""

    def __init__(self, inner: Link) -> None:
        self.inner = inner

    @property
    def name(self) -> str:
        """As the link underneath."""
        return self.inner.name

    @property
    def can_reset(self) -> bool:
        """As the link underneath."""
        return self.inner.can_reset

    def read(self, timeout_s: float) -> bytes:
        return self.inner.read(timeout_s)

    def write(self, data: bytes) -> None:
        self.inner.write(data)

    def close(self) -> None:
        self.inner.close()

    def reopen(self, timeout_s: float) -> None:
        self.inner.reopen(timeout_s)

    def reset(self) -> None:
        self.inner.reset()


@runtime_checkable
class SerialSpeed(Protocol):
    """What a link has whose line has a speed."""

    @property
    def baud(self) -> int:
        """The speed now."""

    @property
    def first_baud(self) -> int:
        """The speed at which it opens, which is the terminal's after a restart."""

    def set_baud(self, baud: int) -> None:
        """Change the speed when all bytes have left. ValueError when this port cannot do it."""


def _innermost(link: Link) -> Link:
    while isinstance(link, LinkAround):
        link = link.inner
    return link


def speed_of(link: Link) -> SerialSpeed | None:
    """The speed of the line under a link, where it has one."""
    inner = _innermost(link)
    return inner if isinstance(inner, SerialSpeed) else None


def others_at(link: Link) -> list[str]:
    """The other programs that have the port of a link open, in words, where that can be known."""
    others: Callable[[], list[str]] | None = getattr(_innermost(link), "others", None)
    return others() if others is not None else []


def gone(name: str, error: object = "") -> LinkLost:
    """The error of a link whose other end is gone."""
    why = f": {error}" if str(error) else ""
    return LinkLost(
        f"{name}: the other end closed the link{why}; "
        "check power and cable, or whether the emulator still runs"
    )


def no_reset(name: str) -> BenchError:
    """The error of a link that cannot reset the terminal."""
    return BenchError(
        f"{name}: there is no way to reset the terminal behind this link; press its button, or use "
        "a rig file that says how"
    )


class TcpLink:
    """A serial line behind a TCP port: an emulator, ser2net, a test.

    ``restart`` restarts what listens there and returns its address, which may be another one.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        timeout_s: float = 10.0,
        restart: Callable[[], tuple[str, int]] | None = None,
    ) -> None:
        self._address = (host, port)
        self._restart = restart
        self.can_reset = restart is not None
        self._connect(timeout_s, BenchError)

    def _connect(self, timeout_s: float, failure: type[TargetError] = LinkLost) -> None:
        host, port = self._address
        self.name = f"socket://{host}:{port}"
        deadline = Deadline(timeout_s)
        while True:
            try:
                self._socket = socket.create_connection((host, port), max(0.1, deadline.left()))
                break
            except OSError as error:
                if deadline.passed:
                    raise failure(
                        f"{self.name}: nothing listens there ({error}); "
                        "start the emulator or check the address"
                    ) from error
                time.sleep(0.02)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.settimeout(WRITE_TIMEOUT_S)

    def reopen(self, timeout_s: float) -> None:
        self.close()
        self._connect(timeout_s)

    def reset(self) -> None:
        if self._restart is None:
            raise no_reset(self.name)
        self.close()
        self._address = self._restart()
        self._connect(WRITE_TIMEOUT_S)

    def read(self, timeout_s: float) -> bytes:
        try:
            if not select.select([self._socket], [], [], timeout_s)[0]:
                return b""
            data = self._socket.recv(CHUNK_BYTES)
        except (OSError, ValueError) as error:
            raise gone(self.name, error) from error
        if not data:
            raise gone(self.name)
        return data

    def write(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except (OSError, ValueError) as error:
            raise gone(self.name, error) from error

    def close(self) -> None:
        self._socket.close()


class ProcessLink:
    """A terminal in a process, its serial line on standard input and output.

    ``reopen`` keeps a process that still runs, as a cable that is plugged in again would;
    ``reset`` kills it and starts another one.
    """

    can_reset = True

    def __init__(self, command: Sequence[str]) -> None:
        self.name = str(command[0])
        self._command = list(command)
        self._start()

    def _start(self) -> None:
        try:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
            )
        except OSError as error:
            raise BenchError(f"{self.name}: cannot start it: {error}") from error
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._in = self._process.stdin.fileno()
        self._out = self._process.stdout.fileno()

    def reopen(self, timeout_s: float) -> None:
        if self._process.poll() is not None:
            self.close()
            self._start()
            return
        while select.select([self._out], [], [], 0.0)[0]:
            if not os.read(self._out, CHUNK_BYTES):
                raise self._ended()

    def reset(self) -> None:
        self._process.kill()
        self.close()
        self._start()

    def read(self, timeout_s: float) -> bytes:
        if not select.select([self._out], [], [], timeout_s)[0]:
            return b""
        data = os.read(self._out, CHUNK_BYTES)
        if not data:
            raise self._ended()
        return data

    def write(self, data: bytes) -> None:
        deadline = Deadline(WRITE_TIMEOUT_S)
        while data:
            if not select.select([], [self._in], [], deadline.left())[1]:
                raise gone(self.name, "it takes no bytes")
            try:
                data = data[os.write(self._in, data[:4096]) :]
            except OSError as error:
                raise self._ended() from error

    def _ended(self) -> LinkLost:
        try:
            return gone(self.name, f"it ended with code {self._process.wait(WRITE_TIMEOUT_S)}")
        except subprocess.TimeoutExpired:
            return gone(self.name, "it closed its serial line but runs on")

    def close(self) -> None:
        process = self._process
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        try:
            process.wait(1.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

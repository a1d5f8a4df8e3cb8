# SPDX-License-Identifier: Apache-2.0
"""A serial cable from a host's port, a pseudo-terminal, to a terminal on this machine; both ends
have a speed."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import subprocess
import termios
import threading
import time
import tty
from pathlib import Path

from tests.support.process import ROOT
from tinyfin.hil.links.host_process import build_host_terminal

SPEEDS = {
    getattr(termios, name): int(name[1:])
    for name in dir(termios)
    if name.startswith("B") and name[1:].isdigit()
}
MARK = re.compile(rb"<TFIN-SPEED (\d+)>")
"""Among the terminal's bytes: from here on it has this speed (firmware/test/speed_marks.c)."""


def build_terminal(pack: bytes) -> Path:
    """A terminal for the end of a cable."""
    marks = ROOT / "firmware" / "test" / "speed_marks.c"
    return build_host_terminal(pack, defines=["TFIN_PORT_OWN_SPEED"], cflags=("-O2", str(marks)))


class Cable:
    """Bytes pass unchanged while both ends have one speed that the cable carries; else they are
    noise. ``name`` is a link to the host's port, as udev keeps them; ``unplug`` and ``plug`` take
    the port away and bring another one, and the terminal runs on."""

    def __init__(self, program: Path, link: Path, *, carries: int = 921_600) -> None:
        self._program, self.carries = program, carries
        self.noise_bytes = 0
        self.terminal_baud = 0
        self.speeds: list[int] = []
        """Of the terminal, one after the other."""
        self._ended = threading.Event()
        self._link = link
        self.name = str(link)
        self._plugged = threading.Lock()
        self._host = self._port = -1
        self.plug()
        self._terminal: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None
        self.power_on()

    @property
    def host_baud(self) -> int:
        return SPEEDS[termios.tcgetattr(self._host)[5]]

    def plug(self) -> None:
        with self._plugged:
            self._host, self._port = pty.openpty()
            tty.setraw(self._port)
            line = termios.tcgetattr(self._port)
            line[4] = line[5] = termios.B115200
            termios.tcsetattr(self._port, termios.TCSANOW, line)
        self._link.symlink_to(os.ttyname(self._port))

    def unplug(self) -> None:
        self._link.unlink()
        with self._plugged:
            os.close(self._host)
            os.close(self._port)
            self._host = -1

    def power_on(self) -> None:
        self._ended.clear()
        self._terminal = subprocess.Popen(
            [str(self._program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )
        self._thread = threading.Thread(target=self._carry, args=[self._terminal], daemon=True)
        self._thread.start()

    def power_off(self) -> None:
        assert self._terminal is not None
        assert self._thread is not None
        self._ended.set()
        self._thread.join(5.0)
        self._terminal.kill()
        self._terminal.wait()
        for stream in (self._terminal.stdin, self._terminal.stdout):
            assert stream is not None
            stream.close()

    def _carry(self, terminal: subprocess.Popen[bytes]) -> None:
        assert terminal.stdin is not None
        assert terminal.stdout is not None
        up, down = terminal.stdin.fileno(), terminal.stdout.fileno()
        rest = b""
        while not self._ended.is_set():
            with self._plugged, contextlib.suppress(OSError):
                host = [] if self._host < 0 else [self._host]
                ready = select.select([*host, down], [], [], 0.005)[0]
                if down in ready:
                    rest = self._down(rest + os.read(down, 65536))
                if self._host in ready:
                    os.write(up, self._through(os.read(self._host, 4096)))
            time.sleep(0)  # lets another thread unplug it

    def _down(self, data: bytes) -> bytes:
        """Pass on what the terminal says; what may be the beginning of a mark is kept."""
        while (mark := MARK.search(data)) is not None:
            self._to_host(data[: mark.start()])
            self.terminal_baud = int(mark[1])
            self.speeds.append(self.terminal_baud)
            data = data[mark.end() :]
        begun = data.rfind(b"<")
        whole = begun if begun >= 0 and len(data) - begun < 24 else len(data)
        if not data[whole:] or not b"<TFIN-SPEED ".startswith(data[whole:][:12]):
            whole = len(data)
        self._to_host(data[:whole])
        return data[whole:]

    def _to_host(self, data: bytes) -> None:
        if self._host < 0:
            return
        data = self._through(data)
        while data:
            data = data[os.write(self._host, data) :]

    def _through(self, data: bytes) -> bytes:
        if self.terminal_baud == self.host_baud <= self.carries:
            return data
        self.noise_bytes += len(data)
        return bytes(byte ^ 0xA5 or 0xA5 for byte in data[::2])

    def close(self) -> None:
        self.power_off()
        if self._host >= 0:
            self.unplug()

    def __enter__(self) -> Cable:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

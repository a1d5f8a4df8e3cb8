# SPDX-License-Identifier: Apache-2.0
"""A serial line of a given speed: a PTY on one side, a terminal's program on the other.

``python -m tinyfin.hil.lines.throttle BAUD PROGRAM`` prints the name of the PTY and passes bytes
between it and the program, in either direction no faster than a UART with 8 data bits, no parity
and one stop bit would: 10 bits a byte. It ends with the program, or when its own standard input is
closed.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Sequence

from tinyfin.errors import BenchError
from tinyfin.wire.links import SerialLink

__all__ = ["LineLink", "bytes_per_second"]

_STEP_S = 0.0005
_DEADLINE_S = 10.0


def bytes_per_second(baud: int) -> float:
    """What a line of this speed carries at most, in one direction (8N1)."""
    return baud / 10


class _Way:
    """One direction. A busy line loses no time, however late this process gets its turn."""

    def __init__(self, source: int, sink: int, rate: float) -> None:
        self.source, self.sink, self._rate = source, sink, rate
        self._since: float | None = None  # None: the line is idle

    @property
    def busy(self) -> bool:
        return self._since is not None

    def pump(self, readable: bool) -> bool:
        """Pass on what the line had time for; False at the end of the source."""
        now = time.monotonic()
        if self._since is None:
            if readable:
                self._since = now
            return True
        most = int((now - self._since) * self._rate)
        if most < 1:
            return True
        if not readable:
            self._since = None
            return True
        try:
            data = os.read(self.source, min(most, 4096))
        except OSError:
            return False
        if not data:
            return False
        view = memoryview(data)
        while view:
            view = view[os.write(self.sink, view) :]
        self._since += len(data) / self._rate
        return True


def _serve(baud: int, command: Sequence[str]) -> int:
    import tty

    master, slave = os.openpty()
    tty.setraw(slave)  # the slave stays open, so that the master never sees it closed
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as p:
        assert p.stdin is not None
        assert p.stdout is not None
        rate = bytes_per_second(baud)
        ways = [_Way(master, p.stdin.fileno(), rate), _Way(p.stdout.fileno(), master, rate)]
        print(os.ttyname(slave), flush=True)
        owner = sys.stdin.fileno()
        try:
            while True:
                sources = [way.source for way in ways if not way.busy]
                wait = _STEP_S if any(way.busy for way in ways) else None
                select.select([owner, *sources], [], [], wait)
                ready = select.select([owner, *(way.source for way in ways)], [], [], 0.0)[0]
                if owner in ready and not os.read(owner, 1):
                    return 0
                for way in ways:
                    if not way.pump(way.source in ready):
                        return 0
        finally:
            p.kill()


class LineLink(SerialLink):
    """A terminal's program behind a serial line of ``baud``; ``reset`` starts both anew."""

    def __init__(self, command: Sequence[str], baud: int) -> None:
        self._command = [sys.executable, "-m", "tinyfin.hil.lines.throttle", str(baud), *command]
        self._start_line()
        super().__init__(self._pty, baud=baud, reset=lambda port: port.close(),
                         locate=self._restart_line)  # fmt: skip

    def _start_line(self) -> None:
        self._line = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._line.stdout is not None
        ready = select.select([self._line.stdout], [], [], _DEADLINE_S)[0]
        self._pty = self._line.stdout.readline().decode().strip() if ready else ""
        if not self._pty:
            self._end_line()
            raise BenchError(f"{self._command[-1]}: the line in front of it did not start")

    def _restart_line(self) -> str:
        self._end_line()
        self._start_line()
        return self._pty

    def _end_line(self) -> None:
        for stream in (self._line.stdin, self._line.stdout):
            if stream is not None:
                stream.close()
        try:
            self._line.wait(_DEADLINE_S)
        except subprocess.TimeoutExpired:
            self._line.kill()
            self._line.wait()

    def close(self) -> None:
        super().close()
        self._end_line()


if __name__ == "__main__":
    sys.exit(_serve(int(sys.argv[1]), sys.argv[2:]))

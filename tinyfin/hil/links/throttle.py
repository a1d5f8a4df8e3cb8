# SPDX-License-Identifier: Apache-2.0
"""A serial line of a given speed: a PTY on one side, a terminal's program on the other.

``python -m tinyfin.hil.links.throttle BAUD PROGRAM`` prints the name of the PTY and passes bytes
between it and the program, in either direction no faster than a UART with 8 data bits, no parity
and one stop bit would: 10 bits a byte. It ends with the program, or when its own standard input is
closed. The line is a C program (``firmware/ports/host/line.c``), so that it takes next to nothing
of the machine that it is measured on.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
from collections.abc import Sequence

from tinyfin.errors import BenchError
from tinyfin.hil.links.host_process import build_host_line
from tinyfin.wire.serial_link import SerialLink

__all__ = ["LineLink", "bytes_per_second"]

_DEADLINE_S = 10.0


def bytes_per_second(baud: int) -> float:
    """What a line of this speed carries at most, in one direction (8N1)."""
    return baud / 10


class LineLink(SerialLink):
    """A terminal's program behind a serial line of ``baud``; ``reset`` starts both again."""

    def __init__(self, command: Sequence[str], baud: int) -> None:
        self._command = [str(build_host_line()), str(baud), *command]
        self._start_line()
        super().__init__(
            self._pty, baud=baud, reset=lambda port: port.close(), locate=self._restart_line
        )

    def _start_line(self) -> None:
        self._line = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
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
    line = str(build_host_line())
    os.execv(line, [line, *sys.argv[1:]])

# SPDX-License-Identifier: Apache-2.0
"""A line to a real terminal that misbehaves on request, at a TCP port of this machine."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

from tinyfin.hil.rigs.rigfile import Deadlines, TargetSpec, from_table
from tinyfin.hil.runs.suites import Simulated, Suite, SuiteData, SuiteReplay
from tinyfin.hil.runs.target import Job
from tinyfin.wire.frames import encode_frame
from tinyfin.wire.links import ProcessLink

SHORT = Deadlines(boot_s=1.5, answer_s=0.4, silence_s=2.5, reset_s=2.0, port_s=1.0, lease_s=0.0)
SMALL = Suite(
    name="small",
    data=SuiteData(simulate=Simulated(terminals=1, days=4), limit=120),
    deadline_s=20.0,
)

Hook = Callable[["Line", bytes], bytes | None]


def log_frame(text: str) -> bytes:
    data = text.encode()
    return encode_frame(0x8E, 0, bytes([2, len(data)]) + data)


class Line:
    """Passes bytes between a TCP port and a terminal program; ``down`` may change what comes back.

    A hook gets the line and the bytes, and gives what is passed on; None closes the line for good.
    ``down_bytes`` counts what the terminal has sent since the line was ``armed``.
    """

    def __init__(self, program: Path | None, *, up: Hook | None = None, down: Hook | None = None):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"socket://127.0.0.1:{self._listener.getsockname()[1]}"
        self._program, self._up, self._down = program, up, down
        self._terminal: ProcessLink | None = None
        self.down_bytes = 0
        self.armed = False
        self.ended = threading.Event()
        self.connection: socket.socket | None = None
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def now(self) -> bool:
        """Time to misbehave: a suite is under way, and some answers were passed on."""
        return self.down_bytes > 300

    def arm(self, event: dict[str, object]) -> None:
        """For ``run_target``: the fault waits for the first suite."""
        self.armed |= event["event"] == "begin" and event["case"] == "small"

    def restart(self) -> None:
        assert self._terminal is not None
        self._terminal.reset()

    def _serve(self) -> None:
        if self._program is not None:
            self._terminal = ProcessLink([str(self._program)])
        while not self.ended.is_set():
            try:
                self.connection, _ = self._listener.accept()
            except OSError:
                return
            with self.connection, contextlib.suppress(OSError):
                self._carry(self.connection)

    def _carry(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        while not self.ended.is_set():
            with contextlib.suppress(BlockingIOError):
                data: bytes | None = connection.recv(65536)
                if not data:
                    return
                data = self._up(self, data) if self._up else data
                if data and self._terminal is not None:
                    self._terminal.write(data)
            answer: bytes | None = b""
            if self._terminal is not None:
                answer = self._terminal.read(0.002)
                self.down_bytes += len(answer) if self.armed else 0
            else:
                time.sleep(0.002)
            if self._down:
                answer = self._down(self, answer or b"")
                if answer is None:
                    self._listener.close()
                    return
            if answer:
                connection.setblocking(True)
                connection.settimeout(1.0)
                connection.sendall(answer)
                connection.setblocking(False)

    def close(self) -> None:
        self.ended.set()
        self._listener.close()
        self._thread.join(5.0)
        if self._terminal is not None:
            self._terminal.close()


def spec(url: str, **more: object) -> TargetSpec:
    return TargetSpec.model_validate(
        {"target": "host", "port": {"url": url}, "flash": False, **more}
    )


def job(pack: Path, url: str, *suites: Suite, folder: Path | None = None, **more: object) -> Job:
    return Job(
        "board", spec(url, **more), SHORT, pack, (), suites or (SMALL,), folder, lease_wait_s=0.0
    )


__all__ = ["SHORT", "SMALL", "Line", "SuiteReplay", "from_table", "job", "log_frame", "spec"]

# SPDX-License-Identifier: Apache-2.0
"""Other users of this machine: a piece of a test that runs in a process of theirs."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import traceback
from collections.abc import Callable
from types import TracebackType

import pytest

ANNA, BEN = 65_534, 54_321
"""``nobody``, and a user without a name."""

Say = Callable[[str], object]
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to be two users")


class Other:
    """A process that runs ``work`` as ``uid``; what it says is read line by line. It is killed when
    the block ends."""

    def __init__(self, uid: int, work: Callable[[Say], object]) -> None:
        self._read, write = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.setgroups([])
                os.setresgid(uid, uid, uid)
                os.setresuid(uid, uid, uid)
                work(lambda text: os.write(write, text.encode() + b"\n"))
            except BaseException:
                os.write(write, traceback.format_exc().replace("\n", " | ").encode() + b"\n")
            os._exit(0)
        os.close(write)
        self._rest = b""

    def line(self, timeout_s: float = 30.0) -> str:
        while b"\n" not in self._rest:
            assert select.select([self._read], [], [], timeout_s)[0], "it says nothing"
            data = os.read(self._read, 4096)
            assert data, "it has ended"
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode()

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)

    def __enter__(self) -> Other:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()
        os.close(self._read)

# SPDX-License-Identifier: Apache-2.0
"""Who uses a board: one job at a time, whichever user's, from flashing to the last suite.

A job holds the names of its board as addresses of Unix sockets (in Linux' abstract namespace, which
belongs to no folder and no user). The kernel gives an address to one process only and takes it back
when the process ends, however it ends. Whoever finds it taken asks there who it is. While the port
is open it is locked itself (:mod:`tinyfin.wire.devices`); a lease holds while it is closed, too.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterable
from types import TracebackType

from tinyfin.errors import BenchError
from tinyfin.text import one_line
from tinyfin.wire.devices import user_name

__all__ = ["Lease", "holder"]

_POLL_S = 0.2
_ANSWER_S = 1.0
_ANSWER_BYTES = 512
_CREDENTIALS = struct.Struct("3i")


class Lease:
    """The right to use a board; a context manager, which waits for it and gives it back.

    names: what distinguishes the board; two leases exclude each other when they share one.
    what: what it is for, for the messages of others. wait_s: how long to wait while somebody else
    has it; note: gets whom one waits for. Raises BenchError naming the holder.
    """

    def __init__(
        self,
        names: Iterable[str],
        what: str,
        *,
        wait_s: float = 0.0,
        note: Callable[[str], object] = lambda _: None,
    ) -> None:
        self.names = sorted(set(names))
        self._what, self._wait_s, self._note = what, wait_s, note
        self._held: list[tuple[socket.socket, threading.Thread]] = []

    def __enter__(self) -> Lease:
        end = time.monotonic() + self._wait_s
        said = ""
        while (taken := self._take()) is not None:
            named = holder([taken])
            who = named or "a job that is just ending"
            if time.monotonic() >= end:
                raise BenchError(
                    f"{taken}: in use by {who}; wait longer (--wait SECONDS, or deadlines.lease_s "
                    "of the rig file), or end that job"
                )
            if not said or named not in (None, said):
                self._note(f"waiting for {taken}, in use by {who}")
                said = who
            time.sleep(min(_POLL_S, max(0.01, end - time.monotonic())))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for held, answering in self._held:
            with contextlib.suppress(OSError):
                held.shutdown(socket.SHUT_RDWR)
            answering.join()  # while it waits on the address, the address is taken
            held.close()
        self._held.clear()

    def _take(self) -> str | None:
        """Take all names, or none; the one that is taken."""
        since = time.strftime("%H:%M:%S")
        text = f"{self._what}, since {since}".encode()[:_ANSWER_BYTES]
        taken: list[socket.socket] = []
        for name in self.names if sys.platform == "linux" else ():
            held = socket.socket(socket.AF_UNIX)
            try:
                held.bind(_address(name))
            except OSError as error:
                for one in (held, *taken):
                    one.close()
                if error.errno != errno.EADDRINUSE:
                    raise BenchError(f"{name}: cannot be leased: {error.strerror}") from error
                return name
            held.listen(8)
            taken.append(held)
        for held in taken:
            answering = threading.Thread(target=_answer, args=(held, text), daemon=True)
            answering.start()
            self._held.append((held, answering))
        return None


def holder(names: Iterable[str]) -> str | None:
    """Who holds one of these names, in words; None when no one does."""
    for name in names if sys.platform == "linux" else ():
        with socket.socket(socket.AF_UNIX) as asked:
            asked.settimeout(_ANSWER_S)
            try:
                asked.connect(_address(name))
            except ConnectionRefusedError:
                continue
            except OSError:  # it has stopped, and no one takes what waits there
                return "a job that does not answer"
            # the kernel says who listens; only the rest is that process's own word
            pid, uid, _ = _CREDENTIALS.unpack(
                asked.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
            )
            what = b""
            with contextlib.suppress(OSError):
                what = asked.recv(_ANSWER_BYTES)
            said = one_line(what.decode(errors="replace"), 120)
            me = " (this process)" if pid == os.getpid() else ""
            return f"{user_name(uid)}, process {pid}{me}" + (f": {said}" if said else "")
    return None


def _address(name: str) -> bytes:
    return b"\0tinyfin-lease/" + hashlib.sha256(name.encode()).hexdigest()[:32].encode()


def _answer(held: socket.socket, text: bytes) -> None:
    """Answer everyone who asks."""
    with contextlib.suppress(OSError):  # the lease has ended
        while True:
            asking, _ = held.accept()
            with asking, contextlib.suppress(OSError):
                asking.settimeout(_ANSWER_S)
                asking.sendall(text)

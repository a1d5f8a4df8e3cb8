# SPDX-License-Identifier: Apache-2.0
"""How a command ends on Ctrl-C (SIGINT) and SIGTERM.

Python runs a signal's handler only between its own instructions, so native code would delay it for
as long as it runs, and a handler's exception may be lost in a callback. Therefore a thread watches:
when the command has not ended in time, it ends its children, removes its unfinished files and
ends the process. A second signal does the same at once.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType

from tinyfin import files

__all__ = ["watch_signals"]

_UNNOTICED_S = 3.0
"""How long native code may go on."""
_NOTICED_S = 45.0
"""How long a command may clean up: longer than any of its deadlines for ending a child."""
_ENDING = (signal.SIGINT, signal.SIGTERM)


def watch_signals() -> None:
    """From now on SIGINT raises KeyboardInterrupt and SIGTERM SystemExit(143) in the main thread;
    the process has ended soon after, with exit code 130 or 143."""
    source, sink = os.pipe()
    os.set_blocking(sink, False)
    noticed = threading.Event()

    def handle(number: int, _: FrameType | None) -> None:
        noticed.set()
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        sys.exit(128 + number)

    for number in _ENDING:
        if signal.getsignal(number) != signal.SIG_IGN:  # as nohup and a script's & have it
            signal.signal(number, handle)
    signal.set_wakeup_fd(sink, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(source, noticed), daemon=True, name="signals").start()


def _watch(source: int, noticed: threading.Event) -> None:
    number = _next(source)
    children = _children()
    again = threading.Event()
    threading.Thread(target=_await, args=(source, again), daemon=True).start()
    if not again.wait(_UNNOTICED_S) and noticed.is_set():
        # threads of the command may be waiting for children that no one ends
        _end(children, signal.SIGTERM)
        again.wait(_NOTICED_S)
    _end(children | _children(), signal.SIGKILL)
    files.remove_unfinished()
    with contextlib.suppress(OSError):
        os.write(2, b"\nended\n")
    os._exit(128 + number)


def _await(source: int, again: threading.Event) -> None:
    _next(source)
    again.set()


def _next(source: int) -> int:
    """The next signal that ends a command."""
    while (number := os.read(source, 1)[0]) not in _ENDING:
        pass
    return number


def _children() -> set[int]:
    """All processes below this one."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError, ValueError):
            stat = (entry / "stat").read_text(encoding="utf-8", errors="replace")
            parents[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
    found = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {os.getpid()}


def _end(pids: set[int], number: signal.Signals) -> None:
    for pid in pids & _children():
        with contextlib.suppress(OSError):
            os.kill(pid, number)

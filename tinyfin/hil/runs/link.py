# SPDX-License-Identifier: Apache-2.0
"""The line of a target as the harness sees it: recorded, watched, and never waited for too long."""

from __future__ import annotations

import time
from collections.abc import Callable

from tinyfin.errors import LinkError
from tinyfin.hil.links.transcript import Kind, Writer
from tinyfin.wire.links import Deadline, Link, LinkAround, LinkLost

__all__ = ["BenchLink"]

_LOOK_S = 1.0
"""At most so long between two looks at what carries the target."""


class BenchLink(LinkAround):
    """Passes everything on to ``inner`` and writes it down.

    check: raises BenchError when the target is gone for a reason of the bench (its emulator was
    killed or stopped): then that is what the caller gets, not the link's own words.
    :attr:`deadline` ends everything on this line; None lets it go on.
    """

    def __init__(self, inner: Link, writer: Writer | None, check: Callable[[bool], None]) -> None:
        super().__init__(inner)
        self.deadline: Deadline | None = None
        self.progress = ""
        """Where things stood, for the message of the deadline."""
        self._writer = writer
        self._check = check
        self._looked_at = 0.0
        self._record(Kind.OPENED, inner.name.encode())

    def read(self, timeout_s: float) -> bytes:
        end = Deadline(timeout_s)
        while True:
            self._on_time()
            try:
                data = self.inner.read(min(end.left(), _LOOK_S))
            except LinkLost:
                self._check(True)
                raise
            if data:
                self._record(Kind.DOWN, data)
                return data
            if time.monotonic() - self._looked_at > _LOOK_S:
                self._looked_at = time.monotonic()
                self._check(False)
            if end.passed:
                return b""

    def write(self, data: bytes) -> None:
        self._on_time()
        self._record(Kind.UP, data)
        try:
            self.inner.write(data)
        except LinkLost:
            self._check(True)
            raise

    def reopen(self, timeout_s: float) -> None:
        self._check(False)
        try:
            self.inner.reopen(timeout_s)
        except LinkLost:
            self._check(True)
            raise
        self._record(Kind.OPENED, self.name.encode())

    def reset(self) -> None:
        self._record(Kind.RESET, b"")
        self.inner.reset()
        self._record(Kind.OPENED, self.name.encode())

    def _record(self, kind: Kind, data: bytes) -> None:
        if self._writer is not None:
            self._writer.put(kind, data)

    def _on_time(self) -> None:
        if self.deadline is not None and self.deadline.passed:
            done = self.progress or "nothing yet"
            raise LinkError(
                f"{self.name}: not done within {self.deadline.seconds:g} s ({done}): the terminal "
                "answers too late. Is it much slower than it was, or the line? Give "
                "more time in the suite's deadline_s if that is right"
            )

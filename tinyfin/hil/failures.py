# SPDX-License-Identifier: Apache-2.0
"""What kind of failure a rig has met: whose fault it is, and who has to act.

The kinds are the same in exit messages, JUnit, JSON and the tests. An error says its kind by its
class (``tinyfin.errors``); :func:`kind_of` reads it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from tinyfin.errors import (
    BenchError,
    BootError,
    FlashError,
    LinkError,
    MismatchError,
    ProtocolError,
    TargetError,
    TinyfinError,
)

__all__ = ["ADVICE", "Failure", "FailureKind", "kind_of"]


class FailureKind(StrEnum):
    """Whose fault it is. Only ``mismatch`` says that the firmware computes something wrong."""

    FLASH = "flash"
    """The target does not hold what was to be flashed, or could not be flashed."""
    BOOT = "boot"
    """It does not come up after a reset, or restarts by itself."""
    LINK = "link"
    """The line was closed, or fell silent in the middle of a session."""
    PROTOCOL = "protocol"
    """Something answers, but not in the way that docs/formats/wire.md describes."""
    MISMATCH = "mismatch"
    """It answers, and an answer differs from the workstation's, or is missing."""
    BENCH = "bench"
    """The bench: no such port, board in use, tool missing, emulator killed, wrong rig file."""


ADVICE = {
    FailureKind.FLASH: "look at the flash tool's words, cable and debugger; then run again",
    FailureKind.BOOT: "look at power, boot pins and watchdog; the log lines stand in the result",
    FailureKind.LINK: "look at cable, USB hub and baud rate; the transcript shows the last bytes",
    FailureKind.PROTOCOL: "flash the firmware of this version of tinyfin; is it the right port?",
    FailureKind.MISMATCH: "the firmware computes something else: start at the first difference",
    FailureKind.BENCH: "mend the bench; this says nothing about the firmware",
}
"""One line per kind: who has to look where."""

_CLASSES: tuple[tuple[type[TinyfinError], FailureKind], ...] = (
    (MismatchError, FailureKind.MISMATCH),
    (FlashError, FailureKind.FLASH),
    (BootError, FailureKind.BOOT),
    (LinkError, FailureKind.LINK),
    (ProtocolError, FailureKind.PROTOCOL),
    (BenchError, FailureKind.BENCH),
    (TargetError, FailureKind.PROTOCOL),
)


def kind_of(error: BaseException) -> FailureKind:
    """The kind of an error. Whatever is not the target's (a tool, a file, a bug) is the bench's."""
    return next((kind for cls, kind in _CLASSES if isinstance(error, cls)), FailureKind.BENCH)


@dataclass(frozen=True)
class Failure:
    """A failure as results carry it."""

    kind: FailureKind
    message: str
    """Where, what, and what to do."""
    exit_code: int = TargetError.exit_code

    @classmethod
    def of(cls, error: BaseException, kind: FailureKind | None = None) -> Failure:
        """The failure that an error is; ``kind`` when the place where it came up knows better."""
        code = error.exit_code if isinstance(error, TinyfinError) else TargetError.exit_code
        text = str(error)
        if not isinstance(error, TinyfinError):
            text = f"{type(error).__name__}: {text}"
        return cls(kind or kind_of(error), text, code)

    @property
    def advice(self) -> str:
        """Who has to look where."""
        return ADVICE[self.kind]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"kind": str(self.kind), "message": self.message, "advice": self.advice}

    def __str__(self) -> str:
        return f"{self.kind}: {self.message}"

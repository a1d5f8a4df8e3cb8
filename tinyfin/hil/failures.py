# SPDX-License-Identifier: Apache-2.0
"""What kind of failure a rig has met: whose fault it is, and who has to act.

The kinds are the same in exit messages, JUnit, JSON and the tests. Every error says its
own (``tinyfin.errors``).
"""

from __future__ import annotations

from pydantic import ConfigDict, computed_field

from tinyfin.documents import Facts
from tinyfin.errors import FailureKind, TargetError, TinyfinError

__all__ = ["ADVICE", "NOT_REACHED", "Failure", "FailureKind", "kind_of"]

NOT_REACHED = "not reached: "
"""How the message begins of what an earlier failure has left without a terminal."""

ADVICE = {
    FailureKind.FLASH: "the target does not hold this run's firmware: do as the message says",
    FailureKind.BOOT: "look at power, boot pins and watchdog; the result has the terminal's log",
    FailureKind.LINK: "look at cable, USB hub and baud rate; the transcript shows the last bytes",
    FailureKind.PROTOCOL: "check which port it is; flash the firmware of this version of tinyfin",
    FailureKind.MISMATCH: "the firmware computes something else: start at the first difference",
    FailureKind.BENCH: "fix the bench; this says nothing about the firmware",
}
"""One line per kind: who has to look where."""


def kind_of(error: BaseException) -> FailureKind:
    """The kind of an error. Whatever is not the target's (a tool, a file, a bug) is the bench's."""
    return error.kind if isinstance(error, TinyfinError) else FailureKind.BENCH


class Failure(Facts):
    """A failure as results carry it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

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
        return cls(kind=kind or kind_of(error), message=text, exit_code=code)

    @computed_field  # type: ignore[prop-decorator]  # mypy knows no decorated property
    @property
    def advice(self) -> str:
        """Who has to look where."""
        return ADVICE[self.kind]

    def __str__(self) -> str:
        return f"{self.kind}: {self.message}"

# SPDX-License-Identifier: Apache-2.0
"""The errors tinyfin raises on purpose.

    TinyfinError
    ├── InputError        3   what was given cannot be used
    │   ├── ConfigError       a key of tinyfin.toml, of a rig file, of a board file
    │   ├── DataError         a row of a transactions file
    │   ├── ModelError        a .tflite or a run folder
    │   └── PackError         a pack
    ├── MismatchError     4   the answers differ, or a gate failed
    ├── TargetError       5   a target or its link does not answer
    │   ├── FlashError        it does not hold what was to be flashed
    │   ├── BootError         it does not come up, or does not stay up
    │   ├── LinkError         the line is closed, or silent in the middle of a session
    │   ├── ProtocolError     it answers, but not as docs/formats/wire.md says
    │   └── BenchError        the bench: no such port, board taken, emulator ended
    ├── ToolError         6   a tool that is needed is missing or failed
    ├── BudgetError       7   it does not fit
    └── Interrupted     130   the user pressed Ctrl-C

The number is the exit code of the command line; 2 is a usage error and belongs to click. A message
says where, what and what to do, in that order, because it is all that the user will see.

In addition to its exit code every error has a ``kind`` (:class:`FailureKind`), which says whose
fault it is on a bench: the classes below TargetError have theirs, and TargetError takes one.
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar

__all__ = [
    "BenchError",
    "BootError",
    "BudgetError",
    "ConfigError",
    "DataError",
    "FailureKind",
    "FlashError",
    "InputError",
    "Interrupted",
    "LinkError",
    "MismatchError",
    "MissingToolError",
    "ModelError",
    "PackError",
    "ProtocolError",
    "TargetError",
    "TinyfinError",
    "ToolError",
]


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


class TinyfinError(Exception):
    """Base of everything tinyfin raises on purpose; ``str(error)`` is the message to show."""

    exit_code: ClassVar[int] = 3
    kind: FailureKind = FailureKind.BENCH


class InputError(TinyfinError):
    """What was given cannot be used."""

    exit_code = 3


class ConfigError(InputError):
    """A configuration file is wrong; the message names the key and the fix."""


class DataError(InputError):
    """A transactions file is wrong; the message names file, row, column, value and rule."""


class ModelError(InputError):
    """A network or a run folder cannot be used; the message names the operator or the file."""


class PackError(InputError):
    """A pack is refused; the message names the section and the rule."""


class MismatchError(TinyfinError):
    """The target's answers differ from the workstation's, or a gate failed."""

    exit_code = 4
    kind = FailureKind.MISMATCH


class TargetError(TinyfinError):
    """A target or its link does not answer within its deadline, or not as it should."""

    exit_code = 5
    kind = FailureKind.LINK

    def __init__(self, message: str, kind: FailureKind | str | None = None) -> None:
        super().__init__(message)
        if kind is not None:
            self.kind = FailureKind(kind)


class FlashError(TargetError):
    """The target does not hold what was to be flashed, or cannot be flashed."""

    kind = FailureKind.FLASH


class BootError(TargetError):
    """The target does not come up after a reset, or restarts by itself."""

    kind = FailureKind.BOOT


class LinkError(TargetError):
    """The line to the target is closed, or silent in the middle of a session."""

    kind = FailureKind.LINK


class ProtocolError(TargetError):
    """Something answers, but not in the way that ``docs/formats/wire.md`` describes."""

    kind = FailureKind.PROTOCOL


class BenchError(TargetError):
    """The bench is at fault: a port that is not there, a board in use, an emulator that ended."""

    kind = FailureKind.BENCH


class MissingToolError(BenchError):
    """A program that the rig file names is not installed on the bench."""

    exit_code = 6


class ToolError(TinyfinError):
    """A tool that is needed is missing or failed; the message says how to get it."""

    exit_code = 6


class BudgetError(TinyfinError):
    """It does not fit; the message gives need and have."""

    exit_code = 7


class Interrupted(TinyfinError):
    """The user pressed Ctrl-C."""

    exit_code = 130

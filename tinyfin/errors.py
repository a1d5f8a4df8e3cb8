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
    ├── ToolError         6   a tool that is needed is missing or failed
    └── BudgetError       7   it does not fit

The number is the exit code of the command line; 2 is a usage error and belongs to click. A message
says where, what and what to do, in that order, because it is all that the user will see.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "BudgetError",
    "ConfigError",
    "DataError",
    "InputError",
    "MismatchError",
    "ModelError",
    "PackError",
    "TargetError",
    "TinyfinError",
    "ToolError",
]


class TinyfinError(Exception):
    """Base of everything tinyfin raises on purpose; ``str(error)`` is the message to show."""

    exit_code: ClassVar[int] = 3


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


class TargetError(TinyfinError):
    """A target or its link does not answer within its deadline."""

    exit_code = 5


class ToolError(TinyfinError):
    """A tool that is needed is missing or failed; the message says how to get it."""

    exit_code = 6


class BudgetError(TinyfinError):
    """It does not fit; the message gives need and have."""

    exit_code = 7

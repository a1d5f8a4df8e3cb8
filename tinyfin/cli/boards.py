# SPDX-License-Identifier: Apache-2.0
"""The option that names folders of your own board files, for every command that takes a target."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from tinyfin.targets.boards import ENVIRONMENT
from tinyfin.targets.catalogue import EMULATORS

__all__ = ["boards_option", "emulator_option"]

F = TypeVar("F", bound=Callable[..., Any])


def _use(context: click.Context, parameter: click.Parameter, folders: tuple[Path, ...]) -> None:
    """Name the folders in the environment, for the processes of a command too, until it ends."""
    if not folders:
        return
    before = os.environ.get(ENVIRONMENT)

    def restore() -> None:
        if before is None:
            os.environ.pop(ENVIRONMENT, None)
        else:
            os.environ[ENVIRONMENT] = before

    named = [str(folder.resolve()) for folder in folders]
    os.environ[ENVIRONMENT] = os.pathsep.join([*named, *([before] if before else [])])
    context.call_on_close(restore)


def boards_option(command: F) -> F:
    """Add ``--boards`` to a command; :mod:`tinyfin.targets.boards` reads what it says."""
    return click.option(
        "--boards",
        multiple=True,
        expose_value=False,
        is_eager=True,
        callback=_use,
        type=click.Path(path_type=Path, exists=True, file_okay=False),
        help="A folder with your own board files, in addition to boards in the current folder. "
        "May be repeated.",
    )(command)


def emulator_option(command: F) -> F:
    """Add ``--emulator`` to a command that runs emulated targets."""
    return click.option(
        "--emulator",
        type=click.Choice(EMULATORS),
        help="What emulates the target: qemu [default], or renode, for the boards that "
        "`tinyfin targets --json` gives a description for. In Renode instructions are not counted "
        "by transaction.",
    )(command)

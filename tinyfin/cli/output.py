# SPDX-License-Identifier: Apache-2.0
"""How verbs talk: the result on stdout, everything else on stderr; and what they write."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from tinyfin import progress
from tinyfin.claims import claimed
from tinyfin.text import json_safe, printable

__all__ = ["claim", "emit", "json_option", "note"]

F = TypeVar("F", bound=Callable[..., Any])


def json_option(command: F) -> F:
    """Add ``--json`` to a verb, given to it as ``as_json``, and ``--quiet``."""
    quiet = click.option(
        "--quiet", "-q",
        is_flag=True,
        expose_value=False,
        callback=_hush,
        help="Show no progress and no notes on stderr, only warnings and errors.",
    )  # fmt: skip
    return quiet(
        click.option(
            "--json",
            "as_json",
            is_flag=True,
            help="Print the result as JSON on stdout; progress and notes go to stderr.",
        )(command)
    )


def claim(*paths: str | Path | None, make_folder: bool = False, shared: bool = False) -> None:
    """Claim the names of what a verb will write, until it ends. Raises InputError: another process
    is writing there, or nobody can."""
    for path in paths:
        if path is not None:
            click.get_current_context().with_resource(
                claimed(path, make_folder=make_folder, shared=shared)
            )


def emit(result: Mapping[str, Any], as_json: bool, text: str) -> None:
    """Print a verb's result: ``result`` as JSON, or ``text`` for people."""
    if as_json:
        click.echo(json_safe(json.dumps(result, indent=2, ensure_ascii=False, default=_plain)))
    else:
        click.echo(printable(text))


def note(message: str) -> None:
    """Say something on the way, on stderr."""
    progress.say(message)


def _hush(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        progress.hush()


def _plain(value: object) -> object:
    """numpy scalars and arrays as JSON knows them; anything else (paths) as text."""
    convert = getattr(value, "tolist", None)
    return str(value) if convert is None else convert()

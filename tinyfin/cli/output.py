# SPDX-License-Identifier: Apache-2.0
"""How verbs talk: the result on stdout, everything else on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeVar

import click

__all__ = ["emit", "json_option", "note", "progress", "share"]

F = TypeVar("F", bound=Callable[..., Any])


def json_option(command: F) -> F:
    """Add ``--json`` to a verb, given to it as ``as_json``."""
    return click.option(
        "--json",
        "as_json",
        is_flag=True,
        help="Print the result as JSON on stdout; progress and notes go to stderr.",
    )(command)


def emit(result: Mapping[str, Any], as_json: bool, text: str) -> None:
    """Print a verb's result: ``result`` as JSON, or ``text`` for people."""
    if as_json:
        text = json.dumps(result, indent=2, ensure_ascii=False, default=_plain)
    click.echo(text.encode(errors="backslashreplace").decode())


def note(message: str) -> None:
    """Say something on the way, on stderr."""
    click.echo(message.encode(errors="backslashreplace").decode(), err=True)


def progress(what: Iterable[Any] | int, label: str) -> AbstractContextManager[Any]:
    """A progress bar on stderr over an iterable, or over a length driven by ``bar.update(n)``.

    Use as a context manager. Nothing but the label is drawn when stderr is not a terminal.
    """
    if isinstance(what, int):
        return click.progressbar(length=what, label=label, file=sys.stderr)
    return click.progressbar(what, label=label, file=sys.stderr)


@contextmanager
def share(label: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar in percent, driven by ``show(done, of)``."""
    with progress(100, label) as bar:
        yield lambda done, of: bar.update(100 * done // max(of, 1) - bar.pos)


def _plain(value: object) -> object:
    """numpy scalars and arrays as JSON knows them; anything else (paths) as text."""
    convert = getattr(value, "tolist", None)
    return str(value) if convert is None else convert()

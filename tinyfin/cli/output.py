# SPDX-License-Identifier: Apache-2.0
"""What commands print (the result on stdout, everything else on stderr), and what they write."""

from __future__ import annotations

import functools
import inspect
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from tinyfin import progress
from tinyfin.cli import recording
from tinyfin.output_claims import claimed
from tinyfin.text import json_safe, printable

__all__ = [
    "FILE",
    "DataFile",
    "Group",
    "aligned",
    "as_one",
    "claim",
    "emit",
    "file_option",
    "forget_claims",
    "json_option",
    "note",
    "out_option",
    "skip_bad_rows_option",
    "track_option",
    "unchanged",
]

F = TypeVar("F", bound=Callable[..., Any])
_claimed_files: dict[str, tuple[int, int, int]] = {}
"""Files that were there when a command claimed their names, and what they were then."""


FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
"""A file that is there."""


class DataFile(click.Path):
    """A file of transactions; a folder is refused with the names that it holds."""

    def __init__(self, path_type: type[Path] | None = None) -> None:
        super().__init__(exists=True, path_type=path_type)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path."""
        found = super().convert(value, param, ctx)
        place = Path(os.fsdecode(found))
        if place.is_dir():
            from tinyfin.data.containers import folder_text

            self.fail(folder_text(place), param, ctx)
        recording.takes(place)
        return found


class Group(click.Group):
    """A group whose help has the whole first sentence of each command."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [
            (verb, self.commands[verb].get_short_help_str(999)) for verb in sorted(self.commands)
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


skip_bad_rows_option = click.option(
    "--skip-bad-rows",
    type=click.Path(dir_okay=False),
    help="Write bad rows to this CSV file and go on without them.",
)


def _trackable(context: click.Context, parameter: click.Parameter, uri: str | None) -> str | None:
    if uri is not None:
        from tinyfin.tracking import require_tracking

        require_tracking()
    return uri


track_option = click.option(
    "--track",
    "track_uri",
    metavar="URI",
    callback=_trackable,
    help="Also put the run on a tracking server of MLflow, such as sqlite:///runs.db.",
)


def file_option(option: str, name: str, what: str, **how: Any) -> Callable[[F], F]:
    """An option that names a file which is there, given to a command as ``name``."""
    return click.option(option, name, type=FILE, help=what, **how)


def out_option(what: str) -> Callable[[F], F]:
    """``--out`` of a command that always writes a file, given to it as ``out_path``."""
    return click.option(
        "--out",
        "out_path",
        type=click.Path(path_type=Path, dir_okay=False),
        required=True,
        help=what,
    )


def as_one(
    name: str, made: Callable[..., object], *options: Callable[[Any], Any]
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Options that are given to a command as one argument ``name``: what ``made`` makes of them."""

    own = inspect.signature(made).parameters

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def taken(**all_: Any) -> None:
            all_[name] = made(**{one: all_.pop(one) for one in own if one in all_})
            command(**all_)

        wrapped: Callable[..., None] = taken
        for option in reversed(options):
            wrapped = option(wrapped)
        return wrapped

    return decorate


def json_option(command: F) -> F:
    """Add ``--json`` to a command, given to it as ``as_json``, and ``--quiet``."""
    quiet = click.option(
        "--quiet",
        "-q",
        is_flag=True,
        expose_value=False,
        callback=_hush,
        help="Show no progress and no notes on stderr, only warnings and errors.",
    )
    return quiet(
        click.option(
            "--json",
            "as_json",
            is_flag=True,
            help="Print the result as JSON on stdout; progress and notes go to stderr.",
        )(command)
    )


def claim(*paths: str | Path | None, make_folder: bool = False, shared: bool = False) -> None:
    """Claim the names of what a command will write, until it ends. InputError when another process
    is writing there, or writing is not possible."""
    for path in paths:
        if path is not None:
            if Path(path).is_file():
                _claimed_files[str(path)] = _stamp(path)
            click.get_current_context().with_resource(
                claimed(path, make_folder=make_folder, shared=shared)
            )


def unchanged() -> list[str]:
    """Files that a command claimed and that are what they were."""
    return [
        path
        for path, stamp in _claimed_files.items()
        if Path(path).is_file() and _stamp(path) == stamp
    ]


def forget_claims() -> None:
    """Another command begins."""
    _claimed_files.clear()


def _stamp(path: str | Path) -> tuple[int, int, int]:
    facts = Path(path).stat()
    return facts.st_ino, facts.st_mtime_ns, facts.st_size


def emit(result: Mapping[str, object], as_json: bool, text: str) -> None:
    """Print a command's result: ``result`` as JSON, or ``text`` for people."""
    if (context := click.get_current_context(silent=True)) is not None:
        recording.emitted(result, context.params)
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
    """Results, numpy scalars and arrays as JSON knows them, bytes in hexadecimal digits; anything
    else (paths) as text."""
    if isinstance(value, bytes):
        return value.hex()
    convert = getattr(value, "as_json", None) or getattr(value, "tolist", None)
    return str(value) if convert is None else convert()


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table, its columns aligned; the first row is the head."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)).rstrip() for r in rows]

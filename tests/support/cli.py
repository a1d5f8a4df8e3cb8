# SPDX-License-Identifier: Apache-2.0
"""The command line, called in this process."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import click
from click.testing import CliRunner, Result

from tinyfin.cli import main


def tinyfin(line: object, *words: object, code: int | None = 0) -> Result:
    """Run a verb that must end with ``code`` (None: any) and without a traceback.

    ``line`` is split as a shell splits it; what may hold blanks comes after it, a word each.
    """
    done = CliRunner().invoke(main, [*shlex.split(str(line)), *map(str, words)])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert code is None or done.exit_code == code, f"{done.exit_code}: {done.output}"
    return done


def filled(line: str, **paths: Path) -> str:
    """The line with paths in place of their names in capitals."""
    return re.sub(r"\b[A-Z_]+\b", lambda found: str(paths.get(found[0], found[0])), line)


def tinyfin_json(line: object, *words: object) -> Any:
    """What a verb answers with ``--json``."""
    return json.loads(tinyfin(line, *words, "--json").stdout)


def parsed(words: list[str]) -> None:
    """Raises AssertionError when tinyfin has no such command, or not these options."""
    at: click.Command = main
    context = click.Context(main)
    while isinstance(at, click.Group):
        found = at.get_command(context, words[0])
        assert found is not None, words
        at, words = found, words[1:]
    options = {name: one for one in at.params for name in one.opts}
    position, arguments = 0, 0
    while position < len(words):
        name, equals, _ = words[position].partition("=")
        if name.startswith("-"):
            one = options.get(name)
            assert one is not None, (at.name, name)
            takes = isinstance(one, click.Option) and not one.is_flag and not equals
            position += 1 + takes
        else:
            arguments, position = arguments + 1, position + 1
    places = [one for one in at.params if isinstance(one, click.Argument)]
    assert arguments >= sum(one.required for one in places), words
    assert arguments <= len(places) or any(one.nargs < 0 for one in places), words


def leaves_of(command: click.Command) -> list[click.Command]:
    """The commands of a group, and of its groups; of another command itself."""
    if not isinstance(command, click.Group):
        return [command]
    return [leaf for one in command.commands.values() for leaf in leaves_of(one)]

# SPDX-License-Identifier: Apache-2.0
"""Commands as 0.1 spelled them: they work for one more version, each with a warning."""

from __future__ import annotations

import sys

import click

from tinyfin import progress

__all__ = ["renewed"]


def renewed(words: list[str]) -> list[str]:
    """``words`` as they are spelled now."""
    verb, rest = "".join(words[:1]), words[1:]
    if verb == "features" and (run := _take(rest, "--inputs")) is not None:
        return _warned(["network-inputs", run, *rest], "tinyfin network-inputs RUN DATA --out FILE")
    if verb == "features" and _take(rest, "--as-host") is not None:
        return _warned(["host-fields", *rest], "tinyfin host-fields DATA --out FILE")
    if verb == "features" and (table := _take(rest, "--markdown")) is not None:
        from tinyfin.features.describe import TABLES, markdown

        if table in TABLES:
            _warned([], f"python -m tinyfin.features.describe {table}")
            click.echo(markdown(table))
            sys.exit(0)
    if verb == "repack" and rest and not _asks(rest):
        return _warned(["sign", *rest], "tinyfin sign PACK")
    return words


def _take(words: list[str], option: str) -> str | None:
    """The value of an option, which is taken out of the words; None without it."""
    for i, word in enumerate(words):
        if word == option and i + 1 < len(words):
            del words[i]
            return words.pop(i)
        if word.startswith(f"{option}="):
            return words.pop(i).partition("=")[2]
    return None


def _asks(words: list[str]) -> bool:
    """Whether ``repack`` is asked for a decision, which ``sign`` has no option for, or for help."""
    from tinyfin.cli import repack, sign

    own, moved = (
        {option for parameter in verb.command.params for option in parameter.opts}
        for verb in (repack, sign)
    )
    return bool({word.partition("=")[0] for word in words} & {*(own - moved), "-h", "--help"})


def _warned(words: list[str], now: str) -> list[str]:
    progress.say(f"WARNING: this is spelled `{now}` now; the next version drops the old spelling")
    return words

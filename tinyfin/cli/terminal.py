# SPDX-License-Identifier: Apache-2.0
"""The terminal that a command talks to."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tinyfin.cli.boards import boards_option
from tinyfin.cli.output import as_one

if TYPE_CHECKING:
    from tinyfin.wire.client import Client

__all__ = ["Terminal", "terminal_options"]


@dataclass(frozen=True)
class Terminal:
    """At a port, or emulated for this command."""

    target: str | None
    boot: Path | None
    """The run, or pack, that is emulated."""
    port: str | None
    baud: int = 115200
    key: Path | None = None
    """The key that signed the pack; the one that the run remembers if None."""
    boot_option: str = "--terminal RUN"
    """The one that gives ``boot``."""

    @property
    def named(self) -> str | None:
        """Its port or its target."""
        return self.port or self.target

    @property
    def keys(self) -> tuple[bytes, ...]:
        """Public keys that the terminal's packs are signed by. Raises InputError."""
        from tinyfin.pack.signing import load_key
        from tinyfin.pack.trust import keys_beside

        if self.key is not None:
            return (load_key(self.key).public,)
        return () if self.boot is None else keys_beside(self.boot)

    @contextlib.contextmanager
    def connected(self) -> Iterator[Client]:
        """A client in a session with it; UsageError unless it is named in one way."""
        from tinyfin.hil.links import session

        if (self.target is None) == (self.port is None):
            raise click.UsageError("give either --port or --target")
        if self.port is not None:
            reached = session.at_port(self.port, baud=self.baud)
        elif self.boot is not None and self.target is not None:
            reached = session.reach(self.boot, self.target, keys=self.keys, icount=False)
        else:
            raise click.UsageError(f"--target boots a pack: name it with {self.boot_option}")
        with reached as found:
            found.client.connect()
            yield found.client


terminal_options = as_one(
    "terminal",
    Terminal,
    click.option("--target", help="An emulated target of `tinyfin targets`."),
    click.option(
        "--terminal",
        "boot",
        type=click.Path(path_type=Path, exists=True),
        help="With --target: the run whose firmware the emulated terminal runs.",
    ),
    click.option("--port", help="Serial port, or socket://HOST:PORT, of a terminal."),
    boards_option,
)
"""``--target`` with ``--terminal``, or ``--port``: given to a command as one ``terminal``."""

# SPDX-License-Identifier: Apache-2.0
"""``tinyfin provision``: a terminal gets its id and its secrets, once."""

from __future__ import annotations

from pathlib import Path

import click

from tinyfin.cli.output import emit, file_option, json_option
from tinyfin.cli.terminal import Terminal, terminal_options

__all__ = ["command"]


@click.command()
@click.argument("terminal_id", metavar="ID")
@file_option(
    "--fleet-key",
    "fleet_path",
    "The key of `tinyfin keygen --kind fleet` from which its secrets are made.",
    required=True,
)
@terminal_options
@json_option
def command(terminal_id: str, fleet_path: Path, terminal: Terminal, as_json: bool) -> None:
    """Give a terminal its ID, 16 hexadecimal digits, and the secrets that belong to it.

    Do it in the factory: the secrets go over the line unencrypted. A terminal takes an id once. The
    same command again checks that it has this id and the secrets of this fleet key.
    """
    from tinyfin.field.keys import load_fleet_key, parse_terminal_id, terminal_keys
    from tinyfin.wire import field_frames

    name = parse_terminal_id(terminal_id)
    keys = terminal_keys(load_fleet_key(fleet_path), name)
    with terminal.connected() as client:
        field_frames.provision(client, name, keys)
    emit({"terminal": name.hex()}, as_json, f"terminal {name.hex()} has its secrets")

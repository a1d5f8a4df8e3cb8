# SPDX-License-Identifier: Apache-2.0
"""``tinyfin provision``: a terminal gets its id and its secrets, once."""

from __future__ import annotations

from pathlib import Path

import click

from tinyfin.cli.boards import boards_option
from tinyfin.cli.output import emit, json_option
from tinyfin.cli.slots import reached, terminal_options

__all__ = ["command"]


@click.command()
@click.argument("terminal_id", metavar="ID")
@click.option(
    "--fleet-key",
    "fleet_path",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    required=True,
    help="The key of `tinyfin keygen --kind fleet` from which its secrets are made.",
)
@terminal_options
@boards_option
@json_option
def command(
    terminal_id: str,
    fleet_path: Path,
    target_name: str | None,
    terminal: Path | None,
    port: str | None,
    as_json: bool,
) -> None:
    """Give a terminal its ID, 16 hexadecimal digits, and the secrets that belong to it.

    Do it in the factory: the secrets go over the line unencrypted. A terminal takes an id once. The
    same command again checks that it has this id and the secrets of this fleet key.
    """
    from tinyfin.field.keys import load_fleet_key, parse_terminal_id, terminal_keys
    from tinyfin.wire import field_frames

    name = parse_terminal_id(terminal_id)
    keys = terminal_keys(load_fleet_key(fleet_path), name)
    with reached(target_name, terminal, port) as session:
        session.client.connect()
        field_frames.provision(session.client, name, keys)
    emit({"terminal": name.hex()}, as_json, f"terminal {name.hex()} has its secrets")

# SPDX-License-Identifier: Apache-2.0
"""``tinyfin fleet hawkbit``: deployments of hawkBit as offers to terminals."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tinyfin.cli.fleet_carriers import FILE, open_lake_argument
from tinyfin.cli.output import emit, json_option, note
from tinyfin.cli.trust import public_key_option

if TYPE_CHECKING:
    from tinyfin.fleet.lake import Lake

__all__ = ["hawkbit"]


@click.command("hawkbit")
@open_lake_argument
@click.option("--url", required=True, help="Of hawkBit, https://HOST[:PORT].")
@click.option("--tenant", default="DEFAULT", show_default=True, help="hawkBit's tenant.")
@click.option(
    "--terminals", type=FILE, required=True, help="A terminal id a line, and its target token."
)
@click.option("--token-file", type=FILE, help="The gateway token, for lines without a token.")
@click.option(
    "--offers", type=click.Path(path_type=Path, file_okay=False), required=True, help="For packs."
)
@click.option("--server-ca", type=FILE, help="PEM: authorities of hawkBit's certificate.")
@click.option("--silent-days", default=3.0, show_default=True, help="Days without report: failed.")
@click.option("--days", default=30.0, show_default=True, help="Days without an end: failed.")
@click.option("--follow", is_flag=True, help="Ask again as often as hawkBit wants, until Ctrl-C.")
@public_key_option
@json_option
def hawkbit(
    lake: Lake,
    url: str,
    tenant: str,
    terminals: Path,
    token_file: Path | None,
    offers: Path,
    server_ca: Path | None,
    silent_days: float,
    days: float,
    follow: bool,
    public_keys: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Ask hawkBit in the name of terminals, and put the packs that it deploys into OFFERS.

    It hears of a success when a genuine report in LAKE says that the terminal has confirmed the
    pack (docs/hawkbit.md).
    """
    from tinyfin.errors import LinkError
    from tinyfin.fleet.hawkbit import Gateway, Server, read_tokens
    from tinyfin.pack.trust import load_public_key

    server, tokens = Server(url, tenant, server_ca), read_tokens(terminals, token_file)
    keys = [load_public_key(path) for path in public_keys]
    gateway = Gateway(lake, server, tokens, offers, keys, silent_days, days)
    while True:
        try:
            done = gateway.poll(note)
            text = ", ".join(f"{n} {what}" for what, n in sorted(done.items()))
            emit({**done}, as_json, text or "no terminals")
        except LinkError as error:
            if not follow:
                raise
            note(f"WARNING: {error}; asked again in {gateway.sleep_s} s")
        if not follow:
            return
        time.sleep(max(gateway.sleep_s, 1))

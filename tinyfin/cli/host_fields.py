# SPDX-License-Identifier: Apache-2.0
"""``tinyfin host-fields``: transactions with what an authorisation host would have sent."""

from __future__ import annotations

import click

from tinyfin.cli.output import DataFile, claim, emit, json_option, note

__all__ = ["command"]


@click.command()
@click.argument("data", nargs=-1, required=True, type=DataFile())
@click.option("--config", type=click.Path(dir_okay=False), help="How DATA is read: tinyfin.toml")
@click.option(
    "--out",
    required=True,
    type=click.Path(dir_okay=False),
    help="Write DATA and the fields to this file (.parquet).",
)
@json_option
def command(data: tuple[str, ...], config: str | None, out: str, as_json: bool) -> None:
    """Write DATA as it is, with the fields that a host would have sent as further columns.

    They are derived from the past of each transaction's card at all terminals of DATA, as it was
    known at that time (docs/features.md).
    """
    from tinyfin.config import load
    from tinyfin.training.host_fields import write_host_fields

    claim(out, make_folder=True)
    result = write_host_fields(data, load(config), out, note=note)
    emit(
        result,
        as_json,
        f"{result['transactions']} transactions, {result['with_card']} with a card: {out}\n"
        f"columns added: {', '.join(result['columns'])}",
    )

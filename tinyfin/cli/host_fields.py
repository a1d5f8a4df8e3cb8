# SPDX-License-Identifier: Apache-2.0
"""``tinyfin host-fields``: transactions with what an authorisation host would have sent."""

from __future__ import annotations

from pathlib import Path

import click

from tinyfin.cli.output import DataFile, claim, emit, json_option, note
from tinyfin.errors import ConfigError

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
@click.option(
    "--odds",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Add the odds of compromised cards as this file has them (.json).",
)
@click.option("--learn-until", help="Learn them first, from labels known by then; write --odds.")
@json_option
def command(
    data: tuple[str, ...],
    config: str | None,
    out: str,
    odds: Path | None,
    learn_until: str | None,
    as_json: bool,
) -> None:
    """Write DATA as it is, with the fields that a host would have sent as further columns.

    They are derived from the past of each transaction's card at all terminals of DATA, as it was
    known at that time (docs/features.md). With --learn-until evaluate and test from then on only:
    what is before has taught the odds.
    """
    from tinyfin.config import load, parse_moment
    from tinyfin.training.card_odds import CardOdds
    from tinyfin.training.host_fields import write_host_fields

    if learn_until is not None and odds is None:
        raise click.UsageError("--learn-until writes what it learns: say where, --odds FILE")
    learned, learn = None, None
    if odds is not None and learn_until is not None:
        try:
            learn = odds, parse_moment(learn_until)
        except ValueError as error:
            raise ConfigError(f"--learn-until {learn_until!r}: {error}") from error
        claim(out, str(odds), make_folder=True)
    else:
        claim(out, make_folder=True)
        learned = None if odds is None else CardOdds.read(odds)
    result = write_host_fields(data, load(config), out, odds=learned, learn=learn, note=note)
    emit(
        result,
        as_json,
        f"{result['transactions']} transactions, {result['with_card']} with a card: {out}\n"
        f"columns added: {', '.join(result['columns'])}",
    )

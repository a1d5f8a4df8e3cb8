# SPDX-License-Identifier: Apache-2.0
"""``tinyfin serve-host``: the host's fields of cards over HTTP."""

from __future__ import annotations

from pathlib import Path

import click

from tinyfin.cli.serving import Served, serving_options

__all__ = ["command"]


@click.command()
@click.option(
    "--cards",
    type=click.IntRange(1, 2**31),
    default=1_000_000,
    show_default=True,
    help="Most cards; beyond, the one without an event for the longest is forgotten.",
)
@click.option("--shard", type=click.IntRange(0), default=0, help="Which shard, from 0.")
@click.option(
    "--shards",
    type=click.IntRange(1, 65_535),
    default=1,
    show_default=True,
    help="Processes that share the cards.",
)
@click.option(
    "--odds",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Answer the odds of compromised cards, too: what `host-fields --learn-until` wrote.",
)
@serving_options
def command(cards: int, shard: int, shards: int, odds: Path | None, served: Served) -> None:
    """Answer over HTTP what an authorisation host knows of cards: the fields of `host-fields`.

    POST /fields and /events; GET /health, /metrics, /openapi.json. It ends by Ctrl-C or SIGTERM
    (docs/serve.md).
    """
    served.claim()

    from tinyfin.serving.host_context import HostContext
    from tinyfin.serving.host_service import HostService
    from tinyfin.training.card_odds import CardOdds

    learned = None if odds is None else CardOdds.read(odds)
    context = HostContext(cards, shard=shard, shards=shards, odds=learned)
    served.answer(HostService(context, **served.options()))

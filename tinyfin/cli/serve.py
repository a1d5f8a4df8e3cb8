# SPDX-License-Identifier: Apache-2.0
"""``tinyfin serve``: the verdicts of a run's pack over HTTP."""

from __future__ import annotations

from pathlib import Path

import click

from tinyfin.cli.serving import Served, serving_options
from tinyfin.cli.trust import public_key_option

__all__ = ["command"]


@click.command()
@click.argument("run", type=click.Path(file_okay=False))
@click.option(
    "--terminals",
    type=click.IntRange(1, 10_000_000),
    default=100_000,
    show_default=True,
    help="Most terminals; each is made when it is first named.",
)
@public_key_option
@serving_options
def command(run: str, terminals: int, public_keys: tuple[Path, ...], served: Served) -> None:
    """Answer transactions over HTTP with the pack of a RUN, as `tinyfin score` does.

    POST /score, /outcomes and /notices; GET /health, /metrics, /openapi.json. Fields have the
    schema's names. It ends by Ctrl-C or SIGTERM (docs/serve.md).
    """
    served.claim()

    from tinyfin.errors import InputError
    from tinyfin.pack.trust import require_trusted, trusted_keys
    from tinyfin.serving.scoring_service import ScoringService
    from tinyfin.training.run_folder import open_run

    folder = open_run(run)
    keys = trusted_keys(folder.path, public_keys)
    pack = folder.pack_bytes()
    require_trusted(pack, keys, folder.pack)
    service = ScoringService(
        pack, folder.config().schema, terminals=terminals, keys=keys, **served.options()
    )
    if not service.terminals.has_network:
        raise InputError(f"{folder.pack}: the pack holds no network; run `tinyfin quantize` first")
    served.answer(service)

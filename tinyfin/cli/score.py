# SPDX-License-Identifier: Apache-2.0
"""``tinyfin score``: what the terminal would have answered, computed on the workstation."""

from __future__ import annotations

from pathlib import Path

import click

from tinyfin.cli.output import emit, json_option, note, share
from tinyfin.cli.trust import public_key_option

__all__ = ["command"]


@click.command()
@click.argument("run", type=click.Path(file_okay=False))
@click.argument("data", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False))
@click.option("--warmup", multiple=True, type=click.Path(exists=True, dir_okay=False),
              help="Earlier transactions: they build state and are not reported. May be repeated.")
@click.option("--out", required=True, type=click.Path(dir_okay=False), help="Parquet file.")
@click.option("--config", "config_path", type=click.Path(dir_okay=False),
              help="Another tinyfin.toml for the columns of DATA; the run's own if not given.")
@click.option("--skip-bad-rows", type=click.Path(dir_okay=False),
              help="Set bad rows aside into this CSV file.")
@public_key_option
@json_option
def command(
    run: str,
    data: tuple[str, ...],
    warmup: tuple[str, ...],
    out: str,
    config_path: str | None,
    skip_bad_rows: str | None,
    public_keys: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Score DATA with the pack of a RUN: one row per transaction, in input order."""
    from tinyfin.pack.trust import require_trusted, trusted_keys
    from tinyfin.training.run import open_run
    from tinyfin.training.scoring import score

    folder = open_run(run)
    keys = trusted_keys(folder.path, public_keys)
    require_trusted(folder.pack_bytes(), keys, folder.pack)
    with share("scoring") as show:
        result = score(
            folder, data, out, warmup=warmup, config_path=config_path,
            skip_bad_rows=skip_bad_rows, keys=keys, note=note, progress=show,
        )
    actions = ", ".join(f"{n} {name}" for name, n in result["actions"].items())
    emit(result, as_json, f"{result['transactions']} transactions: {actions}\nscores: {out}")

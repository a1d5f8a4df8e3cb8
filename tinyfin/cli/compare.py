# SPDX-License-Identifier: Apache-2.0
"""``tinyfin compare``: two runs on the same transactions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tinyfin.cli.output import DataFile, claim, emit, json_option, note
from tinyfin.cli.trust import public_key_option

if TYPE_CHECKING:
    from tinyfin.evaluation.compare import Comparison

__all__ = ["command"]


@click.command()
@click.argument("run_a", type=click.Path(file_okay=False))
@click.argument("run_b", type=click.Path(file_okay=False))
@click.argument("data", nargs=-1, required=True, type=DataFile())
@click.option(
    "--warmup",
    multiple=True,
    type=DataFile(),
    help="Earlier transactions: they build state and are not compared. May be repeated.",
)
@click.option(
    "--changes",
    type=click.Path(dir_okay=False),
    help="Write the transactions whose action changes to this CSV file.",
)
@public_key_option
@json_option
def command(
    run_a: str,
    run_b: str,
    data: tuple[str, ...],
    warmup: tuple[str, ...],
    changes: str | None,
    public_keys: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Compare the packs of two runs on DATA: paired by card, and decision by decision.

    Only transactions after the training period of both runs count. Each run reads the files with
    its own mapping.
    """
    from tinyfin.data.containers import require_csv_name
    from tinyfin.evaluation.compare import compare_runs, write_changes
    from tinyfin.pack.trust import require_trusted, trusted_keys
    from tinyfin.training.run_folder import open_run

    runs = (open_run(run_a), open_run(run_b))
    if changes is not None:
        require_csv_name(changes)
    claim(changes, make_folder=True)
    keys = [trusted_keys(run.path, public_keys) for run in runs]
    for run, own in zip(runs, keys, strict=True):
        require_trusted(run.pack_bytes(), own, run.pack)
    found = compare_runs(*runs, [*data], warmup=warmup, keys=keys, note=note)
    if changes is not None:
        write_changes(Path(changes), found)
    emit(found.facts.as_json(), as_json, _text(found.facts))


def _text(facts: Comparison) -> str:
    lines = [
        f"{facts.rows} transactions later than {facts.since}, {facts.frauds} frauds"
        + (" (COLD: the state had not seen enough)" if facts.state == "COLD" else "")
    ]
    lines.append("                        A       B       B - A   95% interval")
    for name, m in facts.figures.items():
        span = m.interval
        between = "" if span is None else f"   {span[0]:+.4f} to {span[1]:+.4f}"
        lines.append(f"{name:<21}  {_n(m.a)}  {_n(m.b)}  {_n(m.difference)}{between}")
    lines.append(f"decisions that change: {facts.changed} of {facts.rows}")
    for row in facts.changes:
        lines.append(
            f"  {row.a} -> {row.b}: {row.genuine} genuine, {row.fraud} fraud, {row.unknown} unknown"
        )
    return "\n".join(lines)


def _n(value: float) -> str:
    return "   -   " if value != value else f"{value:7.4f}"

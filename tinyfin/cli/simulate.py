# SPDX-License-Identifier: Apache-2.0
"""tinyfin simulate: make transactions with labelled attacks."""

from __future__ import annotations

from pathlib import Path

import click

from tinyfin import files
from tinyfin.cli.output import claim, emit, json_option, note

__all__ = ["command"]

_DAY_BYTES = 100
"""Less than a terminal's day takes."""


@click.command()
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="File to write: .parquet or .csv.",
)
@click.option(
    "--kind",
    type=click.Choice(["payments", "terminal-health"]),
    default="payments",
    show_default=True,
    help="Transactions, or hourly health reports of terminals that wear out.",
)
@click.option("--terminals", type=click.IntRange(1, 100_000), help="Number of terminals [40].")
@click.option("--days", type=click.IntRange(1, 3650), help="Length in days [60].")
@click.option("--seed", type=click.IntRange(min=0), help="Same seed, same bytes [1].")
@click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="tinyfin.toml whose [simulate] section gives the rest.",
)
@json_option
def command(
    out: Path,
    kind: str,
    terminals: int | None,
    days: int | None,
    seed: int | None,
    config_path: Path | None,
    as_json: bool,
) -> None:
    """Make transactions of merchants with real rhythms, with labelled attacks among them.

    Or, with --kind terminal-health, health reports of terminals of which some fail. The columns
    carry tinyfin's own names, so no mapping is needed to read them.
    """
    from tinyfin import config, simulator

    given = {"terminals": terminals, "days": days, "seed": seed}
    changed = {key: value for key, value in given.items() if value is not None}
    settings = config.load(config_path).simulate.model_copy(update=changed)
    simulator.check_name(out)
    claim(out)
    files.require_space(out, _DAY_BYTES * settings.terminals * settings.days, "the transactions")
    note(f"simulating {settings.terminals} terminals for {settings.days} days ...")
    if kind == "payments":
        table = simulator.simulate(settings)
    else:
        from tinyfin.simulator.health import simulate_health

        table = simulate_health(settings)
    simulator.write(table, out)
    scenarios = simulator.counts(table)
    frauds = sum(row["frauds"] for row in scenarios.values())
    result = {
        "out": str(out),
        "transactions": table.num_rows,
        "frauds": frauds,
        "terminals": settings.terminals,
        "days": settings.days,
        "seed": settings.seed,
        "scenarios": scenarios,
    }
    emit(result, as_json, _text(result, scenarios))


def _text(result: dict[str, object], scenarios: dict[str, dict[str, int]]) -> str:
    lines = [f"{'scenario':<20} {'transactions':>12} {'frauds':>8} {'terminals':>10}"]
    lines += [
        f"{name:<20} {row['transactions']:>12} {row['frauds']:>8} {row['terminals']:>10}"
        for name, row in scenarios.items()
    ]
    lines.append(
        f"{'all':<20} {result['transactions']:>12} {result['frauds']:>8} {result['terminals']:>10}"
    )
    lines.append(f"written to {result['out']}")
    return "\n".join(lines)

# SPDX-License-Identifier: Apache-2.0
"""``tinyfin fleet experiment``: two packs compared on terminals that are drawn."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import click

from tinyfin.cli.fleet_carriers import FILE, lake_argument
from tinyfin.cli.output import Group, claim, emit, json_option, out_option

__all__ = ["experiment"]


@click.group("experiment", cls=Group)
def experiment() -> None:
    """Two packs compared on terminals that are drawn, by one metric that is registered before
    (docs/experiments.md)."""


@experiment.command("design")
@click.argument("plan", type=FILE)
@click.option(
    "--lake",
    "lake_path",
    type=click.Path(path_type=Path, file_okay=False),
    help="Take the spread of the terminals in this lake.",
)
@json_option
def design(plan: Path, lake_path: Path | None, as_json: bool) -> None:
    """How many terminals each arm of PLAN needs, by the spread of the terminals in a lake, or by
    what PLAN assumes."""
    from tinyfin.experiments.trial import Plan, design
    from tinyfin.fleet.lake import Lake

    facts = design(Plan.read(plan), None if lake_path is None else Lake(lake_path))
    text = (
        f"{facts['terminals_per_arm']} terminals in each arm; {facts['unit']}: {facts['rate']:.4g}"
    )
    emit(facts, as_json, text)


@experiment.command("start")
@lake_argument
@click.argument("name")
@click.argument("plan", type=FILE)
@click.option(
    "--terminals",
    "table",
    type=FILE,
    required=True,
    help="CSV: terminal, its id; the other columns make strata.",
)
@click.option("--key", "key_path", type=FILE, required=True, help="Your key, of the kind person.")
@out_option("CSV: terminal, arm and pack, for whoever installs them.")
@json_option
def start(
    lake: Path, name: str, plan: Path, table: Path, key_path: Path, out_path: Path, as_json: bool
) -> None:
    """Register PLAN as experiment NAME in LAKE, under your signature, and draw its terminals."""
    from tinyfin.experiments.trial import Plan, start
    from tinyfin.files import write
    from tinyfin.fleet.inventory import read_inventory
    from tinyfin.fleet.lake import Lake
    from tinyfin.pack.signing import load_key

    claim(out_path)
    now, terminals = dt.datetime.now(dt.UTC), read_inventory(table)
    key = load_key(key_path, "person")
    made, arms = start(Lake(lake), name, Plan.read(plan), terminals, key, now)
    rows = [f"{t},{arm},{getattr(made.plan, arm)}" for t, arm in sorted(arms.items())]
    write(out_path, "\n".join(["terminal,arm,pack", *rows]) + "\n")
    text = f"{name}: {len(arms)} terminals, {' to '.join(made.days)}; {out_path}"
    emit(made.as_dict(), as_json, text)


@experiment.command("read")
@lake_argument
@click.argument("name")
@click.option("--public-key", type=FILE, help="Who must have registered it: a .pub file.")
@json_option
def read(lake: Path, name: str, public_key: Path | None, as_json: bool) -> None:
    """What experiment NAME has found, as Markdown; after its last day, and by no metric but the
    registered one."""
    from tinyfin.experiments.trial import read
    from tinyfin.fleet.lake import Lake
    from tinyfin.pack.trust import load_public_key

    public = None if public_key is None else load_public_key(public_key, "person")
    found = read(Lake(lake), name, public)
    emit(found.as_dict(), as_json, found.markdown())

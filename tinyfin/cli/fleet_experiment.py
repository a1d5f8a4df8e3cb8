# SPDX-License-Identifier: Apache-2.0
"""``tinyfin fleet experiment``: two packs compared on terminals that are drawn."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from tinyfin.cli.fleet_carriers import FILE, lake_argument
from tinyfin.cli.output import claim, emit, json_option, out_option

__all__ = ["experiment"]

F = TypeVar("F", bound=Callable[..., Any])
_SHARE = click.FloatRange(0, 1, min_open=True, max_open=True)


def _asked(function: F) -> F:
    """What both `design` and `start` take."""
    names = ["alerts", "saturations", "faults", "frauds", "frauds_caught", "precision"]
    for option in (
        click.option(
            "--power", type=_SHARE, default=0.8, show_default=True, help="Probability to find it."
        ),
        click.option(
            "--alpha", type=_SHARE, default=0.05, show_default=True, help="Risk of a false finding."
        ),
        click.option(
            "--smallest",
            type=click.FloatRange(0, min_open=True),
            required=True,
            help="The smallest difference worth finding, in units of the metric.",
        ),
        click.option("--metric", type=click.Choice(names), required=True, help="What is compared."),
        click.option(
            "--days", type=click.IntRange(1), default=28, show_default=True, help="How long."
        ),
    ):
        function = option(function)
    return function


@click.group("experiment")
def experiment() -> None:
    """Two packs compared on terminals that are drawn, by one metric that is registered before
    (docs/experiments.md)."""


@experiment.command("design")
@click.argument("lake", required=False, type=click.Path(path_type=Path, file_okay=False))
@_asked
@click.option("--rate", type=float, help="Without LAKE: the metric, such as 3.5 per 1,000.")
@click.option("--events", type=float, help="Without LAKE: events of a terminal in that time.")
@click.option("--correlation", type=float, help="Without LAKE: of two events of a terminal.")
@json_option
def design(
    lake: Path | None,
    days: int,
    metric: str,
    smallest: float,
    alpha: float,
    power: float,
    rate: float | None,
    events: float | None,
    correlation: float | None,
    as_json: bool,
) -> None:
    """How many terminals each arm needs, by the spread of the terminals in LAKE, or by --rate,
    --events and --correlation."""
    from tinyfin.experiments.metrics import METRICS
    from tinyfin.experiments.statistics import binary_variance, terminals_per_arm
    from tinyfin.experiments.trial import design
    from tinyfin.fleet.lake import Lake

    if lake is not None:
        facts = design(Lake(lake), metric, days, smallest, alpha, power)
    elif rate is None or events is None or correlation is None or not METRICS[metric].binary:
        raise click.UsageError(
            "give LAKE, or for a metric of shares --rate, --events and --correlation"
        )
    else:
        scale = METRICS[metric].scale
        variance = scale**2 * binary_variance(rate / scale, events, correlation)
        need = terminals_per_arm(variance, smallest, alpha, power)
        facts = {"unit": METRICS[metric].unit, "rate": rate, "terminals_per_arm": need}
    text = (
        f"{facts['terminals_per_arm']} terminals in each arm ({facts['unit']}: {facts['rate']:.4g})"
    )
    emit(facts, as_json, text)


@experiment.command("start")
@lake_argument
@click.argument("name")
@_asked
@click.option("--control", type=FILE, required=True, help="The pack of one arm.")
@click.option("--treatment", type=FILE, required=True, help="The pack of the other one.")
@click.option(
    "--terminals",
    "table",
    type=FILE,
    required=True,
    help="CSV: terminal, its id; the other columns make strata.",
)
@click.option("--per-arm", type=click.IntRange(2), help="Terminals; all of the file if not given.")
@click.option("--first-day", type=click.DateTime(["%Y-%m-%d"]), help="Tomorrow if not given.")
@click.option("--key", "key_path", type=FILE, required=True, help="Yours, of the kind person.")
@out_option("CSV: terminal, arm and pack, for who installs them.")
@json_option
def start(
    lake: Path,
    name: str,
    days: int,
    metric: str,
    smallest: float,
    alpha: float,
    power: float,
    control: Path,
    treatment: Path,
    table: Path,
    per_arm: int | None,
    first_day: dt.datetime | None,
    key_path: Path,
    out_path: Path,
    as_json: bool,
) -> None:
    """Register experiment NAME in LAKE, under your signature, and draw its terminals."""
    from tinyfin.experiments.trial import Experiment, start
    from tinyfin.files import whole
    from tinyfin.fleet.inventory import read_inventory
    from tinyfin.fleet.lake import Lake
    from tinyfin.pack.container import open_pack
    from tinyfin.pack.signing import load_key

    claim(out_path)
    key, now = load_key(key_path, "person"), dt.datetime.now(dt.UTC)
    first = first_day.date() if first_day else now.date() + dt.timedelta(days=1)
    files = {"control": control, "treatment": treatment}
    plan = Experiment(
        name=name,
        registered=f"{now:%Y-%m-%dT%H:%M:%SZ}",
        metric=metric,
        smallest=smallest,
        alpha=alpha,
        power=power,
        packs={arm: open_pack(path).pack_id.hex()[:16] for arm, path in files.items()},
        first_day=str(first),
        last_day=str(first + dt.timedelta(days=days - 1)),
        terminals={},
        key=key.public.hex(),
    )
    made, arms = start(Lake(lake), plan, read_inventory(table), per_arm, key)
    rows = [f"{t.hex()},{arm},{made.packs[arm]}" for t, arm in sorted(arms.items())]
    with whole(out_path, private=True) as unfinished:
        unfinished.write_text("\n".join(["terminal,arm,pack", *rows]) + "\n")
    sizes = {arm: len(names) for arm, names in made.terminals.items()}
    text = f"{name}: {sizes}, {made.first_day} to {made.last_day}; {out_path}: who gets which pack"
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

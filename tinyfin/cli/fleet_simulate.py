# SPDX-License-Identifier: Apache-2.0
"""``tinyfin fleet simulate``: campaigns in a fleet that does not exist."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tinyfin.cli.fleet_carriers import FILE
from tinyfin.cli.output import aligned, claim, emit, json_option, note

if TYPE_CHECKING:
    from tinyfin.fleet_simulator.bank import Bank
    from tinyfin.fleet_simulator.campaign import Campaign, Row

__all__ = ["simulate"]

_FOLDER = click.Path(path_type=Path, file_okay=False)
_SHARE = click.FloatRange(0, 1)


@click.command("simulate")
@click.option(
    "--bank",
    "bank_path",
    type=_FOLDER,
    required=True,
    help="Folder of what packs do at terminals of simulated towns; built if it is not there.",
)
@click.option(
    "--bank-seed",
    type=click.IntRange(1, 99_999),
    default=1,
    show_default=True,
    help="Seed of a new bank.",
)
@click.option("--terminals", type=click.IntRange(1), default=100_000, show_default=True)
@click.option(
    "--days", type=click.IntRange(1, 3650), default=75, show_default=True, help="Of a campaign."
)
@click.option(
    "--pack",
    "names",
    multiple=True,
    metavar="NAME",
    help="good-1 and on, constant, reversed, permuted, higher, lower, slow, crashing, silent, "
    "turns-bad; several times for several campaigns. good-1 if not given.",
)
@click.option("--every-kind", is_flag=True, help="A campaign of every pack of the bank.")
@click.option("--policy", "policy_path", type=FILE, help="Of the campaign, TOML.")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Of the fleet.")
@click.option("--off-per-day", type=_SHARE, help="Share of terminals that go off. [0.003]")
@click.option("--off-days", type=click.FloatRange(1), help="Mean days that they stay off. [4]")
@click.option("--lost-per-day", type=_SHARE, help="Share that never comes back. [0.0001]")
@click.option("--late", type=_SHARE, help="Share of reports that come a day late. [0.05]")
@click.option("--faults-per-day", type=click.FloatRange(0), help="Per terminal and day. [0.002]")
@click.option("--out", "out_path", type=_FOLDER, help="Folder for fleet_simulation.json.")
@json_option
def simulate(
    bank_path: Path,
    bank_seed: int,
    terminals: int,
    days: int,
    names: tuple[str, ...],
    every_kind: bool,
    policy_path: Path | None,
    seed: int,
    out_path: Path | None,
    as_json: bool,
    **conditions: float | None,
) -> None:
    """Run campaigns in a simulated fleet, and say how each ended.

    Every terminal does what a terminal of the bank did with the pack, from a day of its own on.
    Exit code 4 when a bad pack was not halted, or a good one did not come into service everywhere.
    """
    from tinyfin import files
    from tinyfin.errors import MismatchError
    from tinyfin.fleet_simulator.bank import Bank, BankFacts, Plan, build
    from tinyfin.fleet_simulator.campaign import FleetSimulation, simulate
    from tinyfin.fleet_simulator.fleet import Conditions
    from tinyfin.rollout.policy import Policy

    if every_kind and names:
        raise click.UsageError("give --pack or --every-kind, not both")
    if out_path is not None:
        claim(out_path, make_folder=True)
    given = Conditions(**{key: value for key, value in conditions.items() if value is not None})
    policy = Policy() if policy_path is None else Policy.read(policy_path)
    if (bank_path / BankFacts.NAME).is_file():
        bank = Bank(bank_path)
    else:
        note(f"{bank_path}: building a bank, which takes a while")
        bank = build(bank_path, Plan(seed=bank_seed))
    wanted = [pack.name for pack in bank.facts.packs[1:]] if every_kind else names or ("good-1",)
    for name in wanted:
        bank.facts.pack(name)
    size = {"terminals": terminals, "days": days, "seed": seed}
    found = [simulate(bank, name, policy=policy, conditions=given, **size) for name in wanted]
    result = FleetSimulation(
        bank_seed=bank.facts.seed, **size, conditions=given, policy=policy, campaigns=found
    )
    if out_path is not None:
        out_path.mkdir(parents=True, exist_ok=True)
        files.write(out_path / FleetSimulation.NAME, result.text())
    rows = _days(found[0].rows) if len(found) == 1 else []
    emit(result.as_dict(), as_json, "\n".join([*rows, *_ends(bank, found)]))
    wrong = [one.pack for one in found if not one.right]
    if wrong:
        note(f"error: ended wrongly: {', '.join(wrong)}")
        raise SystemExit(MismatchError.exit_code)


def _days(rows: list[Row]) -> list[str]:
    from tinyfin.rollout.members import Stage

    stages = [one.name.lower() for one in Stage]
    shown = [name for name in stages if any(name in row.members for row in rows)]
    cells = [["day", "state", "wave", *shown, "gates that do not hold"]]
    for row in rows:
        counts = [f"{row.members.get(name, 0):,}" for name in shown]
        cells.append([str(row.day), row.state, row.wave, *counts, ", ".join(row.waiting) or "-"])
    return [*aligned(cells), ""]


def _ends(bank: Bank, found: list[Campaign]) -> list[str]:
    cells = [["pack", "trained as", "ended", "wave", "day", "offered", "as it should", "why"]]
    for one in found:
        precision = bank.facts.pack(one.pack).average_precision
        recipe = f"{one.recipe} ({precision:.3f})" if one.kind == "good" else "bad"
        end = (one.state, one.wave, str(one.day), f"{one.offered:,}", "yes" if one.right else "NO")
        cells.append([one.pack, recipe, *end, one.why.split(";")[0]])
    return aligned(cells)

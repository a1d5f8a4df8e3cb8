# SPDX-License-Identifier: Apache-2.0
"""A campaign of the rollout controller in a fleet of the bank, from its first tick to its end."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from tinyfin.documents import Document, Facts
from tinyfin.fleet_simulator.bank import Bank
from tinyfin.fleet_simulator.fleet import DAY_H, Conditions, Fleet
from tinyfin.progress import stage
from tinyfin.rollout.controller import STOPPED, Rollout, State, Tick
from tinyfin.rollout.members import NEVER, Stage
from tinyfin.rollout.membership import digests
from tinyfin.rollout.policy import Policy

__all__ = ["Campaign", "FleetSimulation", "Row", "simulate"]

TICK_H = 6
"""Hour of the day of a tick; the night's reports are in."""
_ENDED = (State.DONE, State.HALTED, State.ROLLED_BACK, State.INCONCLUSIVE)


class Row(Facts):
    """The campaign after a day's tick."""

    day: int
    state: str
    wave: str
    members: dict[str, int]
    """By stage; a stage without members is left out."""
    waiting: list[str]
    """Gates that do not hold."""


class Campaign(Facts):
    """One campaign, and whether it ended as it should have."""

    pack: str
    kind: str
    """``good`` or ``bad``."""
    recipe: str
    state: str
    wave: str
    """In which it ended."""
    day: int
    """On which it was done, halted or inconclusive; the last one if it was none of these."""
    why: str
    right: bool
    """Whether a good pack was confirmed in every wave, and a bad one halted."""
    offered: int
    """Terminals, until then."""
    rows: list[Row]


class FleetSimulation(Document):
    """``fleet_simulation.json``: campaigns in a simulated fleet."""

    NAME: ClassVar[str] = "fleet_simulation.json"
    bank_seed: int
    seed: int
    terminals: int
    days: int
    conditions: Conditions
    policy: Policy
    campaigns: list[Campaign]


def simulate(
    bank: Bank,
    name: str,
    *,
    terminals: int,
    days: int,
    seed: int = 1,
    policy: Policy | None = None,
    conditions: Conditions | None = None,
) -> Campaign:
    """One campaign with the pack ``name`` of the bank, until it has ended, at most so many days.
    Raises InputError for a pack that the bank does not have."""
    pack = bank.facts.pack(name)
    fleet = Fleet(bank, name, terminals, seed, conditions or Conditions())
    ids = (number.to_bytes(8, "big") for number in range(terminals))
    campaign = f"{name} {seed}".encode()
    rollout = Rollout(
        policy or Policy(), digests(campaign, ids), fleet.strata, promise=pack.promise
    )
    rollout.do("approve")
    rows: list[Row] = []
    with stage(f"campaign of {name}", days, "days") as running:
        for day in range(days):
            fleet.live()
            tick = rollout.tick(DAY_H * (day + 1) + TICK_H, fleet.seen)
            rows.append(_row(day, tick, rollout))
            running.step()
            fleet.offer(tick.offers)
            if tick.state in STOPPED:
                fleet.withdraw()
            if tick.state in _ENDED:
                break
    end = next((row for row in rows if row.state in (*STOPPED, State.DONE)), rows[-1])
    wanted = (State.DONE,) if pack.kind == "good" else STOPPED
    return Campaign(
        pack=name,
        kind=pack.kind,
        recipe=pack.recipe,
        state=rows[-1].state,
        wave=end.wave,
        day=end.day,
        why=tick.why,
        right=rows[-1].state in wanted,
        offered=int((rollout.offered_h != NEVER).sum()),
        rows=rows,
    )


def _row(day: int, tick: Tick, rollout: Rollout) -> Row:
    counts = np.bincount(rollout.stage, minlength=len(Stage))
    return Row(
        day=day,
        state=tick.state,
        wave=rollout.policy.waves[tick.wave].name,
        members={one.name.lower(): int(counts[one]) for one in Stage if counts[one]},
        waiting=[f"{gate.name} {gate.state}" for gate in tick.gates if gate.state != "holds"],
    )

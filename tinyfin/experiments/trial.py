# SPDX-License-Identifier: Apache-2.0
"""An experiment: registered and signed before its first day, read once, after its last one."""

from __future__ import annotations

import datetime as dt
import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from tinyfin.config.toml import read_as
from tinyfin.documents import Document, Facts
from tinyfin.errors import InputError, MismatchError
from tinyfin.experiments.metrics import METRICS, counted, mature_until
from tinyfin.experiments.statistics import (
    Arm,
    binary_variance,
    compare,
    power_of,
    terminals_per_arm,
)
from tinyfin.fleet import durable
from tinyfin.fleet.inventory import Terminal
from tinyfin.fleet.lake import Lake, date_of, newest_day
from tinyfin.fleet.views import connect
from tinyfin.hil.replay.playback import pack_ids
from tinyfin.pack.signing import Key, key_id, verify
from tinyfin.rollout.membership import digests, positions

__all__ = ["ARMS", "ArmResult", "Experiment", "Plan", "Result", "design", "drawn", "read", "start"]

ARMS = ("control", "treatment")
_SCORED = """SELECT terminal, pack, coalesce(sum(scored), 0)::DOUBLE FROM terminal_day
    WHERE day BETWEEN ? AND ? GROUP BY terminal, pack"""
Verdict = Literal["difference", "no difference", "underpowered"]
_SAID: dict[Verdict, str] = {
    "difference": "The arms differ.",
    "no difference": "No difference was found.",
    "underpowered": "Underpowered: no difference was found, and there may well be one.",
}
_SIGNED_AS = b"tinyfin experiment 1\n"


class Assumed(Facts):
    """In place of a lake: what an event of a terminal is like."""

    rate: float = Field(gt=0)
    """The metric."""
    events: float = Field(ge=1)
    """Of a terminal in all days."""
    correlation: float = Field(ge=0, le=1)
    """Of two events of a terminal."""


class Plan(Facts):
    """A file TOML: what is compared, and what is to be found."""

    metric: str
    smallest: float = Field(gt=0)
    """The smallest difference that is worth finding, in units of the metric."""
    alpha: float = Field(default=0.05, gt=0, lt=0.5)
    power: float = Field(default=0.8, gt=0.5, lt=1)
    days: int = Field(default=28, ge=1)
    first_day: dt.date | None = None
    """The day after the one on which it is registered if None."""
    control: str
    treatment: str
    """Packs, or runs."""
    per_arm: int | None = Field(default=None, ge=2)
    """Terminals; half of all that are named if None."""
    assumed: Assumed | None = None

    @classmethod
    def read(cls, path: Path) -> Plan:
        """Raises InputError."""
        plan = read_as(cls, path)
        if plan.metric not in METRICS:
            raise InputError(f"{path}: metric: is not one of {', '.join(METRICS)}")
        return plan


class Experiment(Document):
    """``experiments/NAME.json`` of a lake: what was registered, and who is in which arm."""

    NAME: ClassVar[str] = "experiment.json"
    name: str
    registered: str
    """UTC."""
    plan: Plan
    packs: dict[str, list[str]]
    """By arm, how the id of its pack begins in each layout, 16 digits."""
    terminals: dict[str, list[str]] = Field(default_factory=dict)
    """By arm, their aliases in the lake."""
    key: str = Field(pattern="^[0-9a-f]{64}$")
    """Public key of the person who signed."""
    signature: str = Field(default="", pattern="^([0-9a-f]{128})?$")

    @property
    def days(self) -> tuple[str, str]:
        """The first one and the last one that count."""
        first = self.plan.first_day or dt.date.fromisoformat(self.registered[:10])
        return str(first), str(first + dt.timedelta(days=self.plan.days - 1))

    @property
    def id(self) -> bytes:
        """What terminals are drawn by: 16 bytes made of all that was registered but them."""
        bare = self.model_copy(update={"terminals": {}, "signature": ""})
        return hashlib.blake2b(bare.text().encode(), digest_size=16).digest()

    @property
    def message(self) -> bytes:
        """What is signed."""
        return _SIGNED_AS + self.model_copy(update={"signature": ""}).text().encode()


class ArmResult(Facts):
    """What an arm has given."""

    pack: str
    terminals: int
    with_data: int
    under_pack: float | None
    """Share of its events that its pack scored; None: no event."""
    count: float
    exposure: float
    rate: float


class Result(Document):
    """What an experiment has found."""

    NAME: ClassVar[str] = "experiment_result.json"
    experiment: Experiment
    """As it was registered, without its terminals."""
    as_of: str
    """Day of the newest report."""
    key_id: str
    unit: str
    arms: dict[str, ArmResult]
    difference: float
    low: float
    high: float
    """Of its interval at confidence 1 - alpha."""
    p_value: float
    power: float
    """With which the smallest difference would have been found, by the spread that there was."""
    verdict: Verdict

    def markdown(self) -> str:
        """A page."""
        made, plan = self.experiment, self.experiment.plan
        rows = [
            f"| {name} | {a.pack} | {a.with_data} of {a.terminals} | "
            f"{'-' if a.under_pack is None else f'{a.under_pack:.0%}'} | {a.rate:.4g} |"
            for name, a in self.arms.items()
        ]
        return f"""# Experiment {made.name}

{self.unit}, {" to ".join(made.days)}; registered {made.registered} by key {self.key_id}.

| arm | pack | terminals with data | events under the pack | metric |
|---|---|---|---|---|
{chr(10).join(rows)}

**{_SAID[self.verdict]}** Treatment less control: {self.difference:+.4g},
{100 * (1 - plan.alpha):g} % interval {self.low:+.4g} to {self.high:+.4g}, p = {self.p_value:.2g}.
A difference of {plan.smallest:g} would have been found with {self.power:.0%}."""


def _arm(found: Mapping[str, tuple[float, float]], names: Sequence[str], scale: float) -> Arm:
    pairs = np.array([found[name] for name in names if name in found]).reshape(-1, 2)
    return Arm(pairs[:, 0] * scale, pairs[:, 1])


def _packs(plan: Plan) -> dict[str, list[str]]:
    """By arm, how the id of its pack begins in each layout; none without a pack."""
    return {arm: [id[:16] for id in pack_ids(Path(getattr(plan, arm)))] for arm in ARMS}


def design(plan: Plan, lake: Lake | None) -> dict[str, object]:
    """How many terminals each arm needs, by the spread of the lake's terminals in its last days, or
    by what the plan assumes. Raises InputError."""
    metric = METRICS[plan.metric]
    facts: dict[str, object] = {"metric": plan.metric, "unit": metric.unit}
    if lake is not None:
        with connect(lake) as base:
            last = mature_until(base) if metric.labels else str(date_of(newest_day(lake)))
            first = str(dt.date.fromisoformat(last) - dt.timedelta(days=plan.days - 1))
            found = counted(base, metric, first, last, _packs(plan))
        if len(found) < 2:
            raise InputError(f"{lake.path}: {len(found)} terminals have data from {first} on")
        arm = _arm(found, list(found), metric.scale)
        facts |= {"first_day": first, "last_day": last, "terminals": len(found), "rate": arm.rate}
        variance = arm.variance
    elif plan.assumed is not None and metric.binary:
        share = plan.assumed.rate / metric.scale
        one = binary_variance(share, plan.assumed.events, plan.assumed.correlation)
        facts["rate"], variance = plan.assumed.rate, metric.scale**2 * one
    else:
        raise InputError("the plan needs --lake, or for a metric of shares a table [assumed]")
    need = terminals_per_arm(variance, plan.smallest, plan.alpha, plan.power)
    return {**facts, "standard_deviation": variance**0.5, "terminals_per_arm": need}


def drawn(id: bytes, terminals: Sequence[Terminal], per_arm: int | None) -> dict[str, str]:
    """The arm of each terminal that takes part, by BLAKE2b over experiment and terminal within its
    stratum: of every stratum the same share, up to a terminal, and half of it in each arm; with
    ``per_arm`` so many in each. Raises InputError when there are too few."""
    wanted = len(terminals) // 2 if per_arm is None else per_arm
    if not 2 <= wanted <= len(terminals) // 2:
        raise InputError(f"{len(terminals)} terminals are too few for {max(wanted, 2)} in each arm")
    ranks = digests(id, (bytes.fromhex(one.terminal) for one in terminals))
    strata = np.unique([one.stratum for one in terminals], return_inverse=True)[1]
    chosen = np.flatnonzero(positions(ranks, strata) < 2 * wanted)
    inside = chosen[np.lexsort((ranks[chosen], strata[chosen]))]
    return {terminals[member].terminal: ARMS[i % 2] for i, member in enumerate(inside)}


def _path(lake: Lake, name: str) -> Path:
    if not re.fullmatch("[a-z0-9][a-z0-9_-]{0,63}", name):
        raise InputError(f"{name!r}: a name has small letters, digits, - and _, 64 at most")
    return lake.path / "experiments" / f"{name}.json"


def start(
    lake: Lake, name: str, plan: Plan, terminals: Sequence[Terminal], key: Key, now: dt.datetime
) -> tuple[Experiment, dict[str, str]]:
    """Draw the terminals, sign what is registered and keep it in the lake;
    the experiment, and the arm of each terminal id. Raises InputError when its name is taken, or it
    does not begin later than it is registered."""
    path, first = _path(lake, name), plan.first_day or now.date() + dt.timedelta(days=1)
    if not first > now.date():
        raise InputError(f"{first}: an experiment begins after the day on which it is registered")
    packs = _packs(plan)
    for arm in ARMS:
        if not packs[arm]:
            raise InputError(f"{getattr(plan, arm)}: there is no pack that is trusted here")
    made = Experiment(
        name=name,
        registered=f"{now:%Y-%m-%dT%H:%M:%SZ}",
        plan=plan.model_copy(update={"first_day": first}),
        packs=packs,
        key=key.public.hex(),
    )
    arms = drawn(made.id, terminals, plan.per_arm)
    alias = {terminal: lake.key.terminal(bytes.fromhex(terminal)) for terminal in arms}
    names = {arm: sorted(alias[t] for t in arms if arms[t] == arm) for arm in ARMS}
    made = made.model_copy(update={"terminals": names})
    made = made.model_copy(update={"signature": key.sign(made.message).hex()})
    with lake.locked():
        if path.exists():
            raise InputError(f"{path}: is registered already; what is measured does not change")
        durable.folder(path.parent)
        durable.write(path, made.text().encode())
    return made, arms


def read(lake: Lake, name: str, public: bytes | None = None) -> Result:
    """What the registered metric says, by the arm that each terminal was drawn for, whatever it
    ran. ``public``: the key that must have signed. Raises MismatchError for a document that was
    changed, InputError before the experiment and its labels are complete."""
    path = _path(lake, name)
    made = Experiment.read(path)
    plan, signer = made.plan, bytes.fromhex(made.key)
    genuine = verify(bytes.fromhex(made.signature), made.message, signer)
    if not genuine or public not in (None, signer):
        raise MismatchError(f"{path}: was changed after it was registered, or by another key")
    metric, days = METRICS[plan.metric], made.days
    newest = str(date_of(newest_day(lake)))
    if newest <= days[1]:
        raise InputError(
            f"{name}: goes on until {days[1]}, and the newest report is of {newest}; an early look "
            "finds differences that are not there"
        )
    with connect(lake) as base:
        if metric.labels and mature_until(base) < days[1]:
            raise InputError(f"{name}: labels of {days[1]} are not mature; read it later")
        found = counted(base, metric, *days, made.packs)
        scored = base.execute(_SCORED, days).fetchall()
    arms = {arm: _arm(found, made.terminals[arm], metric.scale) for arm in ARMS}
    one = compare(arms["control"], arms["treatment"], plan.alpha)
    power = power_of(plan.smallest, one.error, one.freedom, plan.alpha)
    nothing: Verdict = "no difference" if power >= plan.power else "underpowered"
    facts: dict[str, ArmResult] = {}
    for arm in ARMS:
        members, packs = {*made.terminals[arm]}, made.packs[arm]
        mine = [(ran in packs, events) for who, ran, events in scored if who in members]
        total = sum(events for _, events in mine)
        facts[arm] = ArmResult(
            pack=packs[0],
            terminals=len(members),
            with_data=len(arms[arm].count),
            under_pack=sum(n for own, n in mine if own) / total if total else None,
            count=arms[arm].count.sum() / metric.scale,
            exposure=arms[arm].exposure.sum(),
            rate=arms[arm].rate,
        )
    return Result(
        experiment=made.model_copy(update={"terminals": {}}),
        as_of=newest,
        key_id=f"{key_id(signer):08x}",
        unit=metric.unit,
        arms=facts,
        difference=one.value,
        low=one.low,
        high=one.high,
        p_value=one.p_value,
        power=power,
        verdict="difference" if one.p_value < plan.alpha else nothing,
    )

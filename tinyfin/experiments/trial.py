# SPDX-License-Identifier: Apache-2.0
"""An experiment: registered and signed before its first day, read once, after its last one."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from tinyfin.documents import Document, Facts
from tinyfin.errors import InputError, MismatchError
from tinyfin.experiments.metrics import METRICS, counted, last_day, mature_until
from tinyfin.experiments.statistics import Arm, compare, power_of, terminals_per_arm
from tinyfin.fleet import durable
from tinyfin.fleet.lake import Lake
from tinyfin.fleet.views import connect
from tinyfin.pack.signing import Key, key_id, verify

__all__ = ["ARMS", "ArmResult", "Experiment", "Result", "design", "drawn", "read", "start"]

ARMS: tuple[Literal["control"], Literal["treatment"]] = ("control", "treatment")
_SCORED = """SELECT terminal, pack, sum(scored)::DOUBLE FROM terminal_day
    WHERE day BETWEEN ? AND ? GROUP BY terminal, pack"""
_SIGNED_AS = b"tinyfin experiment 1\n"


class Experiment(Document):
    """``experiments/NAME.json`` of a lake: what was registered, and who is in which arm."""

    NAME: ClassVar[str] = "experiment.json"
    name: str = Field(pattern="^[a-z0-9][a-z0-9_-]{0,63}$")
    registered: str
    """UTC."""
    metric: str
    smallest: float = Field(gt=0)
    """The smallest difference that is worth finding, in units of the metric."""
    alpha: float = Field(gt=0, lt=0.5)
    power: float = Field(gt=0.5, lt=1)
    packs: dict[str, str]
    """By arm, how the id of its pack begins, 16 digits."""
    first_day: str
    last_day: str
    terminals: dict[str, list[str]]
    """By arm, their aliases in the lake."""
    key: str
    """Public key of the person who signed."""
    signature: str = ""

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
    verdict: Literal["difference", "no difference", "underpowered"]

    def markdown(self) -> str:
        """A page."""
        plan, percent = self.experiment, 100 * (1 - self.experiment.alpha)
        said = {
            "difference": "The arms differ.",
            "no difference": "No difference was found.",
            "underpowered": "**Underpowered**: no difference was found, and too few terminals had "
            "data for that to mean that there is none.",
        }[self.verdict]
        rows = [
            f"| {name} | {a.pack} | {a.with_data} of {a.terminals} | "
            f"{'-' if a.under_pack is None else f'{a.under_pack:.0%}'} | {a.rate:.4g} |"
            for name, a in self.arms.items()
        ]
        return "\n".join(
            [
                f"# Experiment {plan.name}",
                "",
                f"{plan.first_day} to {plan.last_day}; registered {plan.registered} by key "
                f"{self.key_id}; metric: {self.unit}.",
                "",
                "| arm | pack | terminals with data | events under the pack | metric |",
                "|---|---|---|---|---|",
                *rows,
                "",
                f"{said} Treatment less control: {self.difference:+.4g}, {percent:g} % interval "
                f"{self.low:+.4g} to {self.high:+.4g}, p = {self.p_value:.2g}. A difference of "
                f"{plan.smallest:g} would have been found with {self.power:.0%}.",
            ]
        )


def _arms(found: Mapping[str, tuple[float, float]], names: Sequence[str], scale: float) -> Arm:
    pairs = np.array([found[name] for name in names if name in found]).reshape(-1, 2)
    return Arm(pairs[:, 0] * scale, pairs[:, 1])


def design(
    lake: Lake, metric: str, days: int, smallest: float, alpha: float, power: float
) -> dict[str, object]:
    """How many terminals each arm needs, by the spread of the lake's terminals in its last
    ``days`` days. Raises InputError."""
    with connect(lake) as base:
        last = last_day(base) if not METRICS[metric].labels else mature_until(base)
        if not last:
            raise InputError(f"{lake.path}: no day has mature labels; {metric} needs some")
        first = str(dt.date.fromisoformat(last) - dt.timedelta(days=days - 1))
        found = counted(base, METRICS[metric], first, last, ("", ""))
    if len(found) < 2:
        raise InputError(f"{lake.path}: {len(found)} terminals have data of {metric} since {first}")
    arm = _arms(found, list(found), METRICS[metric].scale)
    need = terminals_per_arm(arm.variance, smallest, alpha, power)
    return {
        "metric": metric,
        "unit": METRICS[metric].unit,
        "first_day": first,
        "last_day": last,
        "terminals": len(found),
        "rate": arm.rate,
        "terminal_standard_deviation": arm.variance**0.5,
        "terminals_per_arm": need,
    }


def drawn(id: bytes, strata: Mapping[bytes, str], per_arm: int | None) -> dict[bytes, str]:
    """The arm of each terminal, by BLAKE2b over experiment and terminal within its stratum: of
    every stratum the same share, up to a terminal, and half of it in each arm; with ``per_arm`` so
    many in each. Raises InputError when there are too few."""
    ranks = {t: hashlib.blake2b(id + t, digest_size=16).digest() for t in strata}
    by_stratum: dict[str, list[bytes]] = {}
    for terminal in sorted(strata, key=lambda t: (strata[t], ranks[t])):
        by_stratum.setdefault(strata[terminal], []).append(terminal)
    place = {t: (i + 0.5) / len(ts) for ts in by_stratum.values() for i, t in enumerate(ts)}
    wanted = len(strata) // 2 if per_arm is None else per_arm
    if not 2 <= wanted <= len(strata) // 2:
        raise InputError(f"{len(strata)} terminals are too few for {max(wanted, 2)} in each arm")
    chosen = sorted(strata, key=lambda t: (place[t], ranks[t]))[: 2 * wanted]
    inside = sorted(chosen, key=lambda t: (strata[t], ranks[t]))
    return {terminal: ARMS[i % 2] for i, terminal in enumerate(inside)}


def start(
    lake: Lake, plan: Experiment, strata: Mapping[bytes, str], per_arm: int | None, key: Key
) -> tuple[Experiment, dict[bytes, str]]:
    """Draw the terminals (ids, and their strata), sign what is registered and keep it in the lake;
    the experiment, and the arm of each terminal. Raises InputError when its name is taken, or it
    does not begin later than it is registered."""
    if plan.metric not in METRICS:
        raise InputError(f"{plan.metric!r} is no metric; give one of {', '.join(METRICS)}")
    if not plan.registered[:10] < plan.first_day <= plan.last_day:
        raise InputError(
            f"{plan.first_day} to {plan.last_day}: an experiment begins after the day on which it "
            f"is registered, {plan.registered[:10]}, and then ends"
        )
    path = lake.path / "experiments" / f"{plan.name}.json"
    arms = drawn(plan.id, strata, per_arm)
    names = {a: sorted(lake.key.terminal(t) for t, arm in arms.items() if arm == a) for a in ARMS}
    made = plan.model_copy(update={"terminals": names})
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
    path = lake.path / "experiments" / f"{name}.json"
    plan = Experiment.read(path)
    signer = bytes.fromhex(plan.key)
    if not verify(bytes.fromhex(plan.signature), plan.message, signer) or public not in (
        None,
        signer,
    ):
        raise MismatchError(
            f"{path}: was changed after it was registered, or another key signed it"
        )
    metric = METRICS[plan.metric]
    packs = (plan.packs["control"], plan.packs["treatment"])
    with connect(lake) as base:
        newest = last_day(base)
        if newest <= plan.last_day:
            raise InputError(
                f"{name}: goes on until {plan.last_day}, and the newest report is of {newest}; an "
                "early look finds differences that are not there"
            )
        if metric.labels and mature_until(base) < plan.last_day:
            raise InputError(f"{name}: labels of {plan.last_day} are not mature; read it later")
        found = counted(base, metric, plan.first_day, plan.last_day, packs)
        scored = base.execute(_SCORED, [plan.first_day, plan.last_day]).fetchall()
    arms = {arm: _arms(found, plan.terminals[arm], metric.scale) for arm in ARMS}
    one = compare(arms["control"], arms["treatment"], plan.alpha)
    power = power_of(plan.smallest, one.error, one.freedom, plan.alpha)
    differs = one.p_value < plan.alpha
    facts: dict[str, ArmResult] = {}
    for arm in ARMS:
        members = {*plan.terminals[arm]}
        mine = [(pack == plan.packs[arm], n) for who, pack, n in scored if who in members]
        total = sum(n for _, n in mine)
        facts[arm] = ArmResult(
            pack=plan.packs[arm],
            terminals=len(members),
            with_data=len(arms[arm].count),
            under_pack=sum(n for own, n in mine if own) / total if total else None,
            count=arms[arm].count.sum() / metric.scale,
            exposure=arms[arm].exposure.sum(),
            rate=arms[arm].rate,
        )
    return Result(
        experiment=plan.model_copy(update={"terminals": {}}),
        as_of=newest,
        key_id=f"{key_id(signer):08x}",
        unit=metric.unit,
        arms=facts,
        difference=one.value,
        low=one.low,
        high=one.high,
        p_value=one.p_value,
        power=power,
        verdict="difference"
        if differs
        else "no difference"
        if power >= plan.power
        else "underpowered",
    )

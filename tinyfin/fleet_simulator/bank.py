# SPDX-License-Identifier: Apache-2.0
"""What packs do at the terminals of simulated towns, day by day: a folder of arrays.

The terminals' engine computes features on every event of every terminal; each pack's own network
scores them. So what happens in a fleet is drawn from what packs
did, never from a distribution. Training, release and the terminals of the bank are of different
towns.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import timedelta
from pathlib import Path
from typing import ClassVar, Literal
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from tinyfin import files, simulator
from tinyfin.config import Simulate, load
from tinyfin.data.events import event_stream
from tinyfin.data.memory_tables import as_files
from tinyfin.data.readers import read
from tinyfin.data.transactions import Transactions
from tinyfin.documents import Document, Facts
from tinyfin.errors import InputError
from tinyfin.fleet_simulator.packs import (
    FAULTY,
    FIRST_DAY,
    SCORES,
    Recipe,
    Scorer,
    recipes,
    trained,
)
from tinyfin.fleet_simulator.probations import Probations, Town, probations
from tinyfin.output_claims import claimed
from tinyfin.pack.container import Pack
from tinyfin.pack.drift import Histogram
from tinyfin.pack.drift_making import drift_section
from tinyfin.pack.probation import Probation
from tinyfin.release.paired import bins_of
from tinyfin.release.probation import LEAST_SEEN, Asked, probation_of
from tinyfin.release.scored import Rows
from tinyfin.release.workflow import MARGIN
from tinyfin.rollout.gates import Promise
from tinyfin.simulator.world import DAY
from tinyfin.training.metrics import average_precision
from tinyfin.twin import Twin

__all__ = ["BINS", "Bank", "BankFacts", "BankPack", "PackDays", "Plan", "build"]

BINS = 16
_COLD, _SATURATED = 1, 2
_TERMINALS, _STAND_IN = "terminals", "good-1"
Array = npt.NDArray[np.integer]
Days = npt.NDArray[np.uint16]


@dataclass(frozen=True)
class Plan:
    """How large a bank is, and what its packs are trained on. Every town has its own seed."""

    terminals: int = 2000
    town: int = 250
    """Terminals of a town."""
    days: int = 63
    """That are kept, a whole number of weeks: they come again and again."""
    warm_days: int = 7
    """Before them, that are not kept."""
    good: int = 20
    """Good candidates."""
    family: str = "mlp"
    """Of the parent and most candidates."""
    trained: tuple[int, int] = (80, 112)
    """Terminals and days of the town of the training; labels of the last 14 days are unknown."""
    released: tuple[int, int] = (1000, 28)
    """Terminals and days of the towns that give a release its bounds."""
    looks: tuple[int, ...] = (100, 200)
    """Events of the shadow after which it is looked at."""
    trial_events: int = 50
    seed: int = 1

    @property
    def training(self) -> Simulate:
        """The town of the training."""
        terminals, days = self.trained
        return Simulate(terminals=terminals, days=days, seed=10_000 * self.seed + 9_000)

    def towns(self, first: int, terminals: int, days: int) -> Iterator[Simulate]:
        """Settings of the towns whose seeds are so many after the bank's, or more."""
        begin = FIRST_DAY + timedelta(days=self.trained[1])
        for number in range(-(-terminals // self.town)):
            yield Simulate.model_validate(
                {
                    "terminals": min(self.town, terminals - number * self.town),
                    "days": days,
                    "seed": 10_000 * self.seed + first + number,
                    "start": begin.isoformat(),
                }
            )


class BankPack(Facts):
    """A pack of a bank."""

    name: str
    kind: Literal["parent", "good", "bad"]
    recipe: str
    average_precision: float
    """On the terminals of the release, whose labels are known."""
    too_different: bool = False
    """Whether its shadow is too short to tell it from a broken one: the release's rule of that
    name."""
    promise: Promise | None = None
    """None: the parent."""


class BankFacts(Document):
    """``bank.json``: what a bank holds."""

    NAME: ClassVar[str] = "fleet_bank.json"
    seed: int
    terminals: int
    days: int
    events: int
    towns: int
    looks: list[int]
    trial_events: int
    packs: list[BankPack]
    refused: list[str]
    """Candidates that were trained, and whose average precision is below the parent's by more than
    a release allows."""

    def pack(self, name: str) -> BankPack:
        """The candidate of this name. Raises InputError."""
        found = next((pack for pack in self.packs[1:] if pack.name == name), None)
        if found is None:
            known = ", ".join(pack.name for pack in self.packs[1:])
            raise InputError(f"the bank has no pack {name!r}; it has {known}")
        return found


@dataclass(frozen=True)
class PackDays(Probations):
    """A pack at each terminal and day: uint16[terminals, days] and 16 bins or counts more."""

    scores: Days
    """Events by bin of its score, in the bins of its DRFT."""
    table: Days
    """Events by bin of the parent's score and of its own."""
    alerts: Days
    parent_alerts: Days


def _file(name: str) -> str:
    return f"{name}.npz"


class Bank:
    """An open bank."""

    def __init__(self, path: Path) -> None:
        """Raises InputError when there is none."""
        self.path = path
        self.facts = BankFacts.read(path / BankFacts.NAME)
        arrays = _load(path / _file(_TERMINALS))
        self.events = arrays["events"]
        """uint16[terminals, days]: that were scored."""
        self.parent_scores = arrays["parent_scores"]
        """uint16[terminals, days, 16]: events by bin of the parent's score."""
        self.saturated = arrays["saturated"]
        """uint16[terminals, days]: values that touched the limits of the arithmetic."""
        self.merchant = arrays["merchant"]
        """int64[terminals]: category of the merchant."""

    @property
    def traffic(self) -> npt.NDArray[np.int64]:
        """int64[terminals]: by events of a day, the lower, middle or upper third: 0, 1, 2."""
        mean = self.events.mean(axis=1)
        thirds = np.quantile(mean, (1 / 3, 2 / 3))
        return np.asarray(np.searchsorted(thirds, mean, side="right"))

    def days_of(self, name: str) -> PackDays:
        """What a pack does; of one that is bad by what it does to the terminal, its scores. Raises
        InputError for a pack that is not there."""
        self.facts.pack(name)
        place = _STAND_IN if name in FAULTY else name
        return PackDays(**_load(self.path / _file(place)))  # type: ignore[arg-type]


def build(path: Path, plan: Plan) -> Bank:
    """Make a bank in the folder ``path``, which must be empty or not there; equal plans make equal
    bytes. Raises InputError, and what training raises."""
    if path.exists() and any(path.iterdir()):
        raise InputError(f"{path}: is neither a bank nor empty; name another folder")
    with claimed(path, make_folder=True), tempfile.TemporaryDirectory() as scratch:
        path.mkdir(parents=True, exist_ok=True)
        data = Path(scratch) / "town.parquet"
        simulator.write(simulator.simulate(plan.training), data)
        first, *others = recipes(plan.good, plan.family, plan.trained[1] // 7 - 2)
        parent = Scorer(trained(data, first))
        release = _Release(plan, parent)
        precision = release.precision(parent.raw(parent.inputs(release.features)))
        packs = [
            BankPack(name="parent", kind="parent", recipe=first.name, average_precision=precision)
        ]
        refused, candidates = [], dict[str, _Candidate]()
        for recipe in others:
            if len(candidates) == plan.good:
                break
            name = f"good-{len(candidates) + 1}"
            one = release.candidate(name, recipe, Scorer(trained(data, recipe)))
            if one.facts.average_precision < precision - MARGIN:
                refused.append(f"{recipe.name} ({one.facts.average_precision:.3f})")
                continue
            candidates[name] = one
            packs.append(one.facts)
        if not candidates:
            raise InputError(f"{path}: no candidate is good: {', '.join(refused)}; another seed")
        stand_in = packs[1].model_copy(update={"kind": "bad"})
        packs += [stand_in.model_copy(update={"name": name}) for name in (*SCORES, *FAULTY)]
        towns = _towns(plan, parent.pack, 0, plan.terminals, plan.warm_days + plan.days)
        parts = [dict(_town_days(town, parent, release.score.edges, candidates)) for town in towns]
        events = np.concatenate([part[_TERMINALS]["events"] for part in parts])
        for name, arrays in parts[0].items():
            whole = {key: np.concatenate([part[name][key] for part in parts]) for key in arrays}
            np.savez_compressed(path / _file(name), **whole)  # type: ignore[arg-type]
        made = BankFacts(
            seed=plan.seed,
            terminals=len(events),
            days=plan.days,
            events=int(events.sum()),
            towns=len(parts),
            looks=list(plan.looks),
            trial_events=plan.trial_events,
            packs=packs,
            refused=refused,
        )
        files.write(path / BankFacts.NAME, made.text())
    return Bank(path)


@dataclass(frozen=True)
class _Candidate:
    """A pack that was released."""

    scorer: Scorer
    bounds: Probation
    edges: tuple[int, ...]
    """Of its DRFT's score."""
    usual: npt.NDArray[np.int64]
    """Raw scores of the release."""
    facts: BankPack

    def days(self, town: Town, raw: npt.NDArray[np.integer], parent: Scorer) -> PackDays:
        """At a town's terminals, with these raw scores."""
        score = self.scorer.scores(raw)
        alert, parent_alert = self.scorer.advice(score) > 0, parent.advice(town.parent) > 0
        cell = 4 * bins_of(town.parent, self.bounds.parent_cuts).astype(np.int64)
        cell += bins_of(score, self.bounds.own_cuts)
        ends = probations(town, self.bounds, cell, parent_alert, alert)
        return PackDays(
            **{one.name: getattr(ends, one.name) for one in fields(ends)},
            scores=town.daily(np.searchsorted(self.edges, score, side="right"), BINS),
            table=town.daily(cell, 16),
            alerts=town.daily(alert, 2)[:, :, 1],
            parent_alerts=town.daily(parent_alert, 2)[:, :, 1],
        )


class _Release:
    """Other towns, on which candidates are judged and get their bounds."""

    def __init__(self, plan: Plan, parent: Scorer) -> None:
        self._plan, self._parent = plan, parent
        towns = list(_towns(plan, parent.pack, 5_000, *plan.released))
        first = np.cumsum([0, *(town.terminals for town in towns)])
        self._terminal = np.concatenate(
            [town.terminal + at for town, at in zip(towns, first[:-1], strict=True)]
        )
        self._t_s, self._label, self.features, self._old = (
            np.concatenate([getattr(town, name) for town in towns])
            for name in ("t_s", "label", "features", "parent")
        )
        self._saturated = np.concatenate([town.saturated for town in towns])
        self.score = self._histogram(parent, self._old)
        """The parent's, of DRFT."""

    def _histogram(self, scorer: Scorer, score: npt.NDArray[np.uint32]) -> Histogram:
        steady = self._label != 1
        alert = scorer.pack.decision.alert_q32 if scorer.pack.decision else None
        return drift_section(
            self.features[steady, :0],
            score[steady],
            self._terminal[steady],
            self._t_s[steady],
            score_edges=[] if alert is None else [alert],
        ).score

    def precision(self, raw: npt.NDArray[np.integer]) -> float:
        """Average precision."""
        known = self._label >= 0
        return average_precision(raw[known], self._label[known] == 1)

    def candidate(self, name: str, recipe: Recipe, scorer: Scorer) -> _Candidate:
        raw = scorer.raw(scorer.inputs(self.features)).astype(np.int64)
        score, n = scorer.scores(raw), len(raw)
        rows = Rows(
            terminal=self._terminal,
            t_s=self._t_s,
            label=self._label,
            own=score,
            own_advice=scorer.advice(score),
            cold=np.zeros(n, bool),
            saturated=self._saturated,
            parent=self._old,
            parent_advice=self._parent.advice(self._old),
            group=np.full(n, -1),
            features=self.features,
        )
        asked = Asked(
            self._parent.pack.model_id, True, self._plan.looks, self._plan.trial_events, True, True
        )
        bounds, found = probation_of(rows, asked)
        score_bins = self._histogram(scorer, score)
        last = bounds.looks[-1]
        ratio = (rows.own_advice > 0).sum() / max(1, (rows.parent_advice > 0).sum())
        same = len(score_bins.edges) == len(self.score.edges)
        promise = Promise(
            far_share=last.far / last.events,
            differ_share=last.differ / last.events,
            psi=last.psi_q10 / 1024,
            alerts_ratio=float(ratio),
            scores_comparable=same
            and bool(np.abs(score_bins.shares - self.score.shares).max() <= 0.01),
        )
        facts = BankPack(
            name=name,
            kind="good",
            recipe=recipe.name,
            average_precision=self.precision(raw),
            too_different=any(one.share[-1] < LEAST_SEEN for one in found.sees[:3]),
            promise=promise,
        )
        return _Candidate(scorer, bounds, score_bins.edges, raw, facts)


def _towns(plan: Plan, pack: Pack, first: int, terminals: int, days: int) -> Iterator[Town]:
    for settings in plan.towns(first, terminals, days):
        with as_files(simulator.simulate(settings)) as paths:
            tx = read(paths, load())
        yield _town(tx, pack, plan.warm_days, days)


def _town(tx: Transactions, pack: Pack, warm_days: int, days: int) -> Town:
    """The events after the warm days, by the twin."""
    found = Twin(pack.data, terminals=len(tx.terminals)).run(tx, event_stream(tx, "both"))
    begin = int(tx.t_local_s.min()) // DAY + warm_days
    day = tx.t_local_s.astype(np.int64) // DAY - begin
    rows = np.flatnonzero((day >= 0) & (day < days - warm_days) & (found.flags & _COLD == 0))
    rows = rows[np.argsort(tx.terminal[rows], kind="stable")]
    _, first, terminal = np.unique(tx.terminal[rows], return_index=True, return_inverse=True)
    return Town(
        terminal=terminal,
        day=day[rows],
        days=days - warm_days,
        t_s=tx.t_mono_s[rows].astype(np.int64),
        features=found.features[rows],
        label=tx.label[rows],
        saturated=found.flags[rows] & _SATURATED > 0,
        parent=found.score_q32[rows],
        merchant=tx.column("mcc")[rows[first]].astype(np.int64),
    )


def _town_days(
    town: Town, parent: Scorer, edges: tuple[int, ...], candidates: Mapping[str, _Candidate]
) -> Iterator[tuple[str, dict[str, Array]]]:
    """Arrays of each file, of this town's terminals."""
    yield (
        _TERMINALS,
        {
            "events": town.daily(np.zeros(len(town.day), np.int64), 1)[:, :, 0],
            "saturated": town.daily(town.saturated, 2)[:, :, 1],
            "parent_scores": town.daily(np.searchsorted(edges, town.parent, side="right"), BINS),
            "merchant": town.merchant,
        },
    )
    for name, one in candidates.items():
        raw = one.scorer.raw(one.scorer.inputs(town.features))
        yield name, vars(one.days(town, raw, parent))
    stand_in = candidates[_STAND_IN]
    for kind in SCORES:
        bad = stand_in.scorer.broken(kind, town.features, stand_in.usual)
        yield kind, vars(stand_in.days(town, bad, parent))


def _load(path: Path) -> dict[str, Array]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, BadZipFile) as error:
        raise InputError(f"{path}: cannot be read ({error}); build the bank again") from error

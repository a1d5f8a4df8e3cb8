# SPDX-License-Identifier: Apache-2.0
"""Evasion: a thief changes amounts and times until no alert comes, and pays for it in money taken
and in days.

Every shape of :data:`SHAPES` is tried on every incident of a scenario. From this table come three
thieves. The first has the pack and a simulator: he takes the shape that keeps most of the value
while at most :data:`LIMIT` of the transactions alert. The second has terminals only, and sees what
they do: he drops the worse half of the shapes after each round of attempts (successive halving:
Karnin, Koren and Somekh, 2013). The third reads the score of each attempt, and predicts from a few
of them, by ridge regression, what the other shapes would score. Each chooses on every second
incident, and is judged on the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import erf, sqrt

import numpy as np

from benchmarks.attacks.figures import Floats, Ints, table
from benchmarks.attacks.town import Crime, Town
from tinyfin.simulator.attacks import attacks
from tinyfin.simulator.rows import Rows, take
from tinyfin.simulator.traffic import amounts
from tinyfin.simulator.world import DAY

LIMIT = 0.1
"""Share of transactions that may alert when an attack passes for unseen."""
FEW_ATTEMPTS, REPEATS = 12, 20
TRIES = ("card_testing", "expiry_guessing")
"""Scenarios whose gain is the number of tries, not money."""
AMOUNTS = ("unchanged", "half", "a quarter", "a tenth", "usual", "in 3 parts")
TIMES = ("unchanged", "in opening hours", "15 min apart", "2 h apart", "a day apart")
_FACTORS = {"half": 0.5, "a quarter": 0.25, "a tenth": 0.1}
_GAPS_S = {"15 min apart": 900, "2 h apart": 7200}
_PARTS, _PART_GAP_S, _LEAST_MINOR = 3, 20, 50


@dataclass(frozen=True)
class Shape:
    amount: str
    time: str

    def __str__(self) -> str:
        return f"amounts {self.amount}, times {self.time}"


SHAPES = tuple(Shape(amount, time) for amount, time in product(AMOUNTS, TIMES))
"""The first one changes nothing."""


@dataclass(frozen=True)
class Tried:
    """What came of one shape, per incident: arrays of one element each."""

    shape: Shape
    made: Ints
    """Transactions in the days there were."""
    alerts: Ints
    face: Floats
    """Value of the transactions made, over that of the attack as it is."""
    passed: Floats
    """The same of those without alert."""
    days: Floats
    """From the first transaction to the last."""
    log_odds: Floats
    """Mean over the transactions."""
    spread: Floats
    """Standard deviation of it."""

    def detected(self, of: Ints) -> float:
        """Share of the transactions of the incidents ``of`` that alerted."""
        return float(self.alerts[of].sum() / max(1, self.made[of].sum()))


def shaped(town: Town, crime: Crime, shape: Shape, rng: np.random.Generator) -> Rows:
    """The transactions of ``crime`` in another shape; those that do not fit in the town's time are
    left out."""
    rows = crime.rows
    amount = rows["amount_minor"]
    if shape.amount == "usual":
        draws = amounts(town.world.terminals[crime.terminal], len(amount), rng)
        amount = np.minimum(amount, draws.astype(np.int64))
    amount = (amount * _FACTORS.get(shape.amount, 1.0)).astype(np.int64)
    rows = take(rows, np.arange(len(amount)), amount_minor=np.maximum(amount, _LEAST_MINOR))
    if shape.amount == "in 3 parts":
        n = len(amount)
        rows = take(
            rows,
            np.repeat(np.arange(n), _PARTS),
            amount_minor=np.repeat(np.maximum(amount // _PARTS, _LEAST_MINOR), _PARTS),
            time_s=np.repeat(rows["time_s"], _PARTS) + np.tile(np.arange(_PARTS), n) * _PART_GAP_S,
        )
        rows = take(rows, np.argsort(rows["time_s"], kind="stable"))
    times = rows["time_s"]
    if shape.time != "unchanged":
        count = np.arange(len(times))
        offsets = {
            "in opening hours": times - times[0],
            "a day apart": count * town.open_s_per_day(crime.terminal),
        }.get(shape.time, count * _GAPS_S.get(shape.time, 0))
        times = town.opens(crime.terminal, int(times[0]), offsets)
    rows = take(rows, np.arange(len(times)), time_s=times)
    if len(times) and rows["stan"][0] >= 0:
        rows = take(rows, np.arange(len(times)), stan=rows["stan"][0] + np.arange(len(times)))
    return rows


def attempt(town: Town, name: str, crimes: Sequence[Crime], shape: Shape) -> Tried:
    """All ``crimes`` of the scenario ``name``, in one shape."""
    town.calm()
    parts = []
    for crime in crimes:
        rng = town.world.rng("shape", name, crime.terminal)
        parts.append(shaped(town, crime, shape, rng))
        town.disturb(crime, parts[-1]["time_s"])
    answers = town.answers(town.transactions(parts))
    town.calm()
    value = answers.tx.column("amount_minor").astype(np.float64)
    if name in TRIES:
        value = np.full(len(value), 1.0 / (_PARTS if shape.amount == "in 3 parts" else 1))
    fraud = answers.tx.label == 1
    found: list[list[float]] = []
    for crime in crimes:
        mine = fraud & (answers.place == crime.terminal)
        whole = len(crime.rows["time_s"]) if name in TRIES else crime.rows["amount_minor"].sum()
        alert, odds = answers.alert[mine], answers.log_odds[mine]
        times = answers.tx.t_mono_s[mine].astype(np.int64)
        found.append(
            [
                len(alert),
                int(np.count_nonzero(alert)),
                float(value[mine].sum() / whole),
                float(value[mine][~alert].sum() / whole),
                float(np.ptp(times)) / DAY if len(times) else 0.0,
                float(odds.mean()) if len(odds) else 0.0,
                float(odds.std()) if len(odds) else 0.0,
            ]
        )
    made, alerts, face, passed, days, odds_mean, spread = np.array(found, np.float64).T
    return Tried(shape, made.astype(int), alerts.astype(int), face, passed, days, odds_mean, spread)


def with_pack(grid: Sequence[Tried], tune: Ints) -> Tried:
    """The shape that keeps most of the value among those that pass; if none does, the one that is
    detected least."""
    unseen = [one for one in grid if one.detected(tune) <= LIMIT]
    if not unseen:
        return min(grid, key=lambda one: one.detected(tune))
    return max(unseen, key=lambda one: float(one.passed[tune].mean()))


def by_actions(grid: Sequence[Tried], tune: Ints, rng: np.random.Generator) -> tuple[Tried, int]:
    """What successive halving ends with, and how many attempts it takes."""
    left, attempts = list(grid), 0
    seen: dict[Shape, list[int]] = {one.shape: [] for one in grid}
    while len(left) > 1:
        for one in left:
            seen[one.shape].append(int(rng.choice(tune)))
        attempts += len(left)

        def merit(one: Tried) -> tuple[bool, float]:
            tried = np.array(seen[one.shape])
            alerted = one.detected(tried)
            unseen = alerted <= LIMIT
            return unseen, float(one.passed[tried].mean()) if unseen else -alerted

        left = sorted(left, key=merit, reverse=True)[: (len(left) + 1) // 2]
    return left[0], attempts


def by_scores(
    grid: Sequence[Tried], tune: Ints, threshold: float, rng: np.random.Generator
) -> tuple[Tried, int]:
    """What few attempts whose log odds are read predict to be best. ``threshold``: log odds from
    which on a transaction alerts."""
    x = np.array(
        [
            [1.0, *(one.shape.amount == a for a in AMOUNTS), *(one.shape.time == t for t in TIMES)]
            for one in grid
        ]
    )
    tried = rng.choice(len(grid), min(FEW_ATTEMPTS, len(grid)), replace=False)
    places = rng.choice(tune, len(tried))
    y = np.array([grid[i].log_odds[j] for i, j in zip(tried, places, strict=True)])
    spread = float(np.mean([grid[i].spread[j] for i, j in zip(tried, places, strict=True)])) + 0.5
    seen = x[tried]
    fit = seen.T @ seen + 0.3 * np.eye(x.shape[1])
    predicted = y.mean() + x @ np.linalg.solve(fit, seen.T @ (y - y.mean()))
    alerts = np.array([0.5 * (1 + erf((p - threshold) / spread / sqrt(2))) for p in predicted])
    face = np.array([one.face[tune].mean() for one in grid])  # the thief can reckon it
    passing = np.where(alerts <= LIMIT, face * (1 - alerts), -alerts)
    return grid[int(np.argmax(passing))], len(tried)


@dataclass(frozen=True)
class Judged:
    """What became of the shape that a thief chose, on the other incidents; means over the
    repetitions of his search."""

    detected: float
    """Share of transactions."""
    noticed: float
    """Share of incidents with an alert."""
    passed: float
    """Share of the value."""
    days: float
    attempts: int = 0

    @classmethod
    def of(cls, ends: Sequence[tuple[Tried, int]], judge: Ints) -> Judged:
        shapes = [one for one, _ in ends]
        return cls(
            float(np.mean([one.detected(judge) for one in shapes])),
            float(np.mean([np.mean(one.alerts[judge] > 0) for one in shapes])),
            float(np.mean([np.mean(one.passed[judge]) for one in shapes])),
            float(np.mean([np.median(one.days[judge]) for one in shapes])),
            ends[0][1],
        )

    def cell(self) -> str:
        return f"{self.detected:.0%}, {self.passed:.0%}"


@dataclass(frozen=True)
class Scenario:
    name: str
    incidents: int
    unchanged: Judged
    least_detected: float
    """Of all shapes, on all incidents."""
    best: str
    """The shape that the thief with the pack chooses."""
    passes: bool
    """It does where he chose it."""
    with_pack: Judged
    by_actions: Judged
    by_scores: Judged


def scenario(
    town: Town, name: str, threshold: float, seed: int, shapes: Sequence[Shape] = SHAPES
) -> Scenario:
    crimes = town.crimes(name)
    grid = [attempt(town, name, crimes, shape) for shape in shapes]
    every = np.arange(len(crimes))
    tune, judge = every[::2], every[1::2]
    best = with_pack(grid, tune)
    rngs = [np.random.default_rng([seed, i]) for i in range(REPEATS)]
    return Scenario(
        name,
        len(crimes),
        Judged.of([(grid[0], 0)], every),
        min(one.detected(every) for one in grid),
        str(best.shape),
        best.detected(tune) <= LIMIT,
        Judged.of([(best, 0)], judge),
        Judged.of([by_actions(grid, tune, rng) for rng in rngs], judge),
        Judged.of([by_scores(grid, tune, threshold, rng) for rng in rngs], judge),
    )


def threshold_of(town: Town) -> float:
    """The lowest log odds that alert in a town with every scenario."""
    every = [crime.rows for name in frauds() for crime in town.crimes(name)]
    answers = town.answers(town.transactions(every))
    return float(answers.log_odds[answers.alert].min(initial=np.inf))


def frauds() -> list[str]:
    return [name for name, attack in attacks().items() if attack.label == 1]


def measure(town: Town, seed: int) -> list[Scenario]:
    threshold = threshold_of(town)
    return [scenario(town, name, threshold, seed) for name in frauds()]


def page(found: Sequence[Scenario]) -> str:
    head = "scenario|unchanged|best shape|detected, passed|noticed|days|actions only|scores read"
    return table(
        head.split("|"),
        [
            [
                one.name,
                one.unchanged.cell(),
                one.best if one.passes else f"none passes; least: {one.best}",
                one.with_pack.cell(),
                f"{one.with_pack.noticed:.0%}",
                f"{one.with_pack.days:.1f}",
                one.by_actions.cell(),
                one.by_scores.cell(),
            ]
            for one in found
        ],
    )

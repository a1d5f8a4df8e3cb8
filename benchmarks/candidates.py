# SPDX-License-Identifier: Apache-2.0
"""Candidates that were really trained again, and what the bounds of a release make of them.

    python -m benchmarks.candidates [--handbook FILE] [--towns N] [--out DIR]

The parent and its successors are trained on one simulated town. Bounds are made on terminals of
other towns, as `tinyfin release` makes them, and tried on the terminals of yet other towns, which
were used for nothing else. A candidate is good when its average precision on the terminals of the
bounds is not lower than the parent's by more than the release's margin; its refusals are false
ones. Damages stand in for a pack that is not what the release has judged: they take the place of a
good candidate, under its bounds. With the Fraud Detection Handbook's file, half of its terminals
are trained on, a fifth give bounds, and the rest is judged, after 50 and 100 events.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tinyfin import simulator
from tinyfin.config import Simulate, load
from tinyfin.data.events import event_stream
from tinyfin.data.memory_tables import as_files
from tinyfin.data.readers import read
from tinyfin.fleet_simulator.packs import FIRST_DAY, Scorer, configuration
from tinyfin.fleet_simulator.packs import Recipe as Plain
from tinyfin.pack.probation import Probation
from tinyfin.quantization.workflow import quantize
from tinyfin.release.bounds import region
from tinyfin.release.judgement import objections
from tinyfin.release.paired import Windows, bins_of, failed_at
from tinyfin.release.probation import Asked, measured, probation_of, scaled
from tinyfin.release.scored import Rows
from tinyfin.release.workflow import MARGIN
from tinyfin.results.comparison import Pair
from tinyfin.results.release import ProbationFacts
from tinyfin.training.bootstrap import draw_groups, interval, replicated_ap
from tinyfin.training.workflow import train
from tinyfin.twin import Twin

ROOT = Path(__file__).resolve().parents[1]
TRAINED_DAYS, TRAINED_TERMINALS, TOWN_TERMINALS, TOWN_DAYS = 98, 120, 400, 24
BOUND_TOWNS = 8
DRAWS = 40
"""Of terminals, for the interval of a difference in average precision."""
HANDBOOK = """
[data]
time = {column = "TX_TIME_SECONDS", format = "seconds", epoch = "2018-04-01"}
terminal = "TERMINAL_ID"
token = "CUSTOMER_ID"
amount = {column = "AMOUNT_MINOR", unit = "minor"}
label = "TX_FRAUD"
label_delay = "7d"
"""
HANDBOOK_NAMES = """[
  "amt_log", "amt_dev", "amt_small_16", "gap_s", "rate_60", "hour_rare", "tok_seen_cnt",
  "tok_gap_s", "known_last", "known_rate_28d",
]"""

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Recipe(Plain):
    """How a candidate is trained; weeks are those of the training town."""

    unlabelled: float = 0.0
    """Share of the rows whose label is gone."""
    swapped: float = 0.0
    """Share of the frauds whose label another row has."""


RETRAINED: Mapping[str, Recipe] = {
    "parent": Recipe(),
    **{f"seed {seed}": Recipe(seed=seed) for seed in (2, 3, 4, 5)},
    "weeks 3 to 14": Recipe(weeks=(2, 14)),
    "weeks 5 to 14": Recipe(weeks=(4, 14)),
    "weeks 1 to 8": Recipe(weeks=(0, 8)),
    "boosted trees": Recipe(family="boosted"),
    "one label in ten": Recipe(unlabelled=0.9),
    "half of the frauds swapped": Recipe(swapped=0.5),
}
ON_HANDBOOK = ("parent", "seed 2", "seed 3", "weeks 5 to 14", "half of the frauds swapped")
STAND_IN = "seed 2"
"""The good candidate that damages take the place of."""
DAMAGES = (
    "constant",
    "scores of other events",
    "1 sd higher",
    "1 sd lower",
    "amounts not read",
    "the input that weighs most not read",
    "inputs in reverse order",
    "inputs of 3 bits",
    "inputs of 2 bits",
)


class Candidate(Scorer):
    """A pack, run on features."""

    _weightiest: int | None = None

    def weightiest(self, inputs: npt.NDArray[np.int8]) -> int:
        """The input whose usual value in its place moves the raw score most, on the first rows that
        it was asked with."""
        if self._weightiest is None:
            some = inputs[:20_000]
            own = self.raw(some).astype(np.int64)
            moved = []
            for at, usual in enumerate(self.references):
                changed = some.copy()
                changed[:, at] = usual
                moved.append(float(np.abs(self.raw(changed) - own).mean()))
            self._weightiest = int(np.argmax(moved))
            print(f"weighs most: {self.pack.meta['features'][self._weightiest]}", flush=True)
        return self._weightiest


def damaged(name: str, pack: Candidate, features: npt.NDArray[np.int16]) -> Ints:
    """Raw scores of a pack that is broken in one way."""
    inputs = pack.inputs(features)
    if name.endswith("not read"):
        at = 0 if name.startswith("amounts") else pack.weightiest(inputs)
        inputs[:, at] = pack.references[at]
    if name == "inputs in reverse order":
        inputs = inputs[:, ::-1].copy()
    if name == "inputs of 3 bits":
        inputs &= np.int8(-32)
    if name == "inputs of 2 bits":
        inputs &= np.int8(-64)
    raw = pack.raw(inputs).astype(np.int64)
    if name == "constant":
        return np.full_like(raw, raw.min())
    if name == "scores of other events":
        return np.random.default_rng(1).permutation(raw)
    if name.startswith("1 sd"):
        return raw + round(float(raw.std())) * (1 if name.endswith("higher") else -1)
    return raw


@dataclass
class Terminals:
    """The first events of terminals whose state is warm: [terminals, events]."""

    events: int
    label: list[npt.NDArray[np.int8]] = field(default_factory=list)
    saturated: list[npt.NDArray[np.bool_]] = field(default_factory=list)
    raw: dict[str, list[npt.NDArray[np.integer]]] = field(default_factory=dict)

    def add(self, data: Path, config: Path, packs: Mapping[str, Candidate]) -> int:
        """Replay a file; how many terminals have enough events."""
        tx = read([data], load(config))
        parent = packs["parent"]
        twin = Twin(parent.pack.data, terminals=len(tx.terminals))
        replay = twin.run(tx, event_stream(tx, "both"))
        warm = np.flatnonzero(replay.flags & 1 == 0)
        order = warm[np.argsort(tx.terminal[warm], kind="stable")]
        begin = np.flatnonzero(np.r_[True, np.diff(tx.terminal[order]) != 0])
        many = np.diff(np.r_[begin, len(order)])
        rows = order[begin[many >= self.events][:, None] + np.arange(self.events)]
        features = np.ascontiguousarray(replay.features[rows.ravel()])
        for name, pack in packs.items():
            raw = pack.raw(pack.inputs(features))
            self.raw.setdefault(name, []).append(raw.reshape(rows.shape))
        for name in DAMAGES:
            broken = damaged(name, packs[STAND_IN], features)
            self.raw.setdefault(name, []).append(broken.reshape(rows.shape))
        assert np.array_equal(self.raw["parent"][-1], replay.raw[rows])
        self.label.append(tx.label[rows])
        self.saturated.append(replay.flags[rows] & 2 > 0)
        return len(rows)

    def rows(self, name: str, pack: Candidate, parent: Candidate) -> Rows:
        """As a release sees them."""
        label = np.concatenate(self.label)
        terminal, at = (grid.ravel() for grid in np.indices(label.shape))
        own = pack.scores(np.concatenate(self.raw[name]).ravel())
        old = parent.scores(np.concatenate(self.raw["parent"]).ravel())
        return Rows(
            terminal=terminal,
            t_s=at,
            label=label.ravel(),
            own=own,
            own_advice=pack.advice(own),
            cold=np.zeros(len(own), bool),
            saturated=np.concatenate(self.saturated).ravel(),
            parent=old,
            parent_advice=parent.advice(old),
            group=np.full(len(own), -1),
            features=np.zeros((0, 0), np.int16),
        )


def windows_under(bounds: Probation, rows: Rows, own_cuts: tuple[int, int, int]) -> Windows:
    """The windows of ``rows`` by the cuts of a pack."""
    shape = (-1, bounds.looks[-1].events)
    return Windows(
        rows.terminal.reshape(shape)[:, 0],
        bins_of(rows.parent.reshape(shape), bounds.parent_cuts),
        bins_of(rows.own.reshape(shape), own_cuts),
        rows.parent_advice.reshape(shape) > 0,
        rows.own_advice.reshape(shape) > 0,
    )


@dataclass(frozen=True)
class Found:
    """What became of a candidate."""

    name: str
    average_precision: float
    difference: float
    release: str
    refused: tuple[int, ...]
    """Terminals, by the end of each look."""
    terminals: int

    @property
    def good(self) -> bool:
        """Whether its refusals are false ones."""
        return self.difference >= -MARGIN

    def row(self) -> str:
        """Of the table."""
        shares = " | ".join(f"{100 * n / self.terminals:.2f}" for n in self.refused)
        return (
            f"| {self.name} | {self.average_precision:.3f} | {self.difference:+.3f} "
            f"| {self.release} | {shares} |"
        )


def judge(
    for_bounds: Terminals, others: Terminals, packs: Mapping[str, Candidate], looks: Sequence[int]
) -> tuple[list[Found], list[str]]:
    """All candidates and damages; and the table of how many terminals bounds take."""
    parent = packs["parent"]
    found: list[Found] = []
    measures: list[npt.NDArray[np.float64]] = []
    kept: dict[str, Probation] = {}
    ordered = [STAND_IN, *(name for name in packs if name not in ("parent", STAND_IN)), *DAMAGES]
    for name in ordered:
        stands_for = packs.get(name, packs[STAND_IN])
        own = for_bounds.rows(name, stands_for, parent)
        later = others.rows(name, stands_for, parent)
        pair = _precision(own, for_bounds, name)
        if name in packs:
            bounds, facts = probation_of(own, Asked(parent.pack.model_id, True, looks))
            kept[name] = bounds
            release = _release(pair, facts)
        else:
            bounds, release = kept[STAND_IN], "damaged later"
        cuts = bounds.own_cuts
        if pair.difference < -MARGIN:
            bounds = kept[STAND_IN]
        windows = windows_under(bounds, later, cuts)
        failed = failed_at(bounds, windows) >= 0
        refused = tuple(int(failed[: i + 1].any(axis=0).sum()) for i in range(len(failed)))
        found.append(Found(name, pair.b, pair.difference, release, refused, len(windows.terminal)))
        print(found[-1].row(), flush=True)
        if name in packs and found[-1].good:
            both = [windows_under(bounds, rows, cuts) for rows in (own, later)]
            values = [scaled(*measured(one, looks, bounds.alerts_factor_q8)) for one in both]
            measures.append(np.concatenate(values))
    return found, list(_by_terminals(measures))


def _precision(rows: Rows, terminals: Terminals, name: str) -> Pair:
    """As :func:`tinyfin.evaluation.compare.figures` has it, by fewer draws, of terminals."""
    raws = [np.concatenate(terminals.raw[one]).ravel() for one in ("parent", name)]
    fraud = rows.label == 1
    many = int(rows.terminal.max()) + 1
    drawn = np.concatenate([np.ones((1, many), np.float32), draw_groups(many, 1, DRAWS)])
    a, b = (replicated_ap(raw, fraud, rows.terminal, drawn) for raw in raws)
    low, high = interval((b - a)[1:])
    return Pair(a=a[0], b=b[0], difference=b[0] - a[0], interval=(low, high))


def _release(pair: Pair, facts: ProbationFacts) -> str:
    broken = objections(None, {}, facts, margin=MARGIN, allow=())
    rules: list[str] = [one.rule for one in broken if one.rule == "too-different"]
    assert pair.interval is not None
    if pair.interval[1] < 0 or pair.difference < -MARGIN:
        rules.insert(0, "not-better")
    return ", ".join(rules) or "released"


def _by_terminals(measures: Sequence[npt.NDArray[np.float64]], draws: int = 30) -> Iterator[str]:
    """False refusals in 1,000 on all other terminals, by how many the bounds were made from."""
    rng = np.random.default_rng(1)
    for many in (25, 50, 100, 300, 1000, 3000):
        if many > 0.7 * len(measures[0]):
            break
        shares = []
        for values in measures:
            for _ in range(draws):
                order = rng.permutation(len(values))
                made = region(values[order[:many]], np.arange(many))
                shares.append(float((values[order[many:]] > made.bounds).any(axis=1).mean()))
        worst = np.mean(np.reshape(shares, (len(measures), draws)), axis=1).max()
        yield f"| {many:,} | {1000 * np.mean(shares):.2f} | {1000 * worst:.2f} |"


def report(found: Sequence[Found], by_terminals: Sequence[str], looks: Sequence[int]) -> list[str]:
    """Tables, and the bound of false refusals."""
    from scipy.stats import beta

    head = " | ".join(f"by {look} events, %" for look in looks)
    lines = [
        f"| candidate | average precision | difference | release | {head} |",
        f"|---|---|---|---|{'---|' * len(looks)}",
        *(one.row() for one in found),
        "",
    ]
    good = [one for one in found if one.good and one.release != "damaged later"]
    for title, some in (("each at most", good), ("together", None)):
        if some is not None:
            worst = max(good, key=lambda one: one.refused[-1])
            n, k = worst.terminals, worst.refused[-1]
        else:
            n, k = sum(one.terminals for one in good), sum(one.refused[-1] for one in good)
        upper = float(beta.ppf(0.95, k + 1, n - k))
        lines.append(
            f"False refusals of {len(good)} good candidates, {title}: {k} of {n:,} "
            f"({1000 * k / n:.2f} in 1,000; with 95 % confidence at most {1000 * upper:.2f})"
        )
    lines += ["", "| terminals of the bounds | false refusals in 1,000 | worst candidate |"]
    return [*lines, "|---|---|---|", *by_terminals]


def town(folder: Path) -> Iterator[tuple[str, Path, Path]]:
    """The training town under each recipe: name, data, configuration."""
    settings = Simulate(terminals=TRAINED_TERMINALS, days=TRAINED_DAYS + 14, seed=11)
    table = simulator.simulate(settings)
    for name, recipe in RETRAINED.items():
        yield from _prepared(folder, name, recipe, table, "label", ('""', '"default"'))


def _prepared(
    folder: Path, name: str, recipe: Recipe, table: pa.Table, label: str, words: tuple[str, str]
) -> Iterator[tuple[str, Path, Path]]:
    rng = np.random.default_rng(recipe.seed)
    column = table[label].to_numpy().astype(np.int8)
    frauds, genuine = np.flatnonzero(column == 1), np.flatnonzero(column == 0)
    moved = rng.choice(frauds, int(recipe.swapped * len(frauds)), replace=False)
    column[moved], column[rng.choice(genuine, len(moved), replace=False)] = 0, 1
    gone = rng.random(len(column)) < recipe.unlabelled
    place = table.schema.names.index(label)
    data = folder / f"{name.replace(' ', '_')}.parquet"
    changed = pa.array(column, table.schema.field(label).type, mask=gone)
    pq.write_table(table.set_column(place, label, changed), data)
    first = FIRST_DAY if words[0] == '""' else date(2018, 4, 1)
    config = data.with_suffix(".toml")
    sections = "" if words[0] == '""' else words[0]
    config.write_text(configuration(replace(recipe, first_day=first), sections, words[1]))
    yield name, data, config


def trained(
    folder: Path, prepared: Iterator[tuple[str, Path, Path]], recipes: Mapping[str, Recipe]
) -> dict[str, Candidate]:
    """Train and quantize each; the packs."""
    out = {}
    for name, data, config in prepared:
        run = train([data], load(config), name=data.stem, out=folder, seed=recipes[name].seed)
        quantize(run)
        out[name] = Candidate(run.pack)
        print(f"trained: {name}", flush=True)
        if name != "parent":
            data.unlink()
    return out


def simulated(folder: Path, towns: int) -> list[str]:
    """The simulated towns: the report."""
    packs = trained(folder, town(folder), RETRAINED)
    looks = (200, 500, 1000)
    sets = Terminals(looks[-1]), Terminals(looks[-1])
    begin = FIRST_DAY + timedelta(weeks=16)
    for number in range(BOUND_TOWNS + towns):
        settings = Simulate.model_validate(
            {
                "terminals": TOWN_TERMINALS,
                "days": TOWN_DAYS,
                "seed": 1000 + number,
                "start": begin.isoformat(),
            }
        )
        with as_files(simulator.simulate(settings)) as paths:
            many = sets[number >= BOUND_TOWNS].add(paths[0], folder / "parent.toml", packs)
        print(f"town {number}: {many} terminals", flush=True)
    return report(*judge(*sets, packs, looks), looks)


def handbook(folder: Path, source: Path) -> list[str]:
    """The Handbook's terminals: the report."""
    table = pq.read_table(source)
    part = pc.cast(table["TERMINAL_ID"], pa.int64()).to_numpy() % 10
    recipes = {name: RETRAINED[name] for name in ON_HANDBOOK}
    words = (HANDBOOK, HANDBOOK_NAMES)

    def prepared() -> Iterator[tuple[str, Path, Path]]:
        for name, recipe in recipes.items():
            yield from _prepared(folder, name, recipe, table.filter(part < 5), "TX_FRAUD", words)

    packs = trained(folder, prepared(), recipes)
    looks = (50, 100)
    sets = Terminals(looks[-1]), Terminals(looks[-1])
    for terminals, chosen in zip(sets, ((part == 5) | (part == 6), part > 6), strict=True):
        path = folder / "terminals.parquet"
        pq.write_table(table.filter(chosen), path)
        print(terminals.add(path, folder / "parent.toml", packs), "terminals", flush=True)
    return report(*judge(*sets, packs, looks), looks)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.candidates")
    parser.add_argument("--handbook", type=Path, help="the Handbook's transactions, in its place")
    parser.add_argument("--towns", type=int, default=13, help="that candidates are tried in")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "candidates")
    asked = parser.parse_args(arguments)
    shutil.rmtree(asked.out, ignore_errors=True)
    asked.out.mkdir(parents=True)
    if asked.handbook is not None:
        lines = handbook(asked.out, asked.handbook)
    else:
        lines = simulated(asked.out, asked.towns)
    print("\n".join(["", *lines]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

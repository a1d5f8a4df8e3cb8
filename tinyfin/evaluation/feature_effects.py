# SPDX-License-Identifier: Apache-2.0
"""What each feature, and each group of features, is worth to a model that is not trained again.

Permutation importance (Breiman, Random Forests, 2001; scikit-learn's ``permutation_importance``) of
the average precision of the int8 network, and the average precision that is lost when all inputs of
a group are held at their usual values. The direction is that of the partial dependence (Friedman,
Greedy Function Approximation, 2001).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tinyfin.config import Config
from tinyfin.data.transactions import Transactions
from tinyfin.evaluation.fold_metrics import row_weights
from tinyfin.evaluation.fold_scores import FoldScores
from tinyfin.features.check_program import names_read
from tinyfin.features.compiler import compile_program
from tinyfin.features.operators import LABELLED
from tinyfin.features.selection import select
from tinyfin.progress import stage
from tinyfin.results.model_risk import Ablation, Direction, Effects, FeatureEffect
from tinyfin.training.bootstrap import Drawn, draw_groups, interval, mean_of_folds, replicated_ap
from tinyfin.training.metrics import average_precision
from tinyfin.training.populations import cards_of

__all__ = ["REPEATS", "Drawing", "ablation", "effects", "needs", "permuted"]

REPEATS = 5
_ROWS = 10_000
_FEWEST_ROWS = 2_000
_NETWORK_RUNS = 2_000_000
_GRID = 11
_GRID_ROWS = 500
_STEP = 0.01
"""A step back by less of the whole range of the partial dependence is none."""

Inputs = npt.NDArray[np.int8]
Score = Callable[[Inputs], npt.NDArray[np.int32]]
Replicates = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Drawing:
    """Rows to ask about, n of them."""

    inputs: Inputs
    """[n, F]: what the network gets."""
    fraud: npt.NDArray[np.bool_]
    weight: npt.NDArray[np.float64]
    """With which the rows stand for all rows."""
    group: npt.NDArray[np.int64]
    """What a bootstrap draws together, a column of ``drawn``."""
    drawn: Drawn

    def precision(self, score: npt.NDArray[np.int32]) -> float:
        """Average precision; NaN without both classes."""
        return average_precision(score, self.fraud.astype(np.int8), self.weight)

    def replicated(self, score: npt.NDArray[np.int32], some: slice = slice(None)) -> Replicates:
        """The average precision under ``some`` of the draws."""
        return replicated_ap(score, self.fraud, self.group, self.drawn[some], self.weight)


@dataclass(frozen=True)
class _Part:
    """A fold to ask about: its network, the rows, and what it says of them as they are."""

    score: Score
    sample: Drawing
    usual: Sequence[int]
    base: npt.NDArray[np.int32]


def effects(
    tx: Transactions,
    scored: Sequence[FoldScores],
    config: Config,
    prevalence: float | None,
    seed: int,
) -> Effects | None:
    """Effects on the test rows of folds whose state is warm, in their first population: means over
    the folds that have frauds, each with its own network; None where none has.

    At most 10,000 rows are drawn of all folds together (2,000 of each are left to it), fewer where
    there are many features; of each fold as many frauds as there are, up to half of its rows.
    Weights make their average precision that of all rows.
    """
    population, _ = next(iter(scored[0].populations().items()))
    masks = [s.populations()[population] for s in scored]
    able = [
        (s, mask)
        for s, mask in zip(scored, masks, strict=True)
        if len(np.unique(tx.label[s.rows][mask] == 1)) == 2
    ]
    if not able:
        return None
    rng = np.random.default_rng(seed)
    units = np.unique(np.concatenate([cards_of(tx, s.rows)[mask] for s, mask in able]))
    drawn = draw_groups(len(units), seed)
    names = scored[0].facts.features.names
    limit = min(_ROWS, _NETWORK_RUNS // (REPEATS * len(names))) // len(able)
    parts = [
        _part(tx, s, mask, units, drawn, max(_FEWEST_ROWS, limit), prevalence, rng)
        for s, mask in able
    ]
    with stage("effects of features", len(names), "features") as running:
        found = []
        for i, name in enumerate(names):
            lost, replicated = _mean([permuted(p.score, p.sample, i, p.base, rng) for p in parts])
            way = _common({direction(p.score, p.sample.inputs, i) for p in parts})
            span = interval(replicated)
            found.append(FeatureEffect(feature=name, effect=lost, interval=span, direction=way))
            running.step()
    whole = float(np.mean([p.sample.precision(p.base) for p in parts]))
    groups = []
    for name, members in needs(config).items():
        columns = [names.index(member) for member in members]
        lost, replicated = _mean(
            [ablation(p.score, p.sample, columns, p.usual, p.base) for p in parts]
        )
        groups.append(
            Ablation(
                group=name,
                features=members,
                average_precision=whole - lost,
                effect=lost,
                interval=interval(replicated),
            )
        )
    return Effects(
        parts=[s.fold.name for s, _ in able],
        population=population,
        rows=sum(len(p.sample.fraud) for p in parts),
        of_rows=sum(int(np.count_nonzero(mask)) for _, mask in able),
        frauds=sum(int(np.count_nonzero(p.sample.fraud)) for p in parts),
        of_frauds=sum(int(np.count_nonzero(tx.label[s.rows[mask]] == 1)) for s, mask in able),
        repeats=REPEATS,
        average_precision=whole,
        features=sorted(found, key=lambda one: -one.effect),
        groups=sorted(groups, key=lambda one: -one.effect),
    )


def _part(
    tx: Transactions,
    scored: FoldScores,
    mask: npt.NDArray[np.bool_],
    units: npt.NDArray[np.integer],
    drawn: Drawn,
    limit: int,
    prevalence: float | None,
    rng: np.random.Generator,
) -> _Part:
    from tinyfin.pack.container import parse_pack
    from tinyfin.twin import Twin

    data = scored.run.pack_bytes()
    decision = parse_pack(data).decision
    assert decision is not None  # every pack of a run has one
    twin = Twin(data, terminals=1)
    fraud = tx.label[scored.rows] == 1
    rows = _chosen(np.flatnonzero(mask & fraud), np.flatnonzero(mask & ~fraud), limit, rng)
    sample = Drawing(
        inputs=scored.run.slices()["test"][rows],
        fraud=fraud[rows],
        weight=_weights(fraud[rows], fraud[mask], prevalence),
        group=np.searchsorted(units, cards_of(tx, scored.rows)[rows]),
        drawn=drawn,
    )

    def score(codes: Inputs) -> npt.NDArray[np.int32]:
        return twin.infer(codes)[1]

    return _Part(score, sample, decision.references, score(sample.inputs))


def _mean(each: Sequence[tuple[float, Replicates]]) -> tuple[float, Replicates]:
    """Over the folds, draw by draw."""
    return float(np.mean([lost for lost, _ in each])), mean_of_folds([x for _, x in each])


def _common(found: set[Direction]) -> Direction:
    told = found - {"none"}
    return told.pop() if len(told) == 1 else "both" if told else "none"


def _chosen(
    frauds: npt.NDArray[np.int64],
    genuine: npt.NDArray[np.int64],
    limit: int,
    rng: np.random.Generator,
) -> npt.NDArray[np.int64]:
    """At most ``limit`` of the rows, in order."""
    some = min(len(frauds), max(limit // 2, limit - len(genuine)))
    drawn = (
        rng.choice(frauds, some, replace=False),
        rng.choice(genuine, min(len(genuine), limit - some), replace=False),
    )
    return np.sort(np.concatenate(drawn))


def _weights(
    drawn: npt.NDArray[np.bool_], of: npt.NDArray[np.bool_], prevalence: float | None
) -> npt.NDArray[np.float64]:
    """With which frauds and genuine rows that were drawn stand for all of them."""
    weight = row_weights(drawn, prevalence)
    if weight is not None:
        return weight
    fraud, genuine = (
        np.count_nonzero(of == kind) / np.count_nonzero(drawn == kind) for kind in (True, False)
    )
    return np.where(drawn, fraud, genuine)


def permuted(
    score: Score,
    sample: Drawing,
    column: int,
    base: npt.NDArray[np.int32],
    rng: np.random.Generator,
    repeats: int = REPEATS,
) -> tuple[float, Replicates]:
    """Mean loss of average precision over ``repeats`` permutations of an input, and the loss under
    each draw: every permutation is judged on its own share of the draws, so that an interval knows
    both the rows and the permutations. 0 for a constant."""
    values = sample.inputs[:, column]
    share = len(sample.drawn) // repeats
    if not np.ptp(values):
        return 0.0, np.zeros(share * repeats)
    whole = sample.precision(base)
    lost, replicated = [], []
    for i in range(repeats):
        other = sample.inputs.copy()
        other[:, column] = rng.permutation(values)
        again = score(other)
        some = slice(i * share, (i + 1) * share)
        lost.append(whole - sample.precision(again))
        replicated.append(sample.replicated(base, some) - sample.replicated(again, some))
    return float(np.mean(lost)), np.concatenate(replicated)


def direction(score: Score, inputs: Inputs, column: int) -> Direction:
    """Where the mean score goes while an input grows over its deciles and the others stay."""
    grid = np.unique(np.quantile(inputs[:, column], np.linspace(0, 1, _GRID), method="nearest"))
    some = inputs[:: max(1, len(inputs) // _GRID_ROWS)].copy()
    means = []
    for value in grid:
        some[:, column] = value
        means.append(float(np.mean(score(some))))
    steps = np.diff(means)
    tolerance = _STEP * (max(means) - min(means))
    if not np.any(steps):
        return "none"
    if np.all(steps >= -tolerance):
        return "rises"
    return "falls" if np.all(steps <= tolerance) else "both"


def ablation(
    score: Score,
    sample: Drawing,
    columns: Sequence[int],
    usual: Sequence[int],
    base: npt.NDArray[np.int32],
) -> tuple[float, Replicates]:
    """Loss of average precision where the inputs of ``columns`` are held at ``usual`` (int8, one
    per input), and the loss under each draw."""
    other = sample.inputs.copy()
    for i in columns:
        other[:, i] = usual[i]
    held = score(other)
    lost = sample.precision(base) - sample.precision(held)
    return lost, sample.replicated(base) - sample.replicated(held)


def needs(config: Config) -> Mapping[str, list[str]]:
    """Names of features by what they need; a feature may need several things."""
    found: dict[str, list[str]] = {}
    schema = config.schema
    host = {field.name for field in schema.fields if field.host}
    for feature in select(config.features):
        program = compile_program([feature], schema)
        reads = names_read(program.payload, schema.names)
        memory = program.terminal_state_bytes + program.label_ring_bytes
        needed = {
            "notices": bool(LABELLED & set(program.operators)),
            "host fields": bool(host & reads),
            "how transactions end": "response" in reads,
            "memory of cards": program.card_slot_bytes > 0,
            "memory of the terminal": memory > 0,
            "this transaction alone": not memory and not program.card_slot_bytes,
            **{f"field {name}": True for name in feature.fields},
        }
        for name, own in needed.items():
            if own:
                found.setdefault(name, []).append(feature.name)
    return found

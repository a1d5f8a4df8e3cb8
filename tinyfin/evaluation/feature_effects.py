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
from tinyfin.training.bootstrap import Drawn, draw_groups, interval, replicated_ap
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


Replicates = npt.NDArray[np.float64]


def effects(
    tx: Transactions, scored: FoldScores, config: Config, prevalence: float | None, seed: int
) -> Effects:
    """Effects on the test rows of a fold whose state is warm, in its first population.

    At most 10,000 rows are drawn, fewer where there are many features, as many frauds as there are
    up to half of them; weights make their average precision that of all rows.
    """
    from tinyfin.pack.container import parse_pack
    from tinyfin.twin import Twin

    data = scored.run.pack_bytes()
    pack = parse_pack(data)
    assert pack.decision is not None  # every pack of a run has one
    twin = Twin(data, terminals=1)
    population, mask = next(iter(scored.populations().items()))
    inputs = scored.run.slices()["test"]
    fraud = tx.label[scored.rows] == 1
    limit = max(_FEWEST_ROWS, min(_ROWS, _NETWORK_RUNS // (REPEATS * inputs.shape[1])))
    rng = np.random.default_rng(seed)
    chosen = _chosen(np.flatnonzero(mask & fraud), np.flatnonzero(mask & ~fraud), limit, rng)
    of = np.flatnonzero(mask)
    sample = _drawing(inputs, fraud, chosen, of, cards_of(tx, scored.rows), prevalence, seed)

    def score(codes: Inputs) -> npt.NDArray[np.int32]:
        return twin.infer(codes)[1]

    names = scored.facts.features.names
    base = score(sample.inputs)
    with stage("effects of features", len(names), "features") as running:
        found = []
        for i, name in enumerate(names):
            effect, span = permuted(score, sample, i, base, rng)
            way = direction(score, sample.inputs, i)
            found.append(FeatureEffect(feature=name, effect=effect, interval=span, direction=way))
            running.step()
    groups = []
    for name, members in needs(config).items():
        columns = [names.index(member) for member in members]
        held = ablation(score, sample, columns, pack.decision.references, base)
        groups.append(
            Ablation(
                group=name,
                features=members,
                average_precision=held[0],
                effect=held[1],
                interval=held[2],
            )
        )
    return Effects(
        part=scored.fold.name,
        population=population,
        rows=len(chosen),
        of_rows=len(of),
        frauds=int(np.count_nonzero(sample.fraud)),
        of_frauds=int(np.count_nonzero(fraud[of])),
        repeats=REPEATS,
        average_precision=sample.precision(base),
        features=sorted(found, key=lambda one: -np.nan_to_num(one.effect)),
        groups=sorted(groups, key=lambda one: -np.nan_to_num(one.effect)),
    )


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


def _drawing(
    inputs: Inputs,
    fraud: npt.NDArray[np.bool_],
    chosen: npt.NDArray[np.int64],
    of: npt.NDArray[np.int64],
    unit: npt.NDArray[np.integer],
    prevalence: float | None,
    seed: int,
) -> Drawing:
    own = fraud[chosen]
    weight = row_weights(own, prevalence)
    if weight is None:
        weight = np.empty(len(chosen))
        for kind in (False, True):
            drawn = max(int(np.count_nonzero(own == kind)), 1)
            weight[own == kind] = np.count_nonzero(fraud[of] == kind) / drawn
    units, group = np.unique(unit[chosen], return_inverse=True)
    return Drawing(
        inputs=inputs[chosen],
        fraud=own,
        weight=weight,
        group=group.astype(np.int64),
        drawn=draw_groups(max(len(units), 1), seed),
    )


def permuted(
    score: Score,
    sample: Drawing,
    column: int,
    base: npt.NDArray[np.int32],
    rng: np.random.Generator,
    repeats: int = REPEATS,
) -> tuple[float, tuple[float, float]]:
    """Mean loss of average precision over ``repeats`` permutations of an input, and its 95 %
    interval: each permutation is judged on its own share of the bootstrap's draws, so that the
    interval knows both the rows and the permutations. 0 for a constant."""
    values = sample.inputs[:, column]
    if not np.ptp(values):
        return 0.0, (0.0, 0.0)
    share = len(sample.drawn) // repeats
    whole = sample.precision(base)
    lost, replicated = [], []
    for i in range(repeats):
        other = sample.inputs.copy()
        other[:, column] = rng.permutation(values)
        again = score(other)
        some = slice(i * share, (i + 1) * share)
        lost.append(whole - sample.precision(again))
        replicated.append(sample.replicated(base, some) - sample.replicated(again, some))
    return float(np.mean(lost)), interval(np.concatenate(replicated))


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
) -> tuple[float, float, tuple[float, float]]:
    """Average precision with the inputs of ``columns`` held at ``usual`` (int8, one per input), how
    much less that is, and its paired 95 % interval."""
    other = sample.inputs.copy()
    for i in columns:
        other[:, i] = usual[i]
    held = score(other)
    left = sample.precision(held)
    span = interval(sample.replicated(base) - sample.replicated(held))
    return left, sample.precision(base) - left, span


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

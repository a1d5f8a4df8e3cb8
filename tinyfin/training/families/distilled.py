# SPDX-License-Identifier: Apache-2.0
"""``distilled``: the dense layers of ``mlp``, taught by gradient-boosted trees.

The teacher sees the same int8 inputs. What it says of a row it must not know from that row,
or the student would be taught its teacher's memory: the fit rows are split into blocks of time,
and each block is judged by trees that were fitted on the others. A row's target is then

    (1 - trust) * label + trust * the teacher's probability

after Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network" (2015), with
probabilities in place of softened logits: fraud is so rare that its logits are soft as they are.

A teacher can judge any row, and needs no label for it. So the student also learns from mixed rows,
as many as there are rows: each is a row in which some inputs are replaced with those of another
row, and its target is what the teachers say. They show the student what its teachers say where the
data has few rows (Bucila, Caruana and Niculescu-Mizil, "Model Compression", KDD 2006).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from tinyfin.config import Model
from tinyfin.results.run import FitFacts
from tinyfin.training.amount_weights import amount_weights
from tinyfin.training.families import Fitted, Problem, family_options
from tinyfin.training.families.dense import fit_dense
from tinyfin.training.families.trees import Trees, grow
from tinyfin.training.metrics import average_precision
from tinyfin.training.odds import probability_of
from tinyfin.training.representative_sample import thinned, thinned_facts

__all__ = ["FAMILY", "mixed", "teach"]

_BLOCKS_PER_FOLD = 3
_RATE = 0.1

Floats = npt.NDArray[np.float64]


class DistilledOptions(BaseModel):
    """[model.options] of this family."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    amount_power: float = Field(default=0.0, ge=0.0, le=1.0)
    """Frauds weigh by their amounts to this power, for teachers and student
    (:mod:`tinyfin.training.amount_weights`)."""
    genuine_rows: int = Field(default=400_000, ge=100)
    """Genuine rows to fit on at most; of more, so many are drawn at random."""
    trust: float = Field(default=0.75, ge=0.0, le=1.0)
    """How much of a target is the teacher's word; the rest is the label."""
    folds: int = Field(default=3, ge=2, le=10)
    """Teachers; each judges what the others were trained on."""
    trees: int = Field(default=200, ge=1, le=2000)
    """Trees of a teacher."""
    depth: int = Field(default=4, ge=1, le=10)
    """Splits on the way to a leaf of theirs."""
    mixed: float = Field(default=1.0, ge=0.0, le=10.0)
    """Mixed rows for each row."""
    swap: float = Field(default=0.1, ge=0.0, le=0.5)
    """Share of a mixed row's inputs that come from another row."""
    keep: Literal["last", "best"] = "last"
    """The epoch that stays: the last one, or the best on the validation rows, with patience."""


class Distilled:
    """Trains on labels and on a larger model's scores."""

    name = "distilled"
    supervised = True
    needs: tuple[str, ...] = ("tensorflow", "xgboost")
    usual: Mapping[str, object] = MappingProxyType({})

    def takes_validation(self, model: Model) -> bool:
        """Yes, unless they choose the epoch."""
        return family_options(DistilledOptions, model).keep == "last"

    def fit(
        self, problem: Problem, model: Model, progress: Callable[[int, int, str], None]
    ) -> Fitted:
        """See :class:`tinyfin.training.families.Family`."""
        options = family_options(DistilledOptions, model)
        rows = thinned(problem.label, options.genuine_rows, model.seed)
        inputs, label = problem.inputs[rows], problem.label[rows]
        amount = None if problem.amount is None else problem.amount[rows]
        weight = amount_weights(label == 1, amount, options.amount_power)
        word, teachers = teach(inputs, label, weight, options, model.seed, progress)
        target = (1.0 - options.trust) * (label == 1) + options.trust * word
        n = round(options.mixed * len(rows)) if teachers else 0
        more = mixed(inputs, word, n, options.swap, model.seed)
        judged = np.zeros(n, np.float32)
        for trees in teachers:
            judged += probability_of(trees.log_odds(more)) / len(teachers)
        facts = FitFacts(
            teacher=f"{options.folds} x {options.trees} trees of depth {options.depth}",
            teacher_average_precision=average_precision(word, label),
            trust=options.trust,
            mixed_rows=n,
        )
        return fit_dense(
            problem,
            model,
            rows,
            target.astype(np.float32),
            weight.astype(np.float32),
            progress,
            facts,
            thinned_facts("the model", problem.label, rows, "[model.options] genuine_rows"),
            keep=options.keep,
            more=(more, judged),
            amount_power=options.amount_power,
        )


FAMILY = Distilled()


def teach(
    inputs: npt.NDArray[np.int8],
    label: npt.NDArray[np.int8],
    weight: Floats,
    options: DistilledOptions,
    seed: int,
    progress: Callable[[int, int, str], None],
) -> tuple[Floats, Sequence[Trees]]:
    """Probability of fraud float64[n] of each row, by a teacher that did not see it; and the
    teachers. The n rows are in order of time and have weights ``weight`` float64[n].

    Where the other folds hold no fraud, or nothing else, there is no teacher; the rows of the fold
    get the share of fraud in the other folds.
    """
    n = len(label)
    block = np.arange(n) * (_BLOCKS_PER_FOLD * options.folds) // max(n, 1)
    fold = block % options.folds
    out = np.empty(n)
    teachers = []
    for k in range(options.folds):
        rest = fold != k
        fraud = label[rest] == 1
        if fraud.all() or not fraud.any():
            out[~rest] = float(np.mean(fraud)) if len(fraud) else 0.0
        else:
            teachers.append(
                grow(
                    inputs[rest],
                    fraud,
                    weight[rest],
                    trees=options.trees,
                    depth=options.depth,
                    rate=_RATE,
                    seed=seed,
                )
            )
            out[~rest] = probability_of(teachers[-1].log_odds(inputs[~rest]))
        progress(k + 1, options.folds, "teachers")
    return out, teachers


def mixed(
    inputs: npt.NDArray[np.int8], word: Floats, n: int, swap: float, seed: int
) -> npt.NDArray[np.int8]:
    """n rows of ``inputs``, in each of which a share ``swap`` of the inputs is another row's.

    Half of them are drawn uniformly, half in proportion to the square root of ``word``, the
    probability of fraud: from rows that are surely genuine there is little to learn.
    """
    rng = np.random.default_rng([seed, 2006])
    even = n // 2
    root = np.sqrt(np.maximum(word, 1e-12))
    rows = np.concatenate(
        [rng.integers(0, len(word), even), rng.choice(len(word), n - even, p=root / root.sum())]
    )
    out: npt.NDArray[np.int8] = inputs[rows]
    other = inputs[rng.integers(0, len(word), n)]
    swapped = rng.random(out.shape, dtype=np.float32) < swap
    out[swapped] = other[swapped]
    return out

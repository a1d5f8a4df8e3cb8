# SPDX-License-Identifier: Apache-2.0
"""``distilled``: the dense layers of ``mlp``, taught by gradient-boosted trees.

The teacher sees the same int8 inputs. What it says of a row it must not know from that row,
or the student would be taught its teacher's memory: the fit rows are split into blocks of time,
and each block is judged by trees that were fitted on the others. A row's target is then

    (1 - trust) * label + trust * the teacher's probability

after Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network" (2015), with
probabilities in place of softened logits: fraud is so rare that its logits are soft as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from tinyfin.config import Model
from tinyfin.results.metrics import Thinned
from tinyfin.results.run import FitFacts
from tinyfin.training.amount_weights import amount_weights
from tinyfin.training.families import Fitted, Problem, family_options
from tinyfin.training.families.dense import fit_dense
from tinyfin.training.metrics import average_precision
from tinyfin.training.odds import log_odds, probability_of
from tinyfin.training.representative_sample import thinned, thinned_facts

__all__ = ["FAMILY", "teach"]

_BLOCKS_PER_FOLD = 3


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
    trees: int = Field(default=120, ge=1, le=2000)
    """Trees of a teacher."""
    leaves: int = Field(default=15, ge=2, le=255)
    """Leaves of a tree at most."""
    keep: Literal["last", "best"] = "last"
    """The epoch that stays: the last one, or the best on the validation rows, with patience."""
    teacher_genuine_rows: int = Field(default=150_000, ge=100)
    """Genuine rows that a teacher is fitted on at most; its odds are put right afterwards."""


class Distilled:
    """Trains on labels and on a larger model's scores."""

    name = "distilled"
    supervised = True
    needs: tuple[str, ...] = ("tensorflow", "sklearn")
    usual: Mapping[str, object] = MappingProxyType({})

    def fit(
        self, problem: Problem, model: Model, progress: Callable[[int, int, str], None]
    ) -> Fitted:
        """See :class:`tinyfin.training.families.Family`."""
        options = family_options(DistilledOptions, model)
        rows = thinned(problem.label, options.genuine_rows, model.seed)
        label = problem.label[rows]
        said = thinned_facts("the model", problem.label, rows, "[model.options] genuine_rows")
        amount = None if problem.amount is None else problem.amount[rows]
        weight = amount_weights(label == 1, amount, options.amount_power)
        word = teach(
            problem.inputs[rows],
            label,
            options,
            model.seed,
            progress,
            said,
            weight if options.amount_power else None,
        )
        target = (1.0 - options.trust) * (label == 1) + options.trust * word
        facts = FitFacts(
            teacher=f"{options.folds} x {options.trees} trees of {options.leaves} leaves",
            teacher_average_precision=average_precision(word, label),
            trust=options.trust,
        )
        return fit_dense(
            problem,
            model,
            rows,
            target.astype(np.float32),
            weight.astype(np.float32),
            progress,
            facts,
            said,
            keep=options.keep,
            amount_power=options.amount_power,
        )


FAMILY = Distilled()


def teach(
    inputs: npt.NDArray[np.int8],
    label: npt.NDArray[np.int8],
    options: DistilledOptions,
    seed: int,
    progress: Callable[[int, int, str], None],
    said: list[Thinned] | None = None,
    weight: npt.NDArray[np.float64] | None = None,
) -> npt.NDArray[np.float64]:
    """Probability of fraud of each row, n rows in order of time, by trees that did not see it.
    ``said`` takes what is to be said of rows that they were not trained on either; ``weight``: of
    the rows, float64[n], all alike if None.

    A fold that would leave its teacher no fraud or nothing else gives the base rate of the rest.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    n = len(label)
    block = np.arange(n) * (_BLOCKS_PER_FOLD * options.folds) // max(n, 1)
    fold = block % options.folds
    out = np.empty(n)
    for k in range(options.folds):
        rest = np.flatnonzero(fold != k)
        learn = rest[thinned(label[rest], options.teacher_genuine_rows, seed + k)]
        if said is not None:
            own = np.searchsorted(rest, learn)
            said += thinned_facts(
                f"teacher {k + 1}", label[rest], own, "[model.options] teacher_genuine_rows"
            )
        fraud = label[learn] == 1
        base = float(np.mean(label[rest] == 1)) if len(rest) else 0.0
        if fraud.all() or not fraud.any():
            out[fold == k] = base
        else:
            trees = HistGradientBoostingClassifier(
                max_iter=options.trees,
                max_leaf_nodes=options.leaves,
                learning_rate=0.08,
                min_samples_leaf=40,
                l2_regularization=1.0,
                early_stopping=False,
                random_state=seed,
            ).fit(inputs[learn], fraud, None if weight is None else weight[learn])
            shift = log_odds(base) - log_odds(float(np.mean(fraud)))
            out[fold == k] = probability_of(trees.decision_function(inputs[fold == k]) + shift)
        progress(k + 1, options.folds, "teachers")
    return out

# SPDX-License-Identifier: Apache-2.0
"""``mlp``: dense layers with ReLU and one linear output, the logit of fraud, fitted to labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from tinyfin.config import Model
from tinyfin.results.run import FitFacts
from tinyfin.training.amount_weights import amount_weights
from tinyfin.training.families import Fitted, Problem, family_options
from tinyfin.training.families.dense import fit_dense
from tinyfin.training.representative_sample import thinned, thinned_facts

__all__ = ["FAMILY"]


class MlpOptions(BaseModel):
    """[model.options] of this family."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    fraud_weight: float | None = Field(default=None, gt=0)
    """Weight of a fraud against a genuine row; the root of the odds if not given."""
    amount_power: float = Field(default=0.0, ge=0.0, le=1.0)
    """Frauds weigh by their amounts to this power (:mod:`tinyfin.training.amount_weights`)."""
    genuine_rows: int = Field(default=400_000, ge=100)
    """Genuine rows to fit on at most; of more, so many are drawn at random."""


class Mlp:
    """Trains on the labels alone."""

    name = "mlp"
    supervised = True
    needs: tuple[str, ...] = ("tensorflow",)
    usual: Mapping[str, object] = MappingProxyType({})

    def takes_validation(self, model: Model) -> bool:
        """No: they say which epoch is kept."""
        return False

    def fit(
        self, problem: Problem, model: Model, progress: Callable[[int, int, str], None]
    ) -> Fitted:
        """See :class:`tinyfin.training.families.Family`."""
        options = family_options(MlpOptions, model)
        rows = thinned(problem.label, options.genuine_rows, model.seed)
        fraud = problem.label[rows] == 1
        frauds = int(np.count_nonzero(fraud))
        amount = None if problem.amount is None else problem.amount[rows]
        by_amount = amount_weights(fraud, amount, options.amount_power)
        weight = options.fraud_weight or float(np.sqrt((len(rows) - frauds) / frauds))
        return fit_dense(
            problem,
            model,
            rows,
            fraud.astype(np.float32),
            np.where(fraud, weight * by_amount, 1.0).astype(np.float32),
            progress,
            FitFacts(fraud_weight=weight),
            thinned_facts("the model", problem.label, rows, "[model.options] genuine_rows"),
            amount_power=options.amount_power,
        )


FAMILY = Mlp()

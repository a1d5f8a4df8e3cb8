# SPDX-License-Identifier: Apache-2.0
"""Gradient-boosted trees on integers, grown by XGBoost (T. Chen and C. Guestrin, XGBoost, KDD
2016).

Equal calls give equal trees.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel

__all__ = ["Node", "Trees", "grow"]

Inputs = npt.NDArray[np.integer]


class Booster(Protocol):
    """The methods of XGBoost's Booster that are used here."""

    def inplace_predict(
        self, data: Inputs, /, *, predict_type: str, iteration_range: tuple[int, int]
    ) -> npt.NDArray[np.float32]:
        """Scores of rows."""

    def get_dump(self, *, dump_format: str) -> list[str]:
        """The text of each tree."""


class Node(BaseModel):
    """A split or a leaf of a tree, as XGBoost writes it; ``yes`` is the child for values below the
    condition."""

    nodeid: int
    leaf: float | None = None
    split: str = ""
    """f0, f1, ..."""
    split_condition: float = 0.0
    yes: int = 0
    no: int = 0
    children: list[Node] = []


@dataclass(frozen=True)
class Trees:
    """Trees that were grown."""

    booster: Booster

    def log_odds(self, inputs: Inputs, first: int = 0) -> npt.NDArray[np.float64]:
        """Natural log-odds of fraud float64[n] of rows [n, F], by ``first`` trees; 0: by all."""
        return self.booster.inplace_predict(
            inputs, predict_type="margin", iteration_range=(0, first)
        ).astype(np.float64)

    def roots(self) -> list[Node]:
        """The root of each tree."""
        return [
            Node.model_validate_json(text) for text in self.booster.get_dump(dump_format="json")
        ]


def grow(
    inputs: Inputs,
    fraud: npt.NDArray[np.bool_],
    weight: npt.NDArray[np.float64],
    *,
    trees: int,
    depth: int,
    rate: float,
    seed: int,
    directions: Sequence[int] = (),
    narrow: bool = True,
    threads: int = 1,
) -> Trees:
    """``trees`` trees for rows [n, F] with labels bool[n] and weights float64[n].

    ``directions``, one per feature: 1 lets it only raise the log-odds, -1 only lower them, 0 both.
    ``narrow``: each tree sees 40 % of the features, or eight if that is more, and leaves may hold
    few rows; else 80 %, and leaves hold more. Where frauds are few, trees that see nearly all
    features agree on what one fraud happens to show.
    """
    from xgboost import DMatrix, train

    share = max(0.4, min(1.0, 8 / inputs.shape[1])) if narrow else 0.8
    options = {
        "objective": "binary:logistic",
        # at the base rate the hessian p (1 - p) of a row is so small that leaves of few frauds
        # would not reach min_child_weight
        "base_score": 0.5,
        "tree_method": "hist",
        "max_bin": 256,
        "max_depth": depth,
        "eta": rate,
        "min_child_weight": 0.3 if narrow else 5,
        "lambda": 5 if narrow else 1,
        "subsample": 0.8,
        "colsample_bytree": share,
        "seed": seed % (1 << 31),
        "nthread": threads,
    }
    if any(directions):
        options["monotone_constraints"] = tuple(directions)
    return Trees(train(options, DMatrix(inputs, fraud, weight=weight), num_boost_round=trees))

# SPDX-License-Identifier: Apache-2.0
"""Gradient-boosted trees on int8 codes: XGBoost on one thread, so that equal calls give equal
trees.
Chen, Guestrin: XGBoost, KDD 2016.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel

__all__ = ["Node", "Trees", "grow", "share_of_features"]


class Booster(Protocol):
    """What is used of XGBoost's."""

    def inplace_predict(
        self, data: npt.NDArray[np.int8], /, *, predict_type: str
    ) -> npt.NDArray[np.float32]:
        """Scores of rows."""

    def get_dump(self, *, dump_format: str) -> list[str]:
        """The text of each tree."""


class Node(BaseModel):
    """A split or a leaf of a tree, as XGBoost writes it: ``yes`` is the child where the feature is
    below the condition."""

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

    def log_odds(self, inputs: npt.NDArray[np.int8]) -> npt.NDArray[np.float64]:
        """Natural log-odds of fraud float64[n] of int8[n, F]."""
        return self.booster.inplace_predict(inputs, predict_type="margin").astype(np.float64)

    def roots(self) -> list[Node]:
        """Each tree."""
        return [
            Node.model_validate_json(text) for text in self.booster.get_dump(dump_format="json")
        ]


def share_of_features(features: int) -> float:
    """How much of the features each tree sees: 40 %, or eight of them, or all."""
    return max(0.4, min(1.0, 8 / features))


def grow(
    inputs: npt.NDArray[np.int8],
    fraud: npt.NDArray[np.bool_],
    weight: npt.NDArray[np.float64],
    *,
    trees: int,
    depth: int,
    rate: float,
    seed: int,
    directions: Sequence[int] = (),
) -> Trees:
    """Trees for rows int8[n, F] with weights float64[n]; of ``directions`` 1 lets a feature only
    raise the log-odds, -1 only lower them."""
    from xgboost import DMatrix, train

    options = {
        "objective": "binary:logistic",
        "base_score": 0.5,  # from the base rate on, leaves of few frauds would weigh too little
        "tree_method": "hist",
        "max_bin": 256,
        "max_depth": depth,
        "eta": rate,
        # where frauds are few, trees of all features agree on what one of them happens to show
        "min_child_weight": 0.3,
        "lambda": 5,
        "subsample": 0.8,
        "colsample_bytree": share_of_features(inputs.shape[1]),
        "seed": seed % (1 << 31),
        "nthread": 1,
    }
    if any(directions):
        options["monotone_constraints"] = tuple(directions)
    return Trees(train(options, DMatrix(inputs, fraud, weight=weight), num_boost_round=trees))

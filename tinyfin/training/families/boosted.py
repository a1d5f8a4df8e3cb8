# SPDX-License-Identifier: Apache-2.0
"""``boosted``: gradient-boosted trees that the terminal itself runs.

XGBoost grows shallow trees on the int8 codes, so each split is between two codes and exact in
integers. A leaf becomes a byte: the leaf less the lowest leaf of its tree, times 255 over the
widest range of any tree. But for the rounding of leaves, the sum over the trees is then a linear
function of the log-odds; calibration undoes its scale and offset.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from tinyfin.config import Model
from tinyfin.errors import ConfigError
from tinyfin.pack.integer_model import MAX_DEPTH, Forest
from tinyfin.results.run import FitFacts
from tinyfin.training.amount_weights import amount_weights
from tinyfin.training.families import FittedIntegers, Problem, family_options
from tinyfin.training.families.complete_tree import complete_tree
from tinyfin.training.families.trees import Node, grow
from tinyfin.training.representative_sample import thinned, thinned_facts

__all__ = ["FAMILY"]


class BoostedOptions(BaseModel):
    """[model.options] of this family."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    trees: int = Field(default=200, ge=1, le=1024)
    depth: int = Field(default=4, ge=1, le=MAX_DEPTH)
    """Splits on the way to a leaf; a tree takes 3 * 2^depth bytes."""
    rate: float = Field(default=0.1, gt=0, le=1)
    """Learning rate: the factor by which the leaves of each tree are multiplied."""
    amount_power: float = Field(default=0.0, ge=0.0, le=1.0)
    """Frauds weigh by their amounts to this power (:mod:`tinyfin.training.amount_weights`)."""
    genuine_rows: int = Field(default=1_000_000, ge=100)
    """Genuine rows to fit on at most; of more, so many are drawn at random."""
    rising: list[str] = []
    """Features that may only raise the score as they grow, the others being equal."""
    falling: list[str] = []
    """Features that may only lower it."""


class Boosted:
    """XGBoost's trees in integers."""

    name = "boosted"
    supervised = True
    needs: tuple[str, ...] = ("xgboost",)
    usual: Mapping[str, object] = MappingProxyType({})

    def takes_validation(self, model: Model) -> bool:
        """Yes: the number of trees is an option, so nothing is left to choose."""
        return True

    def fit(
        self, problem: Problem, model: Model, progress: Callable[[int, int, str], None]
    ) -> FittedIntegers:
        """See :class:`tinyfin.training.families.Family`."""
        options = family_options(BoostedOptions, model)
        inputs, label = problem.inputs, problem.label
        features = inputs.shape[1]
        rows = thinned(label, options.genuine_rows, model.seed)
        fraud = label[rows] == 1
        amount = None if problem.amount is None else problem.amount[rows]
        trees = grow(
            inputs[rows],
            fraud,
            amount_weights(fraud, amount, options.amount_power),
            trees=options.trees,
            depth=options.depth,
            rate=options.rate,
            seed=model.seed,
            directions=_directions(options, problem.feature_names),
        )
        whole = [complete_tree(root, options.depth, _look) for root in trees.roots()]
        feature, threshold, value = (np.stack(part) for part in zip(*whole, strict=True))
        value -= value.min(axis=1, keepdims=True)
        step = 255.0 / max(float(value.max()), 1e-9)
        leaf = np.rint(value * step).astype(np.uint8)
        progress(options.trees, options.trees, "grown")
        history = FitFacts(
            fit_rows=len(rows),
            fit_frauds=int(np.count_nonzero(fraud)),
            trees=options.trees,
            depth=options.depth,
            amount_power=options.amount_power,
            parameters=int(feature.size + threshold.size + leaf.size),
        )
        said = thinned_facts("the model", label, rows, "[model.options] genuine_rows")
        return FittedIntegers(
            Forest(features, feature, threshold, leaf),
            lambda codes: trees.log_odds(codes).astype(np.float32),
            history,
            said,
        )


FAMILY = Boosted()


def _directions(options: BoostedOptions, names: tuple[str, ...]) -> tuple[int, ...]:
    for name in (*options.rising, *options.falling):
        if name not in names:
            raise ConfigError(
                f"model.options: no feature is called {name!r}; there are {', '.join(names)}"
            )
    if both := sorted({*options.rising} & {*options.falling}):
        raise ConfigError(f"model.options: {', '.join(both)} cannot be both rising and falling")
    return tuple((name in options.rising) - (name in options.falling) for name in names)


def _look(node: Node, _: int) -> float | tuple[int, int, Node, Node]:
    """For :func:`complete_tree`. XGBoost goes left when x < split_condition: up to the last code
    below it."""
    if node.leaf is not None:
        return node.leaf
    below = {child.nodeid: child for child in node.children}
    last = math.ceil(node.split_condition) - 1
    return int(node.split.removeprefix("f")), last, below[node.yes], below[node.no]

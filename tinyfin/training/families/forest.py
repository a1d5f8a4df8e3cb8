# SPDX-License-Identifier: Apache-2.0
"""``forest``: an isolation forest in integers; what few splits set apart is suspicious.

The trees are scikit-learn's IsolationForest. A split is drawn evenly between the smallest and the
largest value, so it matters what is taken as the value: the int8 code presses the tails together
(:func:`tinyfin.training.input_maps.fit_tail_maps`), and what is far out would be set apart by
chance no sooner than the rest. Codes are stretched back to deviations from the median before the
trees grow, and each split is then the whole code below it: nothing but the leaves is rounded. A
leaf's term is how much shorter its path is than the forest's longest, in steps that use the whole
byte; the sum over the trees falls as the mean path length grows, so it ranks as the published score
2^(-E[h] / c) does.
Liu, Ting, Zhou: Isolation Forest, ICDM 2008.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from tinyfin.config import Model
from tinyfin.errors import ConfigError
from tinyfin.pack.integer_model import Forest
from tinyfin.results.run import FitFacts
from tinyfin.training.families import FittedIntegers, Problem, family_options
from tinyfin.training.families.complete_tree import CompleteTree, complete_tree
from tinyfin.training.input_maps import deviations

__all__ = ["FAMILY", "average_path"]

_ROWS = 1 << 16
_EULER = 0.5772156649015329


class Tree(Protocol):
    """scikit-learn's, by node."""

    children_left: npt.NDArray[np.int64]
    children_right: npt.NDArray[np.int64]
    feature: npt.NDArray[np.int64]
    threshold: npt.NDArray[np.float64]
    n_node_samples: npt.NDArray[np.int64]


class ForestOptions(BaseModel):
    """[model.options] of this family."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    trees: int = Field(default=64, ge=1, le=1024)
    samples: int = Field(default=128, ge=2, le=1024)
    """Rows that each tree sees; its depth is log2 of them, and its bytes are three per row."""
    splits: Literal["values", "codes"] = "values"
    """Drawn evenly over the features' values, as published; or over their codes, which looks closer
    at what is common."""


class IsolationForest:
    """As scikit-learn grows it; the seed is the model's."""

    name = "forest"
    supervised = False
    needs: tuple[str, ...] = ("sklearn",)
    usual: Mapping[str, object] = MappingProxyType({})

    def takes_validation(self, model: Model) -> bool:
        """No, as all families that learn without labels."""
        return False

    def fit(
        self, problem: Problem, model: Model, progress: Callable[[int, int, str], None]
    ) -> FittedIntegers:
        """See :class:`tinyfin.training.families.Family`."""
        from sklearn.ensemble import IsolationForest as Grower

        options = family_options(ForestOptions, model)
        x = problem.inputs
        if x.shape[1] > 256:
            raise ConfigError(f"family forest: {x.shape[1]} features; trees take at most 256")
        samples = min(options.samples, len(x))
        codes = np.arange(-128, 128)
        scale = (deviations(codes) if options.splits == "values" else codes).astype(np.float32)
        grown = Grower(
            n_estimators=options.trees, max_samples=samples, random_state=model.seed % (1 << 32)
        ).fit(_on(scale, x))
        depth = max(1, int(np.ceil(np.log2(samples))))
        trees = [_whole(tree.tree_, depth, scale) for tree in grown.estimators_]
        features, thresholds, paths = (np.stack(part) for part in zip(*trees, strict=True))
        step = 255.0 / max(float(paths.max() - paths.min()), 1.0)
        leaves = np.rint((paths.max() - paths) * step).astype(np.uint8)
        progress(options.trees, options.trees, "grown")

        def score(inputs: npt.NDArray[np.int8]) -> npt.NDArray[np.float32]:
            return np.asarray(-grown.score_samples(_on(scale, inputs)), np.float32)

        model_bytes = features.size + thresholds.size + leaves.size
        history = FitFacts(
            fit_rows=len(x),
            trees=options.trees,
            samples=samples,
            depth=depth,
            parameters=int(model_bytes),
        )
        return FittedIntegers(Forest(x.shape[1], features, thresholds, leaves), score, history)


FAMILY = IsolationForest()


def average_path(n: int) -> float:
    """Mean path length of an unsuccessful search among n, c(n) of the paper."""
    if n <= 1:
        return 0.0
    return 1.0 if n == 2 else 2.0 * (np.log(n - 1.0) + _EULER) - 2.0 * (n - 1.0) / n


def _on(scale: npt.NDArray[np.float32], inputs: npt.NDArray[np.int8]) -> npt.NDArray[np.float32]:
    """What each code means."""
    out = np.empty(inputs.shape, np.float32)
    for start in range(0, len(inputs), _ROWS):
        part = slice(start, start + _ROWS)
        out[part] = scale[inputs[part].astype(np.int64) + 128]
    return out


def _whole(tree: Tree, depth: int, scale: npt.NDArray[np.float32]) -> CompleteTree:
    """The tree, its leaves path lengths. ``scale``: the value of each code, rising."""

    def look(node: int, level: int) -> float | tuple[int, int, int, int]:
        if tree.children_left[node] < 0 or level == depth:
            return level + average_path(int(tree.n_node_samples[node]))
        # scikit-learn goes left when x <= threshold: up to the last code not above it
        below = int(np.searchsorted(scale, tree.threshold[node], side="right"))
        children = int(tree.children_left[node]), int(tree.children_right[node])
        return int(tree.feature[node]), below - 129, *children

    return complete_tree(0, depth, look)

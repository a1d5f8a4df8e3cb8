# SPDX-License-Identifier: Apache-2.0
"""Trees that another tool grew, and the trees of the operator FOREST that they become.

A terminal's tree compares int8 codes. A threshold between the values of two neighbouring codes
splits the codes in the same way, so trees that were grown on codes are exact, whatever numbers
stood for the codes. Leaves become bytes as in family ``boosted``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tinyfin.errors import ModelError
from tinyfin.pack.integer_model import MAX_DEPTH, MAX_TERMS, Forest
from tinyfin.progress import stage
from tinyfin.quantization.own_models.run_inputs import RunInputs
from tinyfin.results.run import FitFacts
from tinyfin.training.families import FittedIntegers
from tinyfin.training.families.complete_tree import CompleteTree, complete_tree

__all__ = ["Ensemble", "Tree", "fitted", "input_name"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
_ROWS = 1 << 14


@dataclass(frozen=True)
class Tree:
    """Nodes of a tree, its root first; arrays [n]."""

    feature: Integers
    threshold: Floats
    left: Integers
    """Index of the child, -1 for a leaf."""
    right: Integers
    value: Floats
    """Of leaves."""
    zero_left: Integers | None = None
    """Of splits, where zero goes whatever the threshold: 1 left, 0 right, -1 as it decides; None
    where all are -1."""


@dataclass(frozen=True)
class Ensemble:
    """A model whose score is ``base`` and the sum of one leaf of each tree."""

    trees: tuple[Tree, ...]
    inputs: int
    base: float = 0.0
    below: bool = False
    """A value goes left when it is below the threshold; else also when it equals it."""
    names: tuple[str, ...] | None = None
    """Of the inputs, where the file has them."""
    scaler: Callable[[npt.NDArray[np.number]], npt.NDArray[np.number]] | None = None
    """What the inputs [n, inputs] go through before the trees, each alone and rising."""


def input_name(names: Sequence[str], feature: int) -> str:
    """How a message calls an input of a model."""
    return names[feature] if 0 <= feature < len(names) else f"input {feature}"


def fitted(
    ensemble: Ensemble, inputs: RunInputs, where: str, note: Callable[[str], None]
) -> FittedIntegers:
    """The trees in integers, with the scores of the trees as they were before their leaves became
    bytes. Raises ModelError for what no terminal runs."""
    if not 1 <= len(ensemble.trees) <= MAX_TERMS:
        raise ModelError(f"{where}: {len(ensemble.trees)} trees; a terminal runs 1 to {MAX_TERMS}")
    columns = inputs.columns(ensemble.names, ensemble.inputs, where)
    low, high = inputs.values(columns, ensemble.scaler, where)
    moved: set[int] = set()
    splits = _Splits(ensemble, low, high, moved)
    found = []
    with stage("reading the trees", len(ensemble.trees), "trees") as reading:
        for i, tree in enumerate(ensemble.trees):
            found.append(_on_codes(splits, tree, f"{where}: tree {i}"))
            reading.step()
    depth = max(1, max(one.depth for one in found))
    whole = [_complete(one, depth, columns) for one in found]
    feature, threshold, value = (np.stack(part) for part in zip(*whole, strict=True))
    if moved:
        note(
            f"WARNING: of some features no code ends where a split does, and the split moved to "
            f"where one does: {', '.join(inputs.names[columns[j]] for j in sorted(moved))}; the "
            "float figures are those of the moved trees; train on the codes, and no split moves"
        )
    least = value.min(axis=1, keepdims=True)
    step = 255.0 / max(float((value - least).max()), 1e-30)
    leaf = np.rint((value - least) * step).astype(np.uint8)
    model = Forest(len(inputs.names), feature, threshold, leaf)
    facts = FitFacts(
        trees=len(whole), depth=depth, parameters=int(feature.size + threshold.size + leaf.size)
    )
    return FittedIntegers(model, _scores(model, value, ensemble.base), facts)


@dataclass(frozen=True)
class _Splits:
    """What decides how many codes go left."""

    ensemble: Ensemble
    low: Floats
    """Smallest value [256, inputs] of each code, rising."""
    high: Floats
    """Largest value of each code."""
    moved: set[int]
    """Inputs of which some split was within the values of one code."""

    def codes_left(self, tree: Tree, node: int, at: str) -> int:
        """How many of the 256 codes go left."""
        feature, threshold = int(tree.feature[node]), float(tree.threshold[node])
        if not 0 <= feature < self.ensemble.inputs or np.isnan(threshold):
            raise ModelError(
                f"{at}: damaged, node {node} compares input {feature} with {threshold}; write the "
                "file again"
            )
        below = np.less if self.ensemble.below else np.less_equal
        low, high = self.low[:, feature], self.high[:, feature]
        first, last = below(low, threshold), below(high, threshold)
        if np.any(first != last):
            self.moved.add(feature)
            last = below((low + high) / 2, threshold)
        zero_left = -1 if tree.zero_left is None else tree.zero_left[node]
        if zero_left >= 0 and np.any(last[(low <= 0) & (high >= 0)] != zero_left):
            raise ModelError(
                f"{at}: takes a value of 0 as missing and sends it against the threshold of "
                f"{input_name(self.ensemble.names or (), feature)}; train with "
                "zero_as_missing=false"
            )
        return int(np.count_nonzero(last))


@dataclass(frozen=True)
class _CodeTree:
    """A tree on codes, without splits that all codes pass on one side."""

    codes: Integers
    """Largest code that goes left, at the nodes that are left."""
    tree: Tree
    next: Integers
    """The node that stands for each node."""
    depth: int


def _on_codes(splits: _Splits, tree: Tree, at: str) -> _CodeTree:
    """The tree with code thresholds, checked: every node has one parent, every number is one."""
    n = len(tree.feature)
    lists = (tree.threshold, tree.left, tree.right, tree.value)
    if n == 0 or any(len(part) != n for part in lists):
        raise ModelError(f"{at}: damaged, its lists are not of one length; write the file again")
    codes = np.zeros(n, np.int64)
    stands = np.arange(n)
    order: list[int] = []
    seen = np.zeros(n, bool)
    todo = [0]
    while todo:
        node = todo.pop()
        if not 0 <= node < n or seen[node]:
            raise ModelError(f"{at}: damaged, node {node} is no node of a tree; write it again")
        seen[node] = True
        order.append(node)
        left, right = int(tree.left[node]), int(tree.right[node])
        if left < 0:
            if not np.isfinite(tree.value[node]):
                raise ModelError(f"{at}: the leaf {node} is {tree.value[node]}; train it again")
            continue
        count = splits.codes_left(tree, node, at)
        codes[node] = count - 129
        if count in (0, 256):
            stands[node] = left if count else right
        todo += [left, right]
    depth = np.zeros(n, np.int64)
    for node in reversed(order):  # children before parents
        if tree.left[node] < 0:
            continue
        if stands[node] != node:
            stands[node] = stands[stands[node]]
            depth[node] = depth[stands[node]]
            continue
        depth[node] = 1 + max(depth[tree.left[node]], depth[tree.right[node]])
    if depth[0] > MAX_DEPTH:
        raise ModelError(
            f"{at}: {depth[0]} splits deep; a terminal runs at most {MAX_DEPTH}: train with "
            f"max_depth={MAX_DEPTH} or less"
        )
    return _CodeTree(codes, tree, stands, int(depth[0]))


def _complete(one: _CodeTree, depth: int, columns: Integers) -> CompleteTree:
    tree = one.tree

    def look(node: int, level: int) -> float | tuple[int, int, int, int]:
        node = int(one.next[node])
        if tree.left[node] < 0:
            return float(tree.value[node])
        children = int(tree.left[node]), int(tree.right[node])
        return int(columns[tree.feature[node]]), int(one.codes[node]), *children

    return complete_tree(0, depth, look)


def _scores(
    model: Forest, value: Floats, base: float
) -> Callable[[npt.NDArray[np.int8]], npt.NDArray[np.float32]]:
    """The float score of int8[n, F]: the leaves ``value`` [trees, 2^depth] as they were."""

    def score(inputs: npt.NDArray[np.int8]) -> npt.NDArray[np.float32]:
        total = np.full(len(inputs), base)
        for start in range(0, len(inputs), _ROWS):
            part = inputs[start : start + _ROWS]
            row = np.arange(len(part))
            for feature, threshold, leaf in zip(model.feature, model.threshold, value, strict=True):
                at = np.zeros(len(part), np.int64)
                for _ in range(model.depth):
                    at = 2 * at + 1 + (part[row, feature[at]] > threshold[at])
                total[start : start + _ROWS] += leaf[at - len(feature)]
        return total.astype(np.float32)

    return score

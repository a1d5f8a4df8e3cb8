# SPDX-License-Identifier: Apache-2.0
"""Trees in heap order, filled to their full depth, as the operator FOREST runs them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

__all__ = ["CompleteTree", "complete_tree"]

_Node = TypeVar("_Node")


class CompleteTree(NamedTuple):
    """Splits and leaves; an input goes right when its code is above the threshold."""

    feature: npt.NDArray[np.uint8]
    """[2^depth - 1], as ``threshold``."""
    threshold: npt.NDArray[np.int8]
    leaf: npt.NDArray[np.float64]
    """[2^depth]"""


def complete_tree(
    root: _Node, depth: int, look: Callable[[_Node, int], float | tuple[int, int, _Node, _Node]]
) -> CompleteTree:
    """The tree below ``root``. Where a branch ends early, all leaves below have its value.

    ``look(node, level)`` gives the value of a leaf; of a split the feature, the largest code that
    goes left (any number: it is clipped), and the nodes to the left and right. At ``level = depth``
    it has to give a leaf.
    """
    feature = np.zeros((1 << depth) - 1, np.uint8)
    threshold = np.full((1 << depth) - 1, 127, np.int8)
    leaf = np.zeros(1 << depth)
    todo = [(root, 0, 0)]  # the node, its depth, its position among that depth's nodes
    while todo:
        node, level, place = todo.pop()
        found = look(node, level)
        if not isinstance(found, tuple):
            left = depth - level
            leaf[place << left : (place + 1) << left] = found
            continue
        at = (1 << level) - 1 + place
        feature[at], threshold[at] = found[0], np.clip(found[1], -128, 127)
        todo += [(found[2], level + 1, 2 * place), (found[3], level + 1, 2 * place + 1)]
    return CompleteTree(feature, threshold, leaf)

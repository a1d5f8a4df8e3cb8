# SPDX-License-Identifier: Apache-2.0
"""Trees of LightGBM: the text of Booster.save_model, or the JSON of Booster.dump_model.

The score is what ``predict(raw_score=True)`` gives: the sum of the leaves.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tinyfin.errors import ModelError
from tinyfin.quantization.own_models.ensemble import Ensemble, Tree, input_name

__all__ = ["read_lightgbm"]

_CATEGORY, _DEFAULT_LEFT = 1, 2
_MISSING = ("None", "Zero", "NaN")


def read_lightgbm(data: bytes, where: str) -> Ensemble:
    """The trees of a text file of LightGBM, or of the JSON of what dump_model gave. Raises
    ModelError."""
    try:
        return (_of_json if data.lstrip().startswith(b"{") else _of_text)(data, where)
    except (KeyError, OverflowError, RecursionError, TypeError, ValueError) as error:
        text = f"{type(error).__name__}: {error}"
        raise ModelError(
            f"{where}: is no model of LightGBM ({text}); write the file again with "
            "Booster.save_model"
        ) from error


def _of_text(data: bytes, where: str) -> Ensemble:
    head, *parts = re.split(r"^Tree=\d+$", data.decode(), flags=re.MULTILINE)
    if not head.startswith("tree"):
        raise ValueError("it does not begin with 'tree'")
    header = _pairs(head)
    names = tuple(header.get("feature_names", "").split())
    trees = [
        _tree_of_text(_pairs(part.split("end of trees")[0]), f"{where}: tree {i}", names)
        for i, part in enumerate(parts)
    ]
    return _ensemble(header, trees, names, where)


def _of_json(data: bytes, where: str) -> Ensemble:
    dump = json.loads(data)
    names = tuple(str(name) for name in dump["feature_names"])
    trees = [
        _tree_of_json(tree["tree_structure"], f"{where}: tree {i}", names)
        for i, tree in enumerate(dump["tree_info"])
    ]
    return _ensemble(dump, trees, names, where)


def _pairs(text: str) -> dict[str, str]:
    return dict(line.partition("=")[::2] for line in text.splitlines() if "=" in line)


def _ensemble(
    header: Mapping[str, Any], trees: list[Tree], names: tuple[str, ...], where: str
) -> Ensemble:
    if str(header["num_class"]) != "1" or str(header["num_tree_per_iteration"]) != "1":
        raise ModelError(f"{where}: {header['num_class']} classes; train it with objective binary")
    return Ensemble(tuple(trees), int(header["max_feature_idx"]) + 1, names=names or None)


def _split(feature: int, kind: int, at: str, names: tuple[str, ...]) -> int:
    """What :attr:`Tree.zero_left` has of a split."""
    if kind & _CATEGORY:
        raise ModelError(
            f"{at}: splits {input_name(names, feature)} by category; train without "
            "categorical_feature: the codes are numbers"
        )
    missing = kind >> 2 & 3
    if missing >= len(_MISSING):
        raise ValueError(f"decision_type {kind}")
    return bool(kind & _DEFAULT_LEFT) if _MISSING[missing] == "Zero" else -1


def _tree_of_text(row: dict[str, str], at: str, names: tuple[str, ...]) -> Tree:
    if row.get("is_linear", "0") != "0":
        raise ModelError(f"{at}: its leaves are linear; train with linear_tree=false")
    splits = int(row["num_leaves"]) - 1

    def numbers(key: str, dtype: type[np.number], count: int) -> npt.NDArray[Any]:
        found = np.array(row[key].split() if count else [], dtype)
        if len(found) != count:
            raise ValueError(f"{key}: {len(found)} numbers, {count} are needed")
        return found

    leaves = numbers("leaf_value", np.float64, splits + 1)
    kinds = numbers("decision_type", np.int64, splits)
    feature = numbers("split_feature", np.int64, splits)
    zero_left = [_split(int(f), int(k), at, names) for f, k in zip(feature, kinds, strict=True)]
    # a child is a split, or a leaf as its complement; leaves come behind the splits here
    children = [
        np.where((c := numbers(key, np.int64, splits)) < 0, splits + ~c, c)
        for key in ("left_child", "right_child")
    ]
    none = np.full(splits + 1, -1)
    return Tree(
        np.concatenate([feature, 0 * none]),
        np.concatenate([numbers("threshold", np.float64, splits), np.zeros(splits + 1)]),
        np.concatenate([children[0], none]),
        np.concatenate([children[1], none]),
        np.concatenate([np.zeros(splits), leaves]),
        np.concatenate([np.array(zero_left, np.int64), none]),
    )


def _tree_of_json(root: dict[str, Any], at: str, names: tuple[str, ...]) -> Tree:
    rows: list[list[float]] = []  # feature, threshold, left, right, value, zero_left
    todo = [(root, -1, 0)]
    while todo:
        node, parent, side = todo.pop()
        if parent >= 0:
            rows[parent][2 + side] = len(rows)
        if "split_feature" not in node:
            if "leaf_coeff" in node:
                raise ModelError(f"{at}: its leaves are linear; train with linear_tree=false")
            rows.append([0, 0.0, -1, -1, float(node["leaf_value"]), -1])
            continue
        feature = int(node["split_feature"])
        kind = {"<=": 0, "==": _CATEGORY}[node["decision_type"]]
        kind |= _DEFAULT_LEFT if node["default_left"] else 0
        kind |= _MISSING.index(node["missing_type"]) << 2
        zero_left = _split(feature, kind, at, names)
        todo += [(node["left_child"], len(rows), 0), (node["right_child"], len(rows), 1)]
        rows.append([feature, float(node["threshold"]), 0, 0, 0.0, zero_left])
    table = np.array(rows, np.float64)
    whole = table.astype(np.int64)
    return Tree(whole[:, 0], table[:, 1], whole[:, 2], whole[:, 3], table[:, 4], whole[:, 5])

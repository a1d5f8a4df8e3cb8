# SPDX-License-Identifier: Apache-2.0
"""Trees of XGBoost, in what Booster.save_model writes: JSON, or the same in UBJSON.

The score is the margin: the base score and the leaves, before the objective makes a probability of
them. https://xgboost.readthedocs.io/en/stable/tutorials/saving_model.html
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Any

import numpy as np
from pydantic import AliasPath, BaseModel, Field, ValidationError

from tinyfin.documents import first_fault
from tinyfin.errors import ModelError
from tinyfin.quantization.own_models.ensemble import Ensemble, Tree, input_name
from tinyfin.quantization.own_models.ubjson import decode_ubjson

__all__ = ["read_xgboost"]

_LOGISTIC = ("binary:logistic", "reg:logistic")
_PLAIN = (
    "rank:map",
    "rank:ndcg",
    "rank:pairwise",
    "reg:absoluteerror",
    "reg:pseudohubererror",
    "reg:squarederror",
)

_Whole = Annotated[int, Field(ge=-(2**31), lt=2**31)]


def _at(*place: str, default: object = ...) -> Any:
    return Field(default, validation_alias=AliasPath(*place))


class _Tree(BaseModel):
    left_children: list[_Whole]
    right_children: list[_Whole]
    split_indices: list[_Whole]
    split_conditions: list[float]
    """Of leaves, their value."""
    split_type: list[_Whole] = []
    """1: by category."""
    leaf_values: str = _at("tree_param", "size_leaf_vector", default="1")


_BOOSTER = ("learner", "gradient_booster")
_PARAM = ("learner", "learner_model_param")


class _Model(BaseModel):
    """What is read of a file."""

    booster: str = _at(*_BOOSTER, "name")
    trees: list[_Tree] | None = _at(*_BOOSTER, "model", "trees", default=None)
    """None of gblinear, and of dart, whose trees have weights."""
    dart_trees: list[_Tree] | None = _at(*_BOOSTER, "gbtree", "model", "trees", default=None)
    weights: list[float] = _at(*_BOOSTER, "weight_drop", default=[])
    objective: str = _at("learner", "objective", "name")
    base_score: str = _at(*_PARAM, "base_score")
    classes: str = _at(*_PARAM, "num_class", default="0")
    inputs: str = _at(*_PARAM, "num_feature")
    targets: str = _at(*_PARAM, "num_target", default="1")
    names: list[str] = _at("learner", "feature_names", default=[])
    attributes: dict[str, str] = _at("learner", "attributes", default={})


def read_xgboost(
    data: bytes, where: str, *, note: Callable[[str], None] = lambda _: None
) -> Ensemble:
    """The trees of a file of XGBoost. Raises ModelError."""
    try:
        if data[:1] == b"{" and data[1:2] not in b'" \n\r\t':
            found = _Model.model_validate(decode_ubjson(data))
        else:
            found = _Model.model_validate_json(data)
    except ValidationError as error:
        raise ModelError(
            f"{where}: is no model of XGBoost: {first_fault(error)}; write it with "
            "Booster.save_model of XGBoost 1.6 or newer"
        ) from error
    except ValueError as error:
        raise ModelError(f"{where}: is no UBJSON ({error}); write it again") from error
    return _ensemble(found, where, note)


def _ensemble(model: _Model, where: str, note: Callable[[str], None]) -> Ensemble:
    is_dart = model.booster == "dart"
    grown, weights = (model.dart_trees, model.weights) if is_dart else (model.trees, [])
    if model.booster not in ("gbtree", "dart") or grown is None:
        raise ModelError(
            f"{where}: booster {model.booster}; a terminal runs the trees of gbtree and dart"
        )
    if model.classes not in ("0", "1") or model.targets != "1":
        raise ModelError(
            f"{where}: {model.classes} classes and {model.targets} targets; train it with "
            "objective binary:logistic"
        )
    if weights and len(weights) != len(grown):
        raise ModelError(f"{where}: {len(weights)} weights of {len(grown)} trees")
    if not model.inputs.isdecimal() or len(model.inputs) > 9:
        raise ModelError(f"{where}: num_feature {model.inputs!r}; write the file again")
    trees = [
        _tree(tree, weights[i] if weights else 1.0, f"{where}: tree {i}", model.names)
        for i, tree in enumerate(grown)
    ]
    best = model.attributes.get("best_iteration", "")
    if best.isdecimal() and len(trees) > int(best) + 1:
        note(
            f"{where}: all {len(trees)} trees are taken, also those after the best iteration, "
            f"{best}; for these alone save booster[:{int(best) + 1}]"
        )
    return Ensemble(
        tuple(trees),
        int(model.inputs),
        base=_base(model, where),
        below=True,
        names=tuple(model.names) or None,
    )


def _base(model: _Model, where: str) -> float:
    """What is added to the leaves: the base score as a margin."""
    text, objective = model.base_score, model.objective
    if objective == "binary:logitraw":
        raise ModelError(
            f"{where}: objective {objective}, whose base_score is a probability to some versions "
            "of XGBoost and a margin to others; train it with binary:logistic: the margins are the "
            "same"
        )
    try:
        score = float(text.strip("[]"))
    except ValueError:
        raise ModelError(f"{where}: base_score {text!r} is not one number") from None
    if objective in _PLAIN and math.isfinite(score):
        return score
    if objective in _LOGISTIC and 0 < score < 1:
        return math.log(score) - math.log1p(-score)
    raise ModelError(
        f"{where}: objective {objective} with base_score {text}; known are "
        f"{', '.join((*_LOGISTIC, *_PLAIN))}"
    )


def _tree(tree: _Tree, weight: float, at: str, names: list[str]) -> Tree:
    if tree.leaf_values not in ("0", "1"):
        raise ModelError(f"{at}: its leaves are vectors; train without multi_output_tree")
    for feature, by_category in zip(tree.split_indices, tree.split_type, strict=False):
        if by_category:
            raise ModelError(
                f"{at}: splits {input_name(names, feature)} by category; train without "
                "enable_categorical: the codes are numbers"
            )
    condition = np.array(tree.split_conditions, np.float32).astype(np.float64)
    return Tree(
        np.array(tree.split_indices, np.int64),
        condition,
        np.array(tree.left_children, np.int64),
        np.array(tree.right_children, np.int64),
        condition * weight,
    )

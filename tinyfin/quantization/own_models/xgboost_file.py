# SPDX-License-Identifier: Apache-2.0
"""Trees of XGBoost, in what Booster.save_model writes: JSON, or the same in UBJSON.

The score is the margin: the base score and the leaves, before the objective makes a probability of
them. https://xgboost.readthedocs.io/en/stable/tutorials/saving_model.html
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated

import numpy as np
from pydantic import BaseModel, Field, ValidationError

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


class _TreeParam(BaseModel):
    size_leaf_vector: str = "1"


class _Tree(BaseModel):
    left_children: list[_Whole]
    right_children: list[_Whole]
    split_indices: list[_Whole]
    split_conditions: list[float]
    """Of leaves, their value."""
    split_type: list[_Whole] = []
    """1: by category."""
    tree_param: _TreeParam = _TreeParam()


class _Model(BaseModel):
    trees: list[_Tree] | None = None
    """None of gblinear."""


class _Booster(BaseModel):
    name: str
    model: _Model | None = None
    gbtree: _Booster | None = None
    """Of dart, whose trees have weights."""
    weight_drop: list[float] = []


class _Objective(BaseModel):
    name: str


class _ModelParam(BaseModel):
    base_score: str
    num_class: str = "0"
    num_feature: str
    num_target: str = "1"


class _Learner(BaseModel):
    attributes: dict[str, str] = {}
    feature_names: list[str] = []
    gradient_booster: _Booster
    learner_model_param: _ModelParam
    objective: _Objective


class _File(BaseModel):
    learner: _Learner


def read_xgboost(
    data: bytes, where: str, *, note: Callable[[str], None] = lambda _: None
) -> Ensemble:
    """The trees of a file of XGBoost. Raises ModelError."""
    try:
        if data[:1] == b"{" and data[1:2] not in b'" \n\r\t':
            found = _File.model_validate(decode_ubjson(data))
        else:
            found = _File.model_validate_json(data)
    except ValidationError as error:
        raise ModelError(
            f"{where}: is no model of XGBoost: {first_fault(error)}; write it with "
            "Booster.save_model of XGBoost 1.6 or newer"
        ) from error
    except ValueError as error:
        raise ModelError(f"{where}: is no UBJSON ({error}); write it again") from error
    return _ensemble(found.learner, where, note)


def _ensemble(learner: _Learner, where: str, note: Callable[[str], None]) -> Ensemble:
    booster, param = learner.gradient_booster, learner.learner_model_param
    weights = booster.weight_drop if booster.name == "dart" else []
    model = booster.gbtree.model if booster.name == "dart" and booster.gbtree else booster.model
    if booster.name not in ("gbtree", "dart") or model is None or model.trees is None:
        raise ModelError(
            f"{where}: booster {booster.name}; a terminal runs the trees of gbtree and dart"
        )
    if param.num_class not in ("0", "1") or param.num_target != "1":
        raise ModelError(
            f"{where}: {param.num_class} classes and {param.num_target} targets; train it with "
            "objective binary:logistic"
        )
    if weights and len(weights) != len(model.trees):
        raise ModelError(f"{where}: {len(weights)} weights of {len(model.trees)} trees")
    trees = [
        _tree(tree, weights[i] if weights else 1.0, f"{where}: tree {i}", learner.feature_names)
        for i, tree in enumerate(model.trees)
    ]
    best = learner.attributes.get("best_iteration", "")
    if best.isdecimal() and len(trees) > int(best) + 1:
        note(
            f"{where}: all {len(trees)} trees are taken, also those after the best iteration, "
            f"{best}; for these alone save booster[:{int(best) + 1}]"
        )
    return Ensemble(
        tuple(trees),
        _inputs(param, where),
        base=_base(learner, where),
        below=True,
        names=tuple(learner.feature_names) or None,
    )


def _inputs(param: _ModelParam, where: str) -> int:
    if not param.num_feature.isdecimal() or len(param.num_feature) > 9:
        raise ModelError(f"{where}: num_feature {param.num_feature!r}; write the file again")
    return int(param.num_feature)


def _base(learner: _Learner, where: str) -> float:
    """What is added to the leaves: the base score as a margin."""
    text, objective = learner.learner_model_param.base_score, learner.objective.name
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
    if tree.tree_param.size_leaf_vector not in ("0", "1"):
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

# SPDX-License-Identifier: Apache-2.0
"""Tables and isolation trees, from ``model.json`` itself: no plan, no arrays, one row at a time."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from tinyfin.oracle.decision import Network

__all__ = ["terms_network"]


def terms_network(model_json: bytes) -> Network:
    """From int8 inputs to the terms less 128, and their sum."""
    model = json.loads(model_json)
    terms = {"density": _density, "forest": _forest}[model["kind"]]

    def network(inputs: Sequence[int]) -> tuple[list[int], list[int]]:
        found = terms(model, inputs)
        return [term - 128 for term in found], [sum(found)]

    return network


def _density(model: Any, inputs: Sequence[int]) -> list[int]:
    out = []
    for table, x in zip(model["tables"], inputs, strict=True):
        wide = 256 // len(table)
        out.append(table[(x + 128) // wide])
    return out


def _forest(model: Any, inputs: Sequence[int]) -> list[int]:
    out = []
    trees = zip(model["feature"], model["threshold"], model["leaf"], strict=True)
    for feature, threshold, leaf in trees:
        at = 0
        while at < len(feature):
            right = inputs[feature[at]] > threshold[at]
            at = 2 * at + (2 if right else 1)
        out.append(leaf[at - len(feature)])
    return out

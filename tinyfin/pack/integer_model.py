# SPDX-License-Identifier: Apache-2.0
"""Models that are integers from the start: tables per input, and isolation trees.

They need no ``.tflite``: the file ``model.json`` holds them whole, and
:func:`tinyfin.pack.integer_plan.compile_integer_plan` lays them out for the engine.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel

from tinyfin.errors import ModelError

__all__ = ["DensityTables", "Forest", "IntegerModel", "decode_integer_model"]

MIN_BITS, MAX_BITS = 2, 8
MAX_DEPTH = 10
MAX_TERMS = 4096
_FORMAT = 1


@dataclass(frozen=True, eq=False)
class DensityTables:
    """One table per input: term k = tables[k, (x_k + 128) >> (8 - bits)]; raw = sum of terms.

    ``tables`` uint8[inputs, 2^bits].
    """

    tables: npt.NDArray[np.uint8]

    def __post_init__(self) -> None:
        tables = self.tables
        if (
            tables.ndim != 2
            or not 1 <= len(tables) <= MAX_TERMS
            or tables.shape[1] not in (1 << b for b in range(MIN_BITS, MAX_BITS + 1))
        ):
            raise ModelError(
                f"density tables of shape {tables.shape}: one row per input, each with "
                "4, 8, ... or 256 entries"
            )

    @property
    def bits(self) -> int:
        """How many of an input's eight bits choose the entry."""
        return int(self.tables.shape[1]).bit_length() - 1

    @property
    def inputs(self) -> int:
        """Inputs of the model."""
        return len(self.tables)

    @property
    def bounds(self) -> tuple[int, int]:
        """Smallest and largest sum that any input can give."""
        wide = self.tables.astype(np.int64)
        return int(wide.min(axis=1).sum()), int(wide.max(axis=1).sum())

    def arrays(self) -> list[npt.NDArray[np.integer]]:
        """What was learned."""
        return [self.tables]

    def encode(self) -> bytes:
        """``model.json``: the same model gives the same bytes."""
        return _json({"kind": "density", "tables": self.tables.tolist()})


@dataclass(frozen=True, eq=False)
class Forest:
    """Trees in heap order: from split i go to 2 i + 1, or to 2 i + 2 when
    x[feature[i]] > threshold[i]; after ``depth`` steps the leaf gives the tree's term; raw = sum.

    feature uint8[trees, 2^depth - 1], threshold int8 of the same shape, leaf uint8[trees, 2^depth].
    """

    inputs: int
    feature: npt.NDArray[np.uint8]
    threshold: npt.NDArray[np.int8]
    leaf: npt.NDArray[np.uint8]

    def __post_init__(self) -> None:
        trees, splits = self.feature.shape
        leaves = splits + 1
        if (
            not 1 <= trees <= MAX_TERMS
            or leaves & (leaves - 1)
            or not 2 <= leaves <= 1 << MAX_DEPTH
            or self.threshold.shape != (trees, splits)
            or self.leaf.shape != (trees, leaves)
        ):
            raise ModelError(
                f"a forest of {self.feature.shape} splits, {self.threshold.shape} thresholds and "
                f"{self.leaf.shape} leaves: whole trees of depth 1 to {MAX_DEPTH} are needed"
            )
        if not 1 <= self.inputs <= 256 or int(self.feature.max()) >= self.inputs:
            raise ModelError(
                f"a forest over {self.inputs} inputs that looks at input {self.feature.max()}; "
                "trees take at most 256 inputs"
            )

    @property
    def depth(self) -> int:
        """Splits on the way to a leaf."""
        return int(self.leaf.shape[1]).bit_length() - 1

    @property
    def bounds(self) -> tuple[int, int]:
        """Smallest and largest sum that any input can give, leaves that none reaches included."""
        wide = self.leaf.astype(np.int64)
        return int(wide.min(axis=1).sum()), int(wide.max(axis=1).sum())

    def arrays(self) -> list[npt.NDArray[np.integer]]:
        """What was learned."""
        return [self.feature, self.threshold, self.leaf]

    def encode(self) -> bytes:
        """``model.json``: the same model gives the same bytes."""
        return _json(
            {
                "kind": "forest",
                "inputs": self.inputs,
                "feature": self.feature.tolist(),
                "threshold": self.threshold.tolist(),
                "leaf": self.leaf.tolist(),
            }
        )


IntegerModel = DensityTables | Forest

Rows = list[list[int]]
_Int = TypeVar("_Int", np.uint8, np.int8)


class _File(BaseModel):
    format: int
    kind: str
    tables: Rows | None = None
    inputs: int = 0
    feature: Rows | None = None
    threshold: Rows | None = None
    leaf: Rows | None = None


def decode_integer_model(data: bytes, where: str = "model.json") -> IntegerModel:
    """The model in a ``model.json``; ModelError if it is none."""
    try:
        file = _File.model_validate_json(data)
        if file.format != _FORMAT:
            raise ModelError(f"{where}: format {file.format}; this tinyfin reads {_FORMAT}")
        if file.kind == "density":
            return DensityTables(_array(file.tables, np.uint8))
        if file.kind == "forest":
            return Forest(
                file.inputs,
                _array(file.feature, np.uint8),
                _array(file.threshold, np.int8),
                _array(file.leaf, np.uint8),
            )
        raise ModelError(f"{where}: kind {file.kind!r} is neither density nor forest")
    except (ValueError, OverflowError) as error:
        text = " ".join(str(error).split())
        raise ModelError(f"{where}: is no integer model ({text}); train again") from error


def _array(rows: Rows | None, kind: type[_Int]) -> npt.NDArray[_Int]:
    wide = np.asarray(rows or [], np.int64)
    if wide.ndim != 2 or not np.array_equal(wide.astype(kind), wide):
        raise ValueError(f"rows must be a table of {np.dtype(kind).name}")
    return wide.astype(kind)


def _json(content: Mapping[str, object]) -> bytes:
    text = json.dumps({"format": _FORMAT, **content}, sort_keys=True, separators=(",", ":"))
    return (text + "\n").encode()

# SPDX-License-Identifier: Apache-2.0
"""How the rows were distributed that a model was made from: ``reference.json``."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import model_validator

from tinyfin.results.facts import Facts, ResultFile

__all__ = ["ColumnBins", "ColumnKind", "Reference"]

ColumnKind = Literal["score", "input", "field"]
"""``score_q32``; an input of the network, int8; a field of the schema that the features read."""


class ColumnBins(Facts):
    """How many rows were in each bin of a column."""

    name: str
    kind: ColumnKind
    edges: list[int] = []
    """Of a number: the highest value of each bin but the last."""
    values: list[int] = []
    """Of a category: each has a bin; the bins of rarer ones and of unseen ones follow."""
    rare: list[int] = []
    """Of a category: values that share a bin."""
    rows: list[int] = []
    """By bin; the last bin of a field are rows without it."""

    @property
    def bins(self) -> int:
        """How many there are."""
        own = len(self.values) + 2 if self.values else len(self.edges) + 1
        return own + (self.kind == "field")

    @model_validator(mode="after")
    def _whole(self) -> ColumnBins:
        if self.rows and len(self.rows) != self.bins:
            raise ValueError(f"has {len(self.rows)} bins, not {self.bins}")
        return self


class Reference(ResultFile):
    """The file."""

    NAME: ClassVar[str] = "reference.json"

    rows: int
    since: str
    until: str
    """Moments between which the rows lie."""
    inputs: list[ColumnBins]
    """In the order of the features."""
    fields: list[ColumnBins] | None = None
    """None where they were not kept."""
    score: ColumnBins | None = None
    """None before there is a pack."""

    @property
    def columns(self) -> list[ColumnBins]:
        """All of them, the score first."""
        score = [] if self.score is None else [self.score]
        return [*score, *self.inputs, *(self.fields or ())]

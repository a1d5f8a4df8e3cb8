# SPDX-License-Identifier: Apache-2.0
"""The verdict of one event, and why: what ``explain`` writes."""

from __future__ import annotations

from typing import ClassVar, Literal

from tinyfin.documents import Document, Facts

__all__ = ["Change", "ExplainedFeature", "Explanation", "Method", "ReasonText"]

Method = Literal["exact", "trees", "permutations"]
"""Of all coalitions of inputs; of the pack's trees, exact too; of permutations that were drawn."""


class ReasonText(Facts):
    """A reason of the device."""

    code: str
    text: str


class ExplainedFeature(Facts):
    """A feature, and what it did to the raw score."""

    feature: str
    definition: str
    """What the value is, in its unit."""
    value: int
    usual: int
    contribution: int
    """Raw score less the raw score with this feature at its usual value: the device's."""
    shapley: float
    standard_error: float
    """Of the Shapley value; 0 unless permutations were drawn."""
    reason: ReasonText | None
    """The text that is true of the value; null where none is."""


class Change(Facts):
    """One input changed, everything else and the state of the terminal as they were."""

    field: str
    tried: int
    """Values that the pack scored."""
    value: int | str
    accepted: list[int | str]
    """Values with which the event would have been accepted; of an amount only the nearest one."""
    text: str


class Explanation(Document):
    """The file."""

    NAME: ClassVar[str] = "explanation.json"

    run: str
    pack_id: str
    model_id: str
    lineage: dict[str, str | int | None]
    row: int
    """As ``input_row`` of the file of scores; ``id``, ``time`` (UTC) and ``notices`` too."""
    id: int
    terminal: str
    time: str
    notices: str
    fields: dict[str, int | str]
    """Those that are there, but for what identifies a card."""
    advice: str
    score: float
    probability: bool
    """Whether the score is one; else a rank."""
    raw: int
    thresholds: dict[str, float]
    """Of the score, those in force."""
    flags: list[str]
    reasons: list[ReasonText]
    features: list[ExplainedFeature]
    """The largest Shapley values first."""
    method: Method
    """Of the Shapley values."""
    background_rows: int
    """Drawn of the run's calibration rows."""
    base: float
    """Mean raw score of the background."""
    bound: float
    """The sum of the Shapley values is no farther from raw score less base."""
    changes: list[Change]
    """Empty where the event was accepted."""

# SPDX-License-Identifier: Apache-2.0
"""Why a run was trained, and what guards it against what it was trained on: ``retraining.json``."""

from __future__ import annotations

from typing import ClassVar

from tinyfin.results.facts import Facts, Figure, ResultFile

__all__ = ["LabelFlips", "Retraining", "TerminalCap", "TerminalInfluence"]


class TerminalCap(Facts):
    """No terminal gives more of the rows to train on, nor of their frauds."""

    share: float
    """Of the rows to fit on that are no frauds."""
    fraud_share: float
    """Of the frauds to fit on."""
    terminals: int
    """That would have given more."""
    rows: int
    """Left out, frauds among them."""
    frauds: int


class TerminalInfluence(Facts):
    """A model without the rows of one terminal."""

    terminal: str
    rows: int
    frauds: int
    average_precision: Figure
    """Of that model, on the validation rows."""


class LabelFlips(Facts):
    """A model of labels of which some were put on other rows."""

    share: float
    """Of the frauds, called genuine; as many genuine rows were called fraud."""
    average_precision: Figure


class Retraining(ResultFile):
    """The file."""

    NAME: ClassVar[str] = "retraining.json"

    cause: str
    request: str | None
    """``NUMBER:HASH`` of the event of the registry that asked for it."""
    parent: str
    """Id of the pack that it is to replace."""
    control_rows: int
    """Labelled control events of the parent before ``until`` that were not declined."""
    without_control: bool
    """It was trained although there were none."""
    cap: TerminalCap
    average_precision: Figure
    """On the validation rows, with all other rows and labels as they are."""
    influence: list[TerminalInfluence]
    """Of the terminals with the most frauds to train on."""
    flips: LabelFlips

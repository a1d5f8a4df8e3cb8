# SPDX-License-Identifier: Apache-2.0
"""What a search tried: ``trials.json``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from tinyfin.results.facts import ResultFile

__all__ = ["Cost", "Trial", "Trials"]


@dataclass(frozen=True)
class Cost:
    """What a pack of some shape costs on the target of the search."""

    flash_bytes: int
    ram_bytes: int
    instructions: int | None
    """Bound of one scored event; None where nothing counts them."""
    parts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Bytes of what flash and RAM are made of, by ``flash`` and ``RAM with stack``."""


@dataclass(frozen=True)
class Trial:
    """One candidate, what it costs, and how well it ranked the validation rows."""

    number: int
    model: Mapping[str, object]
    """Keys of [model] that differ from what is written."""
    cost: Cost | None
    over: tuple[str, ...]
    """Budgets that it exceeds, in words; such a candidate is not trained."""
    average_precision: float | None
    failed: str = ""
    """Why it could not be built or trained."""
    features: Mapping[str, object] = field(default_factory=dict)
    """Keys of [features] that differ from what is written."""


class Trials(ResultFile):
    """The file."""

    NAME: ClassVar[str] = "trials.json"

    best: int | None = None
    """Number of the trial that was trained; none yet, or none that fits."""
    trials: list[Trial]
    made_of: str | None = None
    """SHA-256 over configuration, files, seed and version of tinyfin: of a search that has not
    ended, which goes on when they are the same."""

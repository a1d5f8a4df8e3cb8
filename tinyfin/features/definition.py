# SPDX-License-Identifier: Apache-2.0
"""What a named feature is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from tinyfin.features.expressions import Expression
from tinyfin.features.graph import required_fields

__all__ = ["OWN_FEATURE_ID", "Feature", "Side"]

Side = Literal["both", "above", "below"]

OWN_FEATURE_ID = 0xF000
"""Features defined in tinyfin.toml are numbered from here, in the order of the program."""


@dataclass(frozen=True, eq=False)
class Feature:
    """A named feature. ``id`` and ``reason`` are for ever: they are in packs, logs and receipts."""

    name: str
    id: int
    """1 to 65535, unique in the catalogue."""
    reason: int
    """Reason id; several features may share one. 0: no reason. Its text is true on ``side``."""
    definition: str
    """Exactly what the number is, in its unit."""
    catches: str
    moment: Literal["before", "after"]
    """before: known from the event itself and state; after: learns from responses or notices."""
    expression: Expression
    with_parameter: Callable[[int], Feature] | None = None
    """Makes the feature for another number, if it has one: NAME_22000 is NAME at 22000, and
    NAME_learned is NAME at a number that training chooses."""
    side: Side = "both"
    """On which side of the feature's usual value the text of ``reason`` is true."""
    other: int = 0
    """Reason id on the other side; 0 for none."""
    neutral: int | None = None
    """The value that says nothing (no history, this transaction alone), if there is one."""
    texts: Mapping[int, str] = field(default_factory=dict)
    """Texts of reason ids that are not the catalogue's."""

    @property
    def reasons(self) -> tuple[int, int]:
        """Reason ids above and below the usual value."""
        return (
            self.other if self.side == "below" else self.reason,
            self.other if self.side == "above" else self.reason,
        )

    def usual(self, median: int) -> int:
        """What a value is compared with: the training median; but the neutral value where a text
        would not be true between the two."""
        if self.neutral is None:
            return median
        if self.side == "above":
            return max(median, self.neutral)
        return min(median, self.neutral) if self.side == "below" else self.neutral

    @cached_property
    def fields(self) -> tuple[str, ...]:
        """The schema's fields it reads."""
        return tuple(required_fields(self.expression))

# SPDX-License-Identifier: Apache-2.0
"""What a named feature is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from tinyfin.features.expressions import Expression
from tinyfin.features.graph import required_fields

__all__ = ["OWN_FEATURE_ID", "Feature"]

OWN_FEATURE_ID = 0xF000
"""Features defined in tinyfin.toml are numbered from here, in the order of the program."""


@dataclass(frozen=True, eq=False)
class Feature:
    """A named feature. ``id`` and ``reason`` are for ever: they are in packs, logs and receipts."""

    name: str
    id: int
    """1 to 65535, unique in the catalogue."""
    reason: int
    """Reason id; several features may share one. 0: never a reason."""
    definition: str
    """Exactly what the number is, in its unit."""
    catches: str
    moment: Literal["before", "after"]
    """before: known from the event itself and state; after: learns from responses or notices."""
    expression: Expression
    with_parameter: Callable[[int], Feature] | None = None
    """Makes the feature for another number, if it has one: NAME_22000 is NAME at 22000, and
    NAME_learned is NAME at a number that training chooses."""

    @cached_property
    def fields(self) -> tuple[str, ...]:
        """The schema's fields it reads."""
        return tuple(required_fields(self.expression))

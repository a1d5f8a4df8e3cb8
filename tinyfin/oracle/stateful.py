# SPDX-License-Identifier: Apache-2.0
"""What every stateful operator of the oracle offers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from tinyfin.oracle.program import OracleOperator

__all__ = ["Family", "Inputs", "Label", "State"]

State = dict[str, Any]
"""An operator's state: numbers, lists and dicts by name."""

Label = tuple[int, int]
"""A known label: t of the transaction, tag (``fold(id) << 1 | fraud`` in 32 bits)."""


@dataclass(frozen=True)
class Inputs:
    """What an operator sees when it is read or committed."""

    t: int
    """Clamped time of the event, at its scoring."""
    a: int | None
    """None: the operator names no register."""
    b: int | None
    c: bool
    """The condition, true when none is named."""
    labels: list[Label] = field(default_factory=list)
    """Known labels of the key, ascending."""
    seen: bool = False
    """The card has a slot."""
    id: int = 0
    """Of the event, when it is committed."""


class Family(Protocol):
    """One stateful operator: its state, reading, commit and bytes."""

    def size(self, op: OracleOperator) -> int:
        """Bytes of the state."""

    def fresh(self, op: OracleOperator) -> State:
        """The state that all-zero bytes mean."""

    def read(self, op: OracleOperator, state: State, x: Inputs) -> int:
        """The operator's value; changes nothing."""

    def commit(self, op: OracleOperator, state: State, x: Inputs) -> int:
        """Update for an event with a result in ``when``; how many stored values saturated."""

    def to_bytes(self, op: OracleOperator, state: State) -> bytes:
        """The state, ``size`` bytes."""

    def from_bytes(self, op: OracleOperator, data: bytes) -> State:
        """The state in ``data``."""

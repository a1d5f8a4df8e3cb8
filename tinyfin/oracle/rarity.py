# SPDX-License-Identifier: Apache-2.0
"""RARITY (47): how rare a class is, by counts that are halved when they grow."""

from __future__ import annotations

import struct

from tinyfin.oracle.program import OracleOperator
from tinyfin.oracle.stateful import Inputs, State

__all__ = ["Rarity"]


class Rarity:
    """State: ``count`` per class; their total is their sum."""

    def size(self, op: OracleOperator) -> int:
        return -(-(2 + 2 * op.p2) // 4) * 4

    def fresh(self, op: OracleOperator) -> State:
        return {"count": [0] * op.p2}

    def read(self, op: OracleOperator, state: State, x: Inputs) -> int:
        assert x.a is not None
        if not 0 <= x.a < op.p2:
            return 256
        total = sum(state["count"])
        rare: int = 256 * (total + op.p2 - state["count"][x.a] - 1) // (total + op.p2)
        return rare

    def commit(self, op: OracleOperator, state: State, x: Inputs) -> int:
        assert x.a is not None
        if not x.c or not 0 <= x.a < op.p2:
            return 0
        state["count"][x.a] += 1
        if sum(state["count"]) >= op.p0:
            state["count"] = [count // 2 for count in state["count"]]
        return 0

    def to_bytes(self, op: OracleOperator, state: State) -> bytes:
        counts = state["count"]
        return struct.pack(f"<{1 + op.p2}H", sum(counts), *counts).ljust(self.size(op), b"\0")

    def from_bytes(self, op: OracleOperator, data: bytes) -> State:
        _, *counts = struct.unpack_from(f"<{1 + op.p2}H", data)
        return {"count": counts}

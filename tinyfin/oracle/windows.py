# SPDX-License-Identifier: Apache-2.0
"""WINDOW (40): a sum over the last epochs, as a dict from epoch to sum."""

from __future__ import annotations

from tinyfin.oracle.numbers import REGISTER_MAX
from tinyfin.oracle.program import OracleOperator
from tinyfin.oracle.stateful import Inputs, State

__all__ = ["Window"]


class Window:
    """State: ``head``, the newest epoch or None; ``sums``, one per epoch that the ring holds."""

    def size(self, op: OracleOperator) -> int:
        return max(4, op.p3) + op.p2 * op.p3

    def fresh(self, op: OracleOperator) -> State:
        return {"head": None, "sums": {}}

    def read(self, op: OracleOperator, state: State, x: Inputs) -> int:
        now = self._epoch(op, x)
        first = max(0, now - op.p2 + 1)
        total: int = sum(value for epoch, value in state["sums"].items() if first <= epoch <= now)
        if op.self_ and x.c:
            total += self._amount(x)
        return total

    def commit(self, op: OracleOperator, state: State, x: Inputs) -> int:
        if not x.c:
            return 0
        now = self._epoch(op, x)
        sums: dict[int, int] = state["sums"]
        if state["head"] is None or now > state["head"]:
            state["head"] = now
        head = state["head"]
        oldest = head - op.p2 + 1
        for epoch in [epoch for epoch in sums if epoch < oldest]:
            del sums[epoch]
        if now < oldest:
            return 0
        limit = REGISTER_MAX if op.p3 == 8 else 2 ** (8 * op.p3) - 1
        total = sums.get(now, 0) + self._amount(x)
        sums[now] = min(total, limit)
        return int(total > limit)

    def to_bytes(self, op: OracleOperator, state: State) -> bytes:
        head = 0 if state["head"] is None else state["head"] + 1
        buckets = [0] * op.p2
        for epoch, value in state["sums"].items():
            buckets[epoch % op.p2] = value
        out = head.to_bytes(4, "little") + bytes(max(0, op.p3 - 4))
        return out + b"".join(value.to_bytes(op.p3, "little") for value in buckets)

    def from_bytes(self, op: OracleOperator, data: bytes) -> State:
        head = int.from_bytes(data[:4], "little") - 1
        if head < 0:
            return self.fresh(op)
        sums = {}
        for epoch in range(max(0, head - op.p2 + 1), head + 1):
            at = max(4, op.p3) + (epoch % op.p2) * op.p3
            sums[epoch] = int.from_bytes(data[at : at + op.p3], "little")
        return {"head": head, "sums": sums}

    def _epoch(self, op: OracleOperator, x: Inputs) -> int:
        return x.t // op.p0

    def _amount(self, x: Inputs) -> int:
        return 1 if x.a is None else max(x.a, 0)

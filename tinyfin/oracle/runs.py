# SPDX-License-Identifier: Apache-2.0
"""LAST_N (41), RUN (42), SINCE (43): order and time of what came last."""

from __future__ import annotations

from tinyfin.oracle.program import OracleOperator
from tinyfin.oracle.stateful import Inputs, State

__all__ = ["LastN", "Run", "Since"]


class LastN:
    """State: ``last``, the last n answers, newest first; one that never came is False."""

    def size(self, op: OracleOperator) -> int:
        return 4

    def fresh(self, op: OracleOperator) -> State:
        return {"last": [False] * op.p2}

    def read(self, op: OracleOperator, state: State, x: Inputs) -> int:
        last: list[bool] = state["last"]
        if op.self_:
            last = [x.c, *last][: op.p2]
        return last.count(True)

    def commit(self, op: OracleOperator, state: State, x: Inputs) -> int:
        if x.b is None or x.b != 0:
            state["last"] = [x.c, *state["last"]][: op.p2]
        return 0

    def to_bytes(self, op: OracleOperator, state: State) -> bytes:
        bits: int = sum(2**i for i, one in enumerate(state["last"]) if one)
        return bits.to_bytes(4, "little")

    def from_bytes(self, op: OracleOperator, data: bytes) -> State:
        bits = int.from_bytes(data, "little")
        return {"last": [bool(bits // 2**i % 2) for i in range(op.p2)]}


class Run:
    """State: ``run``, how many in a row."""

    def size(self, op: OracleOperator) -> int:
        return 4

    def fresh(self, op: OracleOperator) -> State:
        return {"run": 0}

    def read(self, op: OracleOperator, state: State, x: Inputs) -> int:
        run: int = state["run"]
        if op.self_:
            return run + 1 if x.c else 0
        return run

    def commit(self, op: OracleOperator, state: State, x: Inputs) -> int:
        if x.b is None or x.b != 0:
            state["run"] = min(state["run"] + 1, 65535) if x.c else 0
        return 0

    def to_bytes(self, op: OracleOperator, state: State) -> bytes:
        run: int = state["run"]
        return run.to_bytes(4, "little")

    def from_bytes(self, op: OracleOperator, data: bytes) -> State:
        return {"run": int.from_bytes(data, "little")}


class Since:
    """State: ``last``, 0 for never, else t + 1."""

    def size(self, op: OracleOperator) -> int:
        return 4

    def fresh(self, op: OracleOperator) -> State:
        return {"last": 0}

    def read(self, op: OracleOperator, state: State, x: Inputs) -> int:
        if state["last"] == 0:
            return op.p0
        last: int = state["last"]
        return max(0, min(x.t - (last - 1), op.p0))

    def commit(self, op: OracleOperator, state: State, x: Inputs) -> int:
        if x.c:
            state["last"] = max(state["last"], x.t + 1)
        return 0

    def to_bytes(self, op: OracleOperator, state: State) -> bytes:
        last: int = state["last"]
        return last.to_bytes(4, "little")

    def from_bytes(self, op: OracleOperator, data: bytes) -> State:
        return {"last": int.from_bytes(data, "little")}

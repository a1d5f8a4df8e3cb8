# SPDX-License-Identifier: Apache-2.0
"""REPEAT (48), MODE (49), PREVIOUS (50), DISTINCT (51): the last values themselves."""

from __future__ import annotations

import struct

from tinyfin.oracle.numbers import fold64, saturate_signed
from tinyfin.oracle.program import OracleOperator
from tinyfin.oracle.stateful import Inputs, State

__all__ = ["Distinct", "Mode", "Previous", "Repeat", "forget_value"]


def _number(x: Inputs) -> int:
    assert x.a is not None
    return x.a


def forget_value(op: OracleOperator, state: State, value: int) -> None:
    """Take a value out of what an operator remembers."""
    if op.code in (48, 49):
        state["values"] = [0 if v == value % 2**32 else v for v in state["values"]]
    elif op.code == 50 and op.p3 == 8 and state["v"] == value:
        state["v"] = 0
    elif op.code == 51:
        h = fold64(value)
        state["entries"] = [
            None if entry is not None and entry[0] == h else entry for entry in state["entries"]
        ]


class Repeat:
    """State: ``values``, the last ones, oldest first; ``next``, where the ring writes next."""

    def size(self, op: OracleOperator) -> int:
        return 8 + 4 * op.p2

    def fresh(self, op: OracleOperator) -> State:
        return {"values": [], "next": 0}

    def read(self, op: OracleOperator, state: State, x: Inputs) -> int:
        values: list[int] = state["values"]
        return values.count(_number(x) % 2**32) + int(op.self_ and x.c)

    def commit(self, op: OracleOperator, state: State, x: Inputs) -> int:
        if x.c:
            state["values"] = [*state["values"], _number(x) % 2**32][-op.p2 :]
            state["next"] = (state["next"] + 1) % op.p2
        return 0

    def to_bytes(self, op: OracleOperator, state: State) -> bytes:
        values = state["values"]
        ring = [0] * op.p2
        for age, value in enumerate(reversed(values), start=1):
            ring[(state["next"] - age) % op.p2] = value
        return struct.pack(f"<{2 + op.p2}I", len(values), state["next"], *ring)

    def from_bytes(self, op: OracleOperator, data: bytes) -> State:
        n, following, *ring = struct.unpack(f"<{2 + op.p2}I", data)
        values = [ring[(following - age) % op.p2] for age in range(n, 0, -1)]
        return {"values": values, "next": following}


class Mode(Repeat):
    """State as REPEAT."""

    def read(self, op: OracleOperator, state: State, x: Inputs) -> int:
        values: list[int] = list(state["values"])
        if op.self_ and x.c:
            values.append(_number(x) % 2**32)
        return max((values.count(value) for value in values), default=0)


class Previous:
    """State: ``v``, the value before, or None."""

    def size(self, op: OracleOperator) -> int:
        return op.p3 + 4

    def fresh(self, op: OracleOperator) -> State:
        return {"v": None}

    def read(self, op: OracleOperator, state: State, x: Inputs) -> int:
        value: int | None = state["v"]
        return op.p0 if value is None else value

    def commit(self, op: OracleOperator, state: State, x: Inputs) -> int:
        if not x.c:
            return 0
        state["v"] = saturate_signed(_number(x), op.p3)
        return int(state["v"] != x.a)

    def to_bytes(self, op: OracleOperator, state: State) -> bytes:
        form = "<qI" if op.p3 == 8 else "<iI"
        return struct.pack(form, state["v"] or 0, int(state["v"] is not None))

    def from_bytes(self, op: OracleOperator, data: bytes) -> State:
        value, valid = struct.unpack("<qI" if op.p3 == 8 else "<iI", data)
        return {"v": value if valid else None}


class Distinct:
    """State: ``entries``, each None or [h, last] with last = t + 1."""

    def size(self, op: OracleOperator) -> int:
        return 8 * op.p2

    def fresh(self, op: OracleOperator) -> State:
        return {"entries": [None] * op.p2}

    def read(self, op: OracleOperator, state: State, x: Inputs) -> int:
        recent = [
            entry[0]
            for entry in state["entries"]
            if entry is not None and x.t - (entry[1] - 1) < op.p0
        ]
        more = op.self_ and x.c and fold64(_number(x)) not in recent
        return len(recent) + int(more)

    def commit(self, op: OracleOperator, state: State, x: Inputs) -> int:
        if not x.c:
            return 0
        entries: list[list[int] | None] = state["entries"]
        h = fold64(_number(x))
        last = x.t + 1
        for entry in entries:
            if entry is not None and entry[0] == h:
                entry[1] = max(entry[1], last)
                return 0
        if None in entries:
            entries[entries.index(None)] = [h, last]
        else:
            ages = [entry[1] for entry in entries if entry is not None]
            entries[ages.index(min(ages))] = [h, last]
        return 0

    def to_bytes(self, op: OracleOperator, state: State) -> bytes:
        return b"".join(struct.pack("<II", *(entry or (0, 0))) for entry in state["entries"])

    def from_bytes(self, op: OracleOperator, data: bytes) -> State:
        pairs = [struct.unpack_from("<II", data, 8 * i) for i in range(op.p2)]
        return {"entries": [list(pair) if pair[1] else None for pair in pairs]}

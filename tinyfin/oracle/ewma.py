# SPDX-License-Identifier: Apache-2.0
"""MEAN (44), DEVIATION (45), SHARE (46): exponentially weighted averages by shifts."""

from __future__ import annotations

import struct

from tinyfin.oracle.numbers import clamp
from tinyfin.oracle.program import OracleOperator
from tinyfin.oracle.stateful import Inputs, State

__all__ = ["Deviation", "Mean", "Share"]

_MANY = 65535


def _number(x: Inputs) -> int:
    assert x.a is not None
    return x.a


def _towards(old: int, new: int, shift: int) -> int:
    step: int = (new - old) // 2**shift
    return old + step


class Mean:
    """State: ``m_q8``, the mean times 256; ``n``, how many were seen."""

    def size(self, op: OracleOperator) -> int:
        return op.p3 + 4

    def fresh(self, op: OracleOperator) -> State:
        return {"m_q8": 0, "n": 0}

    def read(self, op: OracleOperator, state: State, x: Inputs) -> int:
        if state["n"] == 0:
            return op.p1
        mean: int = state["m_q8"] // 256
        return mean

    def commit(self, op: OracleOperator, state: State, x: Inputs) -> int:
        if not x.c:
            return 0
        bound = 2**46 if op.p3 == 8 else 2**22
        value_q8 = clamp(_number(x), -bound, bound) * 256
        if state["n"] == 0:
            state["m_q8"] = value_q8
        else:
            state["m_q8"] = _towards(state["m_q8"], value_q8, op.p2)
        state["n"] = min(state["n"] + 1, _MANY)
        return 0

    def to_bytes(self, op: OracleOperator, state: State) -> bytes:
        return struct.pack("<qI" if op.p3 == 8 else "<iI", state["m_q8"], state["n"])

    def from_bytes(self, op: OracleOperator, data: bytes) -> State:
        m_q8, n = struct.unpack("<qI" if op.p3 == 8 else "<iI", data)
        return {"m_q8": m_q8, "n": n}


class Deviation:
    """State: ``m_q8`` the mean, ``d_q8`` the mean distance from it, ``n`` how many were seen."""

    def size(self, op: OracleOperator) -> int:
        return 12

    def fresh(self, op: OracleOperator) -> State:
        return {"m_q8": 0, "d_q8": 0, "n": 0}

    def read(self, op: OracleOperator, state: State, x: Inputs) -> int:
        if state["n"] < op.p3:
            return 0
        distance = self._value_q8(x) - state["m_q8"]
        scale = max(state["d_q8"], op.p0 * 256)
        quotient: int = distance * op.p1 // scale
        return quotient

    def commit(self, op: OracleOperator, state: State, x: Inputs) -> int:
        if not x.c:
            return 0
        value_q8 = self._value_q8(x)
        if state["n"] == 0:
            state["m_q8"], state["d_q8"] = value_q8, 0
        else:
            error = abs(value_q8 - state["m_q8"])
            state["d_q8"] = _towards(state["d_q8"], error, op.p2)
            state["m_q8"] = _towards(state["m_q8"], value_q8, op.p2)
        state["n"] = min(state["n"] + 1, _MANY)
        return 0

    def to_bytes(self, op: OracleOperator, state: State) -> bytes:
        return struct.pack("<iiI", state["m_q8"], state["d_q8"], state["n"])

    def from_bytes(self, op: OracleOperator, data: bytes) -> State:
        m_q8, d_q8, n = struct.unpack("<iiI", data)
        return {"m_q8": m_q8, "d_q8": d_q8, "n": n}

    def _value_q8(self, x: Inputs) -> int:
        return clamp(_number(x), -(2**22), 2**22) * 256


class Share:
    """State: ``s_q15``, the share of each class; ``n``, how many were seen."""

    def size(self, op: OracleOperator) -> int:
        return -(-(2 + 2 * op.p2) // 4) * 4

    def fresh(self, op: OracleOperator) -> State:
        return {"n": 0, "s_q15": [0] * op.p2}

    def read(self, op: OracleOperator, state: State, x: Inputs) -> int:
        a = _number(x)
        if state["n"] == 0 or not 0 <= a < op.p2:
            return 256 // op.p2 if op.invert else 256 - 256 // op.p2
        share: int = state["s_q15"][a]
        return share // 128 if op.invert else (32768 - share) // 128

    def commit(self, op: OracleOperator, state: State, x: Inputs) -> int:
        a = _number(x)
        if not x.c or not 0 <= a < op.p2:
            return 0
        if state["n"] == 0:
            state["s_q15"] = [32768 // op.p2] * op.p2
        state["s_q15"] = [
            _towards(share, 32768 if i == a else 0, op.p3) for i, share in enumerate(state["s_q15"])
        ]
        state["n"] = min(state["n"] + 1, _MANY)
        return 0

    def to_bytes(self, op: OracleOperator, state: State) -> bytes:
        numbers = struct.pack(f"<{1 + op.p2}H", state["n"], *state["s_q15"])
        return numbers.ljust(self.size(op), b"\0")

    def from_bytes(self, op: OracleOperator, data: bytes) -> State:
        n, *shares = struct.unpack_from(f"<{1 + op.p2}H", data)
        return {"n": n, "s_q15": shares}

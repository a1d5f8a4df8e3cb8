# SPDX-License-Identifier: Apache-2.0
"""COMPROMISED (54): a compromise of any first day and duration, weighed by the known labels."""

from __future__ import annotations

import struct

from tinyfin.oracle.numbers import fold64, log2_q8, saturate_signed
from tinyfin.oracle.program import OracleOperator
from tinyfin.oracle.stateful import Inputs, State

__all__ = ["Compromised", "weight"]

_DAY_S = 86_400
_POWERS = tuple(round(2 ** (15 + i / 16)) for i in range(16))


def weight(evidence: int) -> int:
    """2^15 * 2^(evidence / 16) of evidence that is not above 0."""
    return _POWERS[evidence % 16] >> -(evidence // 16) if evidence > -256 else 0


class Compromised:
    """State: ``newest`` (a day or None), ``sums`` (evidence by day) and ``remembered`` (p3 pairs of
    the low 24 bits of a folded id and evidence, newest first)."""

    def size(self, op: OracleOperator) -> int:
        return -(-(4 + 2 * op.p2) // 4) * 4 + 4 * op.p3

    def fresh(self, op: OracleOperator) -> State:
        return {"newest": None, "sums": {}, "remembered": [(0, 0)] * op.p3}

    def read(self, op: OracleOperator, state: State, x: Inputs) -> int:
        today = x.t // _DAY_S
        first = today - op.p2 + 1
        found = []
        for days, prior in _durations(op):
            for start in range(first, today + 1):
                last = min(start + days - 1, today)
                known = sum(state["sums"].get(day, 0) for day in range(start, last + 1))
                found.append((prior + known, start + days - 1 >= today))
        best = max(0, *(evidence for evidence, _ in found))
        lasts = sum(weight(evidence - best) for evidence, now in found if now)
        over = sum(weight(evidence - best) for evidence, now in found if not now)
        never = weight(-best)
        now_q8 = log2_q8(lasts) - log2_q8(over + never)
        ever_q8 = log2_q8(lasts + over) - log2_q8(never)
        return (ever_q8 + 32768) * 65536 + now_q8 + 32768

    def commit(self, op: OracleOperator, state: State, x: Inputs) -> int:
        if x.c and x.a is not None and x.a < op.constants[2]:
            entry = (fold64(x.id) % 2**24, x.a % 256)
            state["remembered"] = [entry, *state["remembered"]][: op.p3]
        return 0

    def learn(self, op: OracleOperator, state: State, t: int, tag: int, replaces: bool) -> None:
        """A notice of a transaction at ``t``; ``replaces``: the other label was known before."""
        evidence = _evidence(op, state, tag)
        if replaces:
            evidence -= _evidence(op, state, tag ^ 1)
        day = t // _DAY_S
        if state["newest"] is None or day > state["newest"]:
            state["newest"] = day
        oldest = state["newest"] - op.p2 + 1
        sums = {d: known for d, known in state["sums"].items() if d >= oldest}
        if day >= oldest:
            sums[day] = saturate_signed(sums.get(day, 0) + evidence, 2)
        state["sums"] = sums

    def to_bytes(self, op: OracleOperator, state: State) -> bytes:
        newest = -1 if state["newest"] is None else state["newest"]
        known = [state["sums"].get(newest - age, 0) for age in range(op.p2)]
        out = struct.pack(f"<I{op.p2}h", newest + 1, *known)
        out = out.ljust(self.size(op) - 4 * op.p3, b"\0")
        for number, evidence in state["remembered"]:
            out += struct.pack("<I", number << 8 | evidence)
        return out

    def from_bytes(self, op: OracleOperator, data: bytes) -> State:
        newest, *known = struct.unpack_from(f"<I{op.p2}h", data)
        entries = struct.unpack_from(f"<{op.p3}I", data, self.size(op) - 4 * op.p3)
        return {
            "newest": newest - 1 if newest else None,
            "sums": {newest - 1 - age: x for age, x in enumerate(known) if x},
            "remembered": [divmod(entry, 256) for entry in entries],
        }


def _durations(op: OracleOperator) -> list[tuple[int, int]]:
    pairs = op.constants[3:]
    return list(zip(pairs[::2], pairs[1::2], strict=True))


def _evidence(op: OracleOperator, state: State, tag: int) -> int:
    if tag % 2 == 0:
        return op.constants[1]
    for number, evidence in state["remembered"]:
        if (number, evidence) != (0, 0) and number == tag // 2 % 2**24:
            found: int = evidence
            return found
    return op.constants[0]

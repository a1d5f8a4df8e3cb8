# SPDX-License-Identifier: Apache-2.0
"""KNOWN (52) and SEEN (53), and the ring of known labels that notices fill."""

from __future__ import annotations

from tinyfin.oracle.numbers import fold64
from tinyfin.oracle.program import OracleOperator
from tinyfin.oracle.stateful import Inputs, Label, State

__all__ = ["Known", "Seen", "learn", "make_tag"]


def make_tag(number: int, fraud: int) -> int:
    """The tag of a label: its transaction's folded id, and the label in bit 0."""
    return fold64(number) * 2 % 2**32 + fraud


def learn(labels: list[Label], capacity: int, t: int, tag: int) -> tuple[bool, bool]:
    """Insert a label. Returns (accepted: it was not known, the ring was over its capacity)."""
    if capacity == 0 or (t, tag) in labels:
        return False, False
    labels[:] = [label for label in labels if label[0] != t or label[1] // 2 != tag // 2]
    labels.append((t, tag))
    labels.sort()
    over = len(labels) > capacity
    if over:
        labels.pop(0)
    return True, over


class _Stateless:
    def size(self, op: OracleOperator) -> int:
        return 0

    def fresh(self, op: OracleOperator) -> State:
        return {}

    def commit(self, op: OracleOperator, state: State, x: Inputs) -> int:
        return 0

    def to_bytes(self, op: OracleOperator, state: State) -> bytes:
        return b""

    def from_bytes(self, op: OracleOperator, data: bytes) -> State:
        return {}


class Known(_Stateless):
    """Reads the label ring of its key."""

    def read(self, op: OracleOperator, state: State, x: Inputs) -> int:
        if not x.labels:
            return op.p1
        newest_first = list(reversed(x.labels))
        frauds = [tag % 2 == 1 for _, tag in newest_first]
        ages = [max(0, x.t - t) for t, _ in newest_first]
        run = frauds.index(False) if False in frauds else len(frauds)
        match op.p2:
            case 0:
                return int(frauds[0])
            case 1:
                return run
            case 2:
                return min(ages[run - 1], op.p0) if run else op.p1
            case 3:
                return min(ages[0], op.p0)
            case 4:
                return sum(1 for age in ages if age < op.p0)
            case 5:
                return sum(
                    1 for age, fraud in zip(ages, frauds, strict=True) if fraud and age < op.p0
                )
            case 6:
                return min(ages[frauds.index(True)], op.p0) if True in frauds else op.p1
        raise ValueError(f"KNOWN with p2 = {op.p2} is unknown")


class Seen(_Stateless):
    """1 when the card has a slot."""

    def read(self, op: OracleOperator, state: State, x: Inputs) -> int:
        return int(x.seen)

# SPDX-License-Identifier: Apache-2.0
"""CALI: from the raw score to a probability, strictly increasing, in integers."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from tinyfin.errors import PackError

__all__ = ["Calibration", "to_q32"]

MIN_KNOTS, MAX_KNOTS = 2, 64
_TOP = 2**32 - 1
_KNOT = struct.Struct("<iIQ")


def to_q32(probability: float) -> int:
    """A probability times 2^32, rounded, at most 2^32 - 1."""
    return min(max(round(probability * 2**32), 0), _TOP)


@dataclass(frozen=True)
class Calibration:
    """Knots (raw int32, p_q32 uint32), both ascending strictly; between knots p rises by at least
    1 per unit of raw, so that two raw scores never share a probability.

    Use :meth:`strict` to make such knots from any that do not fall.
    """

    raw: tuple[int, ...]
    p_q32: tuple[int, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "raw", tuple(int(v) for v in self.raw))
        object.__setattr__(self, "p_q32", tuple(int(v) for v in self.p_q32))
        if len(self.raw) != len(self.p_q32) or not MIN_KNOTS <= len(self.raw) <= MAX_KNOTS:
            raise PackError(f"CALI: {len(self.raw)} knots; a calibration has 2 to 64")
        if not (self.raw[0] >= -(2**31) and self.raw[-1] < 2**31):
            raise PackError("CALI: raw scores must be int32")
        if not (self.p_q32[0] >= 0 and self.p_q32[-1] <= _TOP):
            raise PackError("CALI: probabilities must be 0 to 2^32 - 1")
        for i, (dx, dp) in enumerate(self._steps()):
            if dx <= 0 or dp < dx:
                raise PackError(
                    f"CALI: knot {i}: raw must rise and p_q32 must rise by at least as much; "
                    "make the knots with Calibration.strict"
                )

    @classmethod
    def strict(
        cls,
        raw: Sequence[int],
        p_q32: Sequence[int],
        low: int | None = None,
        high: int | None = None,
    ) -> Calibration:
        """Knots at the strictly ascending ``raw``, near the given probabilities, rising strictly.

        ``low`` and ``high``: smallest and largest raw score that the model can give; the knots are
        extended to them. A step of p that is too small is raised, from the bottom up, and what then
        passes the top is lowered again.
        """
        x, p = [int(v) for v in raw], [int(v) for v in p_q32]
        if low is not None and low < x[0]:
            x, p = [low, *x], [p[0] - min(p[0], x[0] - low), *p]
        if high is not None and high > x[-1]:
            x, p = [*x, high], [*p, min(p[-1] + high - x[-1], _TOP)]
        if any(a >= b for a, b in pairwise(x)):
            raise PackError("CALI: raw scores of the knots must ascend strictly")
        p[0] = min(max(p[0], 0), _TOP)
        for i in range(1, len(p)):
            p[i] = max(p[i], p[i - 1] + x[i] - x[i - 1])
        p[-1] = min(p[-1], _TOP)
        for i in range(len(p) - 2, -1, -1):
            p[i] = min(p[i], p[i + 1] - (x[i + 1] - x[i]))
        return cls(tuple(x), tuple(p))

    def _steps(self) -> list[tuple[int, int]]:
        return [
            (self.raw[i + 1] - self.raw[i], self.p_q32[i + 1] - self.p_q32[i])
            for i in range(len(self.raw) - 1)
        ]

    def slopes_q16(self) -> tuple[int, ...]:
        """Slope after each knot, rounded down; 0 after the last."""
        return (*((dp << 16) // dx for dx, dp in self._steps()), 0)

    def encode(self) -> bytes:
        """The payload."""
        rows = zip(self.raw, self.p_q32, self.slopes_q16(), strict=True)
        return struct.pack("<HHI", len(self.raw), 0, 0) + b"".join(_KNOT.pack(*r) for r in rows)

    @classmethod
    def decode(cls, payload: bytes) -> Calibration:
        """Raises PackError naming offset and rule."""
        n = struct.unpack_from("<H", payload)[0] if len(payload) >= 8 else 0
        if not MIN_KNOTS <= n <= MAX_KNOTS or len(payload) != 8 + _KNOT.size * n:
            raise PackError(f"CALI: offset 0: {n} knots in {len(payload)} bytes")
        if any(payload[2:8]):
            raise PackError("CALI: offset 2: reserved bytes must be zero")
        rows = list(_KNOT.iter_unpack(payload[8:]))
        self = cls(tuple(r[0] for r in rows), tuple(r[1] for r in rows))
        if any(r[2] >> 48 for r in rows[:-1]):
            raise PackError("CALI: a slope is 2^48 or more")
        if tuple(r[2] for r in rows) != self.slopes_q16():
            raise PackError("CALI: its slopes are not those of its knots")
        return self

    def evaluate(self, raw: NDArray[np.integer]) -> NDArray[np.uint32]:
        """score_q32 of raw scores of any shape, exactly as the engine gives them."""
        x, p = np.array(self.raw, np.int64), np.array(self.p_q32, np.uint64)
        slopes = np.array(self.slopes_q16(), np.uint64)
        r = np.clip(np.asarray(raw, np.int64), x[0], x[-1])
        i = np.searchsorted(x, r, side="right") - 1
        rise = ((r - x[i]).astype(np.uint64) * slopes[i]) >> np.uint64(16)
        return (p[i] + rise).astype(np.uint32)

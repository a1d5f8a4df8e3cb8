# SPDX-License-Identifier: Apache-2.0
"""Time and energy of a verdict, estimated from counted instructions. No chip was timed.

An estimate takes one cycle for every instruction, which no core keeps: loads, taken branches and
waits for flash cost more. The suites ``latency`` and ``energy`` measure a board.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tinyfin.measure.pack_costs import Instructions

__all__ = ["Estimate", "parse_clock"]

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}


def parse_clock(value: object) -> int:
    """``80000000``, ``"80M"``, ``"16 MHz"`` (powers of 1000) in Hz; ValueError if none."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kKmMgG]?)(?:Hz)?", str(value))
    hz = round(float(match[1]) * _UNITS[match[2].lower()]) if match else 0
    if hz == 0:
        raise ValueError(f"{value!r} is no clock; write Hz, 80M or 16MHz")
    return hz


@dataclass(frozen=True)
class Estimate:
    """A verdict at one cycle an instruction; None where clock or energy was not given."""

    clock_hz: int | None
    nj_per_instruction: float | None
    median_us: float | None = None
    p99_9_us: float | None = None
    bound_us: float | None = None
    median_uj: float | None = None
    p99_9_uj: float | None = None

    @classmethod
    def of(
        cls, count: Instructions, clock_hz: int | None, nj_per_instruction: float | None
    ) -> Estimate:
        """From what was counted."""

        def us(instructions: int) -> float | None:
            return None if clock_hz is None else round(instructions * 1e6 / clock_hz, 3)

        def uj(instructions: int) -> float | None:
            if nj_per_instruction is None:
                return None
            return round(instructions * nj_per_instruction / 1000, 3)

        return cls(
            clock_hz,
            nj_per_instruction,
            us(count.median),
            us(count.p99_9),
            us(count.bound),
            uj(count.median),
            uj(count.p99_9),
        )

    def __str__(self) -> str:
        parts = []
        if self.clock_hz is not None:
            parts.append(
                f"{self.median_us:,.1f} µs (median), {self.p99_9_us:,.1f} µs (99.9%), "
                f"{self.bound_us:,.1f} µs (bound) at {self.clock_hz / 1e6:g} MHz"
            )
        if self.nj_per_instruction is not None:
            parts.append(
                f"{self.median_uj:,.2f} µJ (median), {self.p99_9_uj:,.2f} µJ (99.9%) at "
                f"{self.nj_per_instruction:g} nJ an instruction"
            )
        return f"estimate, at one cycle an instruction, not measured: {'; '.join(parts)}"

# SPDX-License-Identifier: Apache-2.0
"""A pack in shadow or on trial in plain Python, from docs/formats/probation.md alone."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field

from tinyfin.oracle.numbers import log2_q8

__all__ = ["GOES_ON", "PASSED", "Bounds", "Counts"]

GOES_ON, PASSED, FAR, DIFFERS, STABILITY, ALERTS, SATURATED = range(1, 8)


@dataclass(frozen=True)
class Bounds:
    """The section PROB."""

    parent: bytes
    parent_cuts: tuple[int, ...]
    cuts: tuple[int, ...]
    looks: tuple[tuple[int, int, int, int], ...]
    """Events, far, differ, psi_q10."""
    flags: int = 0
    alerts_more: int = 0xFFFF
    trial_events: int = 0
    trial_alerts: int = 0xFFFF
    trial_saturated: int = 0xFFFF
    alerts_factor_q8: int = 0xFFFF

    def payload(self) -> bytes:
        """Its bytes."""
        data = self.parent + struct.pack("<6I", *self.parent_cuts, *self.cuts)
        data += struct.pack("<BBH", len(self.looks), self.flags, self.alerts_more)
        data += struct.pack("<HHH", self.trial_events, self.trial_alerts, self.trial_saturated)
        data += struct.pack("<HI", self.alerts_factor_q8, 0)
        return data + b"".join(struct.pack("<4H", *look) for look in self.looks)

    @classmethod
    def of(cls, data: bytes) -> Bounds:
        """From its bytes, which are right."""
        parent, *numbers, _ = struct.unpack_from("<16s6I2B5HI", data)
        looks = tuple(struct.iter_unpack("<4H", data[56:]))
        return cls(parent, tuple(numbers[:3]), tuple(numbers[3:6]), looks, *numbers[7:])


@dataclass
class Counts:
    """What a terminal keeps."""

    bounds: Bounds
    pack: bytes
    """Id of the pack in probation."""
    phase: int
    table: list[list[int]] = field(default_factory=lambda: [[0] * 4 for _ in range(4)])
    digest: int = 0
    events: int = 0
    parent_alerts: int = 0
    alerts: int = 0
    saturated: int = 0
    result: int = GOES_ON
    looks: int = 0

    def shadow(
        self, parent_q32: int, parent_alerts: bool, raw: int, score_q32: int, action: int
    ) -> None:
        """An event: the parent's score, and what the pack in shadow makes of it."""
        if self.result != GOES_ON:
            return
        row = sum(cut <= parent_q32 for cut in self.bounds.parent_cuts)
        column = sum(cut <= score_q32 for cut in self.bounds.cuts)
        self.table[row][column] += 1
        self.events += 1
        self.parent_alerts += parent_alerts
        self.alerts += action != 0
        self.digest = zlib.crc32(struct.pack("<iIB", raw, score_q32, action), self.digest)
        look = self.bounds.looks[self.looks]
        if self.events == look[0]:
            self.result = self._judged(look)
            self.looks += self.result in (GOES_ON, PASSED)

    def trial(self, action: int, saturated: bool) -> None:
        """An event of the pack that runs."""
        if self.result != GOES_ON:
            return
        self.events += 1
        self.alerts += action != 0
        self.saturated += saturated
        if self.alerts > self.bounds.trial_alerts:
            self.result = ALERTS
        elif self.saturated > self.bounds.trial_saturated:
            self.result = SATURATED
        elif self.events == self.bounds.trial_events:
            self.result = PASSED

    def image(self) -> bytes:
        """What the terminal keeps of it."""
        body = self.pack[:8] + struct.pack("<16H", *(n for row in self.table for n in row))
        body += struct.pack(
            "<IHHHH", self.digest, self.events, self.parent_alerts, self.alerts, self.saturated
        )
        body += struct.pack("<BBH", self.phase, self.result, self.looks)
        return b"TFPB" + struct.pack("<HHII", 1, 72, zlib.crc32(body), 0) + body

    def psi_q10(self) -> int:
        """The stability index of the columns against the rows."""
        total = 0
        for i in range(4):
            a = 2 * sum(row[i] for row in self.table) + 1
            b = 2 * sum(self.table[i]) + 1
            total += (a - b) * (log2_q8(a - 1) - log2_q8(b - 1))
        return min(total * 2839 // (1024 * (2 * self.events + 4)), 0xFFFF)

    def _judged(self, look: tuple[int, int, int, int]) -> int:
        _, far, differ, psi = look
        apart = [
            sum(self.table[i][k] for i in range(4) for k in range(4) if abs(i - k) >= bins)
            for bins in (1, 2)
        ]
        allowed = (self.bounds.alerts_factor_q8 * self.parent_alerts >> 8) + self.bounds.alerts_more
        if apart[1] > far:
            return FAR
        if apart[0] > differ:
            return DIFFERS
        if self.psi_q10() > psi:
            return STABILITY
        if self.alerts > allowed:
            return ALERTS
        return PASSED if self.looks + 1 == len(self.bounds.looks) else GOES_ON

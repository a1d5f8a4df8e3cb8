# SPDX-License-Identifier: Apache-2.0
"""What a terminal counts and how its level moves, in plain integers (probation.md)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field

__all__ = ["OracleLevels", "OracleMonitor", "read_drift", "read_levels"]

_ONE = 1 << 24
_CLOCK = 4
_SHADOW = 16


@dataclass(frozen=True)
class OracleLevels:
    """The payload of LEVL, read."""

    usual: int
    events: int
    target_q24: int
    seconds: int
    limit: int
    thresholds: tuple[tuple[int, int], ...]


def read_drift(payload: bytes) -> tuple[list[int], list[tuple[int, list[int]]]]:
    """Edges of the score; index and edges of each feature."""
    features, bins = payload[0], payload[1]
    at = 4 + 4 * (bins - 1)
    score = list(struct.unpack_from(f"<{bins - 1}I", payload, 4))
    at += 2 * bins
    rest = []
    for _ in range(features):
        index, bins = payload[at], payload[at + 1]
        rest.append((index, list(struct.unpack_from(f"<{bins - 1}h", payload, at + 4))))
        at += 4 + 2 * (bins - 1) + 2 * bins
    return score, rest


def read_levels(payload: bytes) -> OracleLevels:
    """LEVL."""
    k, usual, events, target, seconds, limit, _ = struct.unpack_from("<BBHIIHH", payload)
    numbers = struct.unpack_from(f"<{2 * k}I", payload, 16)
    pairs = tuple(zip(numbers[::2], numbers[1::2], strict=True))
    return OracleLevels(usual, events, target, seconds, limit, pairs)


@dataclass
class OracleMonitor:
    """A monitor that counts, and its image. ``drift`` and ``levels``: the payloads, or None."""

    drift: bytes | None
    levels: bytes | None
    pack_id: bytes
    events: int = 0
    step_s: int = 0
    balance_q24: int = 0
    since: int = 0
    level: int = 0
    halvings: int = 0
    counts: list[list[int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.score, self.features = read_drift(self.drift) if self.drift else ([], [])
        self.control = read_levels(self.levels) if self.levels else None
        if self.control:
            self.level = self.control.usual
        if self.drift:
            self.counts = [
                [0] * (len(edges) + 1) for edges in [self.score, *(e for _, e in self.features)]
            ]

    @property
    def thresholds(self) -> tuple[int, int]:
        """go_online_q32 and decline_q32 of the level that holds."""
        assert self.control
        return self.control.thresholds[self.level]

    def count(
        self, score_q32: int, features: Sequence[int], action: int, flags: int, clock_s: int
    ) -> bool:
        """Counts an event; whether the level has changed."""
        self.events = min(self.events + 1, 2**32 - 1)
        if self.drift:
            values = [score_q32, *(features[index] for index, _ in self.features)]
            edges = [self.score, *(e for _, e in self.features)]
            bins = [sum(edge <= v for edge in e) for v, e in zip(values, edges, strict=True)]
            if any(c[b] == 65535 for c, b in zip(self.counts, bins, strict=True)):
                self.counts = [[n // 2 for n in c] for c in self.counts]
                self.halvings = min(self.halvings + 1, 255)
            for c, b in zip(self.counts, bins, strict=True):
                c[b] += 1
        return (
            self.control is not None and not flags & _SHADOW and self._step(action, flags, clock_s)
        )

    def _step(self, action: int, flags: int, clock_s: int) -> bool:
        assert self.control
        limit = self.control.limit * _ONE
        balance = self.balance_q24 + (_ONE if action else 0) - self.control.target_q24
        self.balance_q24 = max(-limit, min(limit, balance))
        self.since = min(self.since + 1, 65535)
        if self.events == 1 or clock_s < self.step_s:
            self.step_s = clock_s
        to = self.level + (self.balance_q24 == limit) - (self.balance_q24 == -limit)
        usual = self.control.usual
        stands = flags & _CLOCK and abs(to - usual) < abs(self.level - usual)
        waited = clock_s - self.step_s >= self.control.seconds or stands
        ready = self.since >= self.control.events and waited
        if not ready or to == self.level or not 0 <= to < len(self.control.thresholds):
            return False
        self.level, self.balance_q24, self.since, self.step_s = to, 0, 0, clock_s
        return True

    def image(self) -> bytes:
        """The monitor image."""
        body = struct.pack(
            "<IIiHBB",
            self.events,
            self.step_s,
            self.balance_q24,
            self.since,
            self.level,
            self.halvings,
        )
        body += b"".join(struct.pack(f"<{len(c)}H", *c) for c in self.counts)
        head = struct.pack("<IHHII", 0x4E4D4654, 1, 24 + len(body), zlib.crc32(body), 0)
        return head + self.pack_id[:8] + body

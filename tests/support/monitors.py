# SPDX-License-Identifier: Apache-2.0
"""The monitor of the C library, driven event by event with whatever score, features, action and
clock a test wants; the sections are packed here from docs/formats/probation.md."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Sequence
from typing import NamedTuple

from tests.support import packs
from tests.support.native import Buffer, Engine, Verdict, check, library
from tinyfin.oracle.monitor import OracleMonitor

DAY_S = 86400
ONE = 1 << 24
SCORES = (2066426667, 2110639565, 2154852464)
"""All that :func:`tests.support.packs.small` gives to an event of a new terminal."""
USUAL = (SCORES[1], 3 << 30)
"""Thresholds of DECI."""


def drift(score: Sequence[int], *features: tuple[int, Sequence[int]]) -> bytes:
    """DRFT with these edges."""
    out = struct.pack("<BBH", len(features), len(score) + 1, 256)
    out += struct.pack(f"<{len(score)}I", *score) + b"\1\0" * (len(score) + 1)
    for index, edges in features:
        out += struct.pack("<BBH", index, len(edges) + 1, 300)
        out += struct.pack(f"<{len(edges)}h", *edges) + b"\2\0" * (len(edges) + 1)
    return out


def levels(
    *thresholds: tuple[int, int],
    usual: int,
    target: int = ONE // 100,
    events: int = 20,
    seconds: int = DAY_S,
    limit: int = 4,
) -> bytes:
    """LEVL."""
    out = struct.pack("<BBHIIHH", len(thresholds), usual, events, target, seconds, limit, 0)
    return out + b"".join(struct.pack("<II", *pair) for pair in thresholds)


DRIFT = drift([1000, 1 << 20, 1 << 31], (0, [-5, 0, 90]), (2, [7]))
LEVELS = levels(
    (1, 1 << 31), (SCORES[0], 3 << 30), USUAL, (SCORES[2], 3 << 30), (3 << 30, 7 << 29), usual=2
)


class Seen(NamedTuple):
    """What the monitor counts of an event."""

    score_q32: int
    features: tuple[int, ...]
    action: int
    t_s: int
    flags: int = 0


class Monitored:
    """An engine with a monitor, and the oracle of that monitor. Raises Refused."""

    def __init__(
        self,
        drift: bytes | None = DRIFT,
        levels: bytes | None = LEVELS,
        lib: ctypes.CDLL | None = None,
    ) -> None:
        named = {"DRFT": drift, "LEVL": levels}
        held = {tag: payload for tag, payload in named.items() if payload is not None}
        self.lib = lib or library()
        for name in ("tfin_monitor_size", "tfin_monitor_level", "tfin_monitor_histogram"):
            self.lib[name].restype = ctypes.c_uint32
        held["DECI"] = packs.decision(3, online=USUAL[0])
        self.engine = Engine(packs.build({**packs.small(), **held}), lib=self.lib)
        self.bytes = int(self.lib.tfin_monitor_bytes(self.engine._engine))
        self.memory = Buffer(max(self.bytes, 16), b"\xaa" * max(self.bytes, 16))
        self.monitor = Buffer(64)
        self.open(self.bytes)
        self.oracle = OracleMonitor(drift, levels, self.engine.pack_id())
        self._score(1)

    def open(self, size: int, shift: int = 0) -> None:
        memory = ctypes.c_void_p(self.memory.address + shift)
        size_t = ctypes.c_size_t(max(size, 0))
        check(
            self.lib.tfin_monitor_open(self.monitor, self.engine._engine, memory, size_t), self.lib
        )

    def _score(self, t_s: int, record: bytes = packs.RECORD) -> Verdict:
        self.clock = t_s
        return self.engine.score(1, t_s, record)

    def advise(self, record: bytes) -> int:
        """The action of an event that is not counted."""
        return int(self._score(self.clock, record).action)

    def count(self, seen: Seen) -> bool:
        """Count one event; whether the level has changed. The oracle counts it, too."""
        if seen.t_s < self.clock:
            self.engine.rebase(seen.t_s)
            self._score(seen.t_s)
        elif seen.t_s > self.clock:
            self.engine.rebase(seen.t_s)
            self.clock = seen.t_s
        at = self.lib.tfin_features(self.engine._engine, None)
        for i, value in enumerate(seen.features):
            at[i] = value
        verdict = Verdict(score_q32=seen.score_q32, flags=seen.flags, action=seen.action)
        changed = self.lib.tfin_monitor_count(self.monitor, ctypes.byref(verdict))
        check(min(changed, 0), self.lib)
        expected = self.oracle.count(
            seen.score_q32, seen.features, seen.action, seen.flags, seen.t_s
        )
        self.agrees = bool(changed) == expected
        return bool(changed)

    @property
    def level(self) -> int:
        return int(self.lib.tfin_monitor_level(self.monitor))

    def image(self) -> bytes:
        out = ctypes.create_string_buffer(int(self.lib.tfin_monitor_size(self.monitor)))
        check(self.lib.tfin_monitor_export(self.monitor, out, len(out)), self.lib)
        return out.raw

    def take(self, image: bytes) -> None:
        """tfin_monitor_import. Raises Refused."""
        check(self.lib.tfin_monitor_import(self.monitor, image, len(image)), self.lib)

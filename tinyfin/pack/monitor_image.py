# SPDX-License-Identifier: Apache-2.0
"""What a terminal's monitor has counted: its image, and counts as windows of time
(formats/probation.md)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinyfin.errors import InputError
from tinyfin.pack.drift import MONITOR_HEAD, DriftSection

__all__ = ["LOST", "MonitorCounts", "read_monitor", "split_counts", "window"]

_HEAD = struct.Struct("<IHHII8s")
_BODY = struct.Struct("<IIiHBB")
_MAGIC, _VERSION = 0x4E4D4654, 1
LOST = 0.1
"""Share of the counts that a restart may lose; with more missing the monitor began anew."""

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class MonitorCounts:
    """Cumulative counts of one terminal; ``histograms``: int64[bins] of the score, then of
    features in the order of DRFT, as many as are known."""

    events: int
    halvings: int
    level: int
    histograms: tuple[Counts, ...]
    boot: int = 0
    """Boot nonce of the terminal, where it is known; else the same for all."""


def read_monitor(image: bytes, drift: DriftSection | None) -> MonitorCounts:
    """The image of a terminal whose pack has this DRFT. Raises InputError."""
    if len(image) < _HEAD.size + MONITOR_HEAD:
        raise InputError(f"monitor image: {len(image)} bytes are too few for one")
    magic, version, size, crc, zero, _ = _HEAD.unpack_from(image)
    body = image[_HEAD.size :]
    expected = MONITOR_HEAD if drift is None else drift.device_bytes
    if magic != _MAGIC or version != _VERSION or zero:
        raise InputError("monitor image: these bytes are none, or of a newer version")
    if size != len(image) or len(body) != expected:
        raise InputError("monitor image: it is cut off, or of another pack")
    if zlib.crc32(body) != crc:
        raise InputError("monitor image: it is damaged; read it again")
    events, _, _, _, level, halvings = _BODY.unpack_from(body)
    flat = np.frombuffer(body[MONITOR_HEAD:], "<u2").astype(np.int64)
    return MonitorCounts(events, halvings, level, split_counts(flat, drift))


def split_counts(flat: Sequence[int] | Counts, drift: DriftSection | None) -> tuple[Counts, ...]:
    """Counts that come one behind the other, by histogram; what is left of one is left out."""
    found, at = [], 0
    for histogram in drift.histograms if drift else ():
        if at + histogram.bins > len(flat):
            break
        found.append(np.asarray(flat[at : at + histogram.bins], np.int64))
        at += histogram.bins
    return tuple(found)


def window(before: MonitorCounts | None, now: MonitorCounts) -> tuple[Counts, ...]:
    """What was counted between two readings of one terminal, histogram by histogram.

    Halvings in between halve what was there before, too; what a halving rounds, and half of what
    came since the reading before it, is lost. After a restart the monitor goes on from what flash
    kept, which may be a little less than the reading before, or begins anew: when more than a tenth
    of what was there is missing, everything was counted since.
    """
    if before is None or now.halvings < before.halvings or not before.histograms:
        return now.histograms
    halved = now.halvings - before.halvings
    pairs = zip([h >> halved for h in before.histograms], now.histograms, strict=False)
    differences = [b - a for a, b in pairs]
    missing = -int(np.minimum(differences[0], 0).sum()) if differences else 0
    if now.boot != before.boot and missing > LOST * before.events / 2**halved:
        return now.histograms
    if now.boot == before.boot and now.events < before.events:
        return now.histograms
    return tuple(np.maximum(d, 0) for d in differences)

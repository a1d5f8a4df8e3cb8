# SPDX-License-Identifier: Apache-2.0
"""MAPS: from int16 features to the network's int8 inputs, piecewise linear, in integers."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinyfin.errors import PackError

__all__ = ["InputMap", "decode_maps", "encode_maps", "map_inputs"]

MIN_KNOTS, MAX_KNOTS = 2, 32
_PRODUCT_LIMIT = 1 << 30


@dataclass(frozen=True)
class InputMap:
    """The map of one feature: knots (x int16, ascending strictly; y int8)."""

    x: tuple[int, ...]
    y: tuple[int, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "x", tuple(int(v) for v in self.x))
        object.__setattr__(self, "y", tuple(int(v) for v in self.y))
        if len(self.x) != len(self.y) or not MIN_KNOTS <= len(self.x) <= MAX_KNOTS:
            raise PackError(f"an input map has {MIN_KNOTS} to {MAX_KNOTS} knots, not {len(self.x)}")
        if any(a >= b for a, b in zip(self.x, self.x[1:], strict=False)):
            raise PackError(f"an input map's x must ascend strictly: {list(self.x)}")
        if not (self.x[0] >= -32768 and self.x[-1] <= 32767):
            raise PackError(f"an input map's x must be int16: {list(self.x)}")
        if not all(-128 <= v <= 127 for v in self.y):
            raise PackError(f"an input map's y must be int8: {list(self.y)}")

    def slopes_q16(self) -> tuple[int, ...]:
        """Slope after each knot, rounded to nearest; 0 after the last."""
        steps = zip(self.x, self.x[1:], self.y, self.y[1:], strict=False)
        return (
            *(((y1 - y0) * 131072 + (x1 - x0)) // (2 * (x1 - x0)) for x0, x1, y0, y1 in steps),
            0,
        )

    def evaluate(self, features: NDArray[np.integer]) -> NDArray[np.int8]:
        """int8 inputs of features of any shape, exactly as the engine maps them."""
        return _evaluate(np.array(self.x), np.array(self.y), np.array(self.slopes_q16()), features)


def _evaluate(
    x: NDArray[np.int64],
    y: NDArray[np.int64],
    slopes: NDArray[np.int64],
    features: NDArray[np.integer],
) -> NDArray[np.int8]:
    f = np.clip(np.asarray(features, dtype=np.int64), x[0], x[-1])
    i = np.searchsorted(x, f, side="right") - 1
    value = y[i] + (((f - x[i]) * slopes[i] + 32768) >> 16)
    return np.clip(value, -128, 127).astype(np.int8)


def map_inputs(maps: Sequence[InputMap], features: NDArray[np.integer]) -> NDArray[np.int8]:
    """Features [n, K] to inputs int8 [n, K]."""
    out = np.empty((len(features), len(maps)), np.int8)
    for i, m in enumerate(maps):
        out[:, i] = m.evaluate(features[:, i])
    return out


def encode_maps(maps: Sequence[InputMap]) -> bytes:
    """The payload. Equal maps share their knots."""
    head = struct.pack("<HHI", len(maps), 0, 0)
    entries, knots = b"", b""
    places: dict[InputMap, int] = {}
    base = len(head) + 8 * len(maps)
    for m in maps:
        if m not in places:
            places[m] = base + len(knots)
            knots += b"".join(
                struct.pack("<hbBi", x, y, 0, s)
                for x, y, s in zip(m.x, m.y, m.slopes_q16(), strict=True)
            )
        entries += struct.pack("<IHH", places[m], len(m.x), 0)
    return head + entries + knots


def decode_maps(payload: bytes) -> tuple[InputMap, ...]:
    """The maps. Raises PackError naming offset and rule."""
    if len(payload) < 8:
        raise PackError("MAPS: offset 0: the payload is shorter than its head of 8 bytes")
    n, zero, zero2 = struct.unpack_from("<HHI", payload)
    if zero or zero2:
        raise PackError("MAPS: offset 2: reserved bytes must be zero")
    if len(payload) < 8 + 8 * n:
        raise PackError(f"MAPS: offset 0: {n} entries do not fit in {len(payload)} bytes")
    maps = []
    for i in range(n):
        at, k, rest = struct.unpack_from("<IHH", payload, 8 + 8 * i)
        where = f"MAPS: map {i}, offset {8 + 8 * i}"
        if at % 4 or rest or not MIN_KNOTS <= k <= MAX_KNOTS or at + 8 * k > len(payload):
            raise PackError(f"{where}: {k} knots at {at} break the rules of an entry")
        rows = list(struct.iter_unpack("<hbBi", payload[at : at + 8 * k]))
        m = InputMap(tuple(r[0] for r in rows), tuple(r[1] for r in rows))
        slopes = tuple(r[3] for r in rows)
        if any(r[2] for r in rows):
            raise PackError(f"{where}: knots at {at}: the byte after y must be zero")
        for j, (x0, x1) in enumerate(zip(m.x, m.x[1:], strict=False)):
            if abs(slopes[j]) * (x1 - x0) >= _PRODUCT_LIMIT:
                raise PackError(f"{where}: slope {slopes[j]} of knot {j} is too steep")
        if slopes != m.slopes_q16():
            raise PackError(f"{where}: its slopes are not those of its knots")
        maps.append(m)
    return tuple(maps)

# SPDX-License-Identifier: Apache-2.0
"""GOLD: inputs and the raw scores they must give; run when a pack is opened."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinyfin.errors import PackError

__all__ = ["Golden"]

MAX_VECTORS = 64


@dataclass(frozen=True, eq=False)
class Golden:
    """Golden vectors: inputs int8 [n, K], raw int32 [n]."""

    inputs: NDArray[np.int8]
    raw: NDArray[np.int32]

    def __post_init__(self) -> None:
        if self.inputs.ndim != 2 or self.raw.shape != (len(self.inputs),):
            raise PackError("GOLD: inputs must be [n, K] and raw [n]")
        if len(self.raw) > MAX_VECTORS:
            raise PackError(f"GOLD: {len(self.raw)} vectors; at most {MAX_VECTORS} open quickly")

    def encode(self) -> bytes:
        """The payload."""
        inputs = np.ascontiguousarray(self.inputs, np.int8)
        n, length = inputs.shape
        pad = -length % 4
        rows = (
            row.tobytes() + bytes(pad) + struct.pack("<i", int(raw))
            for row, raw in zip(inputs, self.raw, strict=True)
        )
        return struct.pack("<HHI", n, length, 0) + b"".join(rows)

    @classmethod
    def decode(cls, payload: bytes) -> Golden:
        """Raises PackError naming offset and rule."""
        if len(payload) < 8:
            raise PackError("GOLD: offset 0: the payload is shorter than its head of 8 bytes")
        n, length, zero = struct.unpack_from("<HHI", payload)
        each = length + -length % 4 + 4
        if zero or len(payload) != 8 + n * each:
            raise PackError(f"GOLD: offset 0: {n} x {length} do not make {len(payload)} bytes")
        rows = np.frombuffer(payload, np.uint8, offset=8).reshape(n, each)
        inputs = rows[:, :length].copy().view(np.int8)
        raw = np.ascontiguousarray(rows[:, each - 4 :]).view("<i4").reshape(n).astype(np.int32)
        return cls(inputs, raw)

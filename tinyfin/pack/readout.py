# SPDX-License-Identifier: Apache-2.0
"""READ: how one raw integer score is taken from the network."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tinyfin.errors import PackError

__all__ = ["KINDS", "Readout"]

KINDS = {1: "logit", 2: "accumulator", 3: "reconstruction", 4: "sum_of_squares"}
_CODES = {name: code for code, name in KINDS.items()}
_FORMAT = struct.Struct("<BBHiiI")


@dataclass(frozen=True)
class Readout:
    """A read-out. ``m_in`` and ``m_out`` are packed as docs/formats/pack.md says; use the
    constructors :meth:`logit`, :meth:`accumulator`, :meth:`reconstruction` and
    :meth:`sum_of_squares`."""

    kind: Literal["logit", "accumulator", "reconstruction", "sum_of_squares"]
    shift: int = 0
    index: int = 0
    m_in: int = 0
    m_out: int = 0

    def __post_init__(self) -> None:
        if self.kind not in _CODES:
            raise PackError(f"READ: kind {self.kind!r} is not one of {', '.join(_CODES)}")
        if not 0 <= self.shift <= 31 or not 0 <= self.index <= 65535:
            raise PackError(f"READ: shift {self.shift} must be 0 to 31, index {self.index} a u16")
        if self.kind == "reconstruction":
            for name, packed in (("m_in", self.m_in), ("m_out", self.m_out)):
                if not 0 <= packed >> 8 <= 65535:
                    raise PackError(f"READ: {name} {packed} holds a multiplier outside 0 to 65535")

    @classmethod
    def logit(cls, index: int = 0, zero_point: int = 0) -> Readout:
        """raw = output[index] - zero_point."""
        return cls("logit", index=index, m_out=zero_point)

    @classmethod
    def accumulator(cls, index: int = 0, shift: int = 0) -> Readout:
        """raw = accumulator[index] >> shift, of the last FULLY_CONNECTED or of a sum of terms."""
        return cls("accumulator", shift=shift, index=index)

    @classmethod
    def reconstruction(
        cls, *, zero_in: int, scale_in: int, zero_out: int, scale_out: int, shift: int = 0
    ) -> Readout:
        """raw = (sum of ((x - zero_in) * scale_in - (y - zero_out) * scale_out >> 8)^2) >> shift,
        saturated at 2^31 - 1. Scales 0 to 65535 are in proportion to the tensors' scales."""
        return cls(
            "reconstruction",
            shift=shift,
            m_in=_pack(zero_in, scale_in),
            m_out=_pack(zero_out, scale_out),
        )

    @classmethod
    def sum_of_squares(cls, *, zero_point: int, shift: int = 0) -> Readout:
        """raw = sum of (output - zero_point)^2 >> shift."""
        return cls("sum_of_squares", shift=shift, m_out=zero_point)

    def encode(self) -> bytes:
        """The payload, 16 bytes."""
        return _FORMAT.pack(_CODES[self.kind], self.shift, self.index, self.m_in, self.m_out, 0)

    @classmethod
    def decode(cls, payload: bytes) -> Readout:
        """Raises PackError naming offset and rule."""
        if len(payload) != _FORMAT.size:
            raise PackError(f"READ: {len(payload)} bytes instead of {_FORMAT.size}")
        code, shift, index, m_in, m_out, zero = _FORMAT.unpack(payload)
        if code not in KINDS:
            raise PackError(f"READ: offset 0: unknown kind {code}")
        if zero:
            raise PackError("READ: offset 12: reserved bytes must be zero")
        return cls(KINDS[code], shift, index, m_in, m_out)  # type: ignore[arg-type]

    def evaluate(
        self,
        inputs: NDArray[np.int8],
        outputs: NDArray[np.int8],
        accumulators: NDArray[np.int32] | None = None,
    ) -> NDArray[np.int32]:
        """Raw scores of n inferences: inputs [n, K], outputs [n, O], accumulators [n, A]."""
        if self.kind == "logit":
            logits = outputs[:, self.index].astype(np.int32) - np.int32(self.m_out)
            return np.asarray(logits, np.int32)
        if self.kind == "accumulator":
            if accumulators is None:
                raise PackError("READ: an accumulator read-out needs the accumulators")
            kept = accumulators[:, self.index].astype(np.int64) >> self.shift
            return kept.astype(np.int32)
        if self.kind == "sum_of_squares":
            y = outputs.astype(np.int64) - self.m_out
            return np.asarray((y * y).sum(axis=1) >> self.shift, np.int32)
        x = (inputs.astype(np.int64) - _zero(self.m_in)) * (self.m_in >> 8)
        y = (outputs.astype(np.int64) - _zero(self.m_out)) * (self.m_out >> 8)
        total = (((x - y) >> 8) ** 2).sum(axis=1) >> self.shift
        return np.asarray(np.minimum(total, 2**31 - 1), np.int32)


def _pack(zero: int, scale: int) -> int:
    if not -128 <= zero <= 127:
        raise PackError(f"READ: zero point {zero} is not an int8")
    return scale << 8 | zero & 0xFF


def _zero(packed: int) -> int:
    return ((packed & 0xFF) ^ 0x80) - 0x80

# SPDX-License-Identifier: Apache-2.0
"""Integer helpers of the oracle: saturation, bit patterns, the exact logarithm."""

from __future__ import annotations

from functools import lru_cache

__all__ = [
    "REGISTER_MAX",
    "U32_MAX",
    "clamp",
    "fold64",
    "log2_q8",
    "pattern64",
    "saturate_register",
    "saturate_signed",
]

REGISTER_MAX = 2**62 - 1
"""Largest absolute value of a register."""

U32_MAX = 2**32 - 1


def clamp(x: int, low: int, high: int) -> int:
    """``x``, or the bound it passes."""
    return low if x < low else high if x > high else x


def saturate_register(x: int) -> int:
    """``x`` as a register holds it: within ±(2^62 - 1)."""
    return clamp(x, -REGISTER_MAX, REGISTER_MAX)


def saturate_signed(x: int, width: int) -> int:
    """``x`` within a signed integer of ``width`` bytes."""
    bound = 2 ** (8 * width - 1)
    return clamp(x, -bound, bound - 1)


def pattern64(x: int) -> int:
    """The two's complement bit pattern of ``x`` in 64 bits, as a number from 0 on."""
    return x % 2**64


def fold64(x: int) -> int:
    """``(u32)(x ^ (x >> 32))`` of the 64-bit pattern of ``x``: upper half xor lower half."""
    pattern = pattern64(x)
    return (pattern // 2**32) ^ (pattern % 2**32)


@lru_cache(maxsize=4096)
def log2_q8(x: int) -> int:
    """round(256 * log2(v)), exactly, v = the 32 most significant bits of 1 + x; 0 for x <= 0.

    The result is the k with 2k - 1 <= 512 * log2(v) < 2k + 1, that is
    2^(2k - 1) <= v^512 < 2^(2k + 1): a comparison of whole numbers.
    """
    if x <= 0:
        return 0
    v = 1 + x
    surplus = max(0, v.bit_length() - 32)
    power: int = (v // 2**surplus * 2**surplus) ** 512
    k = power.bit_length() // 2 + 1
    while 2 ** (2 * k - 1) > power:
        k -= 1
    return k

# SPDX-License-Identifier: Apache-2.0
"""What the application of tests/targets/boot answers."""

from __future__ import annotations


def expected_arithmetic() -> int:
    a, b, d = -987654321012345, 0xFEDCBA9876543210, 1000003
    quotient = -(-a // d)
    rest = a - quotient * d
    mask = (1 << 64) - 1
    mix = (quotient & mask) ^ (rest & mask) ^ (b * d & mask) ^ (b // d + b % d) ^ (b >> (d & 31))
    return ((mix ^ mix >> 32) & 0xFFFFFFFF) ^ (d // 7) ^ (d % 7)

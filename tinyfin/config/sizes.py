# SPDX-License-Identifier: Apache-2.0
"""Bytes as people write them."""

from __future__ import annotations

import re

__all__ = ["parse_size"]


def parse_size(value: object) -> int:
    """``1500``, ``"32k"``, ``"8 kB"``, ``"1M"`` (powers of 1024) in bytes; ValueError if none."""
    match = re.fullmatch(r"(\d+)\s*([kKmM]?)(?:i?B)?", str(value))
    if match is None:
        raise ValueError(f"{value!r} is no size; write bytes, 32k or 1M")
    return int(match[1]) << {"": 0, "k": 10, "m": 20}[match[2].lower()]

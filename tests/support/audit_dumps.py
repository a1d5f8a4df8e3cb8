# SPDX-License-Identifier: Apache-2.0
"""Rings, heads and reports that ``firmware/test/auditcut.c`` writes."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tinyfin.field.audit import AuditLog, Head, parse_audit

_IDENTITY = bytes(range(1, 73))
ID, REPORT_KEY, AUDIT_KEY = _IDENTITY[:8], _IDENTITY[8:40], _IDENTITY[40:]
TOKENS = range(1, 5)
"""Of its cards; the upper half of a verdict's score is the token."""
COUNTERS = {"scored": 1, "committed": 300, "clock_clamps": (1 << 32) - 1}
"""Of its reports."""


@dataclass(frozen=True)
class Dump:
    """What a terminal held at some time."""

    heads: list[Head]
    """Told since the dump before it."""
    log: AuditLog
    report: bytes


def read_dumps(path: Path) -> Iterator[Dump]:
    data, at = path.read_bytes(), 0

    def piece(form: str) -> bytes:
        nonlocal at
        (size,) = struct.unpack_from(form, data, at)
        at += struct.calcsize(form) + size
        return data[at - size : at]

    while at < len(data):
        heads = [Head(*row) for row in struct.iter_unpack("<I8s", piece("<H"))]
        yield Dump(heads, parse_audit(piece("<I")), piece("<H"))

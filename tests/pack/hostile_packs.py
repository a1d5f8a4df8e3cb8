# SPDX-License-Identifier: Apache-2.0
"""Signed packs, each of which breaks one rule, with the error of tinyfin.h that names it.

A terminal and the workstation have to judge them alike.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Any

from tests.support import packs
from tests.support.packs import build, patched, small
from tinyfin.features.operators import BY_CODE

Parts = Mapping[str, bytes]


def changed(tag: str, offset: int, code: str, *values: int) -> Parts:
    """The small pack's sections with numbers written over one payload."""
    parts = small()
    return {**parts, tag: patched(parts[tag], offset, code, *values)}


def without(*tags: str) -> Parts:
    return {tag: payload for tag, payload in small().items() if tag not in tags}


def with_(tag: str, payload: bytes, **how: Any) -> bytes:
    return build({**small(), tag: payload}, **how)


def verifying(more: int, *thresholds: int) -> bytes:
    """The small pack's DECI with thresholds behind its entries, from 1 << 30 to 3 << 30."""
    head = patched(small()["DECI"], 22, "H", more)
    return head + struct.pack(f"<{len(thresholds)}I", *thresholds)


def section(tag: bytes, size: int, flag: int = 0) -> bytes:
    """The header of a section."""
    return struct.pack("<4sIHHI", tag, size, flag, 1, 0)


def operator(number: int) -> int:
    """Where a score operator lies in the small pack's PROG."""
    return 64 + 24 * number


FIELD, LOG2, WINDOW, LOG2_SUM, KNOWN = range(5)

STRUCTURE: list[tuple[str, str, Callable[[], bytes]]] = [
    # header and sections
    *[
        (error, name, lambda how=how: build(small(), **how))
        for error, name, how in (
            ("TFIN_E_MAGIC", "magic", {"magic": 0x4B504655}),
            ("TFIN_E_FORMAT", "format 2", {"version": 2}),
            ("TFIN_E_FORMAT", "format 65535", {"version": 65535}),
            ("TFIN_E_HEADER", "format 0", {"version": 0}),
            ("TFIN_E_HEADER", "header size", {"header": 240}),
            ("TFIN_E_HEADER", "reserved", {"reserved": bytes(23) + b"\1"}),
            ("TFIN_E_HEADER", "flags", {"flags": 3}),
            ("TFIN_E_HEADER", "no sections", {"count": 0}),
            ("TFIN_E_HEADER", "33 sections", {"count": 33}),
            ("TFIN_E_ENGINE_VERSION", "newer engine", {"engine": 0x7F0000}),
            ("TFIN_E_ALGORITHM", "signature 2", {"algorithms": (2, 1)}),
            ("TFIN_E_ALGORITHM", "hash 0", {"algorithms": (1, 0)}),
            ("TFIN_E_SECTION", "one too many named", {"count": len(small()) + 1}),
            ("TFIN_E_SECTION", "one too few named", {"count": len(small()) - 1}),
            ("TFIN_E_SECTION", "section version", {"section_version": 2}),
            ("TFIN_E_SECTION", "flag 2", {"critical": {"META": 2}}),
            ("TFIN_E_SECTION", "known but not critical", {"critical": {"PLAN": 0}}),
            ("TFIN_E_SECTION", "twice", {"count": 10, "tail": section(b"SCHM", 0, 1)}),
            ("TFIN_E_SECTION", "length", {"count": 10, "tail": section(b"DRFT", 16)}),
            ("TFIN_E_SECTION", "length wraps", {"count": 10, "tail": section(b"DRFT", 0xFFFFFFF8)}),
            ("TFIN_E_UNKNOWN_SECTION", "META marked critical", {"critical": {"META": 1}}),
        )
    ],
    *[
        ("TFIN_E_SECTION", f"no {tag}", lambda tag=tag: build(without(tag)))
        for tag in ("SCHM", "PROG", "MAPS", "READ", "CALI", "DECI", "PLAN")
    ],
    ("TFIN_E_UNKNOWN_SECTION", "critical", lambda: with_("XTRA", b"1", critical={"XTRA": 1})),
    # schema
    ("TFIN_E_SCHEMA", "no fields", lambda: build(changed("SCHM", 0, "H", 0))),
    ("TFIN_E_SCHEMA", "33 fields", lambda: build(changed("SCHM", 0, "H", 33))),
    ("TFIN_E_SCHEMA", "record size", lambda: build(changed("SCHM", 2, "H", 48))),
    ("TFIN_E_SCHEMA", "type 4", lambda: build(changed("SCHM", 8, "B", 4))),
    ("TFIN_E_SCHEMA", "flag 4", lambda: build(changed("SCHM", 9, "B", 4))),
    ("TFIN_E_SCHEMA", "field moved", lambda: build(changed("SCHM", 10, "H", 16))),
    ("TFIN_E_SCHEMA", "short", lambda: with_("SCHM", small()["SCHM"][:-1])),
    # program
    *[
        ("TFIN_E_PROGRAM", name, lambda c=(offset, code, value): build(changed("PROG", *c)))
        for name, offset, code, value in (
            ("format", 0, "H", 2),
            ("no registers", 2, "H", 0),
            ("201 registers", 2, "H", 201),
            ("more operators than bytes", 4, "H", 60000),
            ("outcome operators that are none", 6, "H", 1),
            ("65 kept", 8, "H", 65),
            ("no features", 10, "H", 0),
            ("129 features", 10, "H", 129),
            ("no pending", 12, "H", 0),
            ("257 pending", 12, "H", 257),
            ("pending entry of 12", 14, "H", 12),
            ("terminal state too small", 16, "I", 8),
            ("terminal state of 1 GiB", 16, "I", 1 << 30),
            ("card slot without sets", 20, "H", 64),
            ("card sets without a slot", 22, "H", 2),
            ("token is not a u64", 25, "B", 0),
            ("token is no field", 25, "B", 4),
            ("129 terminal labels", 26, "H", 129),
            ("card labels without cards", 28, "H", 1),
            ("reserved", 30, "H", 1),
            ("operators outside", 32, "I", 1 << 20),
            ("operators wrap", 32, "I", 0xFFFFFFF8),
            ("operators misaligned", 32, "I", 68),
            ("operators in the header", 32, "I", 32),
            ("pool outside", 48, "I", 1 << 20),
            ("pool too large", 52, "I", 4096),
            ("clock step", 56, "I", 1 << 31),
            ("clock step in boot", 60, "I", 1 << 31),
            ("too many operators", 4, "H", 1025),
            ("unknown operator", operator(FIELD), "B", 1 + max(c for c in BY_CODE if c < 40)),
            ("unknown stateful operator", operator(WINDOW), "B", 1 + max(BY_CODE)),
            ("a pure operator with a key", operator(FIELD) + 1, "B", 1),
            ("a stateful operator without", operator(WINDOW) + 1, "B", 0),
            ("a card operator without cards", operator(WINDOW) + 1, "B", 2),
            ("register out of range", operator(FIELD) + 2, "B", 199),
            ("input not written yet", operator(LOG2) + 3, "B", 2),
            ("condition out of range", operator(WINDOW) + 5, "B", 77),
            ("when", operator(WINDOW) + 6, "B", 32),
            ("flags", operator(WINDOW) + 7, "B", 8),
            ("state outside", operator(WINDOW) + 8, "I", 32),
            ("state wraps", operator(WINDOW) + 8, "I", 0xFFFFFFFC),
            ("state misaligned", operator(WINDOW) + 8, "I", 2),
            ("state of an operator without state", operator(KNOWN) + 8, "I", 1 << 20),
            ("bucket of 0 s", operator(WINDOW) + 12, "i", 0),
            ("one bucket", operator(WINDOW) + 20, "H", 1),
            ("65 buckets", operator(WINDOW) + 20, "H", 65),
            ("buckets of 3 bytes", operator(WINDOW) + 22, "H", 3),
            ("no such field", operator(FIELD) + 20, "H", 4),
            ("what is known", operator(KNOWN) + 20, "H", 7),
        )
    ],
    # network
    ("TFIN_E_PLAN", "magic", lambda: build(changed("PLAN", 0, "I", 1))),
    ("TFIN_E_PLAN", "short", lambda: with_("PLAN", small()["PLAN"][:-16])),
    ("TFIN_E_PLAN", "no space for the arena", lambda: build(changed("PLAN", 16, "I", 0))),
    ("TFIN_E_LAYOUT", "layout 9", lambda: build(changed("PLAN", 6, "H", 9))),
    ("TFIN_E_KERNEL", "kernel 2^31", lambda: build(changed("PLAN", 12, "I", 1 << 31 | 3))),
    # around the network
    *[
        ("TFIN_E_MODEL", name, lambda c=(tag, offset, code, value): build(changed(*c)))
        for name, tag, offset, code, value in (
            ("maps of another number", "MAPS", 0, "H", 4),
            ("one knot", "MAPS", 12, "H", 1),
            ("33 knots", "MAPS", 12, "H", 33),
            ("knots outside", "MAPS", 8, "I", 1 << 20),
            ("knots wrap", "MAPS", 8, "I", 0xFFFFFFF8),
            ("knots misaligned", "MAPS", 8, "I", 34),
            ("knots descend", "MAPS", 32, "h", 5),
            ("steep", "MAPS", 36, "i", 1 << 30),
            ("read-out kind", "READ", 0, "B", 5),
            ("read-out shift", "READ", 1, "B", 32),
            ("read-out index", "READ", 2, "H", 2),
            ("logit's zero point", "READ", 8, "i", -(2**31)),
            ("one knot of calibration", "CALI", 0, "H", 1),
            ("65 knots of calibration", "CALI", 0, "H", 65),
            ("raw does not ascend", "CALI", 24, "i", 0),
            ("probability does not ascend", "CALI", 28, "I", 1 << 28),
            ("slope of calibration is 2^48", "CALI", 16, "Q", 1 << 48),
            ("decision of another number", "DECI", 20, "H", 2),
            ("decline below go online", "DECI", 4, "I", 1),
            ("decision flags", "DECI", 8, "H", 16),
        )
    ],
    *[
        ("TFIN_E_MODEL", name, lambda n=n, tail=tail: with_("DECI", verifying(n, *tail)))
        for name, n, tail in (
            ("a threshold that is not there", 1, ()),
            ("65,535 thresholds", 65535, (2 << 30,)),
            ("verify below go online", 1, ((1 << 30) - 1,)),
            ("decline below verify", 1, ((3 << 30) + 1,)),
        )
    ],
    ("TFIN_E_MODEL", "reconstruction of another length", lambda: build(changed("READ", 0, "B", 3))),
    ("TFIN_E_SECTION", "golden of another length", lambda: with_("GOLD", packs.golden(4, [1]))),
    ("TFIN_E_SECTION", "golden too short", lambda: with_("GOLD", packs.golden(3, [1])[:-4])),
    ("TFIN_E_SECTION", "65 golden vectors", lambda: with_("GOLD", packs.golden(3, [0] * 65))),
]

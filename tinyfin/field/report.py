# SPDX-License-Identifier: Apache-2.0
"""What a terminal says of itself, with a MAC: docs/formats/report.md."""

from __future__ import annotations

import hmac
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import IntEnum
from pathlib import Path
from typing import Any, TypeVar

from tinyfin.errors import InputError
from tinyfin.field.audit import Head
from tinyfin.field.keys import ID_BYTES, mac
from tinyfin.field.probation import ProbationState, parse_body
from tinyfin.formats import ENGINE_COUNTERS, LINE_COUNTERS

__all__ = [
    "COUNTERS",
    "MOST_BYTES",
    "Monitor",
    "Report",
    "Slots",
    "Tag",
    "encode",
    "encode_audit",
    "encode_counters",
    "encode_monitor",
    "parse_report",
    "require_genuine",
]

T = TypeVar("T")
MOST_BYTES = 512
_ENVELOPE = struct.Struct(f"<4sI{ID_BYTES}sII8sI")
_MAGIC, _VERSION = b"TFRP", 1
_MAC_BYTES = 16
_SLOTS = struct.Struct("<BBB4s4sIIHH")
_AUDIT = struct.Struct("<I8sB")
_MOST_SECTION = 255

COUNTERS = (*ENGINE_COUNTERS, *LINE_COUNTERS)
"""Names of the counters, in their order; a terminal may send more."""


class Tag(IntEnum):
    """What a section is about."""

    COUNTERS = 1
    RESETS = 2
    SLOTS = 3
    AUDIT = 4
    MONITOR = 5
    PROBATION = 6


@dataclass(frozen=True)
class Slots:
    """The journal in short. Places and phase are numbers of :mod:`tinyfin.wire.slot_frames`."""

    running: int
    places: int
    reason: int
    active_tag: bytes
    """How the id of the active pack begins, 4 bytes."""
    other_tag: bytes
    floor: int
    commands: int
    """Highest counter of a broadcast that was obeyed."""
    notices: int
    """Number of the newest page of notices that was done."""
    keys_version: int

    @property
    def phase(self) -> int:
        """Of the pack that is not active."""
        return self.places >> 4


@dataclass(frozen=True)
class Monitor:
    """What a terminal's monitor has counted since it began; docs/formats/probation.md."""

    halvings: int
    level: int
    events: int
    counts: tuple[int, ...]
    """Of the score's histogram, then of the features' in their order, as many as found space."""


@dataclass(frozen=True)
class Report:
    """One report. What a section of it says is None where there is no such section."""

    terminal: bytes
    """Id of 8 bytes."""
    boot_nonce: int
    number: int
    """Of the report in this boot, from 1. Its counters include those of the ones before."""
    pack: bytes
    """How the id of the pack that runs begins, 8 bytes; zeros when none does."""
    t_s: int
    """The engine's clock."""
    sections: tuple[tuple[int, bytes], ...] = ()
    """Tag and bytes of each, in their order, also of those that this version does not know."""
    data: bytes = b""
    """All of it, as it was read."""

    def section(self, tag: int) -> bytes | None:
        """The bytes of the first section of this tag."""
        return next((data for one, data in self.sections if one == tag), None)

    def _read(self, tag: int, read: Callable[[bytes], T]) -> T | None:
        data = self.section(tag)
        return None if data is None else read(data)

    @property
    def counters(self) -> dict[str, int] | None:
        """By name; those that this version does not know are left out. Raises InputError."""
        return self._read(
            Tag.COUNTERS, lambda data: dict(zip(COUNTERS, _varints(data), strict=False))
        )

    @property
    def reset_cause(self) -> int | None:
        """Of the last restart: 0 power, 1 fault, 2 other. Raises InputError."""
        return self._read(Tag.RESETS, lambda data: int(_unpack("B", data)[0]))

    @property
    def slots(self) -> Slots | None:
        """Raises InputError."""
        return self._read(Tag.SLOTS, lambda data: Slots(*_unpack(_SLOTS.format, data)))

    @property
    def audit_head(self) -> Head | None:
        """None when the terminal writes no audit log. Raises InputError."""
        return self._read(Tag.AUDIT, lambda data: Head(*_unpack(_AUDIT.format, data)[:2]))

    @property
    def probation(self) -> ProbationState | None:
        """Of the pack in shadow or on trial. Raises InputError."""
        return self._read(Tag.PROBATION, parse_body)

    @property
    def audit_lost(self) -> int | None:
        """Records that could not be written, and that no record tells of yet. Raises
        InputError."""
        return self._read(Tag.AUDIT, lambda data: int(_unpack(_AUDIT.format, data)[2]))

    @property
    def monitor(self) -> Monitor | None:
        """None when nothing is counted. Raises InputError."""
        return self._read(Tag.MONITOR, _monitor)


def _monitor(data: bytes) -> Monitor:
    halvings, level = _unpack("BB", data)
    events, *counts = _varints(data[2:]) or [0]
    return Monitor(halvings, level, events, tuple(counts))


def _unpack(form: str, data: bytes) -> tuple[Any, ...]:
    layout = struct.Struct(form)
    if len(data) < layout.size:
        raise InputError(
            f"report: a section has {len(data)} bytes in place of {layout.size}; update tinyfin"
        )
    return layout.unpack_from(data)


def _varints(data: bytes) -> list[int]:
    values, value, shift = [], 0, 0
    for byte in data:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            values.append(value)
            value = shift = 0
    if shift:
        raise InputError("report: its numbers end in the middle of one; update tinyfin")
    return values


def parse_report(data: bytes, where: str | Path = "report") -> Report:
    """The report of ``data``; the MAC is not checked. Raises InputError that begins with
    ``where``."""
    if len(data) < _ENVELOPE.size + _MAC_BYTES or data[:4] != _MAGIC:
        raise InputError(
            f"{where}: is no report: it begins with TFRP; read one with `tinyfin report read`"
        )
    _, version, terminal, nonce, number, pack, t_s = _ENVELOPE.unpack_from(data)
    if version != _VERSION:
        raise InputError(f"{where}: version {version} is not known; update tinyfin")
    if len(data) > MOST_BYTES:
        raise InputError(f"{where}: has {len(data)} bytes; a report has at most {MOST_BYTES}")
    sections, rest = [], data[_ENVELOPE.size : -_MAC_BYTES]
    while rest:
        end = 2 + (rest[1] if len(rest) > 1 else len(rest))
        if end > len(rest):
            raise InputError(f"{where}: its last section is cut off; read the report again")
        sections.append((rest[0], rest[2:end]))
        rest = rest[end:]
    return Report(terminal, nonce, number, pack, t_s, tuple(sections), data)


def require_genuine(report: Report, report_key: bytes, where: str | Path = "report") -> None:
    """Raise InputError unless the terminal with this report key (32 bytes) made the report."""
    said = report.data[-_MAC_BYTES:]
    if not hmac.compare_digest(said, _mac(report_key, report.data[:-_MAC_BYTES])):
        raise InputError(
            f"{where}: its MAC is not that of terminal {report.terminal.hex()} under this fleet "
            "key: it was changed or cut, or the terminal has the secrets of another fleet key"
        )


def _mac(report_key: bytes, data: bytes) -> bytes:
    return mac(report_key, b"report" + data, _MAC_BYTES)


def encode(report: Report, report_key: bytes) -> Report:
    """The report with its ``data``, made of the other fields. Raises InputError when a section or
    the whole is too long."""
    fields = (report.terminal, report.boot_nonce, report.number, report.pack, report.t_s)
    data = _ENVELOPE.pack(_MAGIC, _VERSION, *fields)
    for tag, section in report.sections:
        if len(section) > _MOST_SECTION:
            raise InputError(f"report: section {tag} has {len(section)} bytes; at most 255")
        data += bytes([tag, len(section)]) + section
    if len(data) + _MAC_BYTES > MOST_BYTES:
        raise InputError(f"report: {len(data) + _MAC_BYTES} bytes; at most {MOST_BYTES}")
    return replace(report, data=data + _mac(report_key, data))


def encode_counters(values: list[int]) -> bytes:
    """The section of :data:`COUNTERS`, each 0 or more."""
    data = bytearray()
    for value in values:
        rest = value
        while rest > 0x7F:
            data.append(rest & 0x7F | 0x80)
            rest >>= 7
        data.append(rest)
    return bytes(data)


def encode_monitor(monitor: Monitor) -> bytes:
    """The section of a monitor."""
    head = bytes([monitor.halvings, monitor.level])
    return head + encode_counters([monitor.events, *monitor.counts])


def encode_audit(head: Head, lost: int = 0) -> bytes:
    """The section of the audit log's head."""
    return _AUDIT.pack(head.sequence, head.mac, lost)

# SPDX-License-Identifier: Apache-2.0
"""The audit log of a terminal, read and verified: docs/formats/audit.md."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from pathlib import Path

from tinyfin.errors import InputError
from tinyfin.field.keys import ID_BYTES, mac

__all__ = [
    "RECORD_BYTES",
    "AuditLog",
    "Head",
    "Kind",
    "Record",
    "Verdict",
    "Verification",
    "alias_of",
    "parse_audit",
    "parse_head",
    "parse_record",
    "verify",
]

RECORD_BYTES = 32
_RECORD = struct.Struct("<IIBBHI4s4s8s")
_BODY_BYTES = 24
_MAC_BYTES = 8
_BEFORE = slice(16, 24)
"""In the first record of a unit: the MAC of the record before it."""
_HEADER = struct.Struct(f"<4sHHI{ID_BYTES}s12x")
_MAGIC, _VERSION = b"TFAU", 1
_MOST_STEPS = 1 << 20
_DAY_S = 86400


class Kind(IntEnum):
    """What a record is about."""

    VERDICT = 1
    UNIT = 2
    UNIT_AT_BOOT = 3
    RESTART = 4
    SLOTS = 5
    STATE = 6
    COMMAND = 7
    KEYS = 8
    IDENTITY = 9
    NOTICES = 10
    LEVEL = 11
    PROBATION = 12


class Verdict(StrEnum):
    """What a log is worth."""

    VALID = "VALID"
    GAP = "GAP"
    """Whole, but the terminal says that it could not write some records."""
    TRUNCATED = "TRUNCATED"
    """It ends before a record that the terminal had."""
    FORKED = "FORKED"
    """It goes on in another way than the terminal had gone on."""
    CORRUPT = "CORRUPT"
    """Records are damaged, or missing between others."""


@dataclass(frozen=True)
class Head:
    """The newest record of a log at some time, as a report tells it."""

    sequence: int
    mac: bytes
    """8 bytes."""


_NOTHING = Head(0, bytes(_MAC_BYTES))
"""Of a log without a record."""


@dataclass(frozen=True)
class Record:
    """One record; the MAC is not checked. What the fields say depends on the kind."""

    sequence: int
    t_s: int
    """The engine's clock."""
    kind: int
    """A :class:`Kind`, or a number that a newer firmware uses."""
    detail: int
    note: int
    value: int
    alias: bytes
    """Of a verdict: of the card, for a day; zeros without one. Else how the id of the active pack
    begins, 4 bytes."""
    pack: bytes
    """How the id of a pack begins, 4 bytes: of a verdict the one that ran, else the other one."""
    mac: bytes

    @property
    def head(self) -> Head:
        """The log's head while this was its newest record."""
        return Head(self.sequence, self.mac)

    @property
    def starts_unit(self) -> bool:
        """Whether it is the first one of an erase unit."""
        return self.kind in (Kind.UNIT, Kind.UNIT_AT_BOOT)

    @property
    def before(self) -> Head:
        """Of the first record of a unit: the record before it."""
        return Head(self.sequence - 1, self.alias + self.pack)


@dataclass(frozen=True)
class AuditLog:
    """A ring as it was read from a terminal."""

    terminal: bytes
    """Id of 8 bytes."""
    unit_places: int
    """Records that an erase unit holds."""
    data: bytes
    """Units of ``unit_places`` times 32 bytes, two or more."""

    @property
    def units(self) -> list[list[bytes]]:
        """The places of each erase unit, 32 bytes each."""
        every = [self.data[at : at + RECORD_BYTES] for at in range(0, len(self.data), RECORD_BYTES)]
        return [every[at : at + self.unit_places] for at in range(0, len(every), self.unit_places)]

    def encode(self) -> bytes:
        """The file of `tinyfin audit read`."""
        places = len(self.data) // RECORD_BYTES
        return _HEADER.pack(_MAGIC, _VERSION, self.unit_places, places, self.terminal) + self.data


@dataclass(frozen=True)
class Verification:
    """What :func:`verify` found."""

    verdict: Verdict
    why: str
    """Which record, where, and what is wrong with it; empty when VALID."""
    records: tuple[Record, ...]
    """Those that the chain holds, oldest first; behind a fault there are none."""
    lost: int = 0
    """Records that the terminal could not write."""
    torn: tuple[int, ...] = ()
    """Sequence numbers of records that a cut left half written, which the terminal knows."""


def parse_audit(data: bytes, where: str | Path = "audit log") -> AuditLog:
    """The log of a file of `tinyfin audit read`. Raises InputError that begins with ``where``."""
    if len(data) < _HEADER.size or data[:4] != _MAGIC:
        raise InputError(
            f"{where}: is no audit log: it begins with TFAU; read one with `tinyfin audit read`"
        )
    _, version, unit_places, places, terminal = _HEADER.unpack_from(data)
    if version != _VERSION:
        raise InputError(f"{where}: version {version} is not known; update tinyfin")
    ring = data[_HEADER.size :]
    units = places // unit_places if unit_places else 0
    if units < 2 or places != units * unit_places or len(ring) != places * RECORD_BYTES:
        raise InputError(
            f"{where}: has {len(ring)} bytes of records in place of {places} times {RECORD_BYTES} "
            f"in units of {unit_places}; read the log again"
        )
    return AuditLog(terminal, unit_places, ring)


def parse_record(data: bytes) -> Record:
    """The record of 32 bytes. Raises InputError for another size."""
    if len(data) != RECORD_BYTES:
        raise InputError(f"audit record: {len(data)} bytes; give {RECORD_BYTES}")
    return Record(*_RECORD.unpack(data))


def parse_head(text: str) -> Head:
    """A head from ``SEQ:MAC``, the MAC in hexadecimal. Raises InputError."""
    sequence, _, digits = text.partition(":")
    try:
        head = Head(int(sequence), bytes.fromhex(digits))
    except ValueError:
        head = Head(-1, b"")
    if not 0 <= head.sequence < 1 << 32 or len(head.mac) != _MAC_BYTES:
        raise InputError(
            f"head {text!r}: give SEQ:MAC, a number and 16 hexadecimal digits, as "
            "`tinyfin report show` prints it"
        )
    return head


def alias_of(report_key: bytes, t_s: int, token: int) -> bytes:
    """The alias (4 bytes) that a terminal with this report key (32 bytes) gives a card at t_s."""
    return mac(report_key, b"alias" + struct.pack("<IQ", t_s // _DAY_S, token), 4)


@dataclass
class _Keys:
    """The audit keys by step, each the hash of the one before."""

    keys: list[bytes]

    def at(self, step: int) -> bytes:
        while len(self.keys) <= step:
            self.keys.append(hashlib.blake2b(self.keys[-1], digest_size=32).digest())
        return self.keys[step]


def _is_next(key: bytes, before: bytes, data: bytes) -> bool:
    return mac(key, before + data[:_BODY_BYTES], _MAC_BYTES) == data[_BODY_BYTES:]


@dataclass
class _Unit:
    """What the chain holds of an erase unit."""

    step: int
    chain: list[bytes] = field(default_factory=list)
    last_place: int = 0

    @property
    def records(self) -> list[Record]:
        return [parse_record(data) for data in self.chain]


def _follow(places: Sequence[bytes], index: int, units: int, keys: _Keys) -> _Unit | None:
    """The chain of a unit from its first record on; None when there is no such record.

    A record may stand twice: it was the last one at a restart, and the chain goes on behind the
    second one, also past a record that a cut left and that reads only now.
    """
    unit = None
    for place, data in enumerate(places):
        if unit is None:
            record = parse_record(data)
            if record.starts_unit and record.value % units == index and record.value < _MOST_STEPS:
                step = record.value
                if _is_next(keys.at(step), data[_BEFORE], data):
                    unit = _Unit(step, [data], place)
            continue
        if data in unit.chain[-2:]:
            del unit.chain[unit.chain.index(data) + 1 :]
        elif int.from_bytes(data[:4], "little") == int.from_bytes(
            unit.chain[-1][:4], "little"
        ) + 1 and _is_next(keys.at(unit.step), unit.chain[-1][_BODY_BYTES:], data):
            unit.chain.append(data)
        else:
            continue
        unit.last_place = place
    return unit


def verify(log: AuditLog, audit_key: bytes, heads: Sequence[Head] = ()) -> Verification:
    """Follow the chain of a log, and compare it with heads that the terminal reported before.

    audit_key: the terminal's first one, 32 bytes (``terminal_keys(fleet, terminal).audit``). Heads
    older than the log say nothing. Of the unit that is erased next, damage does not count: an
    erasure may have begun.
    """
    keys = _Keys([audit_key])
    places = log.units
    found = [_follow(unit, i, len(places), keys) for i, unit in enumerate(places)]
    newest = max((unit.step for unit in found if unit), default=None)
    if newest is None:
        why = "no unit begins with a record under this key: it is the log of a terminal of another "
        return Verification(Verdict.CORRUPT, why + "fleet key, or damaged throughout", ())
    by_step = {unit.step: unit for unit in found if unit and unit.step > newest - len(places)}
    oldest = max(0, newest - len(places) + 1)
    is_full = newest + 1 >= len(places)
    chain = _linked(by_step, oldest + (is_full and oldest not in by_step), newest)
    if is_full and chain.verdict != Verdict.VALID and chain.units < 2:
        chain = _linked(by_step, oldest + 1, newest)  # the oldest unit is the one erased next
    if chain.verdict != Verdict.VALID:
        return chain.ends(chain.verdict, chain.why)
    unit = by_step[newest]
    for place in range(unit.last_place + 1, log.unit_places):
        data = places[newest % len(places)][place]
        if any(data) and any(byte != 0xFF for byte in data):
            return chain.ends(
                Verdict.CORRUPT,
                f"record {chain.records[-1].sequence + 1}, at place {place} of unit "
                f"{newest % len(places)}, is damaged, or one before it is missing",
            )
    return chain.compared(heads)


def _linked(by_step: dict[int, _Unit], first: int, newest: int) -> _Chain:
    """The units of these steps, up to the first that does not go on from those before it."""
    chain = _Chain()
    for step in range(first, newest + 1):
        if step not in by_step:
            chain.missing.append(step)
        elif not chain.take(by_step[step]):
            break
    return chain


@dataclass
class _Chain:
    """Units in their order, as far as each goes on from the one before it."""

    units: int = 0
    missing: list[int] = field(default_factory=list)
    """Steps of units, since the last one, that do not begin with their record."""
    records: list[Record] = field(default_factory=list)
    torn: list[int] = field(default_factory=list)
    verdict: Verdict = Verdict.VALID
    why: str = ""

    def take(self, unit: _Unit) -> bool:
        """Append a unit; False when it does not go on from the last one.

        Before a unit that was entered at a boot, a cut may have torn the last record; and that is
        the only one of a unit that does not begin.
        """
        records = unit.records
        first = records[0]
        before = first.before
        at_boot = first.kind == Kind.UNIT_AT_BOOT
        if not self.records:
            if self.missing and before != _NOTHING:
                return self._broken(self.missing[0], before)
        elif self.records[-1].head != before:
            last = self.records[-1].sequence
            if at_boot and len(self.records) > 1 and self.records[-2].head == before:
                self.torn.append(self.records.pop().sequence)
            elif at_boot and last < before.sequence <= last + 1 + len(self.missing):
                self.torn += range(last + 1, before.sequence + 1)
            else:
                return self._broken(unit.step - len(self.missing), before)
        self.records += records
        self.missing.clear()
        self.units += 1
        return True

    def _broken(self, step: int, before: Head) -> bool:
        last = self.records[-1].sequence if self.records else None
        there = f"record {before.sequence + 1} is there again"
        if last is None:
            self.verdict = Verdict.CORRUPT
            self.why = f"the unit of key {step} is damaged or missing; {there}"
        elif last < before.sequence:
            self.verdict = Verdict.CORRUPT
            name = f"record {last + 1} is"
            if before.sequence > last + 1:
                name = f"records {last + 1} to {before.sequence} are"
            self.why = f"{name} damaged or missing; {there}"
        else:
            self.verdict = Verdict.FORKED
            self.why = (
                f"record {before.sequence + 1} goes on from another record {before.sequence} than "
                "the one that is there"
            )
        return False

    @property
    def lost(self) -> int:
        return sum(record.detail for record in self.records if record.starts_unit)

    def ends(self, verdict: Verdict, why: str) -> Verification:
        return Verification(verdict, why, tuple(self.records), self.lost, tuple(self.torn))

    def compared(self, heads: Sequence[Head]) -> Verification:
        """The verdict on a whole chain, with the heads that the terminal reported."""
        first, last = self.records[0], self.records[-1]
        macs = {record.sequence: record.mac for record in self.records}
        macs.setdefault(first.before.sequence, first.before.mac)
        for head in sorted(heads, key=lambda head: head.sequence):
            if head.sequence in macs and macs[head.sequence] != head.mac:
                why = f"record {head.sequence} is another one than the terminal had reported"
                return self.ends(Verdict.FORKED, why)
            if head.sequence > last.sequence:
                why = f"it ends with record {last.sequence}; the terminal had {head.sequence}"
                return self.ends(Verdict.TRUNCATED, why)
        if self.lost:
            why = f"the terminal could not write {self.lost} records"
            return self.ends(Verdict.GAP, why)
        return self.ends(Verdict.VALID, "")

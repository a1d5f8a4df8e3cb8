# SPDX-License-Identifier: Apache-2.0
"""Reports by the letter of docs/formats/report.md; the firmware's are in tests/engine and wire."""

from __future__ import annotations

import hashlib
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyfin.errors import InputError
from tinyfin.field.audit import Head
from tinyfin.field.report import (
    COUNTERS,
    Monitor,
    Report,
    Slots,
    Tag,
    encode,
    encode_audit,
    encode_counters,
    encode_monitor,
    parse_report,
    require_genuine,
)

KEY = bytes(range(32))
ID = bytes(range(1, 9))
HEAD = Head(70000, b"8 bytes.")
SLOTS = struct.pack("<BBB4s4sIIHH", 1, 0x31, 6, b"acti", b"othe", 3, 9, 2, 1)


def made(*more: tuple[int, bytes]) -> Report:
    sections = (
        (Tag.COUNTERS, encode_counters([300, *range(1, len(COUNTERS))])),
        (Tag.RESETS, b"\2"),
        (Tag.SLOTS, SLOTS),
        (Tag.AUDIT, encode_audit(HEAD, 4)),
        *more,
    )
    return encode(Report(ID, 0x1234, 7, b"pack id.", 86400, sections), KEY)


def test_a_report_says_what_it_was_made_of() -> None:
    report = parse_report(made().data)
    assert report == made()
    require_genuine(report, KEY)
    assert report.counters == dict(zip(COUNTERS, [300, *range(1, len(COUNTERS))], strict=True))
    assert report.reset_cause == 2
    assert report.slots == Slots(1, 0x31, 6, b"acti", b"othe", 3, 9, 2, 1)
    assert report.slots.phase == 3
    assert (report.audit_head, report.audit_lost) == (HEAD, 4)


def test_the_bytes_are_those_of_the_format() -> None:
    report = made()
    head = b"TFRP\1\0\0\0" + ID + struct.pack("<II8sI", 0x1234, 7, b"pack id.", 86400)
    assert report.data.startswith(head + bytes([1, 16, 0xAC, 2, 1, 2, 3]))
    message = KEY + bytes(96) + b"report" + report.data[:-16]
    assert report.data[-16:] == hashlib.blake2b(message, digest_size=32).digest()[:16]


def test_a_monitors_section() -> None:
    """u8 halvings, u8 level, then varints: events, counts."""
    monitor = Monitor(1, 2, 300, (0, 127, 128, 65535))
    data = encode_monitor(monitor)
    assert data == bytes([1, 2, 0xAC, 0x02, 0, 0x7F, 0x80, 0x01, 0xFF, 0xFF, 0x03])
    assert made((Tag.MONITOR, data)).monitor == monitor
    assert made().monitor is None
    assert made((Tag.MONITOR, bytes([0, 0]))).monitor == Monitor(0, 0, 0, ())
    with pytest.raises(InputError, match="in the middle of one"):
        _ = made((Tag.MONITOR, data[:-1])).monitor


def test_unknown_sections_are_kept_and_skipped() -> None:
    report = made((200, b"of a newer firmware"), (Tag.RESETS, b"\1"))
    read = parse_report(report.data)
    require_genuine(read, KEY)
    assert read.section(200) == b"of a newer firmware"
    assert read.reset_cause == 2, "the first one counts"
    assert encode(read, KEY).data == report.data


def test_longer_sections_of_a_newer_firmware_are_read() -> None:
    sections = (
        (Tag.COUNTERS, encode_counters(list(range(20)))),
        (Tag.AUDIT, encode_audit(HEAD) + b"more"),
    )
    report = encode(Report(ID, 0, 1, bytes(8), 0, sections), KEY)
    assert report.audit_head == HEAD
    assert report.counters == dict(zip(COUNTERS, range(15), strict=True))
    assert report.slots is report.reset_cause is None


def test_every_flipped_bit_is_noticed() -> None:
    data = made().data
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(InputError, match=r"^a\.tfreport: "):
            require_genuine(parse_report(bytes(flipped), "a.tfreport"), KEY, "a.tfreport")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is no report"),
        (b"TFRP\2" + bytes(60), "version 2 is not known"),
        (b"TFRP\1" + bytes(600), "at most 512"),
        (made().data[:40] + made().data[-16:], "cut off"),
        (made().data[:37] + made().data[-16:], "cut off"),
    ],
)
def test_what_is_no_report_is_refused_by_name(data: bytes, said: str) -> None:
    with pytest.raises(InputError, match=said):
        parse_report(data)


@pytest.mark.parametrize("tag", [Tag.COUNTERS, Tag.SLOTS, Tag.AUDIT, Tag.RESETS])
def test_a_short_section_is_refused(tag: Tag) -> None:
    report = Report(ID, 0, 1, bytes(8), 0, ((tag, b"\xff" if tag == Tag.COUNTERS else b""),))
    with pytest.raises(InputError, match="update tinyfin"):
        _ = (report.counters, report.slots, report.audit_head, report.reset_cause)


def test_too_long_a_report_is_not_made() -> None:
    with pytest.raises(InputError, match="at most 255"):
        made((9, bytes(256)))
    with pytest.raises(InputError, match="at most 512"):
        made((9, bytes(255)), (10, bytes(255)))


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=200), st.integers(0, 150))
def test_any_bytes_are_a_report_or_refused(data: bytes, keep: int) -> None:
    try:
        report = parse_report(made().data[:keep] + data)
        _ = (report.counters, report.slots, report.audit_head, report.audit_lost)
        require_genuine(report, KEY)
    except InputError:
        pass

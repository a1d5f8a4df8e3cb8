# SPDX-License-Identifier: Apache-2.0
"""Audit logs by the letter of docs/formats/audit.md; the firmware's are in tests/engine."""

from __future__ import annotations

import contextlib
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.audit_writer import ERASED, Writer
from tinyfin.errors import InputError
from tinyfin.field.audit import (
    Head,
    Verdict,
    Verification,
    alias_of,
    parse_audit,
    parse_head,
    parse_record,
    verify,
)
from tinyfin.field.keys import mac
from tinyfin.pack.signing import hash32

KEY = hash32(b"audit")
ID = bytes(range(1, 9))


def written(count: int) -> Writer:
    writer = Writer(KEY)
    for _ in range(count):
        writer.record()
    return writer


def judged(writer: Writer, *heads: Head) -> Verification:
    return verify(parse_audit(writer.file(ID)), KEY, heads)


@pytest.mark.parametrize("count", range(40))
def test_a_whole_log_is_valid(count: int) -> None:
    writer = written(count)
    found = judged(writer, Head(writer.sequence, writer.mac))
    assert (found.verdict, found.why, found.torn) == (Verdict.VALID, "", ())
    assert found.records[-1].sequence == writer.sequence
    held = min(writer.sequence, writer.units * writer.unit_places)
    assert len(found.records) > held - writer.unit_places
    assert parse_audit(writer.file(ID)).encode() == writer.file(ID)


def test_lost_records_are_a_gap() -> None:
    writer = Writer(KEY)
    writer.next = 0
    writer.sequence, writer.mac = 0, bytes(8)
    writer.unit(kind=2, lost=3)
    writer.record()
    found = judged(writer)
    assert (found.verdict, found.lost) == (Verdict.GAP, 3)
    assert found.why == "the terminal could not write 3 records"


def test_a_head_names_what_is_missing_and_what_is_another() -> None:
    writer = written(20)
    head = Head(writer.sequence, writer.mac)
    for place in (writer.next - 1, writer.next - 2):
        writer.ring[writer.step % writer.units][place] = ERASED
        found = judged(writer, head)
        assert found.verdict == Verdict.TRUNCATED
        assert found.why.endswith(f"the terminal had {head.sequence}")
        assert judged(writer).verdict == Verdict.VALID, "who knows no head cannot see it"
    other = written(20)
    other.record(value=7)
    writer = written(20)
    writer.record(value=8)
    found = judged(writer, Head(other.sequence, other.mac))
    assert found.verdict == Verdict.FORKED
    assert f"record {other.sequence} " in found.why
    assert judged(written(40), Head(1, bytes(8))).verdict == Verdict.VALID, "older than the log"


def test_every_flipped_bit_is_named() -> None:
    writer = written(13)
    head = Head(writer.sequence, writer.mac)
    for index, unit in enumerate(writer.ring):
        for place, data in enumerate(unit):
            if data == ERASED:
                continue
            for bit in range(256):
                flipped = bytearray(data)
                flipped[bit // 8] ^= 1 << bit % 8
                unit[place] = bytes(flipped)
                found = judged(writer, head)
                assert found.verdict in (Verdict.CORRUPT, Verdict.TRUNCATED)
                sequence = parse_record(data).sequence
                assert str(sequence) in found.why or f"key {index} " in found.why or place == 0
            unit[place] = data


def test_a_unit_that_goes_on_from_another_record_is_forked() -> None:
    writer, other = written(6), written(6)
    writer.record(value=1)
    other.record(value=2)
    writer.record()
    other.ring[1] = writer.ring[1]
    assert judged(other).verdict == Verdict.FORKED


def test_a_torn_record_is_told_at_a_boot_and_nowhere_else() -> None:
    for kind, verdict in ((3, Verdict.VALID), (2, Verdict.CORRUPT)):
        writer = written(7)
        assert writer.next == writer.unit_places
        writer.step, writer.next = 1, 0
        writer.key = hash32(KEY)
        writer.unit(kind=kind)
        writer.record()
        assert judged(writer).verdict == Verdict.VALID
        writer.ring[0][-1] = bytes(range(32))
        found = judged(writer)
        assert found.verdict == verdict
        assert found.torn == ((8,) if verdict == Verdict.VALID else ())


def test_another_terminal_s_key() -> None:
    assert verify(parse_audit(written(3).file(ID)), bytes(32)).verdict == Verdict.CORRUPT


def test_an_alias_is_that_of_a_card_and_a_day() -> None:
    token = 0x1122334455667788
    assert alias_of(KEY, 3 * 86400 + 5, token) == mac(
        KEY, b"alias" + (3).to_bytes(4, "little") + token.to_bytes(8, "little"), 4
    )
    assert alias_of(KEY, 86399, 1) == alias_of(KEY, 0, 1) != alias_of(KEY, 86400, 1)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is no audit log"),
        (b"TFPK" + bytes(60), "is no audit log"),
        (b"TFAU\2" + bytes(60), "version 2 is not known"),
        (written(2).file(ID)[:-1], "read the log again"),
        (b"TFAU\1\0" + bytes(26), "in units of 0"),
    ],
)
def test_what_is_no_log_is_refused_by_name(data: bytes, said: str) -> None:
    with pytest.raises(InputError, match=f"^a.tfaudit: .*{said}"):
        parse_audit(data, "a.tfaudit")


@pytest.mark.parametrize("text", ["", "1", "1:", "x:0011223344556677", "1:00", "-1:" + "0" * 16])
def test_what_is_no_head_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="give SEQ:MAC"):
        parse_head(text)
    assert parse_head("7:0011223344556677") == Head(7, bytes.fromhex("0011223344556677"))


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=200), st.integers(0, 31))
def test_any_bytes_are_a_log_or_refused(data: bytes, keep: int) -> None:
    with contextlib.suppress(InputError):
        verify(parse_audit(written(3).file(ID)[:keep] + data), KEY)


def test_any_damage_has_a_verdict() -> None:
    rng = random.Random(2)
    whole = written(30).file(ID)
    for _ in range(2000):
        data = bytearray(whole)
        for _ in range(rng.randrange(1, 40)):
            at = rng.randrange(32, len(data))
            size = rng.choice((1, 4, 32, 200))
            data[at : at + size] = rng.choice((rng.randbytes, lambda n: whole[32 : 32 + n]))(
                len(data[at : at + size])
            )
        found = verify(parse_audit(bytes(data)), KEY, [Head(31, bytes(8))])
        assert found.verdict == Verdict.VALID or found.why

# SPDX-License-Identifier: Apache-2.0
"""tinyfin_emv.h against what Python reads: TLV data and messages in, the same record out."""

from __future__ import annotations

import ctypes
import datetime as dt
import itertools
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import iso8583
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engine.test_kernels_on_targets import CORES, Image
from tests.support import captures, emv
from tests.support.captures import tlv
from tests.support.native import SANITIZERS, TEST, WARNINGS, compile_object, link
from tests.support.process import call
from tinyfin.captures.calendar import Calendar
from tinyfin.captures.elements import Elements, NoPayment, answer_of, row_of
from tinyfin.captures.iso8583 import elements_of, load_dialect
from tinyfin.captures.messages import Unreadable
from tinyfin.captures.tlv import add_tags, walk
from tinyfin.schema import PAYMENT, record_offsets, record_size

FLAGS = {"ascii": emv.ASCII, "ascii-hex": emv.HEX_BITMAP, "bcd": emv.BCD | emv.BCD_LENGTHS}
PAN = captures.luhn("453201511283036")
NEAR_S = 800_000_000  # 2025-05-08
EPOCH = dt.datetime(2000, 1, 1)


def test_the_record_begins_as_the_schema_says() -> None:
    assert ctypes.sizeof(emv.Record) == record_size(PAYMENT)
    offsets = [getattr(emv.Record, name).offset for name in PAYMENT.names]
    assert offsets == list(record_offsets(PAYMENT))


# -------------------------------------------------------------------------------------- TLV


def objects() -> st.SearchStrategy[str]:
    """Data objects, nested, in hexadecimal digits."""
    tags = st.sampled_from(["9F02", "95", "5A", "9C", "DF8101", "50", "9F10"])
    plain = st.builds(lambda tag, value: tlv(tag, value.hex()), tags, st.binary(max_size=300))
    templates = st.sampled_from(["70", "77", "6F", "A5", "BF0C"])
    return st.recursive(
        plain,
        lambda inner: st.builds(
            lambda tag, parts: tlv(tag, "".join(parts)), templates, st.lists(inner, max_size=4)
        ),
        max_leaves=8,
    )


def walked(data: bytes) -> tuple[list[tuple[int, bytes, int, bool]], bool]:
    """What Python's own walk gives, and whether it came to the end."""
    found = []
    try:
        for one in walk(data):
            found.append(tuple(one))
    except Unreadable:
        return found, False
    return found, True


@given(st.lists(objects(), max_size=5), st.data())
@settings(max_examples=100, deadline=None)
def test_walking_tlv_data(parts: list[str], data: st.DataObject) -> None:
    whole = bytes.fromhex("00".join(parts))
    changed = bytearray(whole)
    if whole:
        at = data.draw(st.integers(0, len(whole) - 1))
        changed[at] ^= data.draw(st.integers(0, 255))
    for some in (whole, whole[: len(whole) // 2], bytes(changed)):
        found, ended = emv.walk(some)
        assert (found, ended == "OK") == walked(some)


@pytest.mark.parametrize(
    ("digits", "error", "offset"),
    [
        ("9F0206", "E_TRUNCATED", 0),
        ("9C01009F02", "E_TRUNCATED", 3),
        ("9F", "E_TRUNCATED", 0),
        ("9F818181", "E_TAG", 0),
        ("7080" + "9C0100" + "0000", "E_LENGTH", 0),
        ("9C8101" + "00", "E_LENGTH", 0),
        ("9C820001" + "00", "E_LENGTH", 0),
        ("9C83000001" + "00", "E_LENGTH", 0),
        ("9C0100" + "70037002" + "9C01", "E_TRUNCATED", 5),
        ("700A7008700670047002" + "9C00", "E_DEPTH", 8),
        ("9C0100" + "9C0120", "E_TWICE", 3),
        ("70039C0100" + "9C0100", "OK", 0),
        ("9F0205" + "0000000001", "E_VALUE", 0),
        ("9F0206" + "00000000001A", "E_DIGIT", 0),
        ("5F2A021978", "E_VALUE", 0),
        ("9C0130", "E_TYPE", 0),
        ("00009C0131", "E_TYPE", 2),
        ("8002" + "3900", "E_FORMAT_1", 0),
        ("5A04" + "1234567F", "E_VALUE", 0),
        ("5A08" + "123456789012D456", "E_DIGIT", 0),
        ("5A08" + "45320151F2830366", "E_DIGIT", 0),
        ("5A08" + "45320151FA830366", "E_DIGIT", 0),
        ("5A0A" + "12345678901234567890", "E_VALUE", 0),
        ("570B" + "4532015112830366DABCDE", "E_DIGIT", 0),
        ("570B" + "4532015112830366DFFFF2", "E_DIGIT", 0),
        ("570B" + "4532015112830366DFFFFF", "OK", 0),
        ("5708" + "1234567890123456", "E_VALUE", 0),
        ("9A03" + "250230" + "9F2103" + "120000", "E_VALUE", 0),
        ("9A03" + "250228" + "9F2103" + "240000", "E_VALUE", 5),
        ("8A02" + "3058", "OK", 0),
    ],
)
def test_what_is_refused_and_where(digits: str, error: str, offset: int) -> None:
    data, before = bytes.fromhex(digits), emv.Record(present=2, token=7)
    found = emv.read(data, record=before)
    assert (found.error, found.fault.offset) == (error, offset)
    if error != "OK":
        assert (found.record.present, found.record.token) == (2, 7)
    if error not in ("OK", "E_FORMAT_1"):
        with pytest.raises((Unreadable, NoPayment)):
            of_tlv(data)


def test_format_1_is_read_as_what_it_answers() -> None:
    options = bytes.fromhex("8006" + "3900" + "08010100")
    assert emv.read(options, format_1=emv.PROCESSING_OPTIONS).facts.aip == 0x3900
    answer = bytes.fromhex(tlv("80", "40" + "0102" + "11" * 8 + "06010A"))
    found = emv.read(answer, format_1=emv.GENERATE_AC)
    assert (found.facts.cid, found.fields) == (emv.TC, {"atc": 0x0102})
    assert emv.read(options, format_1=emv.GENERATE_AC).error == "E_VALUE"


# ----------------------------------------------------------------- the same record as Python's


def rows_of(elements: Elements, mti: str) -> dict[str, Any]:
    """The fields that Python reads, with the hashes of emv_cases.c."""
    row = row_of(elements, mti, captures.KEY)
    answer_of(elements)
    Calendar(2025).local(elements)
    return row


def of_tlv(data: bytes) -> dict[str, Any]:
    elements: Elements = {}
    add_tags(elements, data)
    return rows_of(elements, "")


def alike(found: emv.Read, row: dict[str, Any]) -> None:
    """The C and Python read the same, but for hashes, of which the card's text is compared."""
    fields, hashed = found.fields, dict(found.hashed)
    assert found.error == "OK"
    for name in ("token", "bin_hash", "expiry_hash", "approval_hash"):
        fields.pop(name, None)
    token, approval = row.pop("token", None), row.pop("approval_hash", None)
    assert fields == row
    card = hashed.get(0)
    assert token == (None if card is None else captures.token_of(card, captures.KEY))
    assert (approval is None) == (3 not in hashed)


@given(st.data())
@settings(max_examples=400, deadline=None)
def test_any_half_bytes_of_a_card_mean_the_same(data: st.DataObject) -> None:
    """C and Python refuse the same, and read the same digits; some half bytes are anything."""
    tag, least, most = data.draw(st.sampled_from([("5A", 4, 10), ("57", 7, 19)]))
    size = 2 * data.draw(st.integers(least, most))
    digits = "0123456789" * 4
    shape = digits[: data.draw(st.integers(6, 21))] + data.draw(st.sampled_from(["", "D", "DD"]))
    shape += digits[: data.draw(st.integers(0, 9))] + data.draw(st.sampled_from("F1")) * 40
    held = list(shape[:size])
    for _ in range(data.draw(st.sampled_from([0, 0, 1, 3, 40]))):
        held[data.draw(st.integers(0, size - 1))] = data.draw(st.sampled_from("0123456789ABCDEF"))
    encoded = bytes.fromhex(tlv(tag, "".join(held)))
    found = emv.read(encoded)
    try:
        row = of_tlv(encoded)
    except Unreadable:
        assert found.error in ("E_DIGIT", "E_VALUE")
        assert found.hashed == []
    else:
        alike(found, row)


def test_simulated_transactions_from_tlv() -> None:
    for row in captures.rows(1)[:150]:
        data = captures.tlv_of(row)
        found = emv.read(data)
        alike(found, of_tlv(data))
        assert found.facts.t_local_s == (row["time"] - EPOCH).total_seconds()
        assert found.facts.response == (-1 if row["response"] is None else row["response"])
        assert found.facts.result == (
            emv.NO_RESULT if row["response"] is None else int(row["result"] == "declined")
        )


@pytest.mark.parametrize("dialect", FLAGS)
def test_simulated_transactions_from_messages(dialect: str) -> None:
    spec = load_dialect(dialect)
    for number, row in enumerate(captures.rows(1)[:150]):
        message = captures.request(row, number, "D" if dialect == "bcd" else "=")
        if dialect == "ascii-hex":
            del message["55"]  # hexadecimal text is not TLV data
        data = b"\x60\0\0\0\0" + bytes(iso8583.encode(message, spec.spec)[0])
        found = emv.read(data, flags=FLAGS[dialect], header_bytes=5, near_s=NEAR_S)
        mti, elements = elements_of(data[5:], spec)
        alike(found, rows_of(elements, mti))
        assert found.facts.mti == int(message["t"], 16)
        assert found.facts.t_local_s == (row["time"] - EPOCH).total_seconds()


CODES = [f"{i:02d}" for i in range(100)]


@given(
    entry=st.sampled_from(CODES),
    kind=st.sampled_from(CODES),
    cvm=st.binary(min_size=3, max_size=3),
    qualifiers=st.none() | st.binary(min_size=2, max_size=2),
    cid=st.none() | st.integers(0, 255),
    answer=st.none() | st.text("0123456789YZNA", min_size=2, max_size=2),
    mti=st.sampled_from(["0100", "0120", "0200", "0220", "0221", "0400"]),
    code=st.none() | st.just("A12345"),
    condition=st.sampled_from(["00", "06"]),
)
@settings(max_examples=250, deadline=None)
def test_every_code_means_the_same(
    entry: str,
    kind: str,
    cvm: bytes,
    qualifiers: bytes | None,
    cid: int | None,
    answer: str | None,
    mti: str,
    code: str | None,
    condition: str,
) -> None:
    icc = tlv("9F34", cvm.hex())
    icc += "" if qualifiers is None else tlv("9F6C", qualifiers.hex())
    icc += "" if cid is None else tlv("9F27", f"{cid:02X}")
    message = {"t": mti, "3": kind + "0000", "22": entry + "1", "25": condition, "55": icc}
    message |= {} if code is None else {"38": code}
    message |= {} if answer is None else {"39": answer}
    spec = load_dialect("ascii")
    data = bytes(iso8583.encode(message, spec.spec)[0])
    found = emv.read(data, flags=emv.ASCII)
    got_mti, elements = elements_of(data, spec)
    try:
        row = row_of(elements, got_mti, captures.KEY)
    except NoPayment:
        assert found.error == "E_TYPE"
        return
    alike(found, row)
    if answer is not None:
        result, response = answer_of(elements)
        assert found.facts.response == (-1 if response is None else response)
        assert found.facts.result == int(result == "declined")


@given(st.sampled_from(sorted(FLAGS)), st.data())
@settings(max_examples=40, deadline=None)
def test_any_data_elements(dialect: str, data: st.DataObject) -> None:
    """Every one that ISO 8583:1987 has, as pyiso8583 writes it, is found where it is."""
    spec = load_dialect(dialect).spec
    message: dict[str, str] = {"t": "0210"}
    numbers = set(range(2, 129)) - {22, 65}
    if dialect == "ascii-hex":
        numbers -= {52, 64, 96, 128}  # bytes as hexadecimal text: a table of its own in C
    for number in data.draw(st.sets(st.sampled_from(sorted(numbers)), max_size=25)):
        one = spec[str(number)]
        most = min(one["max_len"], {54: 120, 91: 1}.get(number, 999))
        size = most if one["len_type"] == 0 else data.draw(st.integers(0, most))
        if one["data_enc"] == "b" and one.get("len_count") != "nibbles":
            size *= 2
        message[str(number)] = data.draw(st.text("0", min_size=size, max_size=size))
    if dialect == "bcd":
        for number in (28, 29, 30, 31, 97):
            message.pop(str(number), None)  # pyiso8583 has no packed number behind a sign
    message = {k: v for k, v in message.items() if k not in ("2", "35", "38", "39", "13", "55")}
    encoded = bytes(iso8583.encode(message, spec)[0])
    found = emv.read(encoded, flags=FLAGS[dialect], near_s=NEAR_S)
    assert found.error == "OK", (found.fault.what, found.fault.offset, message)
    assert emv.read(encoded + b"0", flags=FLAGS[dialect], near_s=NEAR_S).error == "E_EXTRA"
    if len(message) > 1:
        cut = emv.read(encoded[:-1], flags=FLAGS[dialect], near_s=NEAR_S)
        assert cut.error in ("E_TRUNCATED", "E_EXTRA")


@pytest.mark.parametrize(
    ("flags", "message", "error", "what", "offset"),
    [
        (0, b"02", "E_TRUNCATED", 0, 0),
        (0, b"02x0" + bytes(8), "E_DIGIT", 0, 0),
        (0, b"1200" + bytes(8), "E_VALUE", 0, 0),
        (0, b"0200" + bytes(7), "E_TRUNCATED", 0, 4),
        (0, b"0200\x80" + bytes(7), "E_TRUNCATED", 0, 12),
        (0, b"0200\x80" + bytes(7) + b"\x80" + bytes(7), "E_BITMAP", 0, 20),
        (8, b"0200" + b"g" * 16, "E_BITMAP", 0, 4),
        (0, b"0200\x40" + bytes(7) + b"20" + b"1" * 20, "E_LENGTH", 2, 12),
        (0, b"0200\x40" + bytes(7) + b"1x", "E_DIGIT", 2, 12),
        (0, b"0200\x20" + bytes(7) + b"00000", "E_TRUNCATED", 3, 12),
        (0, b"0200\x20" + bytes(7) + b"0000000", "E_EXTRA", 0, 18),
        (0, b"0200\x10" + bytes(7) + b"00000000001x", "E_DIGIT", 4, 12),
        (1, b"\x02\x00" + b"\0\0\x20" + bytes(5) + b"\x19\x78", "E_DIGIT", 19, 10),
        (0, b"0200" + b"\0" * 6 + b"\x02\x00" + b"0039C", "E_TRUNCATED", 55, 12),
        (0, b"0200" + b"\0" * 6 + b"\x02\x00" + b"003\x9c\x01\x30", "E_TYPE", 0x9C, 15),
    ],
)
def test_what_a_message_is_refused_for(
    flags: int, message: bytes, error: str, what: int, offset: int
) -> None:
    found = emv.read(message, flags=flags)
    assert (found.error, found.fault.what, found.fault.offset) == (error, what, offset)


@pytest.mark.parametrize(
    ("near", "day", "said"),
    [
        ("2025-12-31T23:00:00", "0101000500", "2026-01-01T00:05:00"),
        ("2026-01-01T00:10:00", "1231235900", "2025-12-31T23:59:00"),
        ("2024-03-01T00:00:00", "0229120000", "2024-02-29T12:00:00"),
        ("2025-03-01T00:00:00", "0229120000", "2024-02-29T12:00:00"),
        ("2000-01-01T12:00:00", "0102000000", "2000-01-02T00:00:00"),
    ],
)
def test_the_year_that_no_message_has(near: str, day: str, said: str) -> None:
    message = b"0200\0\x18" + bytes(6) + day[4:].encode() + day[:4].encode()
    message = message[:5] + b"\x18" + message[6:]
    near_s = int((dt.datetime.fromisoformat(near) - EPOCH).total_seconds())
    found = emv.read(message, flags=0, near_s=near_s)
    assert EPOCH + dt.timedelta(seconds=found.facts.t_local_s) == dt.datetime.fromisoformat(said)
    assert emv.read(message, flags=0).facts.t_local_s == 0


def test_a_card_number_is_hashed_and_nowhere_else() -> None:
    data = bytes.fromhex(tlv("5A", PAN) + tlv("57", f"{PAN}D2912201123F") + tlv("5F24", "291231"))
    found = emv.read(data)
    assert sorted(found.hashed) == [(0, PAN), (1, PAN[:8]), (2, "2912")]
    assert found.record.token == emv.fnv(0, PAN.encode())
    assert found.record.bin_hash == emv.fnv(1, PAN[:8].encode()) & 0xFFFF
    assert PAN.encode() not in bytes(found.record) + bytes(found.facts)
    assert bytes.fromhex(PAN) not in bytes(found.record) + bytes(found.facts)
    without = emv.read(data, hashes=False)
    assert (without.error, without.record.present) == ("OK", 0)
    amex = captures.luhn("37144963539843")
    assert (1, amex[:6]) in emv.read(bytes.fromhex(tlv("5A", amex + "F"))).hashed
    track = emv.read(bytes.fromhex(tlv("57", f"{PAN}D2912201123F")))
    assert sorted(track.hashed) == [(0, PAN), (1, PAN[:8]), (2, "2912")]


# ---------------------------------------------------------------------------------- decisions

ORDER = {emv.AAC: 0, emv.ARQC: 1, emv.TC: 2}
PROPOSALS = [*range(256), -1, 1 << 20]
ACTIONS = [*range(256), 2**32 - 1]


def broken_promises(decide: Callable[[int, int], int]) -> list[tuple[int, int]]:
    """Pairs of proposal and action for which a decision is more permissive than the kernel's, or
    than that for a less cautious proposal or for a lower action; or changes an ACCEPT."""
    found = []
    for proposed, action in itertools.product(PROPOSALS, ACTIONS):
        now = ORDER.get(decide(proposed, action), 9)
        fine = now <= ORDER.get(proposed, 0)
        fine &= action != 0 or now == ORDER.get(proposed, 0)
        fine &= action != 1 or now <= ORDER[emv.ARQC]
        fine &= action < 2 or now == ORDER[emv.AAC]
        fine &= action == 0 or now <= ORDER[decide(proposed, action - 1)]
        found += [] if fine else [(proposed, action)]
    for action in ACTIONS:
        ordered = [ORDER.get(decide(p, action), 9) for p in sorted(ORDER, key=ORDER.__getitem__)]
        found += [] if ordered == sorted(ordered) else [(-2, action)]
    return found


def test_no_decision_is_more_permissive_than_the_kernels() -> None:
    decide = emv.library().tfin_emv_decide
    assert broken_promises(lambda p, a: int(decide(p, ctypes.c_uint32(a)))) == []


def test_a_permissive_decision_is_noticed() -> None:
    decide = emv.library().tfin_emv_decide

    def permissive(proposed: int, action: int) -> int:
        lifted = emv.TC if (proposed, action) == (emv.ARQC, 0) else None
        return int(decide(proposed, action)) if lifted is None else lifted

    assert broken_promises(permissive) == [(emv.ARQC, 0)]
    assert len(broken_promises(lambda proposed, action: emv.TC)) > 250 * 250


def test_forced_online_is_one_bit() -> None:
    for action, said in ((0, 0), (1, 1), (2, 1), (3, 1)):
        tvr = (ctypes.c_uint8 * 5)(0x80, 0x40, 0x20, 0x10, 0x01)
        assert emv.library().tfin_emv_force_online(tvr, action) == said
        assert bytes(tvr) == bytes([0x80, 0x40, 0x20, 0x18 if said else 0x10, 0x01])


# ------------------------------------------------- under sanitizers, and on emulated targets


def bundle() -> bytes:
    """Cases for emv_cases.c: whole, cut and changed data, with what this host answers."""
    rng, cases = random.Random(5), []
    spec = load_dialect("bcd").spec
    for number, row in enumerate(captures.rows(1)[:40]):
        message = bytes(iso8583.encode(captures.request(row, number, "D"), spec)[0])
        for data, flags in ((captures.tlv_of(row), None), (message, FLAGS["bcd"])):
            changed = bytearray(data)
            changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            cases += [(some, flags) for some in (data, data[: rng.randrange(1, len(data))])]
            cases.append((bytes(changed), flags))
    out = struct.pack("<II", len(cases), 0)
    for data, flags in cases:
        found = emv.read(data, flags=flags, near_s=NEAR_S)
        facts, fault = found.facts, found.fault
        head = (flags is not None, flags or 0, 0, NEAR_S, 0, len(data), fault.error, fault.what)
        tail = (fault.offset, facts.t_local_s, facts.response, facts.result)
        out += struct.pack("<6IiIIIii", *map(int, head), *tail) + bytes(found.record)
        out += data + bytes(-len(data) % 8)
    return out


def spoilt(cases: bytes) -> bytes:
    """The same cases with one bit of the first record changed."""
    at = 8 + 48 + 8
    return cases[:at] + bytes([cases[at] ^ 1]) + cases[at + 1 :]


def test_nothing_is_read_that_is_not_there(tmp_path: Path) -> None:
    flags = ["-std=c11", *WARNINGS, *SANITIZERS, "-DTFIN_TEST_HOST"]
    objects = [compile_object(path, flags) for path in (*emv.SOURCES, TEST / "emv_cases.c")]
    for cases, code, said in ((bundle(), 0, "0 of"), (spoilt(bundle()), 1, "1 of")):
        (tmp_path / "cases.bin").write_bytes(cases)
        source = f'.section .rodata\n.balign 16\n.global net_cases\nnet_cases:\n.incbin "{tmp_path}'
        (tmp_path / "cases.S").write_text(
            f'{source}/cases.bin"\n.section .note.GNU-stack,"",@progbits\n'
        )
        made = compile_object(tmp_path / "cases.S", ["-DN=" + str(code)])
        done = call(link("emv_cases", [*objects, made], SANITIZERS), code=code)
        assert done.stdout.startswith(said)


@pytest.mark.parametrize("core", ["cortex-m0", "rv32imc"])
def test_the_same_records_on_the_core(core: str, tmp_path: Path) -> None:
    image = Image(CORES[core], tmp_path)
    kept = [path for path in image.objects if path.stem != "net_on_target"]
    image.objects = [*kept, *image.compile([*emv.SOURCES, TEST / "emv_cases.c"])]
    image.watch = []
    assert image.run([], bundle()).stdout == "all alike\n"
    assert image.run([], spoilt(bundle())).stdout == "some differ\n"

# SPDX-License-Identifier: Apache-2.0
"""tinyfin convert: what belongs together, what is refused and where; no card number anywhere."""

from __future__ import annotations

import contextlib
import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import iso8583
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import captures
from tests.support.captures import PUBLIC_PAN as PAN
from tests.support.captures import tlv
from tests.support.cli import tinyfin, tinyfin_json
from tinyfin import optional_packages
from tinyfin.captures import Converted, convert, join
from tinyfin.captures.iso8583 import DIALECTS, load_dialect
from tinyfin.data.tokens import token_of
from tinyfin.errors import ConfigError, DataError, InputError

BASE = {"3": "000000", "4": "000000001999", "7": "0314153000", "11": "000007", "41": "T0000001"}
OTHER = captures.luhn("555555555555444")
PART = "000000000500".ljust(42, "0")
"""DE95 of a reversal that leaves 5.00."""


def message(mti: str = "0200", dialect: str = "ascii", **changed: str | None) -> bytes:
    """BASE with data elements changed: ``de39="00"``; None leaves one out."""
    found: dict[str, Any] = {"t": mti, **BASE}
    found |= {name.removeprefix("de"): value for name, value in changed.items()}
    found = {name: value for name, value in found.items() if value is not None}
    return bytes(iso8583.encode(found, load_dialect(dialect).spec)[0])


class Desk:
    """Captures in a folder, and what becomes of them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.out = folder, folder / "out.parquet"

    def file(self, messages: Sequence[bytes], name: str = "a.cap") -> Path:
        path = self.folder / name
        path.write_bytes(captures.framed(messages))
        return path

    def convert(self, *messages: bytes, **options: Any) -> tuple[Converted, list[dict[str, Any]]]:
        options = {"dialect": load_dialect("ascii"), "year": 2025, **options}
        facts = convert([self.file(messages)], self.out, token_key=captures.KEY, **options)
        return facts, pq.read_table(self.out).to_pylist()


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def later(seconds: int, **changed: str | None) -> dict[str, str | None]:
    return {"de7": f"{314153000 + seconds:010d}", **changed}


@pytest.mark.parametrize(
    ("messages", "ends", "passed_over"),
    [
        ([message()], [(None, None)], {}),
        ([message(), message("0210", de39="00")], [("approved", 0)], {}),
        ([message(), message("0210", de39="51")], [("declined", 51)], {}),
        ([message(), message("0210", de39="N7")], [("declined", None)], {}),
        ([message("0100"), message("0110", de39="85")], [("approved", 85)], {}),
        ([message(), message("0420", **later(9))], [("timed_out", None)], {}),
        (
            [message(), message("0210", de39="00"), message("0400"), message("0410", de39="00")],
            [("reversed", 0)],
            {"answers to advices and reversals": 1},
        ),
        (
            [message(), message("0210", de39="05"), message("0420")],
            [("declined", 5)],
            {"reversals of what was not approved": 1},
        ),
        (
            [message(), message("0210", de39="00"), message("0420", de95=PART)],
            [("approved", 0)],
            {"reversals of a part of the amount": 1},
        ),
        (
            [message(), message("0420", de11="000008", de90="0200000007".ljust(42, "0"))],
            [("timed_out", None)],
            {},
        ),
        ([message(), message("0201")], [(None, None)], {"repeated requests": 1}),
        (
            [message(), message("0210", de39="00"), message("0210", de39="05")],
            [("approved", 0)],
            {"further responses": 1},
        ),
        (
            [message(de37="R00000000001"), message("0210", de39="00", de37="R00000000002")],
            [(None, None)],
            {"responses without a request": 1},
        ),
        (
            [message(), message("0210", de39="00", de41="T0000002")],
            [(None, None)],
            {"responses without a request": 1},
        ),
        (
            [message(), message("0420", de41="T0000002")],
            [(None, None)],
            {"reversals of nothing that is there": 1},
        ),
        (
            [
                message("0100", de2=PAN, de4="000000000100"),
                message("0200", de2=OTHER, de4="000000099900"),
                message("0110", de2=PAN, de4="000000000100", de39="05"),
                message("0210", de2=OTHER, de4="000000099900", de39="00"),
            ],
            [("declined", 5), ("approved", 0)],
            {},
        ),
        (
            [message("0100"), message("0200"), message("0420", de90="0100000007".ljust(42, "0"))],
            [("timed_out", None), (None, None)],
            {},
        ),
        (
            [message("0100"), message("0210", de39="00")],
            [(None, None)],
            {"responses without a request": 1},
        ),
        (
            [message(), message("0220", de37="R00000000002", de11="000007", de2=OTHER)],
            [(None, None)],
            {"advices of transactions that are there": 1},
        ),
        (
            [message(de2=PAN), message("0220", de2=OTHER), message("0210", de2=PAN, de39="00")],
            [("approved", 0), ("approved", None)],
            {},
        ),
        (
            [message(de2=PAN), message("0210", de2=OTHER, de39="00")],
            [(None, None)],
            {"responses with another card or amount than their request": 1},
        ),
        (
            [message(), message("0210", de4="000000001998", de39="00")],
            [(None, None)],
            {"responses with another card or amount than their request": 1},
        ),
        (
            [message(de2=PAN), message("0210", de35=f"{PAN}=2912", de4="0" * 12, de39="05")],
            [("declined", 5)],
            {},
        ),
        ([message(), message("0210", de4="000000000500", de39="10")], [("approved", 10)], {}),
        (
            [message(de2=PAN), message("0420", de2=OTHER)],
            [(None, None)],
            {"reversals with another card or amount than their transaction": 1},
        ),
        (
            [message("0100", de25="06"), message("0220", de4="000000001500")],
            [(None, None)],
            {"advices of transactions that are there": 1},
        ),
        ([message("0220")], [("approved", None)], {}),
        ([message("0220", de39="Z1")], [("declined", None)], {}),
        (
            [message(de37="R00000000001"), message("0220", de11="000009", de37="R00000000001")],
            [(None, None)],
            {"advices of transactions that are there": 1},
        ),
        ([message(), message("0800")], [(None, None)], {"MTI 0800": 1}),
        ([message(), message(de3="310000")], [(None, None)], {"transaction type 31": 1}),
    ],
)
def test_what_belongs_together(
    desk: Desk,
    messages: list[bytes],
    ends: list[tuple[str | None, int | None]],
    passed_over: dict[str, int],
) -> None:
    facts, rows = desk.convert(*messages)
    assert [(row["result"], row.get("response")) for row in rows] == ends
    assert facts["passed_over"] == passed_over


def test_a_voice_approval_is_a_forced_post(desk: Desk) -> None:
    chip = tlv("9F27", "40")
    _, rows = desk.convert(
        message("0220", de38="A12345"),
        message("0220", de11="000008", de38="A12345", de39="Y1"),
        message("0220", de11="000009", de38="A12345", de55=chip),
        message("0100", de11="000010", de25="06"),
    )
    kinds = ["forced_post", "purchase", "purchase", "preauth"]
    assert [row["transaction_type"] for row in rows] == kinds


def test_a_year_ends_and_hours_differ(desk: Desk) -> None:
    sent = ("1231225900", "1231235959", "0101000001")
    local = [{"de12": f"{i}00000".zfill(6), "de13": "0101"} for i in range(3)]
    _, rows = desk.convert(
        *(message(de7=s, de11=f"{i:06d}", **local[i]) for i, s in enumerate(sent))
    )
    assert [f"{row['time']:%Y-%m-%dT%H:%M:%S}" for row in rows] == [
        "2025-12-31T22:59:00",
        "2025-12-31T23:59:59",
        "2026-01-01T00:00:01",
    ]
    assert [row["local_time"].year for row in rows] == [2026, 2026, 2026]


MONTHS = [f"{month}10120000" for month in ("01", "04", "08", "12")]


def test_every_file_begins_with_its_year(desk: Desk) -> None:
    """Two files of one year, and one of two; what may be either is asked for."""
    first = desk.file([message(de7=when, de11=f"{i:06d}") for i, when in enumerate(MONTHS)])
    second = desk.file(
        [message(de7=when, de11=f"{i:06d}", de41="T0000002") for i, when in enumerate(MONTHS[:3])],
        "b.cap",
    )
    eve = desk.file([message(de7="1231235900")], "c.cap")
    day = desk.file([message(de7="0101000100", de11="000008")], "d.cap")

    def years(paths: list[Path], year: int | list[int]) -> list[int]:
        options: dict[str, Any] = {"dialect": load_dialect("ascii"), "token_key": captures.KEY}
        convert(paths, desk.out, year=year, **options)
        return [row["time"].year for row in pq.read_table(desk.out).to_pylist()]

    assert years([first, second], 2025) == [2025] * 7
    with pytest.raises(DataError, match=r"d\.cap: begins in January, .*once for each CAPTURE"):
        years([eve, day], 2025)
    assert years([eve, day], [2025, 2026]) == [2025, 2026]
    assert years([eve, day], [2025, 2025]) == [2025, 2025]
    with pytest.raises(InputError, match="2 years for 1 captures"):
        years([eve], [2025, 2026])
    line = f"convert {eve} {day} --out {desk.out} --public-hash --year"
    tinyfin(f"{line} 2025", code=3)
    assert tinyfin_json(f"{line} 2025 --year 2026")["transactions"] == 2


@pytest.mark.parametrize(
    ("wrong", "rule"),
    [
        ({"de7": "0701120000"}, "DE7: date and time are more than a day after those of the mess"),
        ({"de7": "0310120000"}, "DE7: date and time are more than a day before those of the mes"),
        ({"de12": "120000", "de13": "0801"}, "DE12 and DE13: date and time are more than a day"),
        ({"de12": "120000", "de13": "0101"}, "DE12 and DE13: date and time are more than a day"),
    ],
)
def test_one_wrong_date_is_named_and_moves_nothing(
    desk: Desk, wrong: dict[str, str], rule: str
) -> None:
    messages = [message(), message(de11="000008", **wrong), message("0210", de39="00")]
    messages += [message(de11="000009", de7="0315120000")]
    with pytest.raises(DataError) as caught:
        desk.convert(*messages)
    assert str(caught.value).startswith("1 of 4 messages cannot be read:")
    assert f"a.cap, offset {len(messages[0]) + 2}: {rule}" in str(caught.value)
    facts, rows = desk.convert(*messages, skip_bad_rows=desk.folder / "bad.csv")
    assert (facts["bad"], facts["passed_over"]) == (1, {})
    assert [row["result"] for row in rows] == ["approved", None]
    assert [f"{row['time']:%Y-%m-%d}" for row in rows] == ["2025-03-14", "2025-03-15"]


def test_waiting_is_bounded(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is full, or a day old, is written as it is; the order stays that of the requests."""
    requests = [message(de11=f"{i:06d}") for i in range(20)]
    answers = [message("0210", de11=f"{i:06d}", de39="00") for i in range(20)]
    monkeypatch.setattr(join, "KEPT_ROWS", 5)
    facts, rows = desk.convert(*requests, *answers)
    assert [row["stan"] for row in rows] == list(range(20))
    assert facts["results"] == {"none": 15, "approved": 5}
    monkeypatch.undo()
    tomorrow = message(de7="0315153001", de11="000099")
    answer = message("0210", de39="00", de7="0315153002")
    facts, _ = desk.convert(message(), tomorrow, answer)
    assert facts["passed_over"] == {"responses without a request": 1}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_lines_and_frames_say_the_same(desk: Desk, dialect: str) -> None:
    messages = [message(dialect=dialect), message("0210", dialect, de39="00")]
    found = []
    for form in (captures.framed, captures.lines):
        path = desk.folder / f"{form.__name__}.cap"
        path.write_bytes(form(messages))
        spec = load_dialect(dialect)
        convert([path], desk.out, token_key=captures.KEY, dialect=spec, year=2025)
        found.append(pq.read_table(desk.out))
    assert found[0].equals(found[1])


# ------------------------------------------------------------------------- what cannot be read

BROKEN = (
    (b"0200", "bitmap, byte 4: Field data is 0 bytes"),
    (message()[:-1], "DE41, byte"),
    (message() + b"0", "DE41, byte"),
    (message(de4="00000000199x"), "DE4 is no number"),
    (message(de7=None), "no date and time"),
    (message(de7="0230120000"), "DE7: there is no such date"),
    (message(de41=None), "no terminal (DE41, tag 9F1C); --terminal"),
    (message(de2="4" * 7), "DE2 holds no card number"),
    (message(de35=f"{PAN}x29"), "DE35 holds no card number"),
    (message(de55="9F02"), "DE55, TLV, byte 0: a length ends"),
    (message("1200"), "MTI 1200 is not of ISO 8583:1987"),
    (message(de55=tlv("9F36", "0001") + tlv("9F36", "0002")), "comes twice"),
)


@pytest.mark.parametrize(("broken", "rule"), BROKEN)
def test_a_message_that_cannot_be_read_is_named(desk: Desk, broken: bytes, rule: str) -> None:
    good = message()
    with pytest.raises(DataError) as caught:
        desk.convert(good, broken)
    place = f"a.cap, offset {len(good) + 2}: "
    assert str(caught.value).startswith("1 of 2 messages cannot be read:\n")
    assert place in str(caught.value)
    assert rule in str(caught.value)
    assert not desk.out.exists()
    aside = desk.folder / "bad.csv"
    facts, rows = desk.convert(good, broken, skip_bad_rows=aside)
    assert (facts["bad"], len(rows)) == (1, 1)
    with aside.open(newline="") as file:
        [found] = csv.DictReader(file)
    assert (found["where"], found["bytes"]) == (f"offset {len(good) + 2}", str(len(broken)))
    assert rule in found["reason"]


def test_reasons_are_kept_where_nothing_can_be_read(desk: Desk) -> None:
    aside = desk.folder / "bad.csv"
    with pytest.raises(DataError, match=rf"no transaction; 1 messages, 1 of them .*{aside}"):
        desk.convert(b"0200", skip_bad_rows=aside)
    with aside.open(newline="") as file:
        [found] = csv.DictReader(file)
    assert "bitmap" in found["reason"]
    assert not desk.out.exists()


def test_a_capture_that_is_cut_or_is_none(desk: Desk) -> None:
    path = desk.file([message(), message(de11="000008")])
    path.write_bytes(path.read_bytes()[:-3])
    spec = load_dialect("ascii")
    with pytest.raises(DataError, match=r"offset \d+: the length before the message says \d+ byt"):
        convert([path], desk.out, token_key=captures.KEY, dialect=spec, year=2025)
    path.write_text("30 31\n\n3x\n" + "30" * 70_000 + "\n")
    with pytest.raises(DataError) as caught:
        convert([path], desk.out, token_key=captures.KEY, dialect=spec, year=2025)
    for place, rule in (("line 1", "MTI, byte 0"), ("line 3", "not an even number of hexadecimal")):
        assert f"{place}: {rule}" in str(caught.value)
    assert "line 4: a message has at most 65535 bytes" in str(caught.value)
    path.write_bytes(b"")
    with pytest.raises(DataError, match="holds no transaction; 0 messages"):
        convert([path], desk.out, token_key=captures.KEY, dialect=spec)
    with pytest.raises(InputError, match=r"end the name in \.parquet"):
        convert([path], desk.folder / "out.csv", token_key=captures.KEY, dialect=spec)
    with pytest.raises(DataError, match="gone: there is no such file"):
        convert([desk.folder / "gone"], desk.out, token_key=captures.KEY, dialect=spec)


@given(noise=st.binary(max_size=300), dialect=st.sampled_from(DIALECTS), as_tlv=st.booleans())
@settings(max_examples=60, deadline=None)
def test_no_bytes_give_anything_but_an_error(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes, dialect: str, as_tlv: bool
) -> None:
    path = tmp_path_factory.mktemp("noise") / "noise.cap"
    path.write_bytes(captures.framed([noise, message(dialect=dialect), noise[::-1]]))
    spec = None if as_tlv else load_dialect(dialect)
    with contextlib.suppress(DataError):
        out = path.with_name("o.parquet")
        convert([path], out, token_key=captures.KEY, dialect=spec, year=2025)


def test_without_a_year_the_error_says_how_to_give_one(desk: Desk) -> None:
    with pytest.raises(DataError, match="DE7 has no year; --year says that of the first message"):
        desk.convert(message(), year=None)


# ----------------------------------------------------------------------------------- dialects


def test_a_dialect_of_ones_own(desk: Desk) -> None:
    path = desk.folder / "mine.toml"
    path.write_text(
        'base = "bcd"\nheader_bytes = 5\n'
        '[fields.48]\ndata_enc = "b"\nlen_enc = "b"\nlen_type = 2\nmax_len = 200\n'
    )
    own = load_dialect(str(path))
    said = {"t": "0200", **BASE, "48": "0102", "2": PAN}
    data = b"\x60\0\1\0\0" + bytes(iso8583.encode(said, own.spec)[0])
    _, rows = desk.convert(data, dialect=own)
    assert rows[0]["token"] == token_of(PAN, captures.KEY)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('base = "xml"', "base: input should be 'ascii', 'ascii-hex' or 'bcd'"),
        ('base = "bcd"\nheader = 5', "header: unknown key"),
        (
            'base = "bcd"\nheader_bytes = 700',
            "header_bytes: input should be less than or equal to 255",
        ),
        ('base = "bcd"\n[fields.129]\nmax_len = 3', "fields.129: no data element"),
        ('base = "bcd"\n[fields.48]\nsize = 3', "fields.48.size: unknown key"),
        (
            'base = "bcd"\n[fields.48]\nmax_len = "3"',
            "fields.48.max_len: input should be a valid integer",
        ),
        (
            'base = "bcd"\n[fields.48]\nlen_type = 9',
            "fields.48.len_type: input should be less than or equal to 4",
        ),
        (
            'base = "bcd"\n[fields.48]\ndata_enc = "moon"',
            "fields.48.data_enc: 'moon' is no encoding",
        ),
        ("base = ", "is not TOML"),
    ],
)
def test_a_dialect_that_breaks_a_rule(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "d.toml").write_text(text)
    with pytest.raises(ConfigError, match=re.escape(said)):
        load_dialect(str(tmp_path / "d.toml"))
    with pytest.raises(ConfigError, match="neither ascii, ascii-hex, bcd nor a file"):
        load_dialect(str(tmp_path / "none.toml"))


def test_without_pyiso8583_the_error_says_how_to_get_it(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = desk.file([message()])
    find = optional_packages.importlib.util.find_spec
    monkeypatch.setattr(
        optional_packages.importlib.util,
        "find_spec",
        lambda name: None if name == "iso8583" else find(name),
    )
    said = tinyfin(f"convert {path} --out {desk.out} --public-hash", code=6).stderr
    assert "iso8583 is not installed, needed to read ISO 8583 messages" in said
    assert "captures]" in said


# --------------------------------------------------------------------------------- card numbers


def written(folder: Path) -> Iterator[bytes]:
    """Contents of all files that convert wrote, Parquet's columns as text too."""
    for path in folder.iterdir():
        if path.suffix not in (".cap", ".key"):
            yield path.read_bytes()
        if path.suffix == ".parquet":
            yield repr(pq.read_table(path).to_pylist()).encode()


def leaks(desk: Desk) -> bool:
    """Whether converting a good and broken messages leaves the card number anywhere."""
    broken = [message(de2=PAN, de4="x" * 12), message(de35=f"{PAN}x2912"), message(de2=PAN)[:-1]]
    path = desk.file([message(de2=PAN), *broken])
    (desk.folder / "token.key").write_text(captures.KEY.hex())
    words = f"convert {path} --out {desk.out} --year 2025 --token-key {desk.folder}/token.key"
    said = tinyfin(words, code=3).output
    said += tinyfin(f"{words} --skip-bad-rows {desk.folder}/bad.csv --json").output
    assert desk.out.is_file()
    found = b"\n".join([said.encode(), *written(desk.folder)])
    return PAN.encode() in found or bytes.fromhex(PAN) in found


def test_no_card_number_is_left_anywhere(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not leaks(desk)
    assert pq.read_table(desk.out)["token"].to_pylist() == [token_of(PAN, captures.KEY)]
    monkeypatch.setattr("tinyfin.captures.elements.token_of", lambda card, key: int(card))
    assert leaks(desk)


def test_a_terminal_that_is_a_card_number_is_refused(desk: Desk) -> None:
    own = desk.folder / "own.toml"
    own.write_text('base = "ascii"\n[fields.41]\nmax_len = 16\n')
    dialect = load_dialect(str(own))
    data = bytes(iso8583.encode({"t": "0200", **BASE, "41": PAN}, dialect.spec)[0])
    with pytest.raises(DataError, match="offset 0: DE41 holds a card number") as caught:
        desk.convert(data, dialect=dialect)
    assert PAN not in str(caught.value)
    with pytest.raises(InputError, match="--terminal looks like a card number"):
        desk.convert(message(de41=None), terminal=PAN)
    assert not desk.out.exists()


def test_tokens_need_a_key_or_a_word_that_they_need_none(desk: Desk) -> None:
    path = desk.file([message(de2=PAN)])
    said = tinyfin(f"convert {path} --out {desk.out}", code=2).stderr
    assert "give --token-key FILE" in said
    assert "finds the one behind each of them" in said
    assert not desk.out.exists()
    done = tinyfin(f"convert {path} --out {desk.out} --public-hash --year 2025")
    assert "WARNING: the tokens are made with the public key" in done.stderr
    assert pq.read_table(desk.out)["token"].to_pylist() == [token_of(PAN)]


def test_what_the_command_says(desk: Desk) -> None:
    path = desk.file([message(), message("0210", de39="00"), message("0800")])
    line = f"convert {path} --out {desk.out} --public-hash --year 2025"
    assert tinyfin(line).stdout.splitlines() == [
        f"3 messages, 1 transactions: {desk.out}",
        "results: 1 approved",
        "columns: time, local_time, terminal, amount_minor, transaction_type, stan, result, "
        "response, outcome_time",
        "passed over: 1 MTI 0800",
    ]
    assert tinyfin_json(line)["messages"] == 3
    assert tinyfin(f"{line} --tlv --dialect bcd", code=2).stderr.endswith("leave out --tlv\n")

# SPDX-License-Identifier: Apache-2.0
"""Card numbers are refused in every spelling, and never shown.

The numbers are the brands' published test numbers.
"""

from __future__ import annotations

import random
import re
import string
import uuid
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.cli import tinyfin
from tinyfin.config import from_table, load
from tinyfin.data import cards
from tinyfin.data.cards import CardGuard, hide_pans, is_card, is_luhn
from tinyfin.data.readers import read, read_chunks, survey
from tinyfin.errors import DataError

Write = Callable[..., Path]

TEST_NUMBERS = (
    "4111111111111111",
    "5555555555554444",
    "378282246310005",
    "6011111111111117",
    "3530111333300000",
    "30569309025904",
    "2223003122003222",
    "6200000000000005",
    "4012888888881881",
    "4222222222222",
)
T = "1514808000"


def checked(prefix: str) -> str:
    """``prefix`` with the digit that makes it pass Luhn."""
    return next(prefix + digit for digit in "0123456789" if is_luhn(prefix + digit))


@pytest.fixture
def numbers() -> list[str]:
    return [*TEST_NUMBERS[:3], *(checked(f"411111111111{i:03d}") for i in range(40))]


def grouped(mark: str) -> Callable[[str], str]:
    return lambda n: mark.join([n[:4], n[4:8], n[8:12], n[12:]])


SPELLINGS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "a float": lambda n: f"{n}.0",
    "two decimals": lambda n: f"{n}.00",
    "a decimal comma": lambda n: f"{n},0",
    "an exponent": lambda n: f"{n[0]}.{n[1:]}E{len(n) - 1}",
    "an exponent of C": lambda n: f"{n[0]}.{n[1:]}e+{len(n) - 1}",
    "blanks": grouped(" "),
    "dashes": grouped("-"),
    "points": grouped("."),
    "slashes": grouped("/"),
    "commas": grouped(","),
    "no-break blanks": grouped("\u00a0"),
    "thin blanks": grouped("\u202f"),
    "zero width": grouped("\u200b"),
    "two marks": grouped("--"),
    "columns of fixed width": grouped("      "),
    "single digits": " ".join,
    "pairs": lambda n: " ".join(re.findall("..?", n)),
    "an issuer and a rest": lambda n: f"{n[:6]} {n[6:]}",
    "full width": lambda n: n.translate({48 + i: 0xFF10 + i for i in range(10)}),
    "Arabic digits": lambda n: n.translate({48 + i: 0x660 + i for i in range(10)}),
    "zeros before it": lambda n: n.zfill(20),
    "a text formula": lambda n: f'="{n}"',
    "an apostrophe": lambda n: f"'{n}",
    "in a name": lambda n: f"Jane Doe {n} jr",
    "after letters": lambda n: f"PAN{n}",
    "track 1": lambda n: f"%B{n}^DOE/JANE^2712101",
    "track 2": lambda n: f";{n}=27121010000012300000?",
    "a user's number before it": lambda n: f"7 {grouped(' ')(n)}",
    "an expiry date behind it": lambda n: f"{n} 12/27",
    "an expiry date glued on": lambda n: f"{n}1227",
    "a year first glued on": lambda n: f"{n}2712",
    "blanks of an address": grouped("%20"),
    "dashes of an address": grouped("%2d"),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("name", ["token", "id", "terminal", "scenario", "mcc"])
def test_every_spelling_is_refused_in_every_column_that_names(
    tmp_path: Path, name: str, spelling: str
) -> None:
    column: dict[str, Any] = {"column": "x"}
    if name == "mcc":
        column["hash"] = True
    words = [SPELLINGS[spelling](n) for n in TEST_NUMBERS]
    pq.write_table(pa.table({"time": [int(T)] * len(words), "x": words}), tmp_path / "a.parquet")
    config = from_table({"data": {"time": "time", name: column}})
    with pytest.raises(DataError, match=r"a\.parquet, column x: holds card numbers") as caught:
        read(tmp_path / "a.parquet", config)
    message = str(caught.value)
    assert "PCI DSS 3.5.1" in message
    assert re.search(r"they are written like .*#.*\)\. Card numbers", message)
    digits = re.sub(r"\D", "", message.partition("holds")[2])
    assert not any(number[-4:] in digits for number in TEST_NUMBERS)
    with pytest.raises(DataError, match="holds card numbers"):
        survey([tmp_path / "a.parquet"], config, chunk_rows=3)


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_is_hidden_in_messages_and_bad_rows(tmp_path: Path, spelling: str) -> None:
    for number in TEST_NUMBERS:
        word = SPELLINGS[spelling](number)
        shown = hide_pans(f"value {word}")
        assert "(hidden: looks like a card number)" in shown
        rest = "".join(str(int(c)) for c in shown if c.isdecimal())
        assert number[:9] not in rest
        assert number[-9:] not in rest


@pytest.mark.parametrize("ready", [False, True])
def test_a_column_of_card_numbers_is_refused(csv: Write, numbers: list[str], ready: bool) -> None:
    token = {"column": "card", "unit": "token"} if ready else "card"
    config = from_table({"data": {"time": "time", "token": token}})
    path = csv("time,card", *(f"{T},{number}" for number in numbers))
    with pytest.raises(DataError, match=r"a\.csv, column card: holds card numbers") as caught:
        read(path, config)
    assert not any(number in str(caught.value) for number in numbers)


@pytest.mark.parametrize(
    "kind",
    [
        pa.int64(),
        pa.uint64(),
        pa.float64(),
        pa.decimal128(38, 9),
        pa.large_string(),
        pa.binary(),
        pa.dictionary(pa.int32(), pa.string()),
    ],
)
def test_every_type_is_refused(tmp_path: Path, numbers: list[str], kind: pa.DataType) -> None:
    values: list[Any] = [Decimal(n) if pa.types.is_decimal(kind) else n for n in numbers]
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        values = [int(n) for n in numbers]
    array = pa.array(values, pa.string() if pa.types.is_dictionary(kind) else kind).cast(kind)
    table = pa.table({"time": [int(T)] * len(values), "card": array})
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(DataError, match="column card: holds card numbers"):
        read(tmp_path / "a.parquet", from_table({"data": {"time": "time", "token": "card"}}))


def test_joined_columns_are_refused(csv: Write, numbers: list[str]) -> None:
    for parts in ([n + ",Doe" for n in numbers], [f"{n[:6]},{n[6:]}" for n in numbers]):
        path = csv("time,a,b", *(f"{T},{part}" for part in parts))
        for name in ("token", "id", "terminal"):
            config = from_table({"data": {"time": "time", name: {"columns": ["a", "b"]}}})
            with pytest.raises(DataError, match=r"column a, \.\.\.: holds card numbers"):
                read(path, config)


def test_a_few_among_other_tokens_are_found(csv: Write, numbers: list[str]) -> None:
    words = [*(f"{i:016x}" for i in range(1000, 5000)), *numbers[:3]]
    path = csv("time,card", *(f"{T},{word}" for word in words))
    with pytest.raises(DataError, match="holds card numbers \\(3 of 3 values"):
        read(path, from_table({"data": {"time": "time", "token": "card"}}))


def test_a_file_with_card_numbers_is_not_copied(tmp_path: Path, numbers: list[str]) -> None:
    """host-fields writes every column of the file, mapped or not, nested or not."""
    n = len(numbers)
    base = {"time": [int(T)] * n, "token": list(range(n)), "amount_minor": [5] * n}
    for extra in (
        pa.array(numbers),
        pa.array([{"pan": n} for n in numbers]),
        pa.array([[n] for n in numbers]),
    ):
        pq.write_table(pa.table({**base, "note": extra}), tmp_path / "a.parquet")
        out = tmp_path / "out.parquet"
        answer = tinyfin(f"host-fields {tmp_path}/a.parquet --out {out}", code=3)
        assert "column note: holds card numbers" in answer.output
        assert not out.exists()


BASE32 = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
r = random.Random()
OTHERS: dict[str, Callable[[int], str]] = {
    "random of 16 digits": lambda i: f"{r.randrange(10**16):016d}",
    "random of 19 digits": lambda i: f"{r.randrange(10**19):019d}",
    "random of an issuer's prefix": lambda i: f"4{r.randrange(10**15):015d}",
    "tokens of 64 bits": lambda i: str(r.randrange(2**64)),
    "in sequence": lambda i: str(4000000000000000 + i),
    "nanoseconds": lambda i: str(1719835200000000000 + r.randrange(10**15)),
    "microseconds": lambda i: str(1719835200000000 + r.randrange(10**13)),
    "milliseconds": lambda i: str(1719835200000 + r.randrange(10**10)),
    "ULIDs": lambda i: "".join(r.choices(BASE32, k=26)),
    "UUIDs": lambda i: str(uuid.UUID(int=r.getrandbits(128))),
    "hex": lambda i: f"{r.getrandbits(64):016x}",
    "IBANs": lambda i: "DE" + " ".join(re.findall("..?.?.?", f"{r.randrange(10**20):020d}")),
    "times": lambda i: f"{1 + i % 28:02d}.0{1 + i % 9}.2024 14:{i % 60:02d}:00",
    "floats": lambda i: repr(r.random() * 10),
    "IMEIs": lambda i: checked(f"35{r.randrange(10**12):012d}"),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_false_alarms_stay_rare(kind: str) -> None:
    """None in 60 columns of 300 values; of columns of five values, in 200 at most 4."""
    r.seed(kind)
    alarms = {5: 0, 300: 0}
    for size, columns in ((5, 200), (300, 60)):
        for _ in range(columns):
            try:
                CardGuard("a.csv").check(pa.array([OTHERS[kind](i) for i in range(size)]), "x")
            except DataError:
                alarms[size] += 1
    assert alarms[300] == 0
    assert alarms[5] <= 4


def test_the_prefix_lowers_false_alarms(monkeypatch: pytest.MonkeyPatch) -> None:
    """Device numbers pass Luhn and have 15 digits, with no issuer's prefix."""
    r.seed(1)
    devices = pa.array([OTHERS["IMEIs"](i) for i in range(50)])
    CardGuard("a.csv").check(devices, "x")
    monkeypatch.setattr(cards, "_ISSUERS", re.compile(r"\d{13,19}"))
    with pytest.raises(DataError, match="holds card numbers"):
        CardGuard("a.csv").check(devices, "x")


def test_a_small_last_chunk_is_not_judged_alone(tmp_path: Path) -> None:
    """A row that looks like a card number by chance, alone in the last chunk."""
    ids = [str(4000000000000000 + i) for i in range(200)]
    ids.sort(key=is_card)
    path = tmp_path / "a.csv"
    path.write_text("time,card\n" + "".join(f"{T},{word}\n" for word in ids))
    config = from_table({"data": {"time": "time", "token": "card"}})
    found = survey([path], config, chunk_rows=199)
    assert sum(len(tx) for tx in read_chunks([path], config, found, chunk_rows=199)) == 200
    with pytest.raises(DataError, match="holds card numbers"):
        CardGuard("a.csv").check(pa.array(ids[199:]), "card")


def test_other_long_numbers_are_tokens(csv: Write, numbers: list[str]) -> None:
    # one digit off: as long, but no card numbers
    wrong = [number[:-1] + str((int(number[-1]) + 1) % 10) for number in numbers]
    config = from_table({"data": {"time": "time", "token": "card"}})
    assert len(read(csv("time,card", *(f"{T},{number}" for number in wrong)), config)) == len(wrong)


def test_values_in_messages_are_hidden(csv: Write, tmp_path: Path) -> None:
    number = TEST_NUMBERS[0]
    path = csv(
        "time,label,terminal",
        f"{T},{number}.0,a",
        f"{T},0,b",
        f"{T},x{'y' * 70}{number},0",
        f"{T},{number},1,2",
    )
    with pytest.raises(DataError) as caught:
        read(path, load())
    assert "row 1 (line 2), column label" in str(caught.value)
    assert number[:9] not in str(caught.value)
    read(path, load(), skip_bad_rows=tmp_path / "bad.csv")
    assert number[:9] not in (tmp_path / "bad.csv").read_text()
    headless = csv(f"{T},{number}", f"{T},{number}", name="headless.csv")
    with pytest.raises(DataError, match="first line seems to be data") as caught:
        read(headless, from_table({"data": {"time": "time", "token": "card"}}))
    assert number[:9] not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "order 1234567890123456",
        "0.1234567890123456",
        "-0.4111111111111111",
        "12.4111111111111111",
        "1.23456789012345678e-05",
        "30.07.2024 14:00:00",
        "2024-07-01 14:00:00.123456",
        "411111******1111",
        "1719835200000000000",
        "550e8400-e29b-41d4-a716-446655440000",
    ],
)
def test_hide_pans_leaves_other_numbers_alone(text: str) -> None:
    assert hide_pans(text) == text


@given(st.text(string.printable, max_size=60))
def test_hiding_ends_and_leaves_no_card_number(text: str) -> None:
    for plain in re.findall(r"(?<![\d.,])\d{13,19}(?![\d.,])", hide_pans(text)):
        assert not is_card(plain)


def test_luhn_is_that_of_the_standard() -> None:
    """ISO/IEC 7812-1 by another road: double every second digit from the right, sum the digits."""
    for number in (*TEST_NUMBERS, "79927398713", "0", "18"):
        digits = [int(c) for c in number[::-1]]
        total = sum(digits[::2]) + sum(sum(map(int, str(2 * d))) for d in digits[1::2])
        assert is_luhn(number) == (total % 10 == 0)
    assert all(map(is_card, TEST_NUMBERS))

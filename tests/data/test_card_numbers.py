# SPDX-License-Identifier: Apache-2.0
"""Card numbers are refused, and never shown. The numbers are the brands' published test numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tinyfin.config import from_table, load
from tinyfin.data.problems import hide_pans, is_luhn
from tinyfin.data.readers import read
from tinyfin.errors import DataError

Write = Callable[..., Path]

TEST_NUMBERS = ("4111" + "1" * 12, "5555" * 3 + "4444", "378282" + "246310005", "4" + "2" * 12)
T = "1514808000"


def checked(prefix: str) -> str:
    """``prefix`` with the digit that makes it pass Luhn."""
    return next(prefix + digit for digit in "0123456789" if is_luhn(prefix + digit))


@pytest.fixture
def numbers() -> list[str]:
    return [*TEST_NUMBERS[:3], *(checked(f"411111111111{i:03d}") for i in range(40))]


@pytest.mark.parametrize("ready", [False, True])
def test_a_column_of_card_numbers_is_refused(csv: Write, numbers: list[str], ready: bool) -> None:
    token = {"column": "card", "unit": "token"} if ready else "card"
    config = from_table({"data": {"time": "time", "token": token}})
    path = csv("time,card", *(f"{T},{number}" for number in numbers))
    with pytest.raises(DataError, match=r"a\.csv, column card: holds card numbers") as caught:
        read(path, config)
    message = str(caught.value)
    assert "PCI DSS 3.5.1" in message
    assert not any(number in message for number in numbers)


def test_blanks_between_digits_do_not_help(csv: Write, numbers: list[str]) -> None:
    spaced = [" ".join([n[:4], n[4:8], n[8:12], n[12:]]) for n in numbers]
    config = from_table({"data": {"time": "time", "token": "card"}})
    with pytest.raises(DataError, match="holds card numbers"):
        read(csv("time,card", *(f"{T},{number}" for number in spaced)), config)


def test_integers_in_parquet_are_refused_too(parquet: Write, numbers: list[str]) -> None:
    config = from_table({"data": {"time": "time", "token": "card"}})
    columns = {"time": [int(T)] * len(numbers), "card": [int(number) for number in numbers]}
    with pytest.raises(DataError, match="holds card numbers"):
        read(parquet(columns), config)


def test_other_long_numbers_are_tokens(csv: Write, numbers: list[str]) -> None:
    # one digit off: as long, but no card numbers
    wrong = [number[:-1] + str((int(number[-1]) + 1) % 10) for number in numbers]
    config = from_table({"data": {"time": "time", "token": "card"}})
    assert len(read(csv("time,card", *(f"{T},{number}" for number in wrong)), config)) == len(wrong)


def test_values_in_messages_are_hidden(csv: Write, tmp_path: Path) -> None:
    number = TEST_NUMBERS[0]
    path = csv("time,label,terminal", f"{T},{number},a", f"{T},0,b")
    with pytest.raises(DataError) as caught:
        read(path, load())
    assert "row 1, column label" in str(caught.value)
    assert number not in str(caught.value)
    read(path, load(), skip_bad_rows=tmp_path / "bad.csv")
    assert number not in (tmp_path / "bad.csv").read_text()


def test_hide_pans_leaves_other_numbers_alone() -> None:
    assert hide_pans("order 1234567890123456") == "order 1234567890123456"
    assert TEST_NUMBERS[3] not in hide_pans(f"paid with {TEST_NUMBERS[3]}.")

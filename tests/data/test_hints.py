# SPDX-License-Identifier: Apache-2.0
"""The option that an error names is one that helps."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyfin.config import from_table
from tinyfin.data.numerals import Style, number
from tinyfin.data.readers import read
from tinyfin.errors import DataError

Write = Callable[..., Path]


def refused(path: Path, data: dict[str, Any]) -> str:
    with pytest.raises(DataError) as caught:
        read(path, from_table({"data": data}))
    return str(caught.value)


@pytest.mark.parametrize(
    ("cell", "data", "told"),
    [
        ("EUR", {"currency": "x"}, "values = {EUR = 978, ...}"),
        ("N7", {"response": "x"}, "values = {TEXT = NUMBER, ...}"),
        ("5411a", {"mcc": "x"}, "values = {TEXT = NUMBER, ...}"),
        ("3f9ac0de", {"token": {"column": "x", "unit": "token"}}, "leave unit out"),
        ("---", {"amount": "x"}, "it is not a number"),
    ],
)
def test_text_gets_no_hint_for_numbers(
    csv: Write, cell: str, data: dict[str, Any], told: str
) -> None:
    message = refused(csv("t,x", f"2024-01-01,{cell}"), {"time": "t", **data})
    assert told in message
    assert "strip" not in message


def test_a_text_token_without_a_mapping(csv: Write) -> None:
    message = refused(csv("time,token", "2024-01-01,card-a"), {})
    assert 'in [data], with token = "NAME"' in message


def test_a_decorated_number_still_gets_its_hint(csv: Write) -> None:
    amount = {"column": "x", "unit": "major"}
    message = refused(csv("t;x", "2024-01-01;EUR 1.234,50"), {"time": "t", "amount": amount})
    assert 'strip = "EUR.", decimal = ","' in message


@given(st.text(alphabet="0123456789.,' -()EUR€$xN", min_size=1, max_size=14))
def test_every_option_that_is_named_makes_it_a_number(word: str) -> None:
    told = number(word, Style())
    if isinstance(told, str) and told.startswith("to read it: "):
        options = dict(re.findall(r'(strip|decimal) = "([^"]*)"', told))
        assert not isinstance(
            number(word, Style.of(**{"strip": None, "decimal": None} | options)), str
        )

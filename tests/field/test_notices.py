# SPDX-License-Identifier: Apache-2.0
"""Pages of notices: read from a file, made, judged by a model of the terminal."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import field_oracle as oracle
from tinyfin.errors import DataError, InputError
from tinyfin.field.notices import (
    Notice,
    Page,
    make_pages,
    parse_page,
    parse_pages,
    read_notices,
    sign_page,
    verified_page,
)
from tinyfin.pack.signing import hash32, key_from_seed

ROOT, OTHER = (key_from_seed(hash32(x)) for x in (b"root", b"other"))
ID = bytes(range(1, 9))
U64, U32 = st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1)
NOTICES = st.builds(Notice, id=U64, t_tx_mono_s=U32, fraud=st.booleans(), token=U64)


def terminal() -> oracle.Terminal:
    return oracle.Terminal(ROOT.public, ID, hash32(b"report"))


def some(count: int) -> list[Notice]:
    return [Notice(i, 1000 + i, i % 2 == 0, i * 7) for i in range(count)]


@given(st.lists(NOTICES, min_size=1, max_size=40), st.integers(1, 65000), st.integers(1, 12))
def test_pages_come_back(notices: list[Notice], first: int, size: int) -> None:
    pages = make_pages(notices, ID, first, size=size)
    assert [page.number for page in pages] == list(range(first, first + len(pages)))
    assert all(len(page.notices) == size for page in pages[:-1])
    signed = [sign_page(page, ROOT) for page in pages]
    assert parse_pages(b"".join(signed)) == list(zip(pages, signed, strict=True))
    t = replace(terminal(), notices=first - 1)
    for page, data in zip(pages, signed, strict=True):
        assert verified_page(data, [ROOT.public]) == page
        assert t.take_notices(data) == oracle.OK
    assert t.noticed == [(n.id, n.token, n.t_tx_mono_s, n.fraud) for n in notices]


def test_a_page_of_eight_fits_the_smallest_frame() -> None:
    (page,) = make_pages(some(8), ID, 1)
    assert len(sign_page(page, ROOT)) == 16 + 8 * 21 + 64 <= 265


def test_every_single_bit_of_a_page_counts() -> None:
    data = sign_page(Page(3, ID, tuple(some(2))), ROOT)
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(InputError, match=r"^x: "):
            verified_page(bytes(flipped), [ROOT.public], "x")
        t = replace(terminal(), notices=2)
        assert t.take_notices(bytes(flipped)) not in (oracle.OK, oracle.PHASE)
        assert (t.notices, t.noticed) == (2, [])


@given(st.binary(max_size=300) | st.binary(max_size=300).map(lambda x: b"TFNT" + x))
def test_whatever_bytes_come_only_an_input_error_goes(data: bytes) -> None:
    with contextlib.suppress(InputError):  # an unsigned page is one
        parse_pages(data, "x")
    with pytest.raises(InputError, match=r"^x: "):
        verified_page(data, [ROOT.public], "x")


@given(st.permutations(list(range(1, 8))))
def test_pages_are_done_once_and_in_their_order(order: list[int]) -> None:
    t = terminal()
    for number in order:
        data = sign_page(Page(number, ID, tuple(some(1))), ROOT)
        expected = oracle.OK if number == t.notices + 1 else oracle.COUNTER
        assert t.take_notices(data) == expected
        assert t.take_notices(data) == oracle.COUNTER
    assert order != sorted(order) or t.notices == 7


def test_a_page_for_another_terminal_or_by_another_key_is_refused_by_name() -> None:
    page = Page(1, ID, tuple(some(1)))
    other = replace(terminal(), id=bytes(range(2, 10)))
    assert other.take_notices(sign_page(page, ROOT)) == oracle.TERMINAL
    assert replace(other, id=bytes(8)).take_notices(sign_page(page, ROOT)) == oracle.IDENTITY
    assert terminal().take_notices(sign_page(page, OTHER)) == oracle.SIGNATURE
    assert terminal().take_notices(sign_page(replace(page, key_index=1), ROOT)) == oracle.KEY


@pytest.mark.parametrize(
    ("numbers", "ids", "said"),
    [
        ((4, 6), (ID, ID), "page 6 of terminal 0102030405060708 follows page 4"),
        ((4, 4), (ID, ID), "page 4 of terminal 0102030405060708 follows page 4"),
        ((4, 5), (ID, ID[::-1]), "page 5 of terminal 0807060504030201 follows"),
    ],
)
def test_a_file_has_the_pages_of_one_terminal_in_order(
    numbers: tuple[int, int], ids: tuple[bytes, bytes], said: str
) -> None:
    data = b"".join(
        sign_page(Page(n, name, tuple(some(1))), ROOT) for n, name in zip(numbers, ids, strict=True)
    )
    with pytest.raises(InputError, match=f"^x: {said}"):
        parse_pages(data, "x")
    with pytest.raises(InputError, match="follow page 4"):
        parse_page(data, "x")


@pytest.mark.parametrize(
    ("page", "said"),
    [
        ((0, ID, some(1)), "the number is 1 to 65535"),
        ((65536, ID, some(1)), "the number is"),
        ((1, bytes(8), some(1)), "names no terminal"),
        ((1, ID, []), "has 0 of them"),
        ((1, ID, some(256)), "has 256 of them"),
    ],
)
def test_rules_of_a_page(page: tuple[int, bytes, list[Notice]], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Page(page[0], page[1], tuple(page[2]))
    with pytest.raises(InputError, match="page 65536"):
        make_pages(some(9), ID, 65535)


def test_an_acquirers_file(tmp_path: Path) -> None:
    path = tmp_path / "notices.csv"
    path.write_text(
        "id,time,label,token\n18446744073709551615,4294967295,fraud,18446744073709551615\n"
        "7,0,Cleared,\n8,12,1,3\n"
    )
    expected = [
        Notice(2**64 - 1, 2**32 - 1, True, 2**64 - 1),
        Notice(7, 0, False),
        Notice(8, 12, True, 3),
    ]
    assert read_notices(path) == expected
    columns = {
        "token": pa.array([n.token or None for n in expected], pa.uint64()),
        "id": pa.array([n.id for n in expected], pa.uint64()),
        "label": [n.fraud for n in expected],
        "time": [n.t_tx_mono_s for n in expected],
    }
    columns["label"] = ["fraud" if x else "cleared" for x in columns["label"]]
    pq.write_table(pa.table(columns), tmp_path / "notices.parquet")
    assert read_notices(tmp_path / "notices.parquet") == expected
    pq.write_table(pa.table(columns).drop_columns("token"), tmp_path / "n.parquet")
    assert [n.token for n in read_notices(tmp_path / "n.parquet")] == [0, 0, 0]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("1,2,maybe,3", "row 2 .*column label, value 'maybe': must be fraud or cleared"),
        ("1,2,,3", "column label, value .*: is needed"),
        (",2,fraud,3", "column id, value .*: is needed"),
        ("1,-2,fraud,3", "column time, value '-2': must be a whole number, 0..4294967295"),
        ("1,4294967296,fraud,3", "column time"),
        ("1,2,fraud,x", "column token, value 'x'"),
        ("99,2,fraud,3", "row 2 .*column id, value '99': an earlier row has this id"),
        ("1,2", "has 2 fields, the header has 4"),
    ],
)
def test_bad_rows_are_named(rows: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "notices.csv"
    path.write_text(f"id,time,label,token\n99,1,fraud,1\n{rows}\n")
    with pytest.raises(DataError, match=said) as caught:
        read_notices(path)
    assert "--skip-bad-rows" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id,time\n1,2\n", "has no column 'label'"),
        ("id,time,label\n", "holds no rows"),
        ("", "is empty"),
    ],
)
def test_files_that_are_none(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "notices.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=said):
        read_notices(path)

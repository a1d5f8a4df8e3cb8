# SPDX-License-Identifier: Apache-2.0
"""Files of every ordinary kind are read; others are refused with the reason and what to do."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest

from tinyfin.config import from_table
from tinyfin.data.readers import read, read_chunks, survey
from tinyfin.data.tables import column_names
from tinyfin.data.tokens import token_of
from tinyfin.data.transactions import Transactions
from tinyfin.errors import ConfigError, DataError

TEXT = "Zeit;H\u00e4ndler;Betrag\n2024-02-01 12:00:00;Caf\u00e9;12,34\n2024-02-02 12:00:00;s;0,01\n"
DATA = {
    "time": "Zeit",
    "terminal": "H\u00e4ndler",
    "amount": {"column": "Betrag", "unit": "major", "decimal": ","},
}


def load(tmp_path: Path, content: bytes, name: str = "a.csv", **data: Any) -> Transactions:
    """The file, read as a whole and in chunks of one row, which must be the same."""
    path = tmp_path / name
    path.write_bytes(content)
    config = from_table({"data": {**DATA, **data}})
    tx = read(path, config)
    found = survey([path], config, chunk_rows=1)
    chunks = list(read_chunks([path], config, found, chunk_rows=1))
    assert [int(t) for chunk in chunks for t in chunk.t_mono_s] == tx.t_mono_s.tolist()
    return tx


def same(tx: Transactions) -> None:
    assert tx.terminals == ("Caf\u00e9", "s")
    assert tx.column("amount_minor").tolist() == [1234, 1]


@pytest.mark.parametrize(
    ("encoding", "how"),
    [
        ("utf-8", {}),
        ("utf-8-sig", {}),
        ("utf-16", {}),
        ("utf-32", {}),
        ("utf-16-le", {}),
        ("utf-16-be", {}),
        ("cp1252", {"encoding": "cp1252"}),
        ("latin-1", {"encoding": "ISO-8859-1"}),
        ("cp850", {"encoding": "cp850"}),
        ("utf-16", {"encoding": "cp1252"}),
    ],
)
def test_encodings(tmp_path: Path, encoding: str, how: dict[str, str]) -> None:
    same(load(tmp_path, TEXT.encode(encoding), **how))


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(
    ("suffix", "pack"),
    [
        ("", bytes),
        (".gz", gzip.compress),
        (".bz2", bz2.compress),
        (".xz", lzma.compress),
        (".zst", lambda b: pa.compress(b, "zstd", asbytes=True)),
        (".lz4", lambda b: pa.compress(b, "lz4", asbytes=True)),
        ("", gzip.compress),
        (".gz", bytes),
    ],
    ids=["", "gz", "bz2", "xz", "zst", "lz4", "gzip without a name", "a name without gzip"],
)
def test_compression_is_seen_whatever_the_name(
    tmp_path: Path, suffix: str, pack: Callable[[bytes], bytes], line_end: str
) -> None:
    text = TEXT.replace("\n", line_end).encode("utf-16")
    same(load(tmp_path, pack(text), f"a.csv{suffix}"))


@pytest.mark.parametrize(
    ("delimiter", "how"),
    [
        (",", {}),
        (";", {}),
        ("\t", {}),
        ("|", {}),
        ("^", {"delimiter": "^"}),
        ("\x01", {"delimiter": "\x01"}),
        (" ", {"delimiter": " "}),
    ],
)
def test_delimiters(tmp_path: Path, delimiter: str, how: dict[str, str]) -> None:
    text = TEXT.replace("12,34", '"12,34"').replace("0,01", '"0,01"').replace(" 12:00:00", "")
    same(load(tmp_path, text.replace(";", delimiter).encode(), **how))


def test_a_delimiter_that_is_part_of_names_is_not_taken_for_one(tmp_path: Path) -> None:
    text = "a,Zeit;H\u00e4ndler, b, c, d;Betrag\n2024-02-01;Caf\u00e9;12,34\n2024-02-01;s;0,01\n"
    config = {"time": "a,Zeit", "terminal": "H\u00e4ndler, b, c, d"}
    same(load(tmp_path, text.encode(), **config))


def test_the_first_line_of_excel_names_the_delimiter(tmp_path: Path) -> None:
    text = "sep=^\r\n" + TEXT.replace(";", "^") + "1^2\r\n2024-02-03^x^y\n"
    with pytest.raises(DataError) as caught:
        load(tmp_path, text.encode())
    assert "row 3 (line 5), column (all)" in str(caught.value)
    assert "row 4 (line 6), column Betrag" in str(caught.value)
    same(load(tmp_path, ("sep=^\r\n" + TEXT.replace(";", "^")).encode("utf-16")))


REFUSED = [
    (
        TEXT.encode("cp1252"),
        {},
        "line 1 is not UTF-8: it has the byte 0xE4. In cp1252 (Windows)"
        ' the word reads "H\u00e4ndler"; if that is right, set [data] encoding = "cp1252"',
    ),
    (TEXT.replace("\u00e4", "a").encode("cp1252"), {"terminal": "Handler"}, "line 2 is not"),
    (b"Zeit;x\n" + b"2024-01-01;" + b"a" * 300_000 + b"\n2024-01-01;\xff\n", {}, "has no colu"),
    (TEXT.encode("cp1252"), {"encoding": "ascii"}, "line 1 is not ASCII"),
    (b"\xff\xfe" + TEXT.encode("utf-16-le")[:-1], {}, "UTF-16"),
    (
        TEXT.replace(";", "^").encode(),
        {},
        "its columns seem to be separated by '^', not by ','; say so in [data]: delimiter = \"^\"",
    ),
    (TEXT.encode(), {"delimiter": ","}, "separated by ';', not by ','"),
    (b"Juli;;\n\n" + TEXT.encode(), {}, "line 3 has the columns' names; delete the lines before"),
    (TEXT.partition("\n")[2].encode(), {}, "its first line seems to be data"),
    (
        TEXT.replace("H\u00e4ndler", "Zeit").encode(),
        {"terminal": "Betrag"},
        "columns 1 and 2 are both named 'Zeit'",
    ),
    (b"", {}, "is empty"),
    (b"\n\n", {}, "has no column"),
    (TEXT.partition("\n")[0].encode(), {}, "holds no rows"),
    (b"PK\x03\x04" + bytes(40), {}, "an Excel workbook or a zip archive"),
    (b"\xd0\xcf\x11\xe0" + bytes(40), {}, "an Excel workbook"),
    (b'{"Zeit": 1}\n', {}, "JSON"),
    (b"<html><table>", {}, "HTML"),
    (b"SQLite format 3\0" + bytes(40), {}, "SQLite"),
    (b"ORC" + bytes(9), {}, "ORC"),
    (b"PAR1" + bytes(40), {}, "cannot be read as Parquet"),
    (b"ARROW1\0\0" + bytes(40), {}, "cannot be read as Arrow"),
    (gzip.compress(b"PAR1" + bytes(40)), {}, "compressed with gzip; unpack it first"),
    (gzip.compress(TEXT.encode() * 99)[:-20], {}, "cut short"),
    (bz2.compress(TEXT.encode() * 99)[:-20], {}, "cut short"),
    (lzma.compress(TEXT.encode() * 99)[:-20], {}, "cut short"),
    (TEXT.encode() + b'2024-01-01;"' + b"x;" * 2_000_000, {}, "quotation mark"),
]


@pytest.mark.parametrize(("content", "how", "told"), REFUSED, ids=[row[2] for row in REFUSED])
def test_refused(tmp_path: Path, content: bytes, how: dict[str, str], told: str) -> None:
    with pytest.raises(DataError) as caught:
        load(tmp_path, content, **how)
    assert str(caught.value).startswith(str(tmp_path / "a.csv"))
    assert told in str(caught.value)


def test_a_name_that_says_nothing(tmp_path: Path) -> None:
    for name, told in (
        ("a.bin", "neither CSV nor Parquet"),
        ("a.parquet", "as Parquet"),
        ("a.feather", "as Arrow"),
    ):
        with pytest.raises(DataError, match=told):
            load(tmp_path, TEXT.encode(), name)
    with pytest.raises(DataError, match="is a folder"):
        read(tmp_path, from_table({"data": DATA}))


def test_wrong_options_are_config_errors() -> None:
    for key, value in (
        ("encoding", "utf-99"),
        ("encoding", "base64"),
        ("encoding", 3),
        ("delimiter", "||"),
        ("delimiter", "\u00a7"),
        ("delimiter", '"'),
    ):
        with pytest.raises(ConfigError, match=f"data.{key}"):
            from_table({"data": {**DATA, key: value}})


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    """A file name is bytes, whatever they mean."""
    folder = os.fsencode(tmp_path)
    config = from_table({"data": DATA})
    for name in (b"caf\xe9.csv", b"caf\xe9.csv.xz", b"caf\xe9.parquet", b"caf\xe9.arrow"):
        path = Path(os.fsdecode(os.path.join(folder, name)))
        table = pa.table({"Zeit": ["2024-02-01"], "H\u00e4ndler": ["s"], "Betrag": ["12,34"]})
        if name.endswith(b".parquet"):
            with open(path, "wb") as file:
                pq.write_table(table, file)
        elif name.endswith(b".arrow"):
            with open(path, "wb") as file:
                feather.write_feather(table, file)
        else:
            text = TEXT.encode()
            path.write_bytes(lzma.compress(text) if name.endswith(b".xz") else text)
        assert read(path, config).column("amount_minor")[0] == 1234
        assert column_names(path, config.data) == ["Zeit", "H\u00e4ndler", "Betrag"]


CARD = {"time": "time", "token": "card"}


def cards(tmp_path: Path, array: pa.Array) -> list[int]:
    table = pa.table({"time": [1514808000] * len(array), "card": array})
    pq.write_table(table, tmp_path / "a.parquet")
    feather.write_feather(table, str(tmp_path / "a.feather"))
    config = from_table({"data": CARD})
    first, second = (read(tmp_path / f"a.{end}", config) for end in ("parquet", "feather"))
    assert first.fingerprint() == second.fingerprint()
    return [int(token) for token in first.column("token")]


KEY = uuid.UUID("6fa459ea-ee8a-3ca4-894e-db77e160355e")


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (pa.array([b"\xff\x00" * 8], pa.binary(16)), ["ff00" * 8]),
        (pa.array([b"\xff\x00", b"c1"], pa.binary()), ["ff00", "c1"]),
        (pa.array([b"\xff\x00"], pa.large_binary()), ["ff00"]),
        (pa.array([b"c1"], pa.binary_view()), ["c1"]),
        (pa.array([KEY.bytes], pa.uuid()), [str(KEY)]),
        (pa.array(["c1", " c1 "], pa.large_string()), ["c1", "c1"]),
        (pa.array(["c1"], pa.string_view()), ["c1"]),
        (pa.array(["c1", "c2"]).dictionary_encode(), ["c1", "c2"]),
        (pa.array([5, 5]).dictionary_encode(), ["5", "5"]),
        (pa.array([12345.0, 7.0], pa.float32()), ["12345", "7"]),
        (pa.array(["12345.0", "12345", "12345.00", "1.2345E4", "1.2345e+04"]), ["12345"] * 5),
        (pa.array(["0", "0.0", "0E-9"]), ["0"] * 3),
        (pa.array(["1e+10", "12e45", "1.14677809e+10"]), ["10000000000", "12e45", "11467780900"]),
        (pa.array(["00012345", "5.5", "1.000"]), ["00012345", "5.5", "1.000"]),
        (pa.array([True, False]), ["true", "false"]),
    ],
)
def test_tokens_of_every_type(tmp_path: Path, array: pa.Array, words: list[str]) -> None:
    assert cards(tmp_path, array) == [token_of(word) for word in words]


@pytest.mark.parametrize("word", ["", "NULL", "null", "NaN", "<NA>", "\\N", "(null)", " NA ", "."])
def test_words_for_nothing_mean_nothing_in_every_container(tmp_path: Path, word: str) -> None:
    assert cards(tmp_path, pa.array(["c1", word, None])) == [token_of("c1"), 0, 0]


@pytest.mark.parametrize(
    ("array", "told"),
    [
        (pa.array([{"a": 1}]), "values of the type struct<a: int64>"),
        (pa.array([[1]]), "type list<"),
        (pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64())), "type map<"),
        (pa.array([5], pa.duration("s")), "type duration[s]"),
    ],
)
def test_nested_columns_are_refused_with_their_type(
    tmp_path: Path, array: pa.Array, told: str
) -> None:
    for name in ("token", "terminal", "id", "label", "mcc", "entry_mode", "time", "response"):
        path = tmp_path / "a.arrow"
        table = pa.table({"time": [1514808000], "x": array})
        with pa.ipc.new_stream(str(path), table.schema) as writer:
            writer.write_table(table)
        config = from_table({"data": {"time": "time", name: "x"}})
        with pytest.raises(DataError, match=r"a\.arrow, column x: holds ") as caught:
            read(path, config)
        assert told in str(caught.value)
        assert "in a column of its own" in str(caught.value)


@pytest.mark.parametrize("name", ["token", "id", "terminal", "mcc"])
@pytest.mark.parametrize(
    ("array", "told"),
    [
        (pa.array([2.0**53]), "a 64-bit floating-point number keeps an id below 2^53 only"),
        (pa.array([2.0**24], pa.float32()), "a 32-bit floating-point number keeps an id below"),
        (pa.array(["4.11111E+15"]), "has cut the digits of this id"),
        (pa.array(["4.1111111E15"]), "has cut the digits of this id"),
        (pa.array(["4,11111E+15"]), "has cut the digits of this id"),
        (pa.array(["1.2345678901234568e+17"]), "has cut the digits of this id"),
    ],
)
def test_ids_that_lost_their_digits_are_refused(
    tmp_path: Path, array: pa.Array, told: str, name: str
) -> None:
    pq.write_table(pa.table({"time": [1514808000], "x": array}), tmp_path / "a.parquet")
    how = {"column": "x", "hash": True} if name == "mcc" else "x"
    with pytest.raises(DataError) as caught:
        read(tmp_path / "a.parquet", from_table({"data": {"time": "time", name: how}}))
    assert "row 1, column x" in str(caught.value)
    assert told in str(caught.value)

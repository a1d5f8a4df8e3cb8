# SPDX-License-Identifier: Apache-2.0
"""What a file is, by its first bytes: Parquet, Arrow or CSV; its compression and encoding."""

from __future__ import annotations

import codecs
import csv
import lzma
import os
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import pyarrow as pa

from tinyfin.data.cards import hide_pans
from tinyfin.errors import DataError, InputError

__all__ = [
    "CSV",
    "Container",
    "explained",
    "folder_text",
    "look",
    "open_file",
    "require_csv_name",
    "writes_csv",
]

Kind = Literal["CSV", "Parquet", "Arrow", "Arrow stream"]

PARQUET = (".parquet", ".pq")
ARROW = (".arrow", ".feather", ".ipc", ".arrows")
CSV = tuple(
    f"{a}{b}"
    for a in (".csv", ".tsv", ".psv", ".txt", ".dat")
    for b in ("", ".gz", ".bz2", ".zst", ".xz", ".lz4")
)

_KINDS: dict[bytes, Kind] = {
    b"PAR1": "Parquet",
    b"ARROW1": "Arrow",
    b"\xff\xff\xff\xff": "Arrow stream",
}
_COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bz2",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x04\x22\x4d\x18": "lz4",
    b"\xfd7zXZ\x00": "xz",
}
_FOREIGN = {
    b"PK\x03\x04": "an Excel workbook or a zip archive; save the sheet as CSV UTF-8, or unpack it",
    b"\xd0\xcf\x11\xe0": "an Excel workbook; save the sheet as CSV UTF-8",
    b"FEA1": "a Feather file of version 1; write it again as version 2",
    b"PARE": "an encrypted Parquet file; decrypt it",
    b"ORC": "an ORC file; convert it to Parquet",
    b"Obj\x01": "an Avro file; convert it to Parquet",
    b"SQLite format 3": "a SQLite database; export the table as CSV",
    b'{"': "JSON; convert it to CSV or Parquet",
    b"[{": "JSON; convert it to CSV or Parquet",
    b"%PDF": "a PDF; export the data as CSV",
    b"<": "HTML or XML; save the table as CSV",
}
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_WORKBOOKS = (".xlsx", ".xls", ".ods")
_HEAD = 1 << 18


@dataclass(frozen=True)
class Container:
    """How to open a file."""

    path: str | Path
    kind: Kind
    compression: str | None = None
    encoding: str = "utf-8"
    head: str = ""
    """The first 256 kB of a CSV file."""


def look(path: str | Path, encoding: str | None = None) -> Container:
    """What ``path`` is; ``encoding``: of a CSV file without a byte order mark. Raises DataError."""
    if Path(path).is_dir():
        raise DataError(folder_text(path))
    with explained(path):
        with open_file(path) as file:
            first = file.read(16)
        compression = next((x for magic, x in _COMPRESSED.items() if first.startswith(magic)), None)
        with open_file(path, compression) as file:
            head = file.read(_HEAD)
    name = os.fsdecode(path).lower()
    if not head and Path(path).name.startswith(("_", ".")):
        raise DataError(
            f"{path}: is empty: a mark that Spark or Hadoop leaves, not data; name the files with "
            "the rows alone"
        )
    if not head:
        raise DataError(f"{path}: is empty, it holds no rows")
    kind = next((kind for magic, kind in _KINDS.items() if head.startswith(magic)), None)
    if kind is not None and compression is None:
        return Container(path, kind)
    if kind is not None:
        raise DataError(f"{path}: is a {kind} file compressed with {compression}; unpack it first")
    foreign = next((text for magic, text in _FOREIGN.items() if head.startswith(magic)), None)
    if foreign is not None:
        raise DataError(f"{path}: is neither CSV nor Parquet, but {foreign}")
    if name.endswith((*PARQUET, *ARROW)):
        wanted = "Parquet" if name.endswith(PARQUET) else "Arrow"
        raise DataError(f"{path}: cannot be read as {wanted}: it does not begin as such a file")
    if not name.endswith(CSV):
        raise DataError(
            f"{path}: is neither CSV nor Parquet; a CSV file has a name that ends in "
            ".csv, .tsv, .txt, or these and .gz, .bz2, .xz, .zst"
        )
    found = next((name for mark, name in _MARKS if head.startswith(mark)), None)
    found = found or _wide(head) or encoding or "utf-8"
    container = Container(path, "CSV", compression, found)
    with explained(path, container):
        text = codecs.getincrementaldecoder(found)().decode(head)
    return replace(container, head=text.removeprefix("\ufeff"))


def folder_text(path: str | Path) -> str:
    """What to say of a folder in a file's place: the names of the files in it."""
    names = (entry.name.lower() for entry in Path(path).iterdir())
    endings = Counter(
        ending for name in names for ending in (*PARQUET, *ARROW, *CSV) if name.endswith(ending)
    )
    ending = endings.most_common(1)[0][0] if endings else ".parquet"
    return f"{path}: is a folder; name its files: {os.path.join(path, '')}*{ending}"


def writes_csv(path: str | Path) -> bool:
    """Whether a table goes to ``path`` as CSV and not as Parquet, by the ending of its name.
    Raises InputError for an ending that is neither's."""
    suffix = Path(path).suffix.lower()
    if suffix not in (".csv", *PARQUET, ""):
        raise InputError(
            f"{path}: a table is written as .csv or .parquet; end the name in one of these"
        )
    return suffix == ".csv"


def require_csv_name(path: str | Path) -> None:
    """InputError for the name of another kind of table where CSV is written."""
    if Path(path).suffix.lower() in (*PARQUET, *ARROW, *_WORKBOOKS):
        raise InputError(f"{path}: the rows are written as CSV; end the name in .csv")


def _wide(head: bytes) -> str | None:
    """UTF-16 without a byte order mark: every second byte of plain letters is zero."""
    even, odd = (head[i:4096:2].count(0) for i in (0, 1))
    half = min(len(head), 4096) // 2
    if half and not even and odd > half * 0.6:
        return "utf-16-le"
    return "utf-16-be" if half and not odd and even > half * 0.6 else None


def open_file(path: str | Path, compression: str | None = None) -> pa.NativeFile:
    """The bytes of a file, unpacked. Any name will do, whatever its encoding."""
    if compression == "xz":
        return pa.PythonFile(lzma.open(path))
    file = pa.OSFile(os.fsencode(path))
    return file if compression is None else pa.CompressedInputStream(file, compression)


@contextmanager
def explained(path: str | Path, container: Container | None = None) -> Iterator[None]:
    """What reading a file raises, as DataError that says what to do."""
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(f"{path}: there is no such file; check the path") from error
    except (OSError, EOFError, lzma.LZMAError) as error:
        number = getattr(error, "errno", None)
        text = os.strerror(number) if number else f"{error}; it may be cut short: copy it again"
        raise DataError(f"{path}: cannot be read: {text}") from error
    except (UnicodeError, csv.Error, pa.ArrowException) as error:
        if (
            container is not None
            and container.kind == "CSV"
            and (isinstance(error, UnicodeError) or "UTF8" in str(error))
        ):
            raise DataError(f"{path}: {_undecodable(container)}") from error
        kind = "CSV" if container is None else container.kind
        hint = ""
        if "straddl" in str(error):
            hint = "; a quotation mark that is never closed makes one row of all that follows"
        raise DataError(
            f"{path}: cannot be read as {kind}: {hide_pans(str(error))}{hint}"
        ) from error


def _undecodable(container: Container) -> str:
    """Where a CSV file leaves its encoding, and which one it may have."""
    encoding, line = container.encoding, 1
    decoder = codecs.getincrementaldecoder(encoding)()
    with open_file(container.path, container.compression) as file:
        for block in iter(lambda: file.read(_HEAD), b""):
            try:
                decoder.decode(block)
            except UnicodeDecodeError as error:
                raw, at = bytes(error.object), error.start
                line += raw[:at].count(b"\n")
                word = (
                    re.split(rb"[^\w\x80-\xff]", raw[:at])[-1]
                    + re.split(rb"[^\w\x80-\xff]", raw[at:])[0]
                )
                text = f"line {line} is not {encoding.upper()}: it has the byte 0x{raw[at]:02X}"
                if encoding != "utf-8":
                    return f"{text}; name the encoding of the file in [data] encoding"
                guess = hide_pans(word.decode("cp1252", "replace"))
                return (
                    f'{text}. In cp1252 (Windows) the word reads "{guess}"; if that is right, set '
                    '[data] encoding = "cp1252", else the encoding that the file has, or save it '
                    "as UTF-8"
                )
            line += block.count(b"\n")
    return f"is not {encoding.upper()} from the first to the last byte; save it as UTF-8"

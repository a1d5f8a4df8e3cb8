# SPDX-License-Identifier: Apache-2.0
"""CSV, Parquet and Arrow files as Arrow tables, with the data row of each row kept."""

from __future__ import annotations

import contextlib
import csv
import difflib
import io
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from tinyfin.config import Data
from tinyfin.data.cards import hide_pans
from tinyfin.data.containers import Container, explained, look, open_file
from tinyfin.data.problems import BadRows, Ragged
from tinyfin.errors import DataError

__all__ = ["about_rows", "about_rows_of", "column_names", "read_table", "read_table_chunks"]

DELIMITERS = (",", ";", "\t", "|")
"""Found by themselves; any other one has to be named in [data]."""

_ANY = Data()
_NONE = np.zeros(0, np.int64)


def read_table(
    path: str | Path, wanted: Mapping[str, str], optional: bool, data: Data = _ANY
) -> tuple[pa.Table, BadRows]:
    """The columns of ``path`` that are mapped; ``wanted`` is source column by name in [data].

    CSV columns come as text, others as stored. A missing source column raises DataError, unless
    ``optional``, when it is left out.
    """
    container = look(path, data.encoding)
    with explained(path, container):
        if container.kind == "CSV":
            return next(_csv_chunks(container, wanted, optional, 1 << 62, data))
        with _columnar(container) as file:
            table = file.whole(_present(path, file.names, wanted, optional))
    return table, BadRows(str(path), np.arange(1, table.num_rows + 1, dtype=np.int64))


def column_names(path: str | Path, data: Data = _ANY) -> list[str]:
    """Names of a file's columns. Raises DataError."""
    container = look(path, data.encoding)
    with explained(path, container):
        if container.kind == "CSV":
            return list(_header(container, {}, data).names)
        with _columnar(container) as file:
            return list(file.names)


def about_rows_of(paths: Iterable[str | Path]) -> int:
    """:func:`about_rows` of all files; 0 for those that do not say."""
    return sum(about_rows(path) or 0 for path in paths)


def about_rows(path: str | Path) -> int | None:
    """How many rows a file has, where that can be known quickly: exactly of Parquet, by the length
    of its first lines of CSV."""
    with contextlib.suppress(OSError, pa.ArrowInvalid, DataError):
        container = look(path)
        if container.kind == "Parquet":
            with open_file(path) as file:
                return int(pq.read_metadata(file).num_rows)
        if container.kind == "CSV" and container.head and container.compression is None:
            size, head = Path(path).stat().st_size, container.head
            lines = size * head.count("\n") // len(head.encode(container.encoding))
            return max(1, lines - 1)
    return None


def read_table_chunks(
    path: str | Path, wanted: Mapping[str, str], optional: bool, rows: int, data: Data = _ANY
) -> Iterator[tuple[pa.Table, BadRows]]:
    """:func:`read_table` in chunks of at most ``rows`` rows.

    Only a chunk is in memory at a time.
    """
    container = look(path, data.encoding)
    with explained(path, container):
        if container.kind == "CSV":
            yield from _csv_chunks(container, wanted, optional, rows, data)
            return
        with _columnar(container) as file:
            columns = _present(path, file.names, wanted, optional)
            first = 1
            for chunk in file.chunks(columns, rows):
                numbers = np.arange(first, first + chunk.num_rows, dtype=np.int64)
                first += chunk.num_rows
                yield chunk, BadRows(str(path), numbers)


class _Columnar(Protocol):
    """A file that stores columns with their types."""

    names: Sequence[str]

    def whole(self, columns: list[str]) -> pa.Table: ...

    def chunks(self, columns: list[str], rows: int) -> Iterator[pa.Table]: ...


class _Parquet:
    def __init__(self, file: pa.NativeFile) -> None:
        # what is buffered ahead would be kept until the file is closed: memory would grow with it
        self._file = pq.ParquetFile(file, pre_buffer=False)
        self.names = self._file.schema_arrow.names

    def whole(self, columns: list[str]) -> pa.Table:
        return self._file.read(columns=columns)

    def chunks(self, columns: list[str], rows: int) -> Iterator[pa.Table]:
        for batch in self._file.iter_batches(batch_size=rows, columns=columns):
            yield pa.Table.from_batches([batch])


class _Arrow:
    def __init__(self, file: pa.NativeFile, stream: bool) -> None:
        self._stream = stream
        self._file = pa.ipc.open_stream(file) if stream else pa.ipc.open_file(file)
        self.names = self._file.schema.names

    def whole(self, columns: list[str]) -> pa.Table:
        return self._file.read_all().select([self.names.index(name) for name in columns])

    def chunks(self, columns: list[str], rows: int) -> Iterator[pa.Table]:
        chosen = [self.names.index(name) for name in columns]
        count = None if self._stream else self._file.num_record_batches
        batches = self._file if count is None else map(self._file.get_batch, range(count))
        schema = pa.schema([self._file.schema.field(i) for i in chosen])
        held: list[pa.RecordBatch] = []
        for batch in batches:
            table = pa.Table.from_batches([*held, batch.select(chosen)], schema)
            while table.num_rows >= rows:
                yield table.slice(0, rows)
                table = table.slice(rows)
            held = table.to_batches()
        yield pa.Table.from_batches(held, schema)


@contextmanager
def _columnar(container: Container) -> Iterator[_Columnar]:
    with open_file(container.path) as file:
        if container.kind == "Parquet":
            yield _Parquet(file)
        else:
            yield _Arrow(file, stream=container.kind == "Arrow stream")


def _csv_chunks(
    container: Container, wanted: Mapping[str, str], optional: bool, rows: int, data: Data
) -> Iterator[tuple[pa.Table, BadRows]]:
    path = str(container.path)
    header = _header(container, wanted, data)
    columns = _present(path, header.names, wanted, optional, header.hint)
    if not re.search(r"[\r\n]", container.head.strip("\r\n")):  # a header, which ends the file
        yield pa.table({name: pa.array([], pa.string()) for name in columns}), BadRows(path, _NONE)
        return
    ragged: list[Ragged] = []
    held: list[pa.RecordBatch] = []
    first, given = 1, 0

    def keep(row: pacsv.InvalidRow) -> str:
        # the header is row 1 and every record counts once, also one that holds line breaks
        rule = f"has {row.actual_columns} fields, the header has {row.expected_columns}"
        ragged.append(Ragged(row.number - 1 - header.skip, row.text, rule))
        return "skip"

    with (
        open_file(container.path, container.compression) as file,
        pacsv.open_csv(
            file,
            # row numbers need one thread; "utf8" would let wrong bytes through to the handler
            read_options=pacsv.ReadOptions(
                use_threads=False,
                encoding="utf-8-sig" if container.encoding == "utf-8" else container.encoding,
                skip_rows=header.skip,
            ),
            parse_options=pacsv.ParseOptions(
                delimiter=header.delimiter, newlines_in_values=True, invalid_row_handler=keep
            ),
            convert_options=pacsv.ConvertOptions(
                include_columns=columns, column_types=dict.fromkeys(columns, pa.string())
            ),
        ) as reader,
    ):
        schema = reader.schema
        while True:
            batch = next(reader, None)
            if batch is not None:
                held.append(batch)
            table = pa.Table.from_batches(held, schema)
            while table.num_rows >= rows or batch is None:
                chunk = table.slice(0, rows)
                table = table.slice(rows)
                # the ragged lines of what was read are reported by now, and maybe later ones
                numbers = _numbers(first, chunk.num_rows, ragged)
                last = int(numbers[-1]) if len(numbers) else first - 1
                done = table.num_rows == 0 and batch is None
                broken = [r for r in ragged[given:] if done or r.row <= last]
                given += len(broken)
                first = last + 1
                if chunk.num_rows or broken or last == 0:
                    lines = partial(_lines, container, header)
                    yield chunk, BadRows(path, numbers, tuple(broken), lines)
                if done:
                    return
            held = list(table.to_batches())


def _lines(container: Container, header: _Header, rows: Collection[int]) -> dict[int, int]:
    """The lines, from 1, in which these data rows of a CSV file begin."""
    found: dict[int, int] = {}
    with (
        open_file(container.path, container.compression) as file,
        io.TextIOWrapper(file, container.encoding, "replace", newline="") as text,
        contextlib.suppress(csv.Error),
    ):
        records = csv.reader(text, delimiter=header.delimiter)
        row, line = -1 - header.skip, 1
        for record in records:
            if record:
                row += 1
                if row in rows:
                    found[row] = line
                    if len(found) == len(rows):
                        break
            line = records.line_num + 1
    return found


def _numbers(first: int, count: int, ragged: Sequence[Ragged]) -> npt.NDArray[np.int64]:
    """The next ``count`` row numbers from ``first`` on that are not those of ragged lines."""
    left_out = np.array([r.row for r in ragged if r.row >= first], np.int64)
    numbers = np.arange(first, first + count + len(left_out), dtype=np.int64)
    return np.setdiff1d(numbers, left_out, assume_unique=True)[:count]


@dataclass(frozen=True)
class _Header:
    delimiter: str
    names: Sequence[str]
    skip: int = 0
    """Lines before the header."""
    hint: str = ""
    """Which other delimiter the file seems to have, and how to say so."""


def _header(container: Container, wanted: Mapping[str, str], data: Data) -> _Header:
    """The delimiter is the one that finds the most columns that are wanted, or columns at all."""
    first = re.match(r'"?sep=(.)"?\r?\n?', container.head, re.IGNORECASE)  # from Excel, for Excel
    head = container.head[first.end() :] if first else container.head
    columns = set(wanted.values())

    def found(delimiter: str) -> tuple[int, int]:
        names = _names(head, delimiter)
        return len(columns & set(names)), len(names)

    own = data.delimiter or (first[1] if first else None)
    delimiter = own or max(DELIMITERS, key=found)
    names = _names(head, delimiter)
    hint = ""
    if not columns <= set(names):
        line = head.lstrip("\r\n").partition("\n")[0]
        others = {*DELIMITERS, *re.findall(r"[^\w \"'.\-\r]", line)}
        best = max(sorted(others), key=found)
        if found(best)[0] > found(delimiter)[0]:
            hint = (
                f"its columns seem to be separated by {best!r}, not by {delimiter!r}; say so in "
                f"[data]: delimiter = {json.dumps(best)}"
            )
        elif at := _line_of(head, columns):
            hint = f"line {at} has the columns' names; delete the lines before it"
        elif not columns & set(names) and any(re.match(r"[+-]?\d", name) for name in names):
            hint = "its first line seems to be data; put a line with the columns' names before it"
    return _Header(delimiter, names, 1 if first else 0, hint)


def _line_of(head: str, columns: Collection[str]) -> int:
    """Which of the first lines, from 1, names all of the columns; 0 for none."""
    for at, line in enumerate(head.splitlines()[:50], 1):
        if any(set(columns) <= {x.strip('"') for x in line.split(d)} for d in DELIMITERS):
            return at
    return 0


def _names(head: str, delimiter: str) -> list[str]:
    reader = csv.reader(io.StringIO(head, newline=""), delimiter=delimiter)
    return next((row for row in reader if row), [])


def _present(
    path: str | Path,
    names: Sequence[str],
    wanted: Mapping[str, str],
    optional: bool,
    hint: str = "",
) -> list[str]:
    """Source columns to read, each once."""
    twice = {name for name in names if list(names).count(name) > 1} & set(wanted.values())
    if twice:
        name = sorted(twice)[0]
        at = [str(i) for i, other in enumerate(names, 1) if other == name]
        raise DataError(
            f"{path}: columns {', '.join(at[:-1])} and {at[-1]} are "
            f"{'both' if len(at) == 2 else 'all'} named {name!r}; rename all but one"
        )
    for key, column in wanted.items():
        if column not in names and not optional:
            near = [name for name in names if name.casefold() == column.casefold()]
            near = near or difflib.get_close_matches(column, names, n=1)
            listed = hide_pans(", ".join(names))
            advice = f"did you mean {near[0]!r}?" if near else f"it has {listed[:500]}"
            raise DataError(
                f"{path}: has no column {column!r}, wanted for "
                f"{key if key.startswith('labels.') else f'data.{key}'}; {hint or advice}"
            )
    return [column for column in dict.fromkeys(wanted.values()) if column in names]

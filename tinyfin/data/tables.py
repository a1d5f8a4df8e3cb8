# SPDX-License-Identifier: Apache-2.0
"""CSV and Parquet files as Arrow tables, with the data row of each row kept."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from tinyfin.data.problems import BadRows, Ragged
from tinyfin.errors import DataError

__all__ = ["column_names", "read_pieces", "read_table"]

PARQUET = (".parquet", ".pq")
CSV = (".csv", ".tsv", ".txt", ".csv.gz", ".csv.zst", ".tsv.gz")
EMPTY = ["", "NA", "N/A", "NaN", "nan", "null", "NULL", "None"]


def read_table(
    path: str | Path, wanted: Mapping[str, str], optional: bool
) -> tuple[pa.Table, BadRows]:
    """The columns of ``path`` that are mapped; ``wanted`` is source column by name in [data].

    CSV columns come as text (what means nothing, see EMPTY, as null), Parquet columns as stored.
    A missing source column raises DataError, unless ``optional``, when it is left out.
    """
    name = str(path).lower()
    with _explained(path):
        if name.endswith(PARQUET):
            return _parquet(path, wanted, optional)
        if name.endswith(CSV):
            return _csv(path, wanted, optional)
    raise _unknown(path)


def column_names(path: str | Path) -> list[str]:
    """Names of a file's columns. Raises DataError."""
    name = str(path).lower()
    with _explained(path):
        if name.endswith(PARQUET):
            return list(pq.read_schema(path).names)
        if name.endswith(CSV):
            return _header(path)[1]
    raise _unknown(path)


def read_pieces(
    path: str | Path, wanted: Mapping[str, str], optional: bool, rows: int
) -> Iterator[tuple[pa.Table, BadRows]]:
    """:func:`read_table` in pieces of at most ``rows`` rows.

    Only a piece is in memory at a time.
    """
    name = str(path).lower()
    if name.endswith(CSV):
        with _explained(path):
            yield from _csv_pieces(path, wanted, optional, rows)
        return
    if not name.endswith(PARQUET):
        raise _unknown(path)
    # what is buffered ahead would be kept until the file is closed, so memory would grow with it
    with _explained(path), pq.ParquetFile(path, pre_buffer=False) as file:
        columns = _present(path, file.schema_arrow.names, wanted, optional)
        first = 1
        for batch in file.iter_batches(batch_size=rows, columns=columns):
            numbers = np.arange(first, first + batch.num_rows, dtype=np.int64)
            first += batch.num_rows
            yield pa.Table.from_batches([batch]), BadRows(str(path), numbers)


@contextlib.contextmanager
def _explained(path: str | Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(f"{path}: there is no such file; check the path") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    except pa.ArrowInvalid as error:
        hint = "; save it as UTF-8" if "UTF8" in str(error) else ""
        kind = _kind(str(path).lower())
        raise DataError(f"{path}: cannot be read as {kind}: {error}{hint}") from error


def _unknown(path: str | Path) -> DataError:
    return DataError(
        f"{path}: is neither CSV nor Parquet; use a name that ends in .csv or .parquet"
    )


def _kind(name: str) -> str:
    return "Parquet" if name.endswith(PARQUET) else "CSV"


def _parquet(
    path: str | Path, wanted: Mapping[str, str], optional: bool
) -> tuple[pa.Table, BadRows]:
    with pq.ParquetFile(path) as file:
        columns = _present(path, file.schema_arrow.names, wanted, optional)
        table = file.read(columns=columns)
    return table, BadRows(str(path), np.arange(1, table.num_rows + 1, dtype=np.int64))


def _csv(path: str | Path, wanted: Mapping[str, str], optional: bool) -> tuple[pa.Table, BadRows]:
    ragged: list[Ragged] = []
    table = pacsv.read_csv(path, **_csv_options(path, wanted, optional, ragged))
    total = table.num_rows + len(ragged)
    rows = np.delete(np.arange(1, total + 1, dtype=np.int64), [r.row - 1 for r in ragged])
    return table, BadRows(str(path), rows, tuple(ragged))


def _csv_pieces(
    path: str | Path, wanted: Mapping[str, str], optional: bool, rows: int
) -> Iterator[tuple[pa.Table, BadRows]]:
    ragged: list[Ragged] = []
    held: list[pa.RecordBatch] = []
    first, given = 1, 0
    with pacsv.open_csv(path, **_csv_options(path, wanted, optional, ragged)) as reader:
        schema = reader.schema
        while True:
            batch = next(reader, None)
            if batch is not None:
                held.append(batch)
            table = pa.Table.from_batches(held, schema)
            while table.num_rows >= rows or batch is None:
                piece = table.slice(0, rows)
                table = table.slice(rows)
                # the ragged lines of what was read are told by now, and maybe later ones
                numbers = _numbers(first, piece.num_rows, ragged)
                last = int(numbers[-1]) if len(numbers) else first - 1
                done = table.num_rows == 0 and batch is None
                broken = [r for r in ragged[given:] if done or r.row <= last]
                given += len(broken)
                first = last + 1
                if piece.num_rows or broken or last == 0:
                    yield piece, BadRows(str(path), numbers, tuple(broken))
                if done:
                    return
            held = list(table.to_batches())


def _numbers(first: int, count: int, ragged: Sequence[Ragged]) -> npt.NDArray[np.int64]:
    """The next ``count`` row numbers from ``first`` on that are not those of ragged lines."""
    left_out = np.array([r.row for r in ragged if r.row >= first], np.int64)
    numbers = np.arange(first, first + count + len(left_out), dtype=np.int64)
    return np.setdiff1d(numbers, left_out, assume_unique=True)[:count]


def _csv_options(
    path: str | Path, wanted: Mapping[str, str], optional: bool, ragged: list[Ragged]
) -> dict[str, Any]:
    """How to read a CSV file; ``ragged`` takes the lines that are left out."""
    delimiter, header = _header(path)
    columns = _present(path, header, wanted, optional)

    def keep(row: Any) -> str:
        # the header is row 1 and every record counts once, also one that holds line breaks
        rule = f"has {row.actual_columns} fields, the header has {row.expected_columns}"
        ragged.append(Ragged(row.number - 1, row.text, rule))
        return "skip"

    return {
        "read_options": pacsv.ReadOptions(use_threads=False),  # row numbers need one thread
        "parse_options": pacsv.ParseOptions(
            delimiter=delimiter, newlines_in_values=True, invalid_row_handler=keep
        ),
        "convert_options": pacsv.ConvertOptions(
            include_columns=columns,
            column_types={column: pa.string() for column in columns},
            strings_can_be_null=True,
            null_values=EMPTY,
        ),
    }


def _header(path: str | Path) -> tuple[str, list[str]]:
    """Delimiter and column names: the one of comma, semicolon, tab that parts the most names."""
    best: tuple[str, list[str]] = (",", [])
    for delimiter in (",", ";", "\t"):
        with pacsv.open_csv(
            path,
            read_options=pacsv.ReadOptions(use_threads=False),
            parse_options=pacsv.ParseOptions(
                delimiter=delimiter, newlines_in_values=True, invalid_row_handler=lambda _: "skip"
            ),
        ) as reader:
            names = reader.schema.names
        if len(names) > len(best[1]):
            best = (delimiter, names)
    return best


def _present(
    path: str | Path, names: Sequence[str], wanted: Mapping[str, str], optional: bool
) -> list[str]:
    """Source columns to read, each once."""
    twice = {name for name in names if list(names).count(name) > 1} & set(wanted.values())
    if twice:
        raise DataError(f"{path}: column {sorted(twice)[0]!r} is there twice; rename one")
    for key, column in wanted.items():
        if column not in names and not optional:
            near = difflib.get_close_matches(column, names, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(names)}"
            raise DataError(f"{path}: has no column {column!r}, wanted for data.{key}; {hint}")
    return [column for column in dict.fromkeys(wanted.values()) if column in names]

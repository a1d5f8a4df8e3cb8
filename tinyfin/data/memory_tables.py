# SPDX-License-Identifier: Apache-2.0
"""Tables in memory, of pandas, Polars or Arrow, as files that the readers read."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Protocol, runtime_checkable

import pyarrow as pa

from tinyfin.errors import DataError

__all__ = ["NAME", "Source", "Sources", "Table", "as_file", "as_files", "shown_name"]

NAME = "table"
"""What stands in place of a path where the rows come from memory."""


@runtime_checkable
class Table(Protocol):
    """A table that exports Arrow's C stream: of Arrow, pandas 2.2, Polars 1."""

    def __arrow_c_stream__(self, requested_schema: object = None) -> object: ...


Source = str | Path | Table
Sources = Source | Sequence[Source]
"""Files, tables, or one of them."""

_made: set[Path] = set()
"""Files that hold tables at this moment."""


@contextmanager
def as_file(table: Table) -> Iterator[Path]:
    """A file with the rows of ``table``, which is there inside of the block. A named index of
    pandas becomes a column. Errors that name the file say "table" instead. Raises DataError for
    values that Arrow has no type for."""
    with tempfile.TemporaryDirectory(prefix="tinyfin-") as folder:
        path = Path(folder) / "table.arrow"
        try:
            rows = pa.Table.from_pandas(table) if hasattr(table, "iloc") else pa.table(table)
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
            raise DataError(
                f"table: {error}; give every column one type, for example with astype(str)"
            ) from error
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, rows.schema) as writer:
            writer.write_table(rows)
        _made.add(path)
        try:
            yield path
        except DataError as error:
            raise type(error)(str(error).replace(str(path), NAME)) from None
        finally:
            _made.discard(path)


@contextmanager
def as_files(sources: Sources) -> Iterator[list[Path]]:
    """Paths of files that hold what ``sources`` hold, in their order, inside of the block."""
    given = [sources] if isinstance(sources, (str, Path, Table)) else list(sources)
    with ExitStack() as stack:
        yield [
            stack.enter_context(as_file(source)) if isinstance(source, Table) else Path(source)
            for source in given
        ]


def shown_name(path: Path) -> str:
    """The path, or "table" for a file that holds a table of the caller's."""
    return NAME if path in _made else str(path)

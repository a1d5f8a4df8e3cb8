# SPDX-License-Identifier: Apache-2.0
"""Tables in memory, of pandas, Polars or Arrow, as files that the readers read."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from tinyfin.errors import DataError

__all__ = ["as_file", "is_table"]


def is_table(value: object) -> bool:
    """Whether it is a table: of Arrow, or of a library that exports Arrow's C stream (pandas 2.2,
    Polars 1)."""
    return isinstance(value, pa.Table) or hasattr(value, "__arrow_c_stream__")


@contextmanager
def as_file(table: Any) -> Iterator[Path]:
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
        try:
            yield path
        except DataError as error:
            raise type(error)(str(error).replace(str(path), "table")) from None

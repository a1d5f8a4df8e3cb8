# SPDX-License-Identifier: Apache-2.0
"""Columns that no model reads, from the files of the transactions and in their order."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tinyfin.config import Data
from tinyfin.data.cards import CardGuard, hide_pans
from tinyfin.data.cells import UnreadableType, flat, texts
from tinyfin.data.tables import column_names, read_table_chunks
from tinyfin.errors import DataError

__all__ = ["SideColumn", "read_side_columns", "require_side_columns"]

_ROWS = 1 << 16
_SHOWN = 500


@dataclass(frozen=True)
class SideColumn:
    """One column of the files, a text per row."""

    words: tuple[str, ...]
    """Distinct texts, in order of first appearance."""
    code: npt.NDArray[np.int32]
    """Index into ``words`` of each row; -1 where there is no value."""


def require_side_columns(
    paths: Sequence[str | Path], columns: Mapping[str, str], data: Data
) -> None:
    """DataError unless every file has the columns; ``columns``: source column by what wants it."""
    for path in paths if columns else ():
        names = column_names(path, data)
        for key, column in columns.items():
            if column in names:
                continue
            near = [name for name in names if name.casefold() == column.casefold()]
            near = near or difflib.get_close_matches(column, names, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise DataError(
                f"{path}: has no column {column!r}, wanted for {key}; {hint}it has "
                f"{hide_pans(', '.join(names))[:_SHOWN]}"
            )


def read_side_columns(
    paths: Sequence[str | Path], columns: Mapping[str, str], data: Data, row: npt.NDArray[np.int64]
) -> dict[str, SideColumn]:
    """The columns of the files at the input rows ``row`` (``Transactions.row``, n rows), by what
    wants them. Card numbers raise DataError, as a file without a column does."""
    require_side_columns(paths, columns, data)
    index: dict[str, dict[str, int]] = {key: {} for key in columns}
    codes: dict[str, list[npt.NDArray[np.int32]]] = {key: [] for key in columns}
    numbers: list[npt.NDArray[np.int64]] = []
    first = 0
    for path in paths if columns else ():
        guard, before = CardGuard(str(path)), first
        for table, part in read_table_chunks(path, columns, False, _ROWS, data):
            numbers.append(before + part.rows - 1)
            first += len(part.rows) + len(part.ragged)
            for key, column in columns.items():
                try:
                    source = flat(table.column(column))
                except UnreadableType as error:
                    raise DataError(f"{path}, column {column}: holds {error}") from error
                guard.check(source, column)
                encoded = texts(source).dictionary_encode()
                own = index[key]
                known = [own.setdefault(w, len(own)) for w in encoded.dictionary.to_pylist()]
                place = encoded.indices.fill_null(len(known)).to_numpy(zero_copy_only=False)
                codes[key].append(np.array([*known, -1], np.int32)[place])
    if not columns:
        return {}
    at = np.searchsorted(np.concatenate(numbers), row)
    return {key: SideColumn(tuple(index[key]), np.concatenate(codes[key])[at]) for key in columns}

# SPDX-License-Identifier: Apache-2.0
"""The fields' values of many transactions, in little memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from tinyfin.schema import Field, Schema

__all__ = ["Values", "joined_values", "narrow", "row_keys"]

Column = npt.NDArray[np.generic] | int
Rows = slice | npt.NDArray[np.bool_] | npt.NDArray[np.integer]
"""Which rows: a slice, a mask, or indices."""
_TYPES = (np.int8, np.int16, np.int32, np.int64)


class Values:
    """int64[n, F] by columns: each as narrow as its values allow, and one number where no row has
    the field. ``numpy.asarray`` gives the whole."""

    def __init__(self, columns: Sequence[Column], count: int) -> None:
        self._columns, self._count = tuple(columns), count
        self.shape = (count, len(self._columns))

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, rows: Rows) -> Values:
        """The rows of a slice, of indices, or of a mask."""
        picked = [c if isinstance(c, int) else c[rows] for c in self._columns]
        return Values(picked, len(np.broadcast_to(np.int8(0), self._count)[rows]))

    def __array__(self, dtype: object = None, copy: bool | None = None) -> npt.NDArray[np.int64]:
        out = np.empty(self.shape, np.int64)
        for i, column in enumerate(self._columns):
            out[:, i] = column
        return out

    def column(self, i: int) -> npt.NDArray[np.int64]:
        """One column, int64[n]."""
        return np.array(np.broadcast_to(self._columns[i], self._count), np.int64)


def narrow(
    schema: Schema, values: npt.NDArray[np.int64], present: npt.NDArray[np.uint32]
) -> list[npt.NDArray[np.generic] | None]:
    """The columns of ``values`` int64[n, F], None where no row has the field."""
    there = int(np.bitwise_or.reduce(present, initial=0))
    return [
        values[:, i].astype(_smallest(values[:, i])) if there >> i & 1 else None
        for i in range(len(schema.fields))
    ]


def joined_values(
    schema: Schema, chunks: Iterable[tuple[list[npt.NDArray[np.generic] | None], int]]
) -> Values:
    """Chunks of :func:`narrow` and their numbers of rows, one after the other; takes the chunks'
    columns away from them as it goes, so that only one is held twice."""
    parts = list(chunks)
    count = sum(rows for _, rows in parts)
    columns: list[Column] = []
    for i, field in enumerate(schema.fields):
        missing = _missing(field)
        held = [part[i] for part, _ in parts]
        kinds = [chunk.dtype for chunk in held if chunk is not None]
        if not kinds:
            columns.append(missing)
            continue
        out = np.empty(count, np.result_type(_smallest(np.array([missing])), *kinds))
        at = 0
        for chunk, (part, rows) in zip(held, parts, strict=True):
            out[at : at + rows] = missing if chunk is None else chunk
            part[i] = None
            at += rows
        columns.append(out)
    return Values(columns, count)


def row_keys(columns: Iterable[npt.NDArray[np.int64]], rows: int) -> npt.NDArray[np.uint64]:
    """A number for each row in place of its values: the same for equal rows, and hardly ever for
    others."""
    out = np.zeros(rows, np.uint64)
    for column in columns:
        out = (out ^ column.view(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        out ^= out >> np.uint64(29)
    return out


def _smallest(column: npt.NDArray[np.int64]) -> type[np.signedinteger]:
    """The type that holds all of the numbers."""
    low, high = (int(column.min()), int(column.max())) if len(column) else (0, 0)
    fits = (t for t in _TYPES if np.iinfo(t).min <= low and high <= np.iinfo(t).max)
    return next(fits)


def _missing(field: Field) -> int:
    """What an absent field holds, as int64."""
    if field.type == "u64":
        return int(np.uint64(field.missing).view(np.int64))
    return field.missing

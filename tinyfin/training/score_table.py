# SPDX-License-Identifier: Apache-2.0
"""The columns of a file of scores."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from tinyfin.data.transactions import EPOCH_UNIX_S, Transactions
from tinyfin.errors import InputError
from tinyfin.schema import Field, Schema
from tinyfin.training.notices import STATUSES
from tinyfin.twin import ADVICE, FLAGS, Replay

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["EXTRAS", "ScoreTable", "carried", "table_writer"]

EXTRAS = ("terminal", "id", "time", "label", "model")
"""Columns that are carried on when asked for, in addition to the fields of the schema; ``model`` is
model_id and pack_id."""


def carried(names: Collection[str], schema: Schema) -> tuple[tuple[str, ...], tuple[Field, ...]]:
    """Those of :data:`EXTRAS` and those of the schema's fields that ``names`` asks for; "all" are
    all that may be written to a file. Raises InputError."""
    free = [field for field in schema.fields if not field.ram_only and field.unit != "token"]
    if "all" in names:
        return EXTRAS, tuple(free)
    known = [*EXTRAS, *(field.name for field in free)]
    for name in names:
        if name in schema.names and name not in known:
            raise InputError(f"--with {name!r}: it identifies a card and is never written to files")
        if name not in known:
            raise InputError(f"--with {name!r}: there are {', '.join(known)}, and all")
    return (
        tuple(name for name in EXTRAS if name in names),
        tuple(field for field in free if field.name in names),
    )


class _Writer(Protocol):
    """Of CSV or Parquet."""

    def write_table(self, table: pa.Table, max_rows: int = ..., /) -> None:
        """Add rows."""


@contextmanager
def table_writer(path: Path, schema: pa.Schema, *, as_csv: bool) -> Iterator[_Writer]:
    """Writes tables to a CSV or Parquet file."""
    if as_csv:
        from pyarrow import csv

        plain = csv.WriteOptions(include_header=False, quoting_style="needed")
        with path.open("wb") as file:
            file.write((",".join(schema.names) + "\n").encode())
            with csv.CSVWriter(file, schema, write_options=plain) as writer:
                yield writer
        return
    import pyarrow.parquet as pq

    with (
        path.open("wb") as file,  # Arrow takes no name that is not UTF-8
        pq.ParquetWriter(file, schema, compression="zstd") as writer,
    ):
        yield writer


@dataclass(frozen=True)
class ScoreTable:
    """Which columns a file of scores has, and how they are written."""

    extras: Collection[str]
    fields: Sequence[Field]
    """Of the schema, carried on: enums by the names of their values, others as integers."""
    as_csv: bool
    """Lists are texts then, separated by "; "."""
    identity: Mapping[str, str] = field(default_factory=dict)
    """model_id and pack_id."""
    reasons: Mapping[int, str] = field(default_factory=dict)
    """Texts of reason ids that are not the catalogue's."""

    @property
    def schema(self) -> pa.Schema:
        """Names and types."""
        import pyarrow as pa

        named = pa.string() if self.as_csv else pa.dictionary(pa.int8(), pa.string())
        texts, ids = pa.list_(pa.string()), pa.list_(pa.uint16())
        if self.as_csv:
            texts = ids = pa.string()
        place = {"terminal": pa.string(), "id": pa.uint64(), "time": pa.timestamp("s", "UTC")}
        kinds = {"enum": named, "u64": pa.uint64()}
        columns = {
            "input_row": pa.int64(),
            **{name: kind for name, kind in place.items() if name in self.extras},
            **{f.name: kinds.get(f.type, pa.int64()) for f in self.fields},
            "score": pa.float64(),
            "score_q32": pa.uint32(),
            "raw": pa.int32(),
            "action": named,
            "reasons": texts,
            "reason_ids": ids,
            "flags": texts,
            "flag_bits": pa.uint16(),
            "notices": named,
        }
        if "label" in self.extras:
            columns["label"] = pa.int8()
        if "model" in self.extras:
            columns |= dict.fromkeys(self.identity, named)
        return pa.schema(columns)

    def of(
        self,
        tx: Transactions,
        replay: Replay,
        own: npt.NDArray[np.bool_],
        first_row: int,
        notices: npt.NDArray[np.int8],
    ) -> pa.Table:
        """The rows ``own`` of a chunk and its replay; input rows are counted from ``first_row``."""
        import pyarrow as pa

        label = tx.label[own]
        none = pa.array(np.zeros(len(label), np.int8))
        found = {
            "input_row": pa.array(tx.row[own] - first_row),
            **self._place(tx, own),
            **{field.name: _field(tx, own, field) for field in self.fields},
            **self._verdicts(replay, own),
            "notices": pa.DictionaryArray.from_arrays(pa.array(notices[own]), pa.array(STATUSES)),
            "label": pa.array(label, mask=label < 0),
            **{
                name: pa.DictionaryArray.from_arrays(none, pa.array([text]))
                for name, text in self.identity.items()
            },
        }
        columns = {name: found[name] for name in self.schema.names}
        if self.as_csv:
            columns = {name: _plain(column) for name, column in columns.items()}
        return pa.table(columns, schema=self.schema)

    @staticmethod
    def _place(tx: Transactions, own: npt.NDArray[np.bool_]) -> dict[str, pa.Array]:
        import pyarrow as pa

        time = pa.array(tx.t_mono_s[own].astype(np.int64) + EPOCH_UNIX_S)
        return {
            "terminal": pa.array(tx.terminals, pa.string()).take(pa.array(tx.terminal[own])),
            "id": pa.array(tx.id[own]),
            "time": time.cast(pa.timestamp("s", "UTC")),
        }

    def _verdicts(self, replay: Replay, own: npt.NDArray[np.bool_]) -> dict[str, pa.Array]:
        import pyarrow as pa

        from tinyfin.features.catalogue import reason_text

        q32 = replay.score_q32[own]
        ids = replay.reasons[own]
        counts = replay.reason_count[own].astype(np.int32)
        flat = ids[np.arange(ids.shape[1])[None, :] < counts[:, None]]
        offsets = pa.array(np.r_[0, np.cumsum(counts)].astype(np.int32))
        given = np.unique(flat).tolist()
        texts = {i: reason_text(i, self.reasons) or f"reason {i}" for i in given}
        bits = replay.flags[own]
        named = {
            int(b): [name for bit, name in FLAGS.items() if int(b) & bit] for b in np.unique(bits)
        }
        return {
            "score": pa.array(q32.astype(np.float64) / 2.0**32),
            "score_q32": pa.array(q32),
            "raw": pa.array(replay.raw[own]),
            "action": pa.DictionaryArray.from_arrays(
                pa.array(replay.advice[own].astype(np.int8)), pa.array(ADVICE)
            ),
            "reasons": pa.ListArray.from_arrays(
                offsets, pa.array([texts[int(i)] for i in flat], pa.string())
            ),
            "reason_ids": pa.ListArray.from_arrays(offsets, pa.array(flat, pa.uint16())),
            "flags": pa.array([named[int(b)] for b in bits], pa.list_(pa.string())),
            "flag_bits": pa.array(bits),
        }


def _field(tx: Transactions, own: npt.NDArray[np.bool_], field: Field) -> pa.Array:
    """The values of a field; null where a row has none."""
    import pyarrow as pa

    missing = ~tx.has(field.name)[own]
    values = tx.column(field.name)[own]
    if field.type == "u64":
        values = values.view(np.uint64)
    if field.type != "enum":
        return pa.array(values, mask=missing)
    codes = pa.array(values.astype(np.int8), mask=missing)
    return pa.DictionaryArray.from_arrays(codes, pa.array(field.values))


def _plain(column: pa.Array) -> pa.Array:
    """A column as CSV can hold it."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_dictionary(column.type):
        return column.dictionary_decode()
    if pa.types.is_list(column.type):
        return pc.binary_join(column.cast(pa.list_(pa.string())), "; ")
    return column

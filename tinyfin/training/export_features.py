# SPDX-License-Identifier: Apache-2.0
"""The matrix of features that training sees, written to Parquet or CSV chunk by chunk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import numpy as np
import numpy.typing as npt

from tinyfin import files
from tinyfin.config import Config
from tinyfin.data.containers import writes_csv
from tinyfin.data.events import has_notice
from tinyfin.data.readers import CHUNK_ROWS, read_chunks, survey
from tinyfin.data.tables import about_rows_of, column_names
from tinyfin.data.transactions import EPOCH_UNIX_S, Transactions
from tinyfin.errors import ConfigError
from tinyfin.features.auto import resolve_names
from tinyfin.features.compiler import Program, compile_program
from tinyfin.pack.maps import InputMap, map_inputs
from tinyfin.pack.sections import encode_schema
from tinyfin.progress import stage
from tinyfin.training.chosen_capacities import left_open
from tinyfin.training.chunks import replay_chunks
from tinyfin.training.network_inputs import PARTS, Partition
from tinyfin.training.notices import label_fed
from tinyfin.training.score_table import table_writer
from tinyfin.twin import FeatureTwin

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["COLUMNS", "write_matrix"]

COLUMNS = ("input_row", "terminal", "id", "time")
"""Columns before the features; ``label`` and ``part`` follow the features when asked for."""


class Exported(TypedDict):
    """What :func:`write_matrix` wrote."""

    out: str
    transactions: int
    terminals: int
    features: list[str]
    label: bool


def write_matrix(
    paths: Sequence[str | Path],
    config: Config,
    out: str | Path,
    *,
    maps: Sequence[InputMap] | None = None,
    with_label: bool = False,
    parting: Partition | None = None,
    skip_bad_rows: str | Path | None = None,
    chunk_rows: int = CHUNK_ROWS,
    note: Callable[[str], None] = lambda _: None,
) -> Exported:
    """Write one row per transaction, in input order; returns counts and the features' names.

    ``out`` is a CSV file when its name ends in .csv, else a Parquet file.

    Columns: :data:`COLUMNS`, then one int16 per feature, or with ``maps`` its int8 code, the
    network's input; then ``label`` if asked for; then with ``parting`` the ``part`` of the run that
    a row is in, a name of ``PARTS`` or absent. Memory grows with terminals, cards kept and what
    waits for its notice, not with the number of transactions, when the files are Parquet and their
    rows in order of time. Raises DataError, ConfigError.
    """
    import pyarrow as pa

    there = {name for path in paths for name in column_names(path, config.data)}
    features = resolve_names(config, there)
    program = compile_program(features, config.schema, **config.features.capacities)
    others = {*COLUMNS, "label"} if parting is None else {*COLUMNS, "label", "part"}
    taken = others & set(program.feature_names)
    if taken:
        raise ConfigError(
            f"features.{min(taken)}: the table of features has a column of that name; choose "
            "another"
        )
    as_csv = writes_csv(out)
    each = 2 if as_csv else 0.2  # bytes of a feature, at least
    rows = about_rows_of(paths)
    files.require_space(out, int(rows * (10 + each * len(program.feature_names))), "the features")
    found = survey(
        paths,
        config,
        labels=with_label or parting is not None,
        skip_bad_rows=skip_bad_rows,
        chunk_rows=chunk_rows,
        progress=note,
    )
    if not found.in_order:
        note("rows are not in order of time: all of them are held in memory")
    terminals = max(1, len(found.terminals))
    twin = FeatureTwin(encode_schema(config.schema), program.payload, terminals=terminals)
    chunks = read_chunks(paths, config, found, chunk_rows=chunk_rows)
    schema = _schema(program, maps is not None, with_label, parting is not None)
    done = noticed = 0
    with (
        stage("features", found.rows, "rows") as writing,
        files.whole(out, make_folder=True) as unfinished,
        table_writer(unfinished, schema, as_csv=as_csv) as writer,
    ):
        for tx, replay in replay_chunks(chunks, twin, config.data.notices):
            made = replay.features
            values = made if maps is None else map_inputs(maps, made)
            writer.write_table(pa.table(_columns(tx, values, with_label, parting), schema=schema))
            done += len(tx)
            noticed += int(np.count_nonzero(has_notice(tx, config.data.notices)))
            writing.step(len(tx))
    chosen = features is not config.features or features.max_state is not None
    if chosen and (capacities := left_open(features, program)):
        note(
            f"{', '.join(capacities)} have their defaults here, training chooses them from its "
            "rows; with the config.toml of a run the features are those of the run"
        )
    if not noticed and (fed := label_fed(features)):
        note(f"WARNING: no notice reaches {', '.join(fed)}: no label is known, or notices = 'none'")
    return {
        "out": str(out),
        "transactions": done,
        "terminals": len(found.terminals),
        "features": list(program.feature_names),
        "label": with_label,
    }


def _schema(program: Program, as_codes: bool, with_label: bool, with_part: bool) -> pa.Schema:
    import pyarrow as pa

    kinds = (pa.int64(), pa.string(), pa.uint64(), pa.timestamp("s"))
    fields = [*zip(COLUMNS, kinds, strict=True)]
    kind = pa.int8() if as_codes else pa.int16()
    fields += [(name, kind) for name in program.feature_names]
    if with_label:
        fields.append(("label", pa.int8()))
    if with_part:
        fields.append(("part", pa.string()))
    return pa.schema(fields)


def _columns(
    tx: Transactions,
    values: npt.NDArray[np.int16] | npt.NDArray[np.int8],
    with_label: bool,
    parting: Partition | None,
) -> list[pa.Array]:
    import pyarrow as pa

    names = pa.array(tx.terminals, pa.string())
    columns = [
        pa.array(tx.row),
        names.take(pa.array(tx.terminal)),
        pa.array(tx.id),
        pa.array(tx.t_mono_s.astype(np.int64) + EPOCH_UNIX_S).cast(pa.timestamp("s")),
        *(pa.array(np.ascontiguousarray(column)) for column in values.T),
    ]
    if with_label:
        columns.append(pa.array(tx.label, mask=tx.label < 0))
    if parting is not None:
        part = parting.part(tx)
        columns.append(pa.array(PARTS, pa.string()).take(pa.array(part, mask=part < 0)))
    return columns

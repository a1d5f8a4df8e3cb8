# SPDX-License-Identifier: Apache-2.0
"""Scores of a run's pack on the workstation: what the terminal would have answered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tinyfin import files
from tinyfin.data.readers import PIECE_ROWS, read_in_pieces, survey
from tinyfin.errors import InputError
from tinyfin.training.pieces import replay_in_pieces
from tinyfin.training.run import RunFolder
from tinyfin.twin import ACTIONS, FLAGS, Replay, Twin

if TYPE_CHECKING:
    import pyarrow as pa

    from tinyfin.config import Config

__all__ = ["GROUP_ROWS", "score"]

GROUP_ROWS = 1 << 20
"""Rows of a row group of the file of scores, whatever pieces they came in."""

Note = Callable[[str], None]


def score(
    run: RunFolder,
    paths: Sequence[str | Path],
    out: str | Path,
    *,
    warmup: Sequence[str | Path] = (),
    config_path: str | Path | None = None,
    skip_bad_rows: str | Path | None = None,
    keys: Sequence[bytes] = (),
    piece_rows: int = PIECE_ROWS,
    note: Note = lambda _: None,
    progress: Callable[[int, int], object] = lambda done, of: None,
) -> dict[str, Any]:
    """Score files with the run's pack: a Parquet file ``out``, one row per transaction in input
    order; returns counts.

    Columns: input_row (0-based, of the files; rows set aside are missing), score (0 to 1),
    score_q32, raw, action, reasons (texts), reason_ids, flags (names), flag_bits. Earlier
    transactions in ``warmup`` build the state, deliver their notices and are not reported. The
    mapping is the run's own unless ``config_path`` gives another. Files in order of time go through
    piece by piece, others as a whole; ``out`` is the same. Raises DataError, ModelError, PackError,
    and InputError when the schemas differ.
    """
    import pyarrow.parquet as pq

    config = _mapping(run, config_path)
    pack = run.pack_bytes()
    sources = [*warmup, *paths]
    found = survey(
        sources, config, labels=False, skip_bad_rows=skip_bad_rows, piece_rows=piece_rows,
        progress=note,
    )
    if not found.in_order:
        note("rows are not in order of time: all of them are held in memory")
    twin = Twin(pack, terminals=max(1, len(found.terminals)), keys=keys)
    if not twin.input_count:
        raise InputError(f"{run.pack}: the pack holds no network; run `tinyfin quantize` first")
    first = sum(found.file_rows[: len(warmup)])
    counts: Counter[str] = Counter()

    def tables() -> Iterator[pa.Table]:
        done = 0
        pieces = read_in_pieces(sources, config, found, piece_rows=piece_rows)
        for tx, replay in replay_in_pieces(pieces, twin, config.data.notices):
            own = tx.row >= first
            counts["warmup"] += int(np.count_nonzero(~own))
            for i, name in enumerate(ACTIONS):
                counts[name] += int(np.count_nonzero(replay.action[own] == i))
            done += len(tx)
            progress(done, found.rows)
            yield _table(replay, own, tx.row[own] - first)

    note(f"scoring {sum(found.file_rows) - first} transactions, {first} of warm-up before them")
    rows = 0
    schema = _table(_nothing(), np.zeros(0, bool), np.zeros(0, np.int64)).schema
    with (
        files.whole(out, make_folder=True) as unfinished,
        pq.ParquetWriter(unfinished, schema, compression="zstd") as writer,
    ):
        for group in _groups(tables(), schema):
            writer.write_table(group, row_group_size=GROUP_ROWS)
            rows += len(group)
    return {
        "transactions": rows,
        "warmup": counts["warmup"],
        "actions": {name: counts[name] for name in ACTIONS},
        "out": str(out),
    }


def _mapping(run: RunFolder, config_path: str | Path | None) -> Config:
    from tinyfin.config import load

    config = run.config()
    if config_path is None:
        return config
    other = load(config_path)
    if other.schema != config.schema:
        raise InputError(
            f"{config_path}: its schema {other.schema.name!r} is not the one the run was "
            "trained with; change the mapping only"
        )
    return other


def _groups(tables: Iterator[pa.Table], schema: pa.Schema) -> Iterator[pa.Table]:
    """The rows of all tables in groups of :data:`GROUP_ROWS`, the last one smaller."""
    import pyarrow as pa

    held = schema.empty_table()
    for table in tables:
        held = pa.concat_tables([held, table])
        while len(held) >= GROUP_ROWS:
            yield held.slice(0, GROUP_ROWS).combine_chunks()
            held = held.slice(GROUP_ROWS)
    if len(held):
        yield held.combine_chunks()


def _table(
    replay: Replay, own: npt.NDArray[np.bool_], input_row: npt.NDArray[np.int64]
) -> pa.Table:
    """The rows ``own`` of a replay as they are written."""
    import pyarrow as pa

    from tinyfin.features.catalogue import REASONS

    q32 = replay.score_q32[own]
    ids = replay.reasons[own]
    counts = replay.reason_count[own].astype(np.int32)
    flat = ids[np.arange(ids.shape[1])[None, :] < counts[:, None]]
    offsets = pa.array(np.r_[0, np.cumsum(counts)].astype(np.int32))
    texts = {int(i): REASONS.get(int(i), f"reason {i}") for i in np.unique(flat)}
    bits = replay.flags[own]
    named = {int(b): [name for bit, name in FLAGS.items() if int(b) & bit] for b in np.unique(bits)}
    return pa.table(
        {
            "input_row": pa.array(input_row),
            "score": pa.array(q32.astype(np.float64) / 2.0**32),
            "score_q32": pa.array(q32),
            "raw": pa.array(replay.raw[own]),
            "action": pa.DictionaryArray.from_arrays(
                pa.array(replay.action[own].astype(np.int8)), pa.array(ACTIONS)
            ),
            "reasons": pa.ListArray.from_arrays(
                offsets, pa.array([texts[int(i)] for i in flat], pa.string())
            ),
            "reason_ids": pa.ListArray.from_arrays(offsets, pa.array(flat, pa.uint16())),
            "flags": pa.array([named[int(b)] for b in bits], pa.list_(pa.string())),
            "flag_bits": pa.array(bits),
        }
    )


def _nothing() -> Replay:
    none = np.zeros(0)
    return Replay(
        features=np.zeros((0, 0), np.int16), outputs=np.zeros((0, 0), np.int8),
        score_q32=none.astype(np.uint32), raw=none.astype(np.int32), action=none.astype(np.uint8),
        reasons=np.zeros((0, 3), np.uint16), reason_count=none.astype(np.uint8),
        flags=none.astype(np.uint16),
    )  # fmt: skip

# SPDX-License-Identifier: Apache-2.0
"""Scores of a run's pack on the workstation: what the terminal would have answered."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tinyfin.data.events import event_stream
from tinyfin.data.transactions import Transactions
from tinyfin.errors import InputError
from tinyfin.training.run import RunFolder
from tinyfin.twin import ACTIONS, FLAGS, Replay, Twin

if TYPE_CHECKING:
    from tinyfin.config import Config

__all__ = ["Scored", "score", "write_scores"]

Note = Callable[[str], None]


@dataclass(frozen=True)
class Scored:
    """The replay of the rows that were asked for, in input order; warm-up rows are not in it."""

    replay: Replay
    rows: slice
    """Rows of the replay that are the data's; those before are warm-up."""
    warmup_rows: int
    input_row: npt.NDArray[np.int64]
    """0-based row of the data's files, one per row; rows that were set aside are missing."""

    def __len__(self) -> int:
        return int(self.rows.stop) - int(self.rows.start)


def score(
    run: RunFolder,
    paths: Sequence[str | Path],
    *,
    warmup: Sequence[str | Path] = (),
    config_path: str | Path | None = None,
    skip_bad_rows: str | Path | None = None,
    keys: Sequence[bytes] = (),
    note: Note = lambda _: None,
) -> Scored:
    """Score files with the run's pack.

    Earlier transactions in ``warmup`` build the state and deliver their notices. The mapping is the
    run's own unless ``config_path`` gives another. Raises DataError, ModelError, PackError, and
    InputError when the schemas differ.
    """
    from tinyfin.config import load
    from tinyfin.data.readers import read

    config = run.config()
    if config_path is not None:
        other = load(config_path)
        if other.schema != config.schema:
            raise InputError(
                f"{config_path}: its schema {other.schema.name!r} is not the one the run was "
                "trained with; change the mapping only"
            )
        config = other
    pack = run.pack_bytes()
    tx = read([*warmup, *paths], config, skip_bad_rows=skip_bad_rows, progress=note)
    own = _read_again(paths, config, skip_bad_rows is not None) if warmup else tx
    first = len(tx) - len(own)
    twin = Twin(pack, terminals=max(1, len(tx.terminals)), keys=keys)
    if not twin.input_count:
        raise InputError(f"{run.pack}: the pack holds no network; run `tinyfin quantize` first")
    stream = event_stream(tx, config.data.notices)
    note(f"scoring {len(tx) - first} transactions, {first} of warm-up before them")
    return Scored(twin.run(tx, stream), slice(first, len(tx)), first, own.row)


def _read_again(paths: Sequence[str | Path], config: Config, skip: bool) -> Transactions:
    """The data without its warm-up; what is bad in it has been said and set aside already."""
    from tinyfin.data.readers import read

    with tempfile.TemporaryDirectory() as folder:
        aside = Path(folder) / "bad.csv" if skip else None
        return read(list(paths), config, skip_bad_rows=aside)


def write_scores(scored: Scored, path: str | Path) -> dict[str, Any]:
    """Write one Parquet row per input transaction, in input order; returns counts.

    Columns: input_row, score (0 to 1), score_q32, raw, action, reasons (texts), reason_ids, flags
    (names), flag_bits.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    from tinyfin.features.catalogue import REASONS

    replay, rows = scored.replay, scored.rows
    q32 = replay.score_q32[rows]
    ids = replay.reasons[rows]
    counts = replay.reason_count[rows].astype(np.int32)
    flat = ids[np.arange(ids.shape[1])[None, :] < counts[:, None]]
    offsets = pa.array(np.r_[0, np.cumsum(counts)].astype(np.int32))
    texts = {int(i): REASONS.get(int(i), f"reason {i}") for i in np.unique(flat)}
    bits = replay.flags[rows]
    named = {int(b): [name for bit, name in FLAGS.items() if int(b) & bit] for b in np.unique(bits)}
    table = pa.table(
        {
            "input_row": pa.array(scored.input_row),
            "score": pa.array(q32.astype(np.float64) / 2.0**32),
            "score_q32": pa.array(q32),
            "raw": pa.array(replay.raw[rows]),
            "action": pa.DictionaryArray.from_arrays(
                pa.array(replay.action[rows].astype(np.int8)), pa.array(ACTIONS)
            ),
            "reasons": pa.ListArray.from_arrays(
                offsets, pa.array([texts[int(i)] for i in flat], pa.string())
            ),
            "reason_ids": pa.ListArray.from_arrays(offsets, pa.array(flat, pa.uint16())),
            "flags": pa.array([named[int(b)] for b in bits], pa.list_(pa.string())),
            "flag_bits": pa.array(bits),
        }
    )
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, compression="zstd")
    action = replay.action[rows]
    return {
        "transactions": len(scored),
        "warmup": scored.warmup_rows,
        "actions": {name: int(np.count_nonzero(action == i)) for i, name in enumerate(ACTIONS)},
        "out": str(path),
    }

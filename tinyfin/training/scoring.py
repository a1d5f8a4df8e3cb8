# SPDX-License-Identifier: Apache-2.0
"""Scores of a run's pack on the workstation: what the terminal would have answered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import numpy as np
import numpy.typing as npt

from tinyfin import files
from tinyfin.data.containers import writes_csv
from tinyfin.data.events import Notices
from tinyfin.data.memory_tables import Sources, as_files
from tinyfin.data.readers import CHUNK_ROWS, read_chunks, survey
from tinyfin.data.tables import about_rows_of
from tinyfin.data.transactions import Transactions
from tinyfin.errors import InputError
from tinyfin.pack.container import parse_pack
from tinyfin.progress import stage
from tinyfin.results.run import NoticeStatus
from tinyfin.training.capacities import CapacityRows, capacities, capacity_lines
from tinyfin.training.chunks import replay_chunks
from tinyfin.training.missing_fields import require_fields
from tinyfin.training.notices import STATUSES, Feed, KnownLabels
from tinyfin.training.run_folder import RunFolder, open_run
from tinyfin.training.score_table import ScoreTable, carried, table_writer
from tinyfin.twin import ACTIONS, Replay, Twin

if TYPE_CHECKING:
    import pyarrow as pa

    from tinyfin.config import Config

__all__ = ["GROUP_ROWS", "Scored", "score"]

GROUP_ROWS = 1 << 20
"""Rows of a row group of the file of scores, whatever chunks they came in."""

Note = Callable[[str], None]
_ROW_BYTES = 8
"""Less than a row of scores takes."""


class _Labelled(TypedDict):
    transactions: int
    frauds: int
    expected_frauds: float | None


class Scored(TypedDict):
    """What :func:`score` counted; frauds are expected only where scores are probabilities."""

    transactions: int
    warmup: int
    actions: dict[str, int]
    expected_frauds: float | None
    labelled: _Labelled
    notices: dict[str, object]
    fields: dict[str, object]
    capacities: dict[str, object]
    model_id: str
    pack_id: str
    out: str


def score(
    run: RunFolder | str | Path,
    data: Sources,
    out: str | Path,
    *,
    warmup: Sources = (),
    config_path: str | Path | None = None,
    notices: Notices | None = None,
    extras: Collection[str] = (),
    skip_bad_rows: str | Path | None = None,
    keys: Sequence[bytes] = (),
    chunk_rows: int = CHUNK_ROWS,
    note: Note = lambda _: None,
) -> Scored:
    """Score transactions with the run's pack: a file ``out``, one row per transaction in input
    order; returns counts. CSV when its name ends in .csv, else Parquet. ``data`` and ``warmup`` are
    files, or tables of pandas, Polars or Arrow.

    Columns: input_row (0-based, of the files; rows set aside are missing), score (0 to 1),
    score_q32, raw, action, reasons (texts), reason_ids, flags (names), flag_bits, notices (a name
    of :data:`~tinyfin.training.notices.STATUSES`), and of
    :data:`~tinyfin.training.score_table.EXTRAS` and the schema's fields those in ``extras``; times
    are in UTC. Earlier transactions in
    ``warmup`` build the state, deliver their notices and are not reported. The mapping is the run's
    own unless ``config_path`` gives another; ``notices`` takes the place of its own. Files in order
    of time go through chunk by chunk, others as a whole; ``out`` is the same. Raises DataError,
    ModelError, PackError, and InputError when the schemas differ.
    """
    run = open_run(run)
    with as_files(warmup) as before, as_files(data) as paths:
        return _score(
            run,
            paths,
            out,
            before,
            config_path,
            notices,
            extras,
            skip_bad_rows,
            keys,
            chunk_rows,
            note,
        )


def _score(
    run: RunFolder,
    paths: Sequence[Path],
    out: str | Path,
    warmup: Sequence[Path],
    config_path: str | Path | None,
    notices: Notices | None,
    extras: Collection[str],
    skip_bad_rows: str | Path | None,
    keys: Sequence[bytes],
    chunk_rows: int,
    note: Note,
) -> Scored:
    config = _mapping(run, config_path)
    as_csv = writes_csv(out)
    extras, fields = carried(extras, config.schema)
    given = config.data.notices if notices is None else notices
    feed = Feed.of(run)
    pack = parse_pack(run.pack_bytes(), keys=keys)
    sources = [*warmup, *paths]
    files.require_space(out, _ROW_BYTES * about_rows_of(paths), "the scores")
    found = survey(
        sources,
        config,
        labels=False,
        skip_bad_rows=skip_bad_rows,
        chunk_rows=chunk_rows,
        progress=note,
    )
    if not found.in_order:
        note("rows are not in order of time: all of them are held in memory")
    twin = Twin(pack.data, terminals=max(1, len(found.terminals)), keys=keys)
    if not twin.input_count:
        raise InputError(f"{run.pack}: the pack holds no network; run `tinyfin quantize` first")
    first = sum(found.file_rows[: len(warmup)])
    known = KnownLabels(len(found.terminals), given)
    identity = {"model_id": pack.model_id.hex(), "pack_id": pack.pack_id.hex()}
    shape = ScoreTable(extras, fields, as_csv, identity)
    counts = _Counts()
    seen: list[CapacityRows] = []

    def tables() -> Iterator[pa.Table]:
        chunks = read_chunks(sources, config, found, chunk_rows=chunk_rows)
        for tx, replay in replay_chunks(chunks, twin, given):
            seen.append(CapacityRows.of(tx, given))
            own = tx.row >= first
            status = feed.status(given, *known.ages(tx))
            counts.add(tx, replay, status, own)
            scoring.step(len(tx))
            yield shape.of(tx, replay, own, first, status)

    fed = require_fields(pack.program, found.seen, run, str(run.path), note)
    note(f"scoring {sum(found.file_rows) - first} transactions, {first} of warm-up before them")
    rows = 0
    with (
        stage("scoring", found.rows, "rows") as scoring,
        files.whole(out, make_folder=True) as unfinished,
        table_writer(unfinished, shape.schema, as_csv=as_csv) as writer,
    ):
        for group in _groups(tables(), shape.schema):
            writer.write_table(group, GROUP_ROWS)
            rows += len(group)
    if (warning := feed.warning(given, counts.notices, "were scored")) is not None:
        note(warning)
    full = capacities(pack.program, twin.counters(), CapacityRows.joined(seen))
    for line in capacity_lines(full):
        note(line)
    calibrated = pack.meta.get("score") == "probability"
    return {
        "transactions": rows,
        "warmup": counts.warmup,
        "actions": dict(counts.actions),
        "expected_frauds": counts.expected if calibrated else None,
        "labelled": {
            "transactions": counts.labelled,
            "frauds": counts.frauds,
            "expected_frauds": counts.expected_of_labelled if calibrated else None,
        },
        "notices": {
            "trained": feed.notices,
            "given": given,
            "features": list(feed.features),
            **{name: counts.notices[name] for name in STATUSES},
        },
        "fields": fed.as_json(),
        "capacities": full.as_json(),
        "model_id": identity["model_id"],
        "pack_id": identity["pack_id"],
        "out": str(out),
    }


class _Counts:
    """What the reported rows sum up to."""

    def __init__(self) -> None:
        self.warmup = self.labelled = self.frauds = 0
        self.expected = self.expected_of_labelled = 0.0
        self.actions: Counter[str] = Counter()
        self.notices: Counter[NoticeStatus] = Counter()

    def add(
        self,
        tx: Transactions,
        replay: Replay,
        status: npt.NDArray[np.int8],
        own: npt.NDArray[np.bool_],
    ) -> None:
        """The rows ``own`` of a chunk; the others are warm-up."""
        self.warmup += int(np.count_nonzero(~own))
        for i, action in enumerate(ACTIONS):
            self.actions[action] += int(np.count_nonzero(replay.action[own] == i))
        for i, kind in enumerate(STATUSES):
            self.notices[kind] += int(np.count_nonzero(status[own] == i))
        p, label = replay.score_q32[own] / 2.0**32, tx.label[own]
        self.expected += float(p.sum())
        self.expected_of_labelled += float(p[label >= 0].sum())
        self.labelled += int(np.count_nonzero(label >= 0))
        self.frauds += int(np.count_nonzero(label == 1))


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

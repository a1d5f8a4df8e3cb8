# SPDX-License-Identifier: Apache-2.0
"""Scores of a run's pack on the workstation: what the terminal would have answered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import tee
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypedDict

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
from tinyfin.features.catalogue.reasons import own_texts
from tinyfin.pack.container import Pack, parse_pack
from tinyfin.progress import stage
from tinyfin.results.run import MissingFields, NoticeStatus
from tinyfin.training.capacities import CapacityRows, capacities, capacity_lines
from tinyfin.training.chunks import replay_chunks
from tinyfin.training.drift import DriftCount, far_warning
from tinyfin.training.missing_fields import require_fields
from tinyfin.training.notices import STATUSES, Feed, KnownLabels
from tinyfin.training.reference import reference_of
from tinyfin.training.run_folder import RunFolder, open_run
from tinyfin.training.score_table import ScoreTable, carried, table_writer
from tinyfin.training.terminal_drift import baseline_line
from tinyfin.twin import ADVICE, FLAGS, Replay, Twin

if TYPE_CHECKING:
    import pyarrow as pa

    from tinyfin.config import Config

__all__ = ["GROUP_ROWS", "Scored", "ScoredPart", "Scoring", "score"]

GROUP_ROWS = 1 << 20
"""Rows of a row group of the file of scores, whatever chunks they came in."""

Note = Callable[[str], None]
_ROW_BYTES = 8
"""Less than a row of scores takes."""
_MISSING, _OTHER = STATUSES.index("missing"), STATUSES.index("other")
_COLD = next(bit for bit, name in FLAGS.items() if name == "COLD")


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
    as_csv = writes_csv(out)
    extras, fields = carried(extras, run.config().schema)
    files.require_space(out, _ROW_BYTES * about_rows_of(paths), "the scores")
    scoring = Scoring.open(
        run,
        paths,
        warmup=warmup,
        config_path=config_path,
        notices=notices,
        skip_bad_rows=skip_bad_rows,
        keys=keys,
        chunk_rows=chunk_rows,
        note=note,
    )
    reference = reference_of(run, scoring.twin, scoring.pack.calibration)
    drift = None if reference is None else DriftCount(reference, run.maps(), scoring.feed.features)
    shape = ScoreTable(extras, fields, as_csv, scoring.identity, own_texts(scoring.pack.meta))

    seen: list[CapacityRows] = []
    section = scoring.pack.drift
    counted = [np.zeros(h.bins, np.int64) for h in section.histograms] if section else []

    def tables() -> Iterator[pa.Table]:
        for part in scoring.parts():
            seen.append(CapacityRows.of(part.tx, scoring.given))
            if drift is not None:
                drift.add(part.tx, part.replay, part.own, part.lacking)
            if section is not None:
                answers, own = part.replay, part.own
                found = section.count(answers.features[own], answers.score_q32[own])
                for total, more in zip(counted, found, strict=True):
                    total += more
            yield shape.of(part.tx, part.replay, part.own, scoring.first, part.status)

    rows = 0
    with (
        files.whole(out, make_folder=True) as unfinished,
        table_writer(unfinished, shape.schema, as_csv=as_csv) as writer,
    ):
        for group in _groups(tables(), shape.schema):
            writer.write_table(group, GROUP_ROWS)
            rows += len(group)
    counts, feed = scoring.counts, scoring.feed
    for warning in (
        feed.warning(scoring.given, counts.notices, "were scored"),
        None if drift is None else far_warning(drift, scoring.config.monitor),
    ):
        if warning is not None:
            note(warning)
    if section is not None:
        note(baseline_line(section, scoring.pack.meta.get("features", ()), counted))
    full = capacities(scoring.pack.program, scoring.twin.counters(), CapacityRows.joined(seen))
    for line in capacity_lines(full):
        note(line)
    return {
        "transactions": rows,
        "warmup": counts.warmup,
        "actions": dict(counts.actions),
        "expected_frauds": counts.expected if scoring.calibrated else None,
        "labelled": {
            "transactions": counts.labelled,
            "frauds": counts.frauds,
            "expected_frauds": counts.expected_of_labelled if scoring.calibrated else None,
        },
        "notices": {
            "trained": feed.notices,
            "given": scoring.given,
            "features": list(feed.features),
            **{name: counts.notices[name] for name in STATUSES},
        },
        "fields": scoring.fed.as_json(),
        "capacities": full.as_json(),
        "model_id": scoring.identity["model_id"],
        "pack_id": scoring.identity["pack_id"],
        "out": str(out),
    }


class ScoredPart(NamedTuple):
    """A chunk of transactions, and what the pack answered."""

    tx: Transactions
    replay: Replay
    own: npt.NDArray[np.bool_]
    """Rows that are reported; the others are warm-up."""
    status: npt.NDArray[np.int8]
    """Index into :data:`~tinyfin.training.notices.STATUSES`."""

    @property
    def lacking(self) -> npt.NDArray[np.bool_]:
        """Rows without the notices of the calibration."""
        return np.isin(self.status, (_MISSING, _OTHER))


@dataclass(frozen=True)
class Scoring:
    """Transactions that are about to go through the pack of a run."""

    config: Config
    """With the mapping of the transactions."""
    pack: Pack
    twin: Twin
    feed: Feed
    given: Notices
    """Which labels reach the terminal."""
    fed: MissingFields
    terminals: tuple[str, ...]
    first: int
    """Input rows before it are warm-up."""
    counts: Counts
    keys: Sequence[bytes]
    """Public keys that are trusted."""
    chunks: Callable[[], Iterator[Transactions]]
    """Reads all rows again, warm-up first."""
    _rows: int

    @classmethod
    def open(
        cls,
        run: RunFolder,
        paths: Sequence[Path],
        *,
        warmup: Sequence[Path] = (),
        config_path: str | Path | None = None,
        notices: Notices | None = None,
        skip_bad_rows: str | Path | None = None,
        keys: Sequence[bytes] = (),
        chunk_rows: int = CHUNK_ROWS,
        note: Note = lambda _: None,
    ) -> Scoring:
        """Read the files once; :func:`score` has arguments and errors."""
        config = _mapping(run, config_path)
        given = config.data.notices if notices is None else notices
        feed = Feed.of(run)
        pack = parse_pack(run.pack_bytes(), keys=keys)
        sources = [*warmup, *paths]
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
        fed = require_fields(pack.program, found.seen, run, str(run.path), note)
        note(f"scoring {sum(found.file_rows) - first} transactions, {first} of warm-up before them")
        return cls(
            config,
            pack,
            twin,
            feed,
            given,
            fed,
            tuple(found.terminals),
            first,
            Counts(),
            keys,
            lambda: read_chunks(sources, config, found, chunk_rows=chunk_rows),
            found.rows,
        )

    @property
    def calibrated(self) -> bool:
        """Whether scores are probabilities."""
        return self.pack.meta.get("score") == "probability"

    @property
    def identity(self) -> dict[str, str]:
        """Of model and pack."""
        return {"model_id": self.pack.model_id.hex(), "pack_id": self.pack.pack_id.hex()}

    def parts(self) -> Iterator[ScoredPart]:
        """All rows, chunk by chunk; ``counts`` follows. Only once: the twin keeps its state."""
        return self._parts(self.chunks())

    def parts_with(self, other: Twin) -> Iterator[tuple[ScoredPart, Replay]]:
        """:meth:`parts`, each with what another pack of the same schema answers, whose twin was
        made for as many terminals."""
        own, its = tee(self.chunks())
        replays = (replay for _, replay in replay_chunks(its, other, self.given))
        for part in self._parts(own):
            yield part, next(replays)

    def begun_with(self, twin: Twin) -> Iterator[Replay]:
        """What a pack answers whose state begins, cold, with the rows that are reported: a replay
        for each chunk that has such rows, of those alone."""
        reported = (tx.take(tx.row >= self.first) for tx in self.chunks())
        return (
            replay
            for _, replay in replay_chunks((tx for tx in reported if len(tx)), twin, self.given)
        )

    def _parts(self, chunks: Iterator[Transactions]) -> Iterator[ScoredPart]:
        known = KnownLabels(len(self.terminals), self.given)
        with stage("scoring", self._rows, "rows") as scoring:
            for tx, replay in replay_chunks(chunks, self.twin, self.given):
                status = self.feed.status(self.given, *known.ages(tx))
                part = ScoredPart(tx, replay, tx.row >= self.first, status)
                self.counts.add(part)
                scoring.step(len(tx))
                yield part


class Counts:
    """What the reported rows sum up to."""

    def __init__(self) -> None:
        self.warmup = self.labelled = self.frauds = 0
        self.expected = self.expected_of_labelled = 0.0
        self.actions: Counter[str] = Counter()
        self.notices: Counter[NoticeStatus] = Counter()
        self.cold = 0

    def add(self, part: ScoredPart) -> None:
        """The reported rows of a chunk."""
        tx, replay, own, status = part
        self.warmup += int(np.count_nonzero(~own))
        for i, action in enumerate(ADVICE):
            self.actions[action] += int(np.count_nonzero(replay.advice[own] == i))
        for i, kind in enumerate(STATUSES):
            self.notices[kind] += int(np.count_nonzero(status[own] == i))
        self.cold += int(np.count_nonzero(replay.flags[own] & _COLD))
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

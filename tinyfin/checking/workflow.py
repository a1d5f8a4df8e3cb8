# SPDX-License-Identifier: Apache-2.0
"""Files of transactions, looked at before a model is made of them or scores them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from tinyfin.checking.checks import checks_of
from tinyfin.config import Config, as_config
from tinyfin.data.cards import CardGuard
from tinyfin.data.health import DAY_S, Health
from tinyfin.data.memory_tables import Sources, as_files, shown_name
from tinyfin.data.readers import CHUNK_ROWS, read_chunks, survey
from tinyfin.data.tables import about_rows, column_names, read_table_chunks
from tinyfin.data.transactions import Transactions, format_time
from tinyfin.errors import DataError, ModelError
from tinyfin.monitoring.checks import worst
from tinyfin.progress import stage
from tinyfin.results.check import (
    Against,
    CardColumn,
    CheckedData,
    DataCheck,
    LabelDelay,
    LabelFacts,
)
from tinyfin.results.monitor import ColumnDrift
from tinyfin.results.reference import Reference
from tinyfin.training.drift import DriftCount
from tinyfin.training.label_delays import reports_end_of, slower_of
from tinyfin.training.reference import kept_reference
from tinyfin.training.requirements import fed
from tinyfin.training.run_folder import RunFolder, file_facts, open_run

__all__ = ["check"]

Note = Callable[[str], None]
_LABELS: tuple[Literal["genuine", "fraud"], ...] = ("genuine", "fraud")
_UNSEEN = "not seen in training"
_TIMES = ("time", "local_time", "outcome_time", "label_time")
"""Milliseconds have as many digits as short card numbers."""


def check(
    data: Sources,
    config: Config | str | Path | None = None,
    *,
    against: RunFolder | str | Path | None = None,
    skip_bad_rows: str | Path | None = None,
    chunk_rows: int = CHUNK_ROWS,
    note: Note = lambda _: None,
) -> DataCheck:
    """Look at files of transactions, or tables of pandas, Polars or Arrow.

    ``config`` as :func:`tinyfin.train` takes it; without one, that of the run ``against``, whose
    training the fields are compared with. Bad rows are counted, and written to ``skip_bad_rows`` if
    it is given. Reads the files three times, in chunks: all columns for card numbers, then every
    row, then the good ones. Raises DataError for what no command could read, card numbers in a
    mapped column among it, ConfigError, and ModelError for a run that has kept no fields.
    """
    run = None if against is None else open_run(against)
    settings = run.config() if run is not None and config is None else as_config(config)
    with as_files(data) as paths:
        cards = _card_columns(paths, settings)
        found = survey(
            paths,
            settings,
            labels=False,
            skip_bad_rows=skip_bad_rows,
            go_on=True,
            chunk_rows=chunk_rows,
            progress=note,
        )
        health, known = Health(settings), _KnownLabels()
        drift = None if run is None else _drift_of(run)
        with stage("checking", found.rows, "rows") as checking:
            for tx in read_chunks(paths, settings, found, chunk_rows=chunk_rows):
                health.add(tx)
                known.add(tx)
                if drift is not None:
                    every = np.ones(len(tx), np.bool_)
                    drift.add(tx, None, every, ~every)
                checking.step(len(tx))
        out = DataCheck(
            state="ok",
            checks=[],
            failed=0,
            warnings=0,
            data=CheckedData(
                files=file_facts(paths),
                rows=found.rows,
                bad_rows=sum(found.file_rows) - found.rows,
                terminals=len(found.terminals),
                from_=format_time(health.first_s),
                to=format_time(health.last_s),
            ),
            bad_rows=dict(found.bad),
            doubles=health.doubles(len(found.twice.rows)),
            missing=health.missing(fed(settings, paths)),
            codes=health.unknown_codes(),
            gaps=health.gaps(),
            silent=health.silent(),
            days=health.days(),
            cards=cards,
            remarks=found.seen.remarks(),
        )
    if (labels := known.facts(health.last_s)) is not None:
        out.labels = labels
    if found.joined is not None:
        out.label_files = list(found.joined.files)
    out.label_files_gone = [
        one.file for one in settings.labels.files.values() if not Path(one.file).is_file()
    ]
    if run is not None and drift is not None:
        out.against = _against(run, drift.measure(settings.monitor))
    out.checks = checks_of(out)
    out.state = worst(out.checks)
    out.failed, out.warnings = (
        sum(one.state == state for one in out.checks) for state in ("failed", "warning")
    )
    return out


def _against(run: RunFolder, columns: list[ColumnDrift]) -> Against:
    unseen = {c.name: c.found[c.bins.index(_UNSEEN)] for c in columns if _UNSEEN in c.bins}
    return Against(run=run.name, columns=columns, unseen=unseen)


def _drift_of(run: RunFolder) -> DriftCount:
    """The fields that the model of a run reads; inputs and scores are `tinyfin monitor`'s."""
    kept = kept_reference(run)
    if kept is None or kept.fields is None:
        raise ModelError(
            f"{run.path}: an earlier tinyfin made it, and it kept nothing of its fields; train it "
            "again, or use `tinyfin monitor`"
        )
    fields = Reference(
        rows=kept.rows, since=kept.since, until=kept.until, inputs=[], fields=kept.fields
    )
    return DriftCount(fields, [])


def _card_columns(paths: Sequence[Path], config: Config) -> list[CardColumn]:
    """Columns that seem to hold card numbers, mapped or not."""
    found: dict[tuple[Path, str], None] = {}
    mapping = config.data.resolved(config.schema)
    timed = [mapping[key] for key in _TIMES if key in mapping]
    times = {name for one in timed for name in (one.column, *(one.columns or ()))}
    for path in paths:
        names = column_names(path, config.data)
        once = {name: name for name in names if names.count(name) == 1 and name not in times}
        guard = CardGuard(str(path))
        with stage(f"looking for card numbers in {path}", about_rows(path), "rows") as looking:
            for table, _ in read_table_chunks(path, once, True, CHUNK_ROWS, config.data):
                for name in table.column_names:
                    if (path, name) in found:
                        continue
                    try:
                        guard.check_table(table.select([name]))
                    except DataError:
                        found[path, name] = None
                looking.step(table.num_rows)
    return [CardColumn(file=shown_name(path), column=name) for path, name in found]


class _KnownLabels:
    """Time, label and when it was known, of every row with a label (9 bytes)."""

    def __init__(self) -> None:
        self._parts: list[tuple[npt.NDArray[np.integer], ...]] = []
        self._unlabelled = 0
        self._times: list[npt.NDArray[np.uint32]] = []

    def add(self, tx: Transactions) -> None:
        """The next rows."""
        rows = tx.label >= 0
        self._unlabelled += int(np.count_nonzero(~rows))
        self._parts.append((tx.t_mono_s[rows], tx.label_known_s[rows], tx.label[rows]))
        self._times.append(tx.t_mono_s)

    def facts(self, last_s: int) -> LabelFacts | None:
        """What is to be said of the labels; None without any. ``last_s``: of the transactions."""
        t, known_s, label = (np.concatenate(x) for x in zip(*self._parts, strict=True))
        if not len(label):
            return None
        delay = (known_s.astype(np.int64) - t) / DAY_S
        known = known_s.astype(np.int64) <= last_s
        horizon_s = slower_of(t[known], known_s[known], label[known].astype(np.int8), last_s)
        young = sum(int(np.count_nonzero(x > last_s - horizon_s)) for x in self._times)
        ended_s = reports_end_of(t, known_s, label.astype(np.int8))
        return LabelFacts(
            frauds=int(np.count_nonzero(label == 1)),
            genuine=int(np.count_nonzero(label == 0)),
            unlabelled=self._unlabelled,
            delay_days={
                kind: _delay(delay[label == _LABELS.index(kind)])
                for kind in _LABELS
                if np.any(label == _LABELS.index(kind))
            },
            horizon_days=horizon_s / DAY_S,
            too_recent=young / max(1, sum(map(len, self._times))),
            reports_end=None if ended_s is None else format_time(ended_s),
        )


def _delay(days: npt.NDArray[np.float64]) -> LabelDelay:
    median, most_of, most = np.quantile(days, [0.5, 0.9, 1]).tolist()
    return LabelDelay(rows=len(days), median=median, nine_of_ten=most_of, most=most)

# SPDX-License-Identifier: Apache-2.0
"""Later transactions through the fixed pack of a run, and what that says of the pack."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from tinyfin.config import Monitor
from tinyfin.data import memory_tables
from tinyfin.data.events import Notices
from tinyfin.data.memory_tables import Sources, as_files
from tinyfin.data.transactions import format_time
from tinyfin.documents import first_fault
from tinyfin.errors import ConfigError, DataError, ModelError
from tinyfin.monitoring.checks import checks_of, worst
from tinyfin.monitoring.labels import CalibrationRows, LabelledRows
from tinyfin.progress import stage
from tinyfin.results.metrics import DecisionFacts
from tinyfin.results.monitor import Bounded, DayFigures, MonitoredData, Monitoring, WeekFigures
from tinyfin.results.reference import Reference
from tinyfin.training.bootstrap import wilson
from tinyfin.training.confusion import share
from tinyfin.training.drift import DriftCount, week_begin_s, week_of
from tinyfin.training.notices import STATUSES
from tinyfin.training.reference import kept_reference, reference_of, reference_of_data
from tinyfin.training.run_folder import RunFolder, file_facts, open_run
from tinyfin.training.scoring import ScoredPart, Scoring

__all__ = ["calibration_rows", "monitor"]

Note = Callable[[str], None]
DAY_S = 86_400


def monitor(
    run: RunFolder | str | Path,
    data: Sources,
    *,
    warmup: Sources = (),
    config_path: str | Path | None = None,
    notices: Notices | None = None,
    skip_bad_rows: str | Path | None = None,
    keys: Sequence[bytes] = (),
    limits: Mapping[str, object] | None = None,
    as_of_s: int | None = None,
    note: Note = lambda _: None,
) -> Monitoring:
    """Score transactions as :func:`tinyfin.training.scoring.score` does, and compare them with the
    rows that the model was made from.

    ``limits``: keys of [monitor] that take the place of the configuration's. ``as_of_s``: labels
    that became known later are not used; the last transaction if None. Raises what ``score``
    raises, ModelError for a run that has kept no reference, DataError without a transaction.
    """
    run = open_run(run)
    metrics, decision = run.quantized()
    with as_files(warmup) as before, as_files(data) as paths:
        scoring = Scoring.open(
            run,
            paths,
            warmup=before,
            config_path=config_path,
            notices=notices,
            skip_bad_rows=skip_bad_rows,
            keys=keys,
            note=note,
        )
        reference = _reference(run, scoring, note)
        bounds = _limits(scoring.config.monitor, limits or {})
        drift = DriftCount(reference, run.maps(), scoring.feed.features)
        volume, labelled = _Volume(len(scoring.terminals)), LabelledRows()
        for part in scoring.parts():
            drift.add(part.tx, part.replay, part.own, part.lacking)
            volume.add(part)
            labelled.add(part)
        files = file_facts(paths)
    if not volume.rows.sum():
        raise DataError("there are no transactions; nothing can be said of them")
    budgets = decision.budgets_per_1000()
    with stage("figures of the labels"):
        labels = labelled.figures(
            volume.last_s if as_of_s is None else as_of_s,
            round(run.facts().split.label_horizon_days * DAY_S),
            metrics,
            budgets=budgets,
            calibrated=scoring.calibrated,
            learned=calibration_rows(run, scoring),
        )
    counts = scoring.counts
    found = Monitoring(
        run=run.name,
        model_id=scoring.identity["model_id"],
        pack_id=scoring.identity["pack_id"],
        state="ok",
        checks=[],
        data=MonitoredData(
            files=files,
            rows=int(volume.rows.sum()),
            warmup=counts.warmup,
            terminals=int(np.count_nonzero(volume.rows)),
            from_=format_time(volume.first_s),
            to=format_time(volume.last_s),
        ),
        limits=bounds.model_dump(),
        alerts_per_1000=volume.alerts_per_1000(_usual_alerts(run, decision)),
        budget_per_1000=budgets,
        notices={kind: counts.notices[kind] for kind in STATUSES},
        cold_rows=counts.cold,
        weeks=volume.weeks(drift),
        days=volume.by_day(),
        trained_rows=reference.rows,
        calibration_rows=run.facts().split.calibration.rows,
        columns=drift.measure(bounds),
    )
    if labels is not None:
        found.labels = labels
    found.checks = checks_of(found, bounds, scoring.feed.features)
    found.state = worst(found.checks)
    return found


def _limits(section: Monitor, given: Mapping[str, object]) -> Monitor:
    try:
        return Monitor.model_validate(section.model_dump() | dict(given))
    except ValidationError as error:
        raise ConfigError(f"monitor.{first_fault(error)}") from error


def _reference(run: RunFolder, scoring: Scoring, note: Note) -> Reference:
    """What the run has kept; if it has kept none, what the files that it was trained on say, or
    else its slices."""
    table = scoring.pack.calibration
    if kept_reference(run) is None:
        known = run.facts().data.files
        paths = [Path(file.path) for file in known]
        there = all(path.is_file() for path in paths) and memory_tables.NAME not in map(str, paths)
        if there and [f.sha256 for f in file_facts(paths)] == [f.sha256 for f in known]:
            note(f"{run.path}: an earlier tinyfin made it; its reference is computed from its data")
            return reference_of_data(run, paths, scoring.twin, table)
        note(
            f"{run.path}: an earlier tinyfin made it, and the files that it was trained on are not "
            "there: inputs are compared with the calibration rows alone, and fields not at all"
        )
    found = reference_of(run, scoring.twin, table)
    if found is None:
        raise ModelError(
            f"{run.path}: has neither {Reference.NAME} nor slices.npz, and the files that it was "
            "trained on are not there, so nothing is known of its training; copy the whole run "
            "here, or train it again"
        )
    return found


def calibration_rows(run: RunFolder, scoring: Scoring) -> CalibrationRows | None:
    """The rows that the run's probabilities were fitted to; None where it keeps none, or its scores
    are no probabilities."""
    if not scoring.calibrated or not (run.path / "slices.npz").is_file():
        return None
    names = ("calibration", "calibration_label", "calibration_terminal")
    codes, label, terminal = run.slices(*names).values()
    return CalibrationRows(scoring.twin.infer(codes)[1], label == 1, terminal)


def _usual_alerts(run: RunFolder, decision: DecisionFacts) -> float:
    """Alerts per 1,000 of the calibration rows."""
    rows = run.facts().split.calibration.rows
    return 1000.0 * decision.calibration.alerts / rows if rows else float("nan")


class _Volume:
    """Transactions and alerts by terminal and by day."""

    def __init__(self, terminals: int) -> None:
        self.rows, self._alerts = (np.zeros(max(terminals, 1), np.int64) for _ in range(2))
        self._days: dict[str, Counter[int]] = {"rows": Counter(), "alerts": Counter()}
        self._weeks: dict[str, Counter[int]] = {"rows": Counter(), "alerts": Counter()}
        self.first_s, self.last_s = 2**32, 0

    def add(self, part: ScoredPart) -> None:
        """The reported rows of a chunk."""
        t, terminal = part.tx.t_mono_s[part.own], part.tx.terminal[part.own]
        if not len(t):
            return
        alert = part.replay.action[part.own] > 0
        self.first_s = min(self.first_s, int(t.min()))
        self.last_s = max(self.last_s, int(t.max()))
        self.rows += np.bincount(terminal, minlength=len(self.rows))
        self._alerts += np.bincount(terminal[alert], minlength=len(self.rows))
        for what, chosen in (("rows", slice(None)), ("alerts", alert)):
            _count(self._days[what], t[chosen].astype(np.int64) // DAY_S)
            _count(self._weeks[what], week_of(t[chosen]))

    def alerts_per_1000(self, usual: float) -> Bounded:
        """With the interval that lets alerts of a terminal come together."""
        value, (low, high) = share(self._alerts, self.rows)
        return Bounded(value=1000 * value, interval=(1000 * low, 1000 * high), expected=usual)

    def by_day(self) -> list[DayFigures]:
        """All days from the first to the last."""
        rows, alerts = self._days["rows"], self._days["alerts"]
        return [
            DayFigures(day=format_time(day * DAY_S)[:10], rows=rows[day], alerts=alerts[day])
            for day in range(min(rows), max(rows) + 1)
        ]

    def weeks(self, drift: DriftCount) -> list[WeekFigures]:
        """The weeks that ``drift`` has, too."""
        out = []
        for week in sorted(drift.weeks):
            rows, alerts = self._weeks["rows"][week], self._weeks["alerts"][week]
            low, high = wilson(alerts / rows, rows)
            out.append(
                WeekFigures(
                    begin=format_time(week_begin_s(week))[:10],
                    rows=rows,
                    alerts=alerts,
                    alerts_per_1000=1000 * alerts / rows,
                    interval=(1000 * low, 1000 * high),
                )
            )
        return out


def _count(counter: Counter[int], values: npt.NDArray[np.int64]) -> None:
    found, count = np.unique(values, return_counts=True)
    counter.update(dict(zip(found.tolist(), count.tolist(), strict=True)))

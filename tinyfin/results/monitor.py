# SPDX-License-Identifier: Apache-2.0
"""The pack of a run on later transactions: ``monitor.json``."""

from __future__ import annotations

from typing import ClassVar, Literal

from tinyfin.results.evaluation import Promised
from tinyfin.results.facts import Facts, Figure, Interval, ResultFile
from tinyfin.results.metrics import Action
from tinyfin.results.reference import ColumnKind
from tinyfin.results.run import InputFile, NoticeStatus

__all__ = [
    "Bounded",
    "CheckResult",
    "ColumnDrift",
    "DayFigures",
    "LabelFigures",
    "MonitoredData",
    "Monitoring",
    "State",
    "WeekFigures",
]

State = Literal["ok", "warning", "failed", "too_few_rows"]


class CheckResult(Facts):
    """What was looked at, and what was found."""

    check: str
    state: State
    text: str
    """A sentence."""


class Bounded(Facts):
    """A figure with its 95 % interval, and what it is held against."""

    value: Figure
    interval: Interval
    expected: Figure
    """The budget, or the figure of the rows that the model was made with."""


class ColumnDrift(Facts):
    """A column against the rows that the model was made from; inputs that notices move, and the
    score, against the calibration rows among them."""

    name: str
    kind: ColumnKind
    state: State
    rows: int
    trained_rows: int
    stability_index: Figure
    jensen_shannon: Figure
    by_week: list[Figure]
    """Stability index; null where a week has too few rows."""
    bins: list[str]
    trained: list[float]
    """Shares of those rows by bin."""
    found: list[float]


class WeekFigures(Facts):
    """A week, from Monday."""

    begin: str
    rows: int
    alerts: int
    alerts_per_1000: Figure
    interval: Interval


class DayFigures(Facts):
    """A day."""

    day: str
    rows: int
    alerts: int


class LabelFigures(Facts):
    """What the labels say that are known and old enough."""

    as_of: str
    """Labels that became known later are not used."""
    horizon_days: float
    """Transactions younger than this are immature: reports on them are still to come."""
    rows: int
    frauds: int
    immature: int
    unlabelled: int
    drawn: str
    """What intervals resample."""
    average_precision: Bounded
    recall: dict[Action, Bounded]
    false_alerts_per_1000: dict[Action, Bounded]
    frauds_promised: Promised | None = None
    """Left out where scores are no probabilities."""


class MonitoredData(Facts):
    """The transactions."""

    files: list[InputFile]
    rows: int
    warmup: int
    terminals: int
    from_: str
    to: str


class Monitoring(ResultFile):
    """The file."""

    NAME: ClassVar[str] = "monitor.json"

    run: str
    model_id: str
    pack_id: str
    state: State
    """The worst of the checks."""
    checks: list[CheckResult]
    """The most important first."""
    data: MonitoredData
    limits: dict[str, float]
    alerts_per_1000: Bounded
    budget_per_1000: dict[Action, float]
    """False alerts per 1,000 genuine transactions; empty where another rule set the thresholds."""
    notices: dict[NoticeStatus, int]
    cold_rows: int
    weeks: list[WeekFigures]
    days: list[DayFigures]
    trained_rows: int
    """That the model was made from."""
    calibration_rows: int
    """Of those."""
    columns: list[ColumnDrift]
    labels: LabelFigures | None = None
    """Left out without labels."""

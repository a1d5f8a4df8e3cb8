# SPDX-License-Identifier: Apache-2.0
"""What is the matter with files of transactions: ``check.json``."""

from __future__ import annotations

from typing import ClassVar, Literal

from tinyfin.results.evaluation import GateRow
from tinyfin.results.facts import Facts, Figure, ResultFile
from tinyfin.results.labels import LabelFileFacts
from tinyfin.results.monitor import CheckResult, ColumnDrift, State
from tinyfin.results.run import InputFile

__all__ = [
    "Against",
    "CardColumn",
    "CheckedData",
    "DataCheck",
    "DayRows",
    "Doubles",
    "Gap",
    "LabelDelay",
    "LabelFacts",
    "SilentTerminal",
    "UnknownCodes",
]


class CheckedData(Facts):
    """The transactions."""

    files: list[InputFile]
    rows: int
    """Good ones."""
    bad_rows: int
    terminals: int
    from_: str
    to: str


class Doubles(Facts):
    """Rows that are there once more."""

    ids: int
    """Rows whose id an earlier row of their terminal has."""
    rows: int
    """Rows with terminal, second, amount and card of another one; without cards, with all fields
    of another one."""
    example: str | None
    """Terminal and time of one."""


class UnknownCodes(Facts):
    """Codes that are in no list."""

    rows: int
    codes: list[int]
    """Some of them."""


class Gap(Facts):
    """A pause of all terminals that is much longer than those of other days."""

    begin: str
    end: str
    hours: float


class SilentTerminal(Facts):
    """A terminal that ends long before the data does."""

    terminal: str
    rows: int
    last: str
    silent_days: float
    longest_pause_days: float
    """Before it fell silent."""


class DayRows(Facts):
    """A day."""

    day: str
    rows: int


class LabelDelay(Facts):
    """Days from a transaction to its label."""

    rows: int
    median: Figure
    nine_of_ten: Figure
    most: Figure


class LabelFacts(Facts):
    """Labels, and whether they are complete."""

    frauds: int
    genuine: int
    unlabelled: int
    delay_days: dict[Literal["fraud", "genuine"], LabelDelay]
    horizon_days: float
    """Within which nine of ten labels of the slower kind are known."""
    too_recent: float
    """Share of the rows that are younger than this."""
    reports_end: str | None
    """First moment from which most fraud reports are still to come; None where nothing speaks for
    that."""


class CardColumn(Facts):
    """A column that seems to hold card numbers."""

    file: str
    column: str


class Against(Facts):
    """The fields that the model of a run reads, against the rows that it was made from."""

    run: str
    columns: list[ColumnDrift]
    unseen: dict[str, float]
    """Of fields with codes, the share of rows with a code that was not seen there."""


class DataCheck(ResultFile):
    """The file."""

    NAME: ClassVar[str] = "check.json"

    state: State
    """The worst of the checks."""
    checks: list[CheckResult]
    """The most important first."""
    failed: int
    """How many checks failed."""
    warnings: int
    data: CheckedData
    bad_rows: dict[str, int]
    """By rule."""
    doubles: Doubles
    missing: dict[str, float]
    """Share of the rows without it, by field that is mapped."""
    codes: dict[str, UnknownCodes]
    """By field."""
    gaps: list[Gap]
    silent: list[SilentTerminal]
    days: list[DayRows]
    labels: LabelFacts | None = None
    """Left out without labels."""
    label_files: list[LabelFileFacts] = []
    label_files_gone: list[str] = []
    """Files of [labels] that are not there."""
    cards: list[CardColumn]
    against: Against | None = None
    """Left out without a run."""
    remarks: list[str]
    gate: list[GateRow] = []
    """Left out where none was given."""

# SPDX-License-Identifier: Apache-2.0
"""Which reports a lake takes. What it does not take is kept aside under the name of the reason."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from enum import StrEnum
from pathlib import Path

from tinyfin.errors import InputError
from tinyfin.field.report import MOST_BYTES, Report, parse_report, require_genuine
from tinyfin.fleet import durable
from tinyfin.fleet.lake import Lake, date_of
from tinyfin.fleet.secrets import ReportKeys, letters
from tinyfin.fleet.tables import HOUR_S, day_of, report_row

__all__ = ["Admission", "Refused", "Why", "name_of"]

SUFFIX = ".tfreport"
_MOST_ASIDE = 10_000
_KEPT_BYTES = 4096


class Why(StrEnum):
    """Why a report is refused; also the name of the folder that it is kept in."""

    SIZE = "size"
    FORMAT = "format"
    TERMINAL = "terminal"
    MAC = "mac"
    SECTION = "section"
    OLD = "old"
    ERASED = "erased"
    ARCHIVE = "archive"


class Refused(InputError):
    """A report that the lake does not take."""

    def __init__(self, why: Why, message: str) -> None:
        super().__init__(message)
        self.why = why


def name_of(data: bytes) -> str:
    """The file of a report: the same report has the same name."""
    return letters(hashlib.blake2b(data, digest_size=12).digest()) + SUFFIX


class Admission:
    """The door of a lake."""

    def __init__(self, lake: Lake, keys: ReportKeys) -> None:
        self.lake, self._keys = lake, keys
        self._erased = frozenset(lake.settings.erased)
        self._first_hour = 24 * lake.settings.first_day

    def row(self, data: bytes, where: str | Path = "report") -> dict[str, object]:
        """The row of a genuine report. Raises Refused, which begins with ``where``."""
        if len(data) > MOST_BYTES:
            raise Refused(
                Why.SIZE, f"{where}: has {len(data)} bytes; a report has at most {MOST_BYTES}"
            )
        why = Why.FORMAT
        try:
            report = parse_report(data, where)
            self._require_wanted(report, where)
            key = self._keys.of(report.terminal)
            if key is None:
                raise Refused(
                    Why.TERMINAL,
                    f"{where}: terminal {report.terminal.hex()} is not among the report keys; add "
                    "it with `tinyfin fleet keys`, then put the file into the inbox again",
                )
            why = Why.MAC
            require_genuine(report, key, where)
            why = Why.SECTION
            return report_row(report, self.lake.key)
        except Refused:
            raise
        except InputError as error:
            text = str(error)
            raise Refused(why, text if text.startswith(f"{where}: ") else f"{where}: {text}") from (
                error
            )

    def _require_wanted(self, report: Report, where: str | Path) -> None:
        hour = report.t_s // HOUR_S
        if hour < self._first_hour:
            raise Refused(
                Why.OLD,
                f"{where}: is of {date_of(day_of(hour))}; the lake keeps nothing before "
                f"{date_of(self.lake.settings.first_day)}",
            )
        key = self.lake.key
        if self._erased and key.tombstone(key.terminal(report.terminal)) in self._erased:
            raise Refused(Why.ERASED, f"{where}: is of a terminal that was erased")

    def deliver(self, data: bytes, where: str = "report") -> str:
        """Put a genuine report into the inbox, for good when this returns; its name there. What is
        refused is kept aside. Raises Refused."""
        try:
            self.row(data, where)
        except Refused as refused:
            self.keep_aside(refused.why, data)
            raise
        name = name_of(data)
        durable.folder(self.lake.inbox)
        durable.write(self.lake.inbox / name, data)
        return name

    def keep_aside(self, why: Why, data: bytes) -> None:
        """Keep what was refused, up to 10,000 reports for one reason and 4,096 bytes of each;
        nothing of a terminal that was erased."""
        folder = self.lake.path / "rejected" / why
        path = folder / name_of(data)
        if why == Why.ERASED or path.exists():
            return
        durable.folder(folder)
        if len(os.listdir(folder)) < _MOST_ASIDE:
            durable.write(path, data[:_KEPT_BYTES])


def kept_aside(lake: Lake) -> Counter[str]:
    """How many refused reports are kept, by reason."""
    folders = (lake.path / "rejected").glob("*")
    return Counter({f.name: len(durable.entries(f)) for f in sorted(folders) if f.is_dir()})

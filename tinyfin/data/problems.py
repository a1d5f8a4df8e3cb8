# SPDX-License-Identifier: Apache-2.0
"""Bad rows: collected, counted, shown, or set aside into a file. None is dropped silently."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tinyfin import files
from tinyfin.data.cards import hide_pans
from tinyfin.errors import DataError

__all__ = ["BadRows", "Problem", "Ragged", "report", "set_aside"]

SHOWN = 5
_DASHES = re.compile(r"'?(?=.*--)[-+|,;\s\\t]+'?")


class Problem(NamedTuple):
    """Why one row is bad. ``row`` is the 1-based data row, the header not counted."""

    file: str
    row: int
    column: str
    value: str
    rule: str
    line: int | None = None
    """Of a CSV file, where the row begins."""

    def __str__(self) -> str:
        line = "" if self.line is None else f" (line {self.line})"
        return (
            f"{self.file}, row {self.row}{line}, column {self.column}, value {self.value}: "
            f"{self.rule}"
        )


class Ragged(NamedTuple):
    """A CSV line that does not have the header's number of fields."""

    row: int
    text: str
    rule: str


@dataclass
class BadRows:
    """The bad rows of one file with n parsed rows."""

    file: str
    rows: npt.NDArray[np.int64]
    """1-based data row of each parsed row."""
    ragged: Sequence[Ragged] = ()
    lines: Callable[[Collection[int]], dict[int, int]] = lambda _: {}
    """Of a CSV file, the lines in which data rows begin."""
    bad: npt.NDArray[np.bool_] = field(init=False)
    found: list[tuple[npt.NDArray[np.int64], str, pa.Array, str, Mapping[int, str]]] = field(
        init=False
    )

    def __post_init__(self) -> None:
        self.bad = np.zeros(len(self.rows), np.bool_)
        self.found = []

    def add(
        self,
        mask: npt.NDArray[np.bool_],
        column: str,
        source: pa.Array,
        rule: str,
        more: Mapping[int, str] = MappingProxyType({}),
    ) -> None:
        """Rows where ``mask`` holds break ``rule``; ``source`` is the column as it was read;
        ``more``: what else to say of a row, by its position."""
        where = np.flatnonzero(mask)
        if len(where):
            self.bad |= mask
            self.found.append((where, column, source, rule, more))

    @property
    def count(self) -> int:
        """Number of bad rows."""
        return int(self.bad.sum()) + len(self.ragged)

    def rules(self) -> Counter[str]:
        """How many rows break each rule."""
        counts: Counter[str] = Counter(line.rule for line in self.ragged)
        for where, column, _, rule, _ in self.found:
            counts[f"{column}: {rule}"] += len(where)
        return counts

    def first(self, limit: int) -> list[Problem]:
        """The first ``limit`` problems in the order of the rows."""
        picks: list[Problem] = [
            Problem(self.file, line.row, "(all)", repr(hide_pans(line.text))[:80], line.rule)
            for line in self.ragged[:limit]
        ]
        for where, column, source, rule, more in self.found:
            picks += [
                Problem(
                    self.file,
                    int(self.rows[i]),
                    column,
                    _show(source, int(i)),
                    rule + more.get(int(i), ""),
                )
                for i in where[:limit]
            ]
        picks = sorted(picks, key=lambda problem: problem.row)[:limit]
        lines = self.lines({problem.row for problem in picks}) if picks else {}
        return [problem._replace(line=lines.get(problem.row)) for problem in picks]

    def reasons(self) -> dict[int, list[str]]:
        """What is wrong, by position of the parsed row."""
        out: dict[int, list[str]] = {}
        for where, column, source, rule, more in self.found:
            for i in where.tolist():
                text = f"{column} {_show(source, i)}: {rule}{more.get(i, '')}"
                out.setdefault(i, []).append(text)
        return out


ADVICE = "Correct the rows or their mapping in [data], or set them aside: --skip-bad-rows FILE"


def report(parts: Sequence[BadRows], total: int, advice: str = ADVICE) -> DataError:
    """The error that names the first bad rows, counts all, and ends with what to do."""
    count = sum(part.count for part in parts)
    rules: Counter[str] = Counter()
    for part in parts:
        rules.update(part.rules())
    shown: list[Problem] = []
    for part in parts:
        shown += part.first(SHOWN - len(shown)) if len(shown) < SHOWN else []
    lines = [f"{count} bad {'row' if count == 1 else 'rows'} of {total}:"]
    lines += [f"  {problem}" for problem in shown]
    if count > len(shown):
        lines.append("by rule:")
        lines += [f"  {number} x {rule}" for rule, number in rules.most_common(10)]
    lines += [
        f"Row 1 of {problem.file} is a line of dashes under the names; delete it"
        for problem in shown[:1]
        if problem.row == 1 and _DASHES.fullmatch(problem.value)
    ]
    lines.append(advice)
    error = DataError("\n".join(lines))
    error.add_note(f"{count} bad rows")
    return error


def set_aside(
    path: str | Path, parts: Sequence[tuple[BadRows, pa.Table | None]], columns: Sequence[str]
) -> None:
    """Write the bad rows to a CSV file: file, row, reasons, then the source columns.

    Anything that looks like a card number is hidden.
    """
    with (
        files.whole(path) as unfinished,
        unfinished.open("w", newline="", encoding="utf-8", errors="backslashreplace") as out,
    ):
        writer = csv.writer(out)
        writer.writerow(["file", "row", "reasons", *columns])
        for part, table in parts:
            for line in part.ragged:
                raw = hide_pans(line.text)
                writer.writerow([part.file, line.row, f"{line.rule}: {raw}"])
            for i, reasons in sorted(part.reasons().items()):
                cells = [] if table is None else [_cell(table, name, i) for name in columns]
                writer.writerow([part.file, int(part.rows[i]), "; ".join(reasons), *cells])


def _show(source: pa.Array, i: int) -> str:
    value = _python(source[i])
    if value is None:
        return "(empty)"
    shown = hide_pans(str(value))
    return (repr(shown) if isinstance(value, str) else shown)[:80]


def _cell(table: pa.Table, name: str, i: int) -> str:
    if name not in table.column_names:
        return ""
    value = _python(table.column(name)[i])
    return "" if value is None else hide_pans(str(value))


def _python(value: object) -> object:
    """An Arrow value as Python's own; times as text, because Python has not all of them."""
    if not isinstance(value, pa.Scalar):
        return value
    if not pa.types.is_temporal(value.type) or not value.is_valid:
        return value.as_py()
    try:
        return value.cast(pa.string()).as_py()
    except pa.ArrowException:  # of a zone that is not known
        return str(value.value)

# SPDX-License-Identifier: Apache-2.0
"""Tables for others: sums of many terminals, in which no cell and no difference shows a few.

A table has a row for each day, a column for each value of another column, and totals of both. A
cell with fewer than five terminals or twenty transactions is left out. Then more are left out,
until no sum of cells that a total gives away is of so few (complementary suppression; A. Hundepool
et al., "Statistical Disclosure Control", 2012, chapter 4).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from tinyfin.errors import InputError

if TYPE_CHECKING:
    import duckdb

__all__ = ["BY", "LEAST_SCORED", "LEAST_TERMINALS", "TOTAL", "Cell", "published", "suppressed"]

LEAST_TERMINALS = 5
LEAST_SCORED = 20
TOTAL = "total"
BY = ("pack", "phase", "reason", "level")
"""Columns of ``terminal_day`` that a table can be by, next to the day."""
MEASURES = ("scored", "notices", "restarts", "faults", "saturations", "clock_clamps")

Key = tuple[str, str]
"""Row and column; either may be TOTAL."""
Line = tuple[list[Key], Key]
"""Cells of a row or a column, and their total."""


@dataclass
class Cell:
    """One cell: its sums, and of which terminals they are."""

    terminals: frozenset[str] = frozenset()
    sums: dict[str, int] = field(default_factory=lambda: dict.fromkeys(MEASURES, 0))

    def add(self, other: Cell) -> None:
        """Take what another cell counts into this one."""
        self.terminals |= other.terminals
        for name, value in other.sums.items():
            self.sums[name] += value

    @property
    def is_small(self) -> bool:
        """Whether it says too much of too few."""
        return len(self.terminals) < LEAST_TERMINALS or self.sums["scored"] < LEAST_SCORED


def published(base: duckdb.DuckDBPyConnection, by: str) -> list[dict[str, object]]:
    """The table by day and ``by`` (one of :data:`BY`) with its totals; sums are None in a cell that
    is left out. Raises InputError for another column."""
    if by not in BY:
        raise InputError(f"a table cannot be by {by!r}; give one of {', '.join(BY)}")
    sums = ", ".join(f"sum({name})::BIGINT" for name in MEASURES)
    rows = base.execute(
        f"SELECT if(grouping(day) = 1, '{TOTAL}', day::VARCHAR), "
        f"if(grouping({by}) = 1, '{TOTAL}', {by}), list(DISTINCT terminal), {sums} FROM "
        f"(SELECT * REPLACE (coalesce({by}::VARCHAR, 'none') AS {by}) FROM terminal_day) "
        f"GROUP BY CUBE (day, {by}) HAVING count(*) > 0"
    ).fetchall()
    table = {
        (day, value): Cell(frozenset(terminals), dict(zip(MEASURES, counts, strict=True)))
        for day, value, terminals, *counts in rows
    }
    hidden = suppressed(table)
    return [
        {
            "day": key[0],
            by: key[1],
            "terminals": None if key in hidden else len(cell.terminals),
            **{name: None if key in hidden else cell.sums[name] for name in MEASURES},
        }
        for key, cell in sorted(table.items())
    ]


def suppressed(table: dict[Key, Cell]) -> set[Key]:
    """The cells to leave out of a table with totals.

    A line is a row or a column with its total; the total of all belongs to both lines of totals.
    The totals of days are decided first and alone, so that they are the same in every table of the
    same days. Where that leaves no other way, they are all that the table says.
    """
    rows = sorted({row for row, _ in table if row != TOTAL})
    columns = sorted({column for _, column in table if column != TOTAL})
    hidden = {key for key, cell in table.items() if cell.is_small}
    total = (TOTAL, TOTAL)
    of_rows = [(row, TOTAL) for row in rows]
    _close(table, hidden, [(of_rows, total)], fixed=set())
    fixed = {*of_rows, total}
    of_columns = [(TOTAL, column) for column in columns]
    lines = [(of_columns, total), (of_rows, total)]
    lines += [([(r, c) for c in columns if (r, c) in table], (r, TOTAL)) for r in rows]
    lines += [([(r, c) for r in rows if (r, c) in table], (TOTAL, c)) for c in columns]
    if _close(table, hidden, lines, fixed):
        return hidden
    return hidden | {key for key in table if key[1] != TOTAL}  # the days alone are safe


def _close(table: dict[Key, Cell], hidden: set[Key], lines: list[Line], fixed: set[Key]) -> bool:
    """Leave out more of each line until nothing small follows from what is left; False where no
    line has more to leave out."""
    while True:
        again = False
        for line in lines:
            again |= _tells(table, hidden, *line) and _hide_one(table, hidden, *line, fixed)
        if again:
            continue
        known = _determined(hidden, lines)
        leaks = any(table[key].is_small for key in known)
        if not leaks and not any(_tells(table, hidden - known, *line) for line in lines):
            return True
        open_lines = [line for line in lines if known & {*line[0], line[1]}]
        if not any(_hide_one(table, hidden, *line, fixed) for line in open_lines):
            return False


def _tells(table: dict[Key, Cell], hidden: set[Key], cells: list[Key], total: Key) -> bool:
    """Whether a line gives away a hidden total, or a sum of its hidden cells that is too small."""
    out = [key for key in cells if key in hidden]
    if total in hidden:
        return not out
    together = Cell()
    for key in out:
        together.add(table[key])
    return bool(out) and (len(out) == 1 or together.is_small)


def _hide_one(
    table: dict[Key, Cell], hidden: set[Key], cells: Iterable[Key], total: Key, fixed: set[Key]
) -> bool:
    """Leave out the cell of the line that costs least; the total when there is no other."""
    left = [key for key in cells if key not in hidden and key not in fixed]
    if not left and (total in hidden or total in fixed):
        return False
    chosen = min(left, key=lambda k: (table[k].sums["scored"], k), default=total)
    hidden.add(chosen)
    return True


def _determined(hidden: set[Key], lines: list[Line]) -> set[Key]:
    """The hidden cells that all lines together give away."""
    unknown = sorted(hidden)
    place = {key: i for i, key in enumerate(unknown)}
    system = np.zeros((len(lines), len(unknown)))
    for i, (cells, total) in enumerate(lines):
        for key in cells:
            if key in place:
                system[i, place[key]] = 1
        if total in place:
            system[i, place[total]] = -1
    _, values, vectors = np.linalg.svd(system)
    free = np.abs(vectors[int((values > 1e-9).sum()) :]).max(axis=0, initial=0.0)
    return {key for key, amount in zip(unknown, free, strict=True) if amount < 1e-9}

# SPDX-License-Identifier: Apache-2.0
"""Words, tables and pictures as the template takes them, and numbers as text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeGuard

from markupsafe import Markup

from tinyfin.pages.svg import Canvas, figure_text

__all__ = [
    "Block",
    "Code",
    "Figure",
    "Table",
    "Text",
    "code",
    "count",
    "figure",
    "fixed",
    "number",
    "percent",
    "spread",
    "table",
    "text",
]


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    kind: ClassVar[str] = "text"
    text: str


@dataclass(frozen=True)
class Code:
    """Commands, one per line."""

    kind: ClassVar[str] = "code"
    text: str


@dataclass(frozen=True)
class Table:
    """A table; the first cell of a row is its head."""

    kind: ClassVar[str] = "table"
    caption: str
    columns: list[str]
    rows: Sequence[Sequence[str]]
    numeric: list[bool]
    """Whether a column aligns right."""
    headless: bool
    half: bool
    """Whether it is narrow enough to stand next to another."""


@dataclass(frozen=True)
class Figure:
    """A picture with its caption; ``legend`` names its lines, with their style."""

    kind: ClassVar[str] = "figure"
    chart: Canvas
    caption: str
    legend: Sequence[tuple[str, int]]
    numbers: Table | None

    @property
    def svg(self) -> Markup:
        """The picture."""
        return self.chart.done()


Block = Text | Code | Table | Figure


def text(words: str) -> Text:
    """A paragraph."""
    return Text(words)


def code(lines: Sequence[str]) -> Code:
    """Commands, one per line."""
    return Code("\n".join(lines))


def table(caption: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """A table; the first cell of a row is its head. Columns of numbers align right."""
    width = max([len(columns), *(len(row) for row in rows)], default=0)
    numeric = [
        i > 0 and any(columns) and all(_numeric(row[i]) for row in rows if i < len(row))
        for i in range(width)
    ]
    longest = max((sum(map(len, row)) + 2 * width for row in [columns, *rows]), default=0)
    return Table(caption, list(columns), rows, numeric, not any(columns), longest < 66)


def figure(
    chart: Canvas,
    caption: str,
    *,
    legend: Sequence[tuple[str, int]] = (),
    numbers: Table | None = None,
) -> Figure:
    """A picture with its caption; ``legend`` names its lines, with their style."""
    return Figure(chart, caption, legend, numbers)


def count(value: object) -> str:
    """A whole number with its thousands separated; - if there is none."""
    if not _is_number(value):
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.0f}"


def number(value: object, digits: int = 3) -> str:
    """A number with so many significant digits; - if there is none."""
    return figure_text(value, digits) if _is_number(value) else "-"


def fixed(value: object, decimals: int = 3) -> str:
    """A number with so many decimals; - if there is none."""
    return f"{value:z,.{decimals}f}" if _is_number(value) else "-"


def spread(low: object, high: object, decimals: int = 3) -> str:
    """From a low to a high number with so many decimals; - if there are none."""
    if not _is_number(low) or not _is_number(high):
        return "-"
    return f"{fixed(low, decimals)} to {fixed(high, decimals)}"


def percent(value: object) -> str:
    """A share as per cent; - if there is none."""
    return f"{100 * value:.1f} %" if _is_number(value) else "-"


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value == value


def _numeric(cell: str) -> bool:
    """Whether it is a figure; a sentence, which is longer, may begin with one, too."""
    return not cell.strip() or (cell.strip()[0] in "-+0123456789" and len(cell) <= 28)

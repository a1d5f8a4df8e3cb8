# SPDX-License-Identifier: Apache-2.0
"""Words, tables and pictures as the template takes them, and numbers as text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeGuard

from markupsafe import Markup

from tinyfin.pages.svg import figure_text

__all__ = ["Block", "code", "count", "figure", "fixed", "number", "percent", "table", "text"]

Block = dict[str, object]


def text(words: str) -> Block:
    """A paragraph."""
    return {"kind": "text", "text": words}


def code(lines: Sequence[str]) -> Block:
    """Commands, one per line."""
    return {"kind": "code", "text": "\n".join(lines)}


def table(caption: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Block:
    """A table; the first cell of a row is its head. Columns of numbers align right."""
    width = max([len(columns), *(len(row) for row in rows)], default=0)
    numeric = [
        i > 0 and any(columns) and all(_numeric(row[i]) for row in rows if i < len(row))
        for i in range(width)
    ]
    return {
        "kind": "table",
        "caption": caption,
        "columns": list(columns),
        "rows": rows,
        "numeric": numeric,
        "headless": not any(columns),
        "half": max((sum(map(len, row)) + 2 * width for row in [columns, *rows]), default=0) < 66,
    }


def figure(
    svg: Markup,
    caption: str,
    *,
    legend: Sequence[tuple[str, int]] = (),
    numbers: Block | None = None,
) -> Block:
    """A picture with its caption; ``legend`` names its lines, with their style."""
    return {
        "kind": "figure",
        "svg": svg,
        "caption": caption,
        "legend": list(legend),
        "numbers": numbers,
    }


def count(value: object) -> str:
    """A whole number with its thousands separated; - if there is none."""
    if not _is_number(value):
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.0f}"


def number(value: object, digits: int = 3) -> str:
    """A number with so many significant digits; - if there is none."""
    if not _is_number(value):
        return "-"
    return figure_text(value, digits)


def fixed(value: object, decimals: int = 3) -> str:
    """A number with so many decimals; - if there is none."""
    if not _is_number(value):
        return "-"
    return f"{value:z,.{decimals}f}"


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
    return not cell.strip() or cell.strip()[0] in "-+0123456789"

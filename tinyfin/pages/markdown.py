# SPDX-License-Identifier: Apache-2.0
"""Blocks of a page as Markdown that reads well as it is: lines of 100 columns, aligned tables."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

from tinyfin.pages.blocks import Block, Code, Table, Text

__all__ = ["TABLE_WIDTH", "WIDTH", "as_markdown", "escaped", "readable"]

WIDTH = 100
TABLE_WIDTH = 120
"""Wider tables are not aligned: their cells would be far apart."""


def as_markdown(blocks: Iterable[Block]) -> list[str]:
    """Lines of paragraphs, tables and commands, an empty one behind each; pictures are left out."""
    lines: list[str] = []
    for block in blocks:
        if isinstance(block, Text):
            lines += [escaped(block.text), ""]
        elif isinstance(block, Code):
            lines += [*(f"    {line}" for line in block.text.splitlines()), ""]
        elif isinstance(block, Table) and block.rows:
            lines += [f"{escaped(block.caption)}:", ""] * bool(block.caption)
            head = [_cell(name) for name in block.columns]
            rows = [[_cell(cell) for cell in row] for row in block.rows]
            lines += [*_table([head, ["---"] * len(head), *rows]), ""]
    return lines


def readable(lines: Iterable[str]) -> str:
    """Markdown with its prose wrapped; headings, tables and code stay as they are. Tables get
    aligned columns unless that makes them wider than TABLE_WIDTH."""
    out: list[str] = []
    rows: list[list[str]] = []
    text = [part for line in lines for part in line.splitlines() or [""]]
    for line in [*text, ""]:
        if line.startswith("|") and line.endswith("|"):
            rows.append([cell.strip() for cell in line[1:-1].replace("\\|", "\0\0").split("|")])
            continue
        if rows:
            out += [row.replace("\0\0", "\\|") for row in _table(rows)]
            rows = []
        if len(line) <= WIDTH or line.startswith(("#", "    ", "|")):
            out.append(line)
        else:
            inner = "  " if line.startswith("* ") else ""
            out += textwrap.wrap(
                line, WIDTH, subsequent_indent=inner, break_long_words=False, break_on_hyphens=False
            )
    return "\n".join(out).rstrip("\n") + "\n"


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """The rows of a table, the second of them the rule below its head."""
    columns = [*zip(*rows, strict=True)] if len({len(row) for row in rows}) == 1 else []
    widths = [max(3, *map(len, column)) for column in columns]
    if not widths or sum(widths) + 3 * len(widths) + 1 > TABLE_WIDTH:
        return [f"| {' | '.join(row)} |" for row in rows]
    return [
        "| "
        + " | ".join(
            "-" * width if i == 1 else cell.ljust(width)
            for cell, width in zip(row, widths, strict=True)
        )
        + " |"
        for i, row in enumerate(rows)
    ]


def _cell(words: str) -> str:
    return escaped(words).replace("|", "\\|")


def escaped(words: str) -> str:
    """On one line, with what Markdown would take for markup of HTML escaped."""
    return " ".join(words.split()).replace("<", "&lt;")

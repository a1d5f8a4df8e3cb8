# SPDX-License-Identifier: Apache-2.0
"""The operator's list of terminals: a CSV file with the column ``terminal``, and others."""

from __future__ import annotations

import csv
from pathlib import Path

from tinyfin.errors import InputError
from tinyfin.field.keys import parse_terminal_id

__all__ = ["read_inventory"]


def read_inventory(path: Path) -> dict[bytes, str]:
    """The stratum of each terminal (id of 8 bytes): what all other columns say, together. Raises
    InputError that names the line."""
    found: dict[bytes, str] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file, strict=True)
            names = next(rows, [])
            if names.count("terminal") != 1:
                raise InputError(f"{path}, line 1: names no column terminal, or two of them")
            at = names.index("terminal")
            for row in filter(None, rows):
                where = f"{path}, line {rows.line_num}"
                if len(row) != len(names):
                    raise InputError(f"{where}: has {len(row)} values for {len(names)} columns")
                try:
                    terminal = parse_terminal_id(row[at])
                except InputError as error:
                    raise InputError(f"{where}: {error}") from error
                if terminal in found:
                    raise InputError(f"{where}: terminal {row[at]} stands twice")
                found[terminal] = ", ".join(x.strip() for x in row[:at] + row[at + 1 :])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as CSV: {error}") from error
    return found

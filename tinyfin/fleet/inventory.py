# SPDX-License-Identifier: Apache-2.0
"""The operator's inventory: which terminals there are, and of which stratum each is."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

from tinyfin.errors import InputError
from tinyfin.field.keys import parse_terminal_id

__all__ = ["Terminal", "read_inventory"]


class Terminal(NamedTuple):
    """A line of an inventory."""

    terminal: str
    """Id, 16 hexadecimal digits."""
    stratum: str
    """What the other columns say, with a slash between them; "all" without any."""


def read_inventory(path: Path) -> list[Terminal]:
    """The terminals of a CSV file, by id: the column ``terminal``, and further ones, whose values
    make strata. Raises InputError."""
    found: dict[str, Terminal] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            for row in rows if "terminal" in (rows.fieldnames or ()) else ():
                where = f"{path}: line {rows.line_num}"
                if None in row or None in row.values():
                    raise InputError(f"{where}: has not as many values as line 1 has names")
                try:
                    name = parse_terminal_id(row.pop("terminal")).hex()
                except InputError as error:
                    raise InputError(f"{where}: {error}") from error
                if name in found:
                    raise InputError(f"{where}: terminal {name} is there twice; remove one")
                stratum = "/".join(value.strip() or "-" for value in row.values()) or "all"
                if not stratum.isprintable():
                    raise InputError(f"{where}: a value goes over lines; write it in one")
                found[name] = Terminal(name, stratum)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    if not found:
        raise InputError(
            f"{path}: line 1: name the column terminal, and below it a terminal or more"
        )
    return [found[name] for name in sorted(found)]

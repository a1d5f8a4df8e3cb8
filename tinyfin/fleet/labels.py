# SPDX-License-Identifier: Apache-2.0
"""What became known of transactions: chargebacks and clearances, next to the reports."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from tinyfin.data import parse
from tinyfin.data.cells import by_value, flat, texts
from tinyfin.data.problems import report
from tinyfin.data.tables import column_names, read_table
from tinyfin.errors import InputError
from tinyfin.field.keys import parse_terminal_id
from tinyfin.fleet.lake import Lake
from tinyfin.fleet.tables import HOUR_S, LABEL, SCHEMAS, table_of

__all__ = ["add_labels", "read_labels"]

_COLUMNS = ("terminal", "id", "time", "label", "known")
_WORDS = {"fraud": 1, "1": 1, "cleared": 0, "0": 0}
_RULE = "must be fraud or cleared, 1 or 0"
_YES = {"yes": 1, "1": 1, "no": 0, "0": 0}
_OPTIONAL = {"token", "alerted"}
_WHOLE = {"id": 1 << 64, "time": 1 << 32, "known": 1 << 32, "token": 1 << 64}


def add_labels(lake: Lake, path: Path) -> tuple[int, int]:
    """Merge the labels of a file; how many it has, and how many of them are of a terminal or card
    that was erased, or too old. Raises DataError, InputError."""
    with lake.locked():
        table, left_out = read_labels(lake, path)
        if len(table):
            lake.merge(LABEL, table)
    return len(table) + left_out, left_out


def read_labels(lake: Lake, path: Path) -> tuple[pa.Table, int]:
    """The labels of a file of CSV, Parquet or Arrow as rows of the lake, and how many are left out.

    Columns: ``terminal`` (id of 16 digits), ``id`` of the transaction, ``time`` of it and ``known``
    (when it became known), both in s since 2000-01-01, ``label`` (fraud or cleared, 1 or 0), and
    ``token`` of the card and ``alerted`` (yes or no: its verdict was not ACCEPT), where they are
    known. Raises DataError that names every bad row.
    """
    columns = [*_COLUMNS, *sorted(_OPTIONAL & set(column_names(path)))]
    table, bad = read_table(path, dict(zip(columns, columns, strict=True)), optional=False)
    found, present = {}, {}
    for name in columns:
        cells = flat(table.column(name))
        if name == "label":
            read = parse.Parsed(*by_value(texts(cells), lambda x: _WORDS.get(x.lower(), _RULE)))
        elif name == "alerted":
            read = parse.Parsed(
                *by_value(texts(cells), lambda x: _YES.get(x.lower(), "must be yes or no, 1 or 0"))
            )
        elif name == "terminal":
            read = parse.Parsed(*by_value(texts(cells), _terminal_number))
        else:
            read = parse.integers(cells, 0, _WHOLE[name] - 1)
        for mask, broken in read.broken:
            bad.add(mask, name, cells, broken)
        if name not in _OPTIONAL:
            bad.add(~read.present, name, cells, "is needed")
        found[name] = np.where(read.present, read.values, 0).view(np.uint64)
        present[name] = read.present
    early = (found["known"] < found["time"]) & ~bad.bad
    bad.add(early, "known", flat(table.column("known")), "is before the time of the transaction")
    if bad.count:
        raise report([bad], table.num_rows + len(bad.ragged), "Correct the rows of the file")
    rows, left_out = [], 0
    erased, first = set(lake.settings.erased), 24 * lake.settings.first_day
    tokens = found.get("token", np.zeros(table.num_rows, np.uint64))
    alerted: list[bool | None] = [None] * table.num_rows
    if "alerted" in found:
        pairs = zip(found["alerted"].tolist(), present["alerted"].tolist(), strict=True)
        alerted = [bool(value) if there else None for value, there in pairs]
    wanted = ("terminal", "id", "time", "known", "label")
    for *given, token, alert in zip(
        *(found[name].tolist() for name in wanted), tokens.tolist(), alerted, strict=True
    ):
        terminal = given[0].to_bytes(8, "big")
        alias = lake.key.terminal(terminal)
        card = lake.key.card(token) if token else None
        hour = given[2] // HOUR_S
        gone = {lake.key.tombstone(a) for a in (alias, card) if a} & erased if erased else None
        if gone or hour < first:
            left_out += 1
            continue
        transaction = lake.key.transaction(terminal, given[1])
        rows.append((alias, transaction, hour, given[3] // HOUR_S, bool(given[4]), card, alert))
    return table_of(SCHEMAS[LABEL], rows), left_out


def _terminal_number(text: str) -> int | str:
    try:
        return int.from_bytes(parse_terminal_id(text), "big")
    except InputError:
        return "must be a terminal id of 16 hexadecimal digits, not all 0"

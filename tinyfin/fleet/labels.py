# SPDX-License-Identifier: Apache-2.0
"""What became known of transactions: chargebacks and clearances, next to the reports."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tinyfin.config import Config
from tinyfin.data import parse
from tinyfin.data.cells import by_value, flat, texts
from tinyfin.data.problems import report
from tinyfin.data.readers import read
from tinyfin.data.tables import column_names, read_table
from tinyfin.data.transactions import ACTIONS
from tinyfin.errors import DataError, InputError
from tinyfin.field.keys import parse_terminal_id
from tinyfin.fleet.lake import Lake
from tinyfin.fleet.tables import HOUR_S, LABEL, SCHEMAS

__all__ = ["add_labels", "joined_labels", "read_labels"]

_COLUMNS = ("terminal", "id", "time", "label", "known")
_WORDS = {"fraud": 1, "1": 1, "cleared": 0, "0": 0}
_TERMINAL_RULE = "must be a terminal id of 16 hexadecimal digits, not all 0"
_RULE = "must be fraud or cleared, 1 or 0"
_YES = {"yes": 1, "1": 1, "no": 0, "0": 0}
_SAYS = (False, True, None)
_UNKNOWN = _SAYS.index(None)
_OPTIONAL = {"token", "alerted"}
_WHOLE = {"id": 1 << 64, "time": 1 << 32, "known": 1 << 32, "token": 1 << 64}


def add_labels(
    lake: Lake,
    paths: Sequence[Path],
    config: Config | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> tuple[int, int]:
    """Merge labels; how many there are, and how many of them are of a terminal or card that was
    erased, or too old.

    ``paths``: files of labels (:func:`read_labels`); with a configuration, files of transactions,
    whose labels are those of their column and of the files of [labels]
    (:func:`joined_labels`). Raises DataError, InputError.
    """
    with lake.locked():
        parts = [read_labels(lake, path) for path in paths] if config is None else []
        if config is not None:
            parts = [joined_labels(lake, paths, config, tell)]
        for table, _ in parts:
            if len(table):
                lake.merge(LABEL, table)
    left_out = sum(out for _, out in parts)
    return sum(len(table) for table, _ in parts) + left_out, left_out


def joined_labels(
    lake: Lake, paths: Sequence[Path], config: Config, tell: Callable[[str], None]
) -> tuple[pa.Table, int]:
    """The labels that training would learn from as rows of the lake, and how many are left out.

    What no file names has no label here, whatever ``unlisted`` says: that nothing was reported is
    no report. ``tell`` gets what could not be taken, as in training. Raises DataError.
    """
    if "id" not in config.data.resolved(config.schema):
        raise DataError(
            f"{config.path or 'configuration'}: [data] names no id; a lake knows a transaction by "
            "terminal and id"
        )
    labels = config.labels.model_copy(update={"unlisted": "unknown"})
    tx = read([*paths], replace(config, labels=labels), compact=True, progress=tell)
    numbers = [_terminal_number(name) for name in tx.terminals]
    wrong = [name for name, x in zip(tx.terminals, numbers, strict=True) if isinstance(x, str)]
    if wrong:
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise DataError(f"terminal {wrong[0]!r}{more}: {_TERMINAL_RULE}")
    notes = tx.label_notes()
    known: dict[str, npt.NDArray[Any]] = {
        "terminal": np.array(numbers, np.uint64)[tx.terminal[notes.index]],
        "id": tx.id[notes.index],
        "time": tx.t_mono_s[notes.index],
        "known": notes.known_s,
        "label": notes.label,
    }
    if "action" in config.data.resolved(config.schema):
        known["alerted"] = (tx.action != ACTIONS.index("accept"))[notes.index].astype(np.uint64)
    if "token" in tx.schema.names:
        known["token"] = np.where(tx.has("token"), tx.column("token"), 0)[notes.index]
    return _rows(lake, known)


def read_labels(lake: Lake, path: Path) -> tuple[pa.Table, int]:
    """The labels of a file of CSV, Parquet or Arrow as rows of the lake, and how many are left out.

    Columns: ``terminal`` (id of 16 digits), ``id`` of the transaction, ``time`` of it and ``known``
    (when it became known), both in s since 2000-01-01, ``label`` (fraud or cleared, 1 or 0), and
    ``token`` of the card and ``alerted`` (yes or no: its verdict was not ACCEPT), where they are
    known. Raises DataError that names every bad row.
    """
    columns = [*_COLUMNS, *sorted(_OPTIONAL & set(column_names(path)))]
    table, bad = read_table(path, dict(zip(columns, columns, strict=True)), optional=False)
    words: dict[str, Callable[[str], int | str]] = {
        "label": lambda x: _WORDS.get(x.lower(), _RULE),
        "alerted": lambda x: _YES.get(x.lower(), "must be yes or no, 1 or 0"),
        "terminal": _terminal_number,
    }
    found = {}
    for name in columns:
        cells = flat(table.column(name))
        if name in words:
            read = parse.Parsed(*by_value(texts(cells), words[name]))
        else:
            read = parse.integers(cells, 0, _WHOLE[name] - 1)
        for mask, broken in read.broken:
            bad.add(mask, name, cells, broken)
        if name not in _OPTIONAL:
            bad.add(~read.present, name, cells, "is needed")
        absent = _UNKNOWN if name == "alerted" else 0
        found[name] = np.where(read.present, read.values, absent).view(np.uint64)
    early = (found["known"] < found["time"]) & ~bad.bad
    bad.add(early, "known", flat(table.column("known")), "is before the time of the transaction")
    if bad.count:
        raise report([bad], table.num_rows + len(bad.ragged), "Correct the rows of the file")
    return _rows(lake, found)


def _rows(lake: Lake, found: Mapping[str, npt.NDArray[Any]]) -> tuple[pa.Table, int]:
    rows, left_out = [], 0
    erased, first = set(lake.settings.erased), 24 * lake.settings.first_day
    none = np.zeros(len(found["id"]), np.uint64)
    tokens, alerted = found.get("token", none), found.get("alerted", none + _UNKNOWN)
    wanted = ("terminal", "id", "time", "known", "label")
    for *given, token, alert in zip(
        *(found[name].tolist() for name in wanted), tokens.tolist(), alerted.tolist(), strict=True
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
        known_hour, fraud = given[3] // HOUR_S, bool(given[4])
        row = (alias, transaction, hour, known_hour, fraud, card, _SAYS[alert])
        rows.append(dict(zip(SCHEMAS[LABEL].names, row, strict=True)))
    return pa.Table.from_pylist(rows, SCHEMAS[LABEL]), left_out


def _terminal_number(text: str) -> int | str:
    try:
        return int.from_bytes(parse_terminal_id(text), "big")
    except InputError:
        return _TERMINAL_RULE

# SPDX-License-Identifier: Apache-2.0
"""Transactions files, checked row by row and brought into one shape."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tinyfin.config import Column, Config
from tinyfin.data.problems import report, set_aside
from tinyfin.data.rows import Part, label_of, parse, source_of, wanted_columns
from tinyfin.data.tables import read_pieces, read_table
from tinyfin.data.transactions import Transactions
from tinyfin.errors import DataError
from tinyfin.schema import Schema

__all__ = ["PIECE_ROWS", "Survey", "read", "read_in_pieces", "survey"]


def read(
    paths: str | Path | Sequence[str | Path],
    config: Config,
    *,
    skip_bad_rows: str | Path | None = None,
    progress: Callable[[str], None] | None = None,
) -> Transactions:
    """Read CSV and Parquet files, in the order given, as one set of transactions.

    The mapping is ``config.data``; without one, columns carry the schema's own names and those that
    are absent stay absent. A bad row raises DataError naming file, row (1-based, header and empty
    lines not counted), column, value and rule, the first five shown and all counted. With
    ``skip_bad_rows`` the bad rows go to that CSV file with their reasons, and the rest is read;
    ``progress`` is told. Rows keep their input order and need not be sorted by time.
    """
    files = [paths] if isinstance(paths, (str, Path)) else list(paths)
    if not files:
        raise DataError("no transactions file was given")
    tell = progress or (lambda _: None)
    columns = config.data.resolved(config.schema)
    wanted = wanted_columns(config)
    parts: list[Part] = []
    first_row = 0
    for path in files:
        table, bad = read_table(path, wanted, optional=not config.data.columns)
        part = Part(bad, table, first_row)
        parse(part, columns, config)
        parts.append(part)
        first_row += len(part) + len(bad.ragged)
        tell(f"{path}: {len(part) + len(bad.ragged)} rows")
    _mark_duplicates(parts, columns)
    count = sum(part.bad.count for part in parts)
    if count and (skip_bad_rows is None or count == first_row):
        raise report([part.bad for part in parts], first_row)
    if skip_bad_rows is not None:
        sources = list(dict.fromkeys(wanted.values()))
        set_aside(skip_bad_rows, [(part.bad, part.table) for part in parts], sources)
        tell(f"{count} of {first_row} rows are bad and set aside in {skip_bad_rows}")
    if first_row == 0:
        raise DataError(f"{files[0]}: holds no rows")
    return _assemble(parts, config.schema)


@dataclass(frozen=True)
class Survey:
    """What a first pass over files has found, so that a second one can go piece by piece."""

    rows: int
    """Good rows."""
    terminals: tuple[str, ...]
    in_order: bool
    """No piece begins before the end of the one before it."""
    file_rows: tuple[int, ...]
    """Rows of each file, bad ones included."""


PIECE_ROWS = 1 << 16


def survey(
    paths: Sequence[str | Path],
    config: Config,
    *,
    skip_bad_rows: str | Path | None = None,
    piece_rows: int = PIECE_ROWS,
    progress: Callable[[str], None] | None = None,
) -> Survey:
    """Check every row as :func:`read` does, a piece in memory at a time.

    Raises the errors of :func:`read`; that an id is there twice is found within a piece only.
    """
    tell = progress or (lambda _: None)
    wanted = wanted_columns(config)
    terminals: dict[str, None] = {}
    broken: list[Part] = []
    file_rows: list[int] = []
    total = good = mark = 0
    in_order = True
    for path in paths:
        before = total
        for part in _pieces(path, config, before, piece_rows):
            total += len(part) + len(part.bad.ragged)
            if part.bad.count:
                broken.append(part)
            fine = ~part.bad.bad
            used = np.unique(part.arrays["terminal"][fine])
            terminals.update(dict.fromkeys(part.names["terminal"][i] for i in used))
            times = part.arrays["t_mono_s"][fine]
            if len(times):
                in_order &= int(times.min()) >= mark
                mark = max(mark, int(times.max()))
            good += len(times)
        file_rows.append(total - before)
        tell(f"{path}: {total - before} rows")
    if broken and (skip_bad_rows is None or not good):
        raise report([part.bad for part in broken], total)
    if skip_bad_rows is not None:
        sources = list(dict.fromkeys(wanted.values()))
        set_aside(skip_bad_rows, [(part.bad, part.table) for part in broken], sources)
        tell(f"{total - good} of {total} rows are bad and set aside in {skip_bad_rows}")
    if total == 0:
        raise DataError(f"{paths[0]}: holds no rows")
    return Survey(good, tuple(terminals), in_order, tuple(file_rows))


def read_in_pieces(
    paths: Sequence[str | Path], config: Config, found: Survey, *, piece_rows: int = PIECE_ROWS
) -> Iterator[Transactions]:
    """The good rows of surveyed files, piece by piece; terminals are numbered as in the survey.

    Files whose rows are not in order of time come as one piece. Scenarios are left out.
    """
    index = {name: i for i, name in enumerate(found.terminals)}
    first_row = 0
    whole: list[Part] = []
    for path in paths:
        before = first_row
        for part in _pieces(path, config, before, piece_rows):
            first_row += len(part) + len(part.bad.ragged)
            names = part.names["terminal"]
            table = np.array([index.get(name, 0) for name in names] or [0], np.int64)
            part.arrays["terminal"] = table[part.arrays["terminal"]]
            part.names = {"terminal": list(found.terminals)}
            part.arrays.pop("scenario", None)
            if not found.in_order:
                whole.append(part)
            elif not part.bad.bad.all():
                yield _assemble([part], config.schema)
    if whole:
        yield _assemble(whole, config.schema)


def _pieces(path: str | Path, config: Config, first_row: int, rows: int) -> Iterator[Part]:
    columns = config.data.resolved(config.schema)
    optional = not config.data.columns
    for table, bad in read_pieces(path, wanted_columns(config), optional, rows):
        part = Part(bad, table, first_row)
        parse(part, columns, config)
        _mark_duplicates([part], columns)
        yield part


def _mark_duplicates(parts: Sequence[Part], columns: Mapping[str, Column]) -> None:
    """A second row with the same terminal and id is bad; bad rows take no part."""
    if "id" not in columns:
        return
    _merge_names(parts, "terminal")
    terminal = np.concatenate([part.arrays["terminal"] for part in parts])
    ids = np.concatenate([part.arrays["id"] for part in parts])
    row = np.concatenate([part.arrays["row"] for part in parts])
    good = np.flatnonzero(~np.concatenate([part.bad.bad for part in parts]))
    order = good[np.lexsort((row[good], ids[good], terminal[good]))]
    same = (terminal[order[1:]] == terminal[order[:-1]]) & (ids[order[1:]] == ids[order[:-1]])
    twice = np.zeros(len(ids), np.bool_)
    twice[order[1:][same]] = True
    start = 0
    for part in parts:
        mask = twice[start : start + len(part)]
        start += len(part)
        if mask.any():
            source = source_of(part, columns, "id")
            rule = "the id must be unique per terminal; an earlier row has it"
            part.bad.add(mask, label_of(columns, "id"), source, rule)


def _merge_names(parts: Sequence[Part], key: str) -> tuple[str, ...]:
    """Bring the codes of all files to one list of names, in order of first appearance."""
    index: dict[str, int] = {}
    for part in parts:
        names = part.names.get(key)
        if names is None:
            part.arrays[key] = np.zeros(len(part), np.int64)
            names = [""]
        table = np.array([index.setdefault(name, len(index)) for name in names] or [0], np.int64)
        part.arrays[key] = table[part.arrays[key]]
        part.names[key] = list(index)
    for part in parts:
        part.names[key] = list(index)
    return tuple(index)


def _assemble(parts: Sequence[Part], schema: Schema) -> Transactions:
    terminals = _merge_names(parts, "terminal")
    has_scenario = any("scenario" in part.names for part in parts)
    scenarios = _merge_names(parts, "scenario")

    def column(name: str, dtype: Any) -> npt.NDArray[Any]:
        pieces = [part.arrays.pop(name).astype(dtype, copy=False) for part in parts]
        for i, part in enumerate(parts):
            if part.bad.bad.any():
                pieces[i] = pieces[i][~part.bad.bad]
        whole = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
        return np.require(whole, requirements=["C", "W"])

    return Transactions(
        schema=schema,
        row=column("row", np.int64),
        terminal=column("terminal", np.int32),
        terminals=terminals,
        id=column("id", np.int64).view(np.uint64),
        t_mono_s=column("t_mono_s", np.uint32),
        t_local_s=column("t_local_s", np.uint32),
        values=column("values", np.int64),
        present=column("present", np.uint32),
        result=column("result", np.uint8),
        response=column("response", np.int32),
        outcome_t_mono_s=column("outcome_time", np.uint32),
        label=column("label", np.int8),
        label_known_s=column("label_time", np.uint32),
        scenario=scenarios if has_scenario else None,
        scenario_code=column("scenario", np.int16),
    )

# SPDX-License-Identifier: Apache-2.0
"""Transactions files, checked row by row and brought into one shape."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tinyfin.config import Column, Config
from tinyfin.config.columns import TIMES
from tinyfin.data.parse import (
    Parsed,
    amounts,
    codes,
    flat,
    integers,
    mapped,
    one_hot,
    over_words,
    scaled,
    texts,
)
from tinyfin.data.problems import BadRows, report, set_aside
from tinyfin.data.tables import read_pieces, read_table
from tinyfin.data.times import Times, parse_times
from tinyfin.data.tokens import parse_ids, parse_tokens, refuse_pans
from tinyfin.data.transactions import NO_RESULT, RESULTS, Transactions
from tinyfin.errors import DataError
from tinyfin.schema import Field, Schema

__all__ = ["APPROVED_RESPONSES", "Survey", "read", "read_in_pieces", "survey"]

APPROVED_RESPONSES = (0, 8, 10, 11, 85)
"""Response codes (DE39) that approve, used when a file has responses but no results."""

_LABELS = {"0": 0, "false": 0, "False": 0, "1": 1, "true": 1, "True": 1}


@dataclass
class _Part:
    """The columns of one file, before bad rows are taken out; arrays have one entry per row."""

    bad: BadRows
    table: pa.Table
    first_row: int
    arrays: dict[str, npt.NDArray[Any]] = field(default_factory=dict)
    names: dict[str, list[str]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.bad.rows)


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
    wanted = _wanted(config)
    parts: list[_Part] = []
    first_row = 0
    for path in files:
        table, bad = read_table(path, wanted, optional=not config.data.columns)
        part = _Part(bad, table, first_row)
        _parse(part, columns, config)
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
    wanted = _wanted(config)
    terminals: dict[str, None] = {}
    broken: list[_Part] = []
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
        tell(f"{path}: {total - before} rows")
    if broken and (skip_bad_rows is None or not good):
        raise report([part.bad for part in broken], total)
    if skip_bad_rows is not None:
        sources = list(dict.fromkeys(wanted.values()))
        set_aside(skip_bad_rows, [(part.bad, part.table) for part in broken], sources)
        tell(f"{total - good} of {total} rows are bad and set aside in {skip_bad_rows}")
    if total == 0:
        raise DataError(f"{paths[0]}: holds no rows")
    return Survey(good, tuple(terminals), in_order)


def read_in_pieces(
    paths: Sequence[str | Path], config: Config, found: Survey, *, piece_rows: int = PIECE_ROWS
) -> Iterator[Transactions]:
    """The good rows of surveyed files, piece by piece; terminals are numbered as in the survey.

    Files whose rows are not in order of time come as one piece. Scenarios are left out.
    """
    index = {name: i for i, name in enumerate(found.terminals)}
    first_row = 0
    whole: list[_Part] = []
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


def _wanted(config: Config) -> dict[str, str]:
    columns = config.data.resolved(config.schema)
    found = {key: col.column for key, col in columns.items() if col.column is not None}
    for key, col in columns.items():
        found |= {f"{key}.one_hot.{i}": name for i, name in enumerate(col.one_hot or ())}
    return found


def _pieces(path: str | Path, config: Config, first_row: int, rows: int) -> Iterator[_Part]:
    columns = config.data.resolved(config.schema)
    optional = not config.data.columns
    for table, bad in read_pieces(path, _wanted(config), optional, rows):
        part = _Part(bad, table, first_row)
        _parse(part, columns, config)
        _mark_duplicates([part], columns)
        yield part


def _parse(part: _Part, columns: Mapping[str, Column], config: Config) -> None:
    """Fill ``part.arrays`` from the mapped columns; broken rules go to ``part.bad``."""
    if config.data.plain:
        columns = {k: v for k, v in columns.items() if k not in (*TIMES, "terminal")}
        _count_rows(part)
    else:
        _parse_times(part, columns, config.data.label_delay_s)
    _parse_fields(part, columns, config.schema)
    _parse_outcome(part, columns)
    n = len(part)
    out = part.arrays

    out["terminal"] = np.zeros(n, np.int64)
    part.names["terminal"] = ["0"]
    if (source := _source(part, columns, "terminal")) is not None:
        encoded = texts(source).dictionary_encode()
        part.names["terminal"] = encoded.dictionary.to_pylist()
        present = encoded.is_valid().to_numpy(zero_copy_only=False)
        part.bad.add(~present, _label(columns, "terminal"), source, "a terminal id is needed")
        out["terminal"] = encoded.indices.fill_null(0).to_numpy(zero_copy_only=False)

    out["row"] = part.first_row + part.bad.rows - 1
    out["id"] = (out["row"] + 1).astype(np.int64)
    if (source := _source(part, columns, "id")) is not None:
        parsed = parse_ids(source)
        _note(part, columns, "id", source, parsed)
        part.bad.add(~parsed.present, _label(columns, "id"), source, "a transaction id is needed")
        out["id"] = parsed.values

    out["label"] = np.full(n, -1, np.int8)
    if (source := _source(part, columns, "label")) is not None:
        text = mapped(texts(source), columns["label"].values)
        values, present = over_words(text, lambda word: _LABELS.get(word, 2))
        rule = "must be 0 (genuine), 1 (fraud) or empty; translate with values = {...}"
        part.bad.add(present & (values == 2), _label(columns, "label"), source, rule)
        out["label"] = np.where(present, values, -1).astype(np.int8)

    if (source := _source(part, columns, "scenario")) is not None:
        encoded = (
            mapped(texts(source), columns["scenario"].values).fill_null("").dictionary_encode()
        )
        part.names["scenario"] = encoded.dictionary.to_pylist()
        out["scenario"] = encoded.indices.to_numpy(zero_copy_only=False)


def _count_rows(part: _Part) -> None:
    """The times of a plain table: row i stands at second i."""
    second = part.first_row + part.bad.rows - 1
    for name in ("t_mono_s", "t_local_s", "outcome_time", "label_time"):
        part.arrays[name] = second


def _parse_times(part: _Part, columns: Mapping[str, Column], label_delay_s: int) -> None:
    out = part.arrays
    source = _source(part, columns, "time")
    if source is None:
        raise DataError(
            f"{part.bad.file}: no column for the time; name it in tinyfin.toml: "
            '[data] time = {column = "NAME"}, or plain = true for a table without history'
        )
    mono, local, present = _times(part, columns, "time", source)
    part.bad.add(~present, _label(columns, "time"), source, "a time is needed")
    out["t_mono_s"], out["t_local_s"] = mono, local
    if (source := _source(part, columns, "local_time")) is not None:
        _, clock, there = _times(part, columns, "local_time", source)
        out["t_local_s"] = np.where(there, clock, local)
    defaults = {"outcome_time": mono, "label_time": np.minimum(mono + label_delay_s, 2**32 - 1)}
    for name, default in defaults.items():
        out[name] = default
        if (source := _source(part, columns, name)) is not None:
            later, _, there = _times(part, columns, name, source)
            early = there & (later < mono) & ~part.bad.bad
            part.bad.add(early, _label(columns, name), source, "is before the transaction's time")
            out[name] = np.where(there, later, default)


def _times(part: _Part, columns: Mapping[str, Column], name: str, source: pa.Array) -> Any:
    times: Times = parse_times(source, columns[name])
    for mask, rule in times.broken:
        part.bad.add(mask, _label(columns, name), source, rule)
    return times.mono_s, times.local_s, times.present


def _parse_fields(part: _Part, columns: Mapping[str, Column], schema: Schema) -> None:
    n = len(part)
    values = np.empty((n, len(schema.fields)), np.int64)
    present = np.zeros(n, np.uint32)
    for i, spec in enumerate(schema.fields):
        missing = np.uint64(spec.missing).view(np.int64) if spec.type == "u64" else spec.missing
        hot = _one_hot(part, columns, spec.name)
        source = _source(part, columns, spec.name) if hot is None else hot[0]
        if source is None:
            values[:, i] = missing
            continue
        parsed = hot[1] if hot is not None else _field(part, spec, columns[spec.name], source)
        _note(part, columns, spec.name, source, parsed)
        values[:, i] = np.where(parsed.present, parsed.values, missing)
        present |= parsed.present.astype(np.uint32) << np.uint32(i)
    part.arrays["values"] = values
    part.arrays["present"] = present


def _one_hot(
    part: _Part, columns: Mapping[str, Column], name: str
) -> tuple[pa.Array, Parsed] | None:
    """The first of the columns that ``name`` is one-hot in, and what all of them say."""
    how = columns.get(name)
    if how is None or how.one_hot is None:
        return None
    sources = [flat(part.table.column(source)) for source in how.one_hot]
    return sources[0], one_hot(sources)


def _field(part: _Part, spec: Field, column: Column, source: pa.Array) -> Parsed:
    if spec.unit == "token":
        refuse_pans(source, part.bad.file, column.column or "(constant)")
        return parse_tokens(source, ready=column.unit == "token" or column.constant is not None)
    if spec.unit == "minor":
        major = column.unit == "major"
        exponent = 2 if column.exponent is None else column.exponent
        return amounts(flat(source), exponent if major else None)
    if spec.type == "enum":
        return codes(flat(source), spec.values, column.values)
    low, high = spec.bounds
    if column.scale is not None:
        return scaled(flat(source), column.scale, low, high)
    return integers(mapped(flat(source), column.values), low, high, f"a whole number ({spec.type})")


def _parse_outcome(part: _Part, columns: Mapping[str, Column]) -> None:
    """Results; without any, responses; without those, immediate approval."""
    out = part.arrays
    response = np.full(len(part), -1, np.int64)
    if (source := _source(part, columns, "response")) is not None:
        array = mapped(flat(source), columns["response"].values)
        parsed = integers(array, 0, 99, "a two-digit response code (DE39)")
        _note(part, columns, "response", source, parsed)
        response = np.where(parsed.present, parsed.values, -1)
    result = np.zeros(len(part), np.uint8)
    if (source := _source(part, columns, "result")) is not None:
        parsed = codes(flat(source), RESULTS, columns["result"].values)
        _note(part, columns, "result", source, parsed)
        result = np.where(parsed.present, parsed.values, NO_RESULT).astype(np.uint8)
    elif (response >= 0).any():
        refused = (response >= 0) & ~np.isin(response, APPROVED_RESPONSES)
        result = refused.astype(np.uint8)
    out["response"], out["result"] = response, result


def _source(part: _Part, columns: Mapping[str, Column], name: str) -> pa.Array | None:
    """The column mapped to ``name``, a repeated constant, or None if there is none."""
    how = columns.get(name)
    if how is None:
        return None
    if how.constant is not None:
        return pa.repeat(pa.scalar(how.constant), len(part))
    if how.column not in part.table.column_names:
        return None
    return flat(part.table.column(how.column))


def _label(columns: Mapping[str, Column], name: str) -> str:
    how = columns[name]
    return how.column or (how.one_hot[0] + ", ..." if how.one_hot else f"{name} (constant)")


def _note(
    part: _Part, columns: Mapping[str, Column], name: str, source: pa.Array, parsed: Parsed
) -> None:
    for mask, rule in parsed.broken:
        part.bad.add(mask, _label(columns, name), source, rule)


def _mark_duplicates(parts: Sequence[_Part], columns: Mapping[str, Column]) -> None:
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
            source = _source(part, columns, "id")
            rule = "the id must be unique per terminal; an earlier row has it"
            part.bad.add(mask, _label(columns, "id"), source, rule)


def _merge_names(parts: Sequence[_Part], key: str) -> tuple[str, ...]:
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


def _assemble(parts: Sequence[_Part], schema: Schema) -> Transactions:
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

# SPDX-License-Identifier: Apache-2.0
"""The rows of one file: mapped columns, parsed and checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tinyfin.config import Column, Config
from tinyfin.config.columns import TIMES
from tinyfin.data.cards import CardGuard
from tinyfin.data.cells import (
    Ints,
    Mask,
    UnreadableType,
    flat,
    inexact_ids,
    joined,
    mapped,
    texts,
    without,
)
from tinyfin.data.currencies import EXPONENTS, USUAL_EXPONENT
from tinyfin.data.numerals import Style, has_decimals
from tinyfin.data.parse import Parsed, amounts, codes, integers, labels, one_hot, scaled
from tinyfin.data.problems import BadRows
from tinyfin.data.times import Times, parse_times
from tinyfin.data.tokens import load_token_key, parse_hashes, parse_ids, parse_tokens
from tinyfin.data.transactions import NO_RESULT, RESULTS, TAKEN
from tinyfin.errors import DataError
from tinyfin.schema import Field, Schema

__all__ = [
    "APPROVED_RESPONSES",
    "FileChunk",
    "check_cards",
    "field_of",
    "label_of",
    "labels_of",
    "note_broken",
    "parse",
    "source_of",
    "terminals_of",
    "times_of",
    "wanted_columns",
    "wanted_of",
]

APPROVED_RESPONSES = (0, 8, 10, 11, 85)
"""Response codes (DE39) that approve, used when a file has responses but no results."""

_TRANSLATED = "translate texts: values = {TEXT = NUMBER, ...}"
_CURRENCIES = "translate codes of letters to numeric ones (ISO 4217): values = {EUR = 978, ...}"
_OTHER_TOKENS = "leave unit out, and tokens are made of any ids"
_UNMAPPED_TOKENS = (
    'for other ids map every column that is used in [data], with token = "NAME" among them, and '
    "tokens are made of them"
)


@dataclass
class FileChunk:
    """The columns of one file, before bad rows are taken out; arrays have one entry per row."""

    bad: BadRows
    table: pa.Table
    first_row: int
    guard: CardGuard
    arrays: dict[str, npt.NDArray[Any]] = field(default_factory=dict)
    names: dict[str, list[str]] = field(default_factory=dict)
    decimals: set[str] = field(default_factory=set)
    """Fields that an earlier chunk of the file has shown to have a point as decimal mark."""

    def __len__(self) -> int:
        return len(self.bad.rows)


def wanted_columns(config: Config) -> dict[str, str]:
    """Source columns by the name in [data] that wants them."""
    return wanted_of(config.data.resolved(config.schema))


def wanted_of(columns: Mapping[str, Column]) -> dict[str, str]:
    """Source columns of a mapping, by the name that wants them."""
    found = {key: col.column for key, col in columns.items() if col.column is not None}
    for key, col in columns.items():
        found |= {f"{key}.one_hot.{i}": name for i, name in enumerate(col.one_hot or ())}
        found |= {f"{key}.columns.{i}": name for i, name in enumerate(col.columns or ())}
    return found


def parse(part: FileChunk, columns: Mapping[str, Column], config: Config) -> None:
    """Fill ``part.arrays`` from the mapped columns; broken rules go to ``part.bad``."""
    if config.data.plain:
        columns = {k: v for k, v in columns.items() if k not in (*TIMES, "terminal")}
        _count_rows(part)
    else:
        _parse_times(part, columns, config.data.label_delay_s)
    _parse_fields(part, columns, config)
    _parse_outcome(part, columns)
    n = len(part)
    out = part.arrays

    out["terminal"] = np.zeros(n, np.int64)
    part.names["terminal"] = ["0"]
    if (source := source_of(part, columns, "terminal")) is not None:
        part.names["terminal"], out["terminal"], present = terminals_of(part, columns, source)
        part.bad.add(~present, label_of(columns, "terminal"), source, "a terminal id is needed")

    out["row"] = part.first_row + part.bad.rows - 1
    out["id"] = (out["row"] + 1).astype(np.int64)
    if (source := source_of(part, columns, "id")) is not None:
        check_cards(part, columns, "id", source)
        parsed = parse_ids(source)
        note_broken(part, columns, "id", source, parsed)
        part.bad.add(~parsed.present, label_of(columns, "id"), source, "a transaction id is needed")
        out["id"] = parsed.values

    out["label"] = np.full(n, -1, np.int8)
    if (source := source_of(part, columns, "label")) is not None:
        parsed = labels_of(part, columns, source)
        out["label"] = np.where(parsed.present, parsed.values, -1).astype(np.int8)

    if (source := source_of(part, columns, "scenario")) is not None:
        check_cards(part, columns, "scenario", source)
        words = mapped(texts(source), columns["scenario"].values)
        encoded = words.fill_null("").dictionary_encode()
        part.names["scenario"] = encoded.dictionary.to_pylist()
        out["scenario"] = encoded.indices.to_numpy(zero_copy_only=False)


def terminals_of(
    part: FileChunk, columns: Mapping[str, Column], source: pa.Array
) -> tuple[list[str], Ints, Mask]:
    """Names of terminals, the index among them of each row's, and which rows have one."""
    check_cards(part, columns, "terminal", source)
    for mask, rule in inexact_ids(source):
        part.bad.add(mask, label_of(columns, "terminal"), source, rule)
    encoded = texts(source).dictionary_encode()
    index = encoded.indices.fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    there = encoded.is_valid().to_numpy(zero_copy_only=False)
    return encoded.dictionary.to_pylist(), index, there


def labels_of(part: FileChunk, columns: Mapping[str, Column], source: pa.Array) -> Parsed:
    """Labels, 0 genuine and 1 fraud."""
    how = columns["label"]
    parsed = labels(mapped(source, how.values), style_of(how))
    note_broken(part, columns, "label", source, parsed)
    return parsed


def _count_rows(part: FileChunk) -> None:
    """The times of a plain table: row i is at second i."""
    second = part.first_row + part.bad.rows - 1
    for name in ("t_mono_s", "t_local_s", "outcome_time", "label_time"):
        part.arrays[name] = second


def _parse_times(part: FileChunk, columns: Mapping[str, Column], label_delay_s: int) -> None:
    out = part.arrays
    source = source_of(part, columns, "time")
    if source is None:
        raise DataError(
            f"{part.bad.file}: no column for the time; name it in tinyfin.toml: "
            '[data] time = {column = "NAME"}, or plain = true for a table without history'
        )
    mono, local, present = times_of(part, columns, "time", source)
    part.bad.add(~present, label_of(columns, "time"), source, "a time is needed")
    out["t_mono_s"], out["t_local_s"] = mono, local
    if (source := source_of(part, columns, "local_time")) is not None:
        _, clock, there = times_of(part, columns, "local_time", source)
        out["t_local_s"] = np.where(there, clock, local)
    defaults = {"outcome_time": mono, "label_time": np.minimum(mono + label_delay_s, 2**32 - 1)}
    for name, default in defaults.items():
        out[name] = default
        if (source := source_of(part, columns, name)) is not None:
            later, _, there = times_of(part, columns, name, source)
            early = there & (later < mono) & ~part.bad.bad
            part.bad.add(early, label_of(columns, name), source, "is before the transaction's time")
            out[name] = np.where(there, later, default)


def times_of(
    part: FileChunk, columns: Mapping[str, Column], name: str, source: pa.Array
) -> tuple[Ints, Ints, Mask]:
    """Times and local times of the entry ``name``, and which of them are there."""
    try:
        times: Times = parse_times(source, columns[name])
    except UnreadableType as error:
        raise DataError(
            f"{part.bad.file}, column {label_of(columns, name)}: holds {error}"
        ) from error
    for mask, rule in times.broken:
        part.bad.add(mask, label_of(columns, name), source, rule)
    return times.mono_s, times.local_s, times.present


def _parse_fields(part: FileChunk, columns: Mapping[str, Column], config: Config) -> None:
    schema = config.schema
    n = len(part)
    values = np.empty((n, len(schema.fields)), np.int64)
    present = np.zeros(n, np.uint32)
    back = np.zeros(n, np.bool_)
    for i, spec in enumerate(schema.fields):
        missing = np.uint64(spec.missing).view(np.int64) if spec.type == "u64" else spec.missing
        hot = _one_hot(part, columns, spec.name)
        source = source_of(part, columns, spec.name) if hot is None else hot[0]
        if source is None:
            values[:, i] = missing
            continue
        parsed = hot[1] if hot is not None else field_of(part, columns, spec, source, config)
        note_broken(part, columns, spec.name, source, parsed)
        if columns[spec.name].negative is not None:
            back |= (parsed.values < 0) & (columns[spec.name].negative == "refund")
            parsed = parsed._replace(values=np.abs(parsed.values))
        values[:, i] = np.where(parsed.present, parsed.values, missing)
        present |= parsed.present.astype(np.uint32) << np.uint32(i)
    if back.any():
        _mark_refunds(schema, values, present, back)
    part.arrays["values"] = values
    part.arrays["present"] = present


def _mark_refunds(
    schema: Schema,
    values: npt.NDArray[np.int64],
    present: npt.NDArray[np.uint32],
    back: npt.NDArray[np.bool_],
) -> None:
    """The type of rows with a negative amount says refund; another type that the row names
    stays."""
    at = schema.index("transaction_type")
    back &= (present >> np.uint32(at)) & 1 == 0
    values[back, at] = schema.fields[at].values.index("refund")
    present[back] |= np.uint32(1 << at)


def _one_hot(
    part: FileChunk, columns: Mapping[str, Column], name: str
) -> tuple[pa.Array, Parsed] | None:
    """The first of the columns that ``name`` is one-hot in, and what all of them say."""
    how = columns.get(name)
    if how is None or how.one_hot is None:
        return None
    sources = [_column(part, source) for source in how.one_hot]
    return sources[0], one_hot(sources)


def field_of(
    part: FileChunk, columns: Mapping[str, Column], spec: Field, array: pa.Array, config: Config
) -> Parsed:
    """Values of the field ``spec`` of the schema in the column ``array``."""
    column = columns[spec.name]
    if spec.type == "u64" or column.hash:
        check_cards(part, columns, spec.name, array)
    if spec.unit == "token":
        ready = column.unit == "token" or column.constant is not None
        key = b"" if ready else load_token_key(config.data.token_key_file)
        how_else = _OTHER_TOKENS if config.data.columns else _UNMAPPED_TOKENS
        return parse_tokens(array, ready, key, for_text=how_else)
    style = style_of(column)
    if pa.types.is_string(array.type) and style.decimal is None and style.mark:
        if spec.name not in part.decimals and has_decimals(array.unique()):
            part.decimals.add(spec.name)
        if spec.name in part.decimals:
            style = replace(style, decimal=style.mark)
    if spec.unit == "minor":
        return _amounts(part, columns, column, array, style)
    if spec.type == "enum":
        return codes(array, spec.values, column.values)
    low, high = spec.bounds
    if column.scale is not None:
        return scaled(array, column.scale, low, high, style)
    if column.hash:
        return parse_hashes(array)
    what = f"a whole number ({spec.type})"
    for_text = _CURRENCIES if spec.name == "currency" else _TRANSLATED
    return integers(mapped(array, column.values), low, high, what, style, for_text=for_text)


def _amounts(
    part: FileChunk, columns: Mapping[str, Column], column: Column, array: pa.Array, style: Style
) -> Parsed:
    """Amounts in minor units; of major units in those of each row's currency."""
    signed = column.negative is not None
    if column.unit != "major" or column.exponent is not None:
        return amounts(array, column.exponent, style, signed=signed)
    exponents = _exponents(part, columns)
    found = np.unique(exponents) if len(part) else np.array([USUAL_EXPONENT])
    each = [amounts(array, int(e), style, signed=signed) for e in found]
    at = np.searchsorted(found, exponents)
    return Parsed(
        np.choose(at, [parsed.values for parsed in each]),
        np.choose(at, [parsed.present for parsed in each]),
        [(mask & (at == i), rule) for i, parsed in enumerate(each) for mask, rule in parsed.broken],
    )


def _exponents(part: FileChunk, columns: Mapping[str, Column]) -> npt.NDArray[np.int64]:
    """Decimals of each row's major unit: those of its currency, two where none is known."""
    exponents = np.full(len(part), USUAL_EXPONENT)
    source = source_of(part, columns, "currency")
    if source is None or columns["currency"].hash:
        return exponents
    how = columns["currency"]
    codes = integers(mapped(source, how.values), 0, 999, "a currency", style_of(how))
    for code in np.unique(codes.values[codes.present]).tolist():
        if code in EXPONENTS:
            exponents[codes.present & (codes.values == code)] = EXPONENTS[code]
    return exponents


def _parse_outcome(part: FileChunk, columns: Mapping[str, Column]) -> None:
    """Results; without any, responses; without those, immediate approval. And what was done."""
    out = part.arrays
    response = np.full(len(part), -1, np.int64)
    if (source := source_of(part, columns, "response")) is not None:
        how = columns["response"]
        array = mapped(source, how.values)
        parsed = integers(
            array, 0, 99, "a two-digit response code (DE39)", style_of(how), for_text=_TRANSLATED
        )
        note_broken(part, columns, "response", source, parsed)
        response = np.where(parsed.present, parsed.values, -1)
    result = np.zeros(len(part), np.uint8)
    if (source := source_of(part, columns, "result")) is not None:
        parsed = codes(source, RESULTS, columns["result"].values)
        note_broken(part, columns, "result", source, parsed)
        result = np.where(parsed.present, parsed.values, NO_RESULT).astype(np.uint8)
    elif (response >= 0).any():
        refused = (response >= 0) & ~np.isin(response, APPROVED_RESPONSES)
        result = refused.astype(np.uint8)
    out["response"], out["result"] = response, result
    out["action"] = np.zeros(len(part), np.uint8)
    if (source := source_of(part, columns, "action")) is not None:
        parsed = codes(source, TAKEN, columns["action"].values, by_number=True)
        note_broken(part, columns, "action", source, parsed)
        out["action"] = np.where(parsed.present, parsed.values, 0).astype(np.uint8)


def source_of(part: FileChunk, columns: Mapping[str, Column], name: str) -> pa.Array | None:
    """The column mapped to ``name``, a repeated constant, or None if there is none."""
    how = columns.get(name)
    if how is None:
        return None
    if how.constant is not None:
        return pa.repeat(pa.scalar(str(how.constant)), len(part))
    if how.columns is not None:
        if not set(how.columns) <= set(part.table.column_names):
            return None
        return joined([_column(part, name) for name in how.columns])
    if how.column not in part.table.column_names:
        return None
    found = _column(part, how.column or "")
    return found if how.empty is None else without(found, how.empty)


def _column(part: FileChunk, name: str) -> pa.Array:
    """A column of the file, flat. Raises DataError when its type is of no use."""
    try:
        return flat(part.table.column(name))
    except UnreadableType as error:
        raise DataError(f"{part.bad.file}, column {name}: holds {error}") from error


def style_of(how: Column) -> Style:
    """How the column writes numbers."""
    return Style.of(how.strip, how.decimal)


def check_cards(
    part: FileChunk, columns: Mapping[str, Column], name: str, source: pa.Array
) -> None:
    """Check what identifies cards, terminals or transactions, and what is copied out by name."""
    part.guard.check(source, label_of(columns, name))


def label_of(columns: Mapping[str, Column], name: str) -> str:
    """How messages call the source of ``name``."""
    how = columns[name]
    several = how.one_hot or how.columns
    return how.column or (several[0] + ", ..." if several else f"{name} (constant)")


def note_broken(
    part: FileChunk, columns: Mapping[str, Column], name: str, source: pa.Array, parsed: Parsed
) -> None:
    """The rules that values of the entry ``name`` break make bad rows."""
    for mask, rule in parsed.broken:
        part.bad.add(mask, label_of(columns, name), source, rule)

# SPDX-License-Identifier: Apache-2.0
"""Files of chargebacks and clearances: what each row says, and by what it finds its transaction."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tinyfin.config import Column, Config
from tinyfin.config.labels import DAY, LabelFile
from tinyfin.data.cards import CardGuard
from tinyfin.data.problems import BadRows, report
from tinyfin.data.rows import (
    FileChunk,
    check_cards,
    field_of,
    label_of,
    labels_of,
    note_broken,
    source_of,
    terminals_of,
    times_of,
    wanted_of,
)
from tinyfin.data.tables import read_table
from tinyfin.data.times import parse_times
from tinyfin.data.tokens import parse_ids
from tinyfin.errors import DataError

__all__ = ["DAY_S", "LabelRows", "read_labels"]

DAY_S = 86_400
Ints = npt.NDArray[np.int64]


@dataclass
class LabelRows:
    """The m rows of a file of labels."""

    name: str
    spec: LabelFile
    bad: BadRows
    """Gets the rows that are not taken, with the reason."""
    table: pa.Table
    says: npt.NDArray[np.bool_]
    """Rows that say something and can be joined."""
    label: npt.NDArray[np.int8]
    known_s: Ints
    """When the label became known; -1 where the row does not say."""
    keys: dict[str, Ints] = field(default_factory=dict)
    """What has to be equal, by name; ``day`` is the local day, where all rows say a date."""
    terminals: dict[str, int] = field(default_factory=dict)
    """The terminals' numbers among ``keys``."""
    t_s: Ints | None = None
    """What has to be near, or of the same day."""
    days: Ints | None = None
    """Local days, where rows say dates and others say moments, whose day depends on the place."""
    moments: npt.NDArray[np.bool_] | None = None
    """Which rows say moments."""

    def __len__(self) -> int:
        return len(self.says)

    @property
    def file(self) -> str:
        """Its path."""
        return self.spec.file

    def near(self, rows: Ints, t_s: Ints, local_s: Ints) -> npt.NDArray[np.bool_]:
        """Which of the rows fit the time of a transaction each, by UTC or by its day there."""
        if self.t_s is None:
            return np.ones(len(rows), np.bool_)
        said_s = self.t_s[rows]
        if self.days is None or self.moments is None:
            return np.asarray(np.abs(t_s - said_s) <= (self.spec.tolerance or 0))
        there = (said_s + local_s - t_s) // DAY_S
        day = np.where(self.moments[rows], there, self.days[rows])
        return np.asarray(day == local_s // DAY_S)

    def refuse(self, rows: Ints, rule: str, more: dict[int, str] | None = None) -> None:
        """These rows are not taken; ``more``: what else to say of a row."""
        mask = np.zeros(len(self), np.bool_)
        mask[rows] = True
        name = "id" if "id" in self.keys else "time"
        part = FileChunk(self.bad, self.table, 0, CardGuard(self.file))
        source = source_of(part, self.spec.columns, name)
        self.bad.add(mask, label_of(self.spec.columns, name), source, rule, more or {})
        self.says &= ~mask


def read_labels(name: str, spec: LabelFile, config: Config, *, go_on: bool) -> LabelRows:
    """The rows of one file of [labels], read as [data] reads transactions.

    Rows that cannot be read raise DataError, or are refused with ``go_on``. Raises DataError, too,
    for a file that is not there, and for one with card numbers.
    """
    where = f"labels.{name}"
    if not Path(spec.file).is_file():
        raise DataError(f"{spec.file}: is not there, and {where} names it; correct the path")
    columns = spec.columns
    wanted = {f"{where}.{key}": column for key, column in wanted_of(columns).items()}
    table, bad = read_table(spec.file, wanted, False, spec.reading)
    part = FileChunk(bad, table, 0, CardGuard(spec.file))
    n = len(part)
    said = labels_of(part, columns, source_of(part, columns, "label"))
    known_s = np.full(n, -1, np.int64)
    if (source := source_of(part, columns, "label_time")) is not None:
        known, _, there = times_of(part, columns, "label_time", source)
        known_s = np.where(there, known + spec.delay, -1)
    rows = LabelRows(name, spec, bad, table, said.present, said.values.astype(np.int8), known_s)
    lacking = _join_keys(rows, part, config)
    if bad.count and not go_on:
        raise report([bad], n + len(bad.ragged), f"Correct the rows, or their mapping in [{where}]")
    rows.says &= ~bad.bad
    for key, missing in lacking.items():
        rows.refuse(np.flatnonzero(missing & rows.says), f"has no {key} to find a transaction by")
    return rows


def _join_keys(
    rows: LabelRows, part: FileChunk, config: Config
) -> dict[str, npt.NDArray[np.bool_]]:
    """Fill what the rows are joined by; returns where it is missing, by name."""
    columns, lacking = rows.spec.columns, {}
    for name in rows.spec.joins:
        source = source_of(part, columns, name)
        if name == "terminal":
            names, values, there = terminals_of(part, columns, source)
            rows.terminals = {word: i for i, word in enumerate(names)}
        else:
            if name == "id":
                check_cards(part, columns, name, source)
                parsed = parse_ids(source)
            else:
                parsed = field_of(part, columns, config.schema.field(name), source, config)
            if columns[name].negative is not None:
                parsed = parsed._replace(values=np.abs(parsed.values))
            note_broken(part, columns, name, source, parsed)
            there, values = parsed.present, parsed.values
        rows.keys[name] = values
        lacking[name.removesuffix("_minor")] = ~there
    if (source := source_of(part, columns, "time")) is not None:
        mono, local, there = times_of(part, columns, "time", source)
        lacking["time"] = ~there
        if rows.spec.tolerance != DAY:
            rows.t_s = mono
        elif not (moments := _moments(source, columns["time"]) & there).any():
            rows.keys["day"] = local // DAY_S
        else:
            rows.t_s, rows.days, rows.moments = mono, local // DAY_S, moments
    return lacking


def _moments(source: pa.Array, how: Column) -> npt.NDArray[np.bool_]:
    """Which times are moments of UTC, not dates or wall clocks of no zone."""
    times = parse_times(source, how)
    if how.zone is not None and np.any(times.local_s[times.present] % DAY_S):
        return np.ones(len(times.wall), np.bool_)
    return ~times.wall

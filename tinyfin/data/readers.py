# SPDX-License-Identifier: Apache-2.0
"""Transactions files, checked row by row and brought into one shape."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from tinyfin.config import Column, Config
from tinyfin.data.cards import CardGuard
from tinyfin.data.containers import require_csv_name
from tinyfin.data.label_join import Joined, LabelJoin
from tinyfin.data.memory_tables import Sources, as_files
from tinyfin.data.problems import report, set_aside
from tinyfin.data.rows import FileChunk, label_of, parse, source_of, wanted_columns
from tinyfin.data.seen import Seen
from tinyfin.data.tables import about_rows, column_names, read_table_chunks
from tinyfin.data.transactions import Transactions
from tinyfin.data.values import joined_values, narrow
from tinyfin.errors import DataError
from tinyfin.memory import give_back
from tinyfin.progress import stage
from tinyfin.schema import Schema

__all__ = ["CHUNK_ROWS", "Survey", "read", "read_chunks", "survey"]


def read(
    paths: Sources,
    config: Config,
    *,
    labels: bool = True,
    compact: bool = False,
    skip_bad_rows: str | Path | None = None,
    progress: Callable[[str], None] | None = None,
) -> Transactions:
    """Read CSV, Parquet and Arrow files, or tables of pandas, Polars and Arrow, in the order given,
    as one set of transactions.

    The mapping is ``config.data``; without one, columns carry the schema's own names and those that
    are absent stay absent. A bad row raises DataError naming file, row (1-based, header and empty
    lines not counted), column, value and rule, the first five shown and all counted. With
    ``skip_bad_rows`` the bad rows go to that CSV file with their reasons, and the rest is read;
    ``progress`` gets a message. Rows keep their input order and need not be sorted by time.
    ``labels=False``: a file without the column of the labels, as it is before they are known, is
    read as one whose labels are all empty. ``compact``: the values are :class:`Values`, which take
    little memory where many rows are read.
    """
    with as_files(paths) as files:
        if not files:
            raise DataError("no transactions file was given")
        gathered = _Gathered(config.schema)
        found = _surveyed(files, config, labels, skip_bad_rows, CHUNK_ROWS, progress, gathered)
        tx = gathered.transactions(compact)
        return tx if found.joined is None else found.joined.apply(tx)


@dataclass(frozen=True)
class Survey:
    """What a first pass over files has found, so that a second one can go chunk by chunk."""

    rows: int
    """Good rows."""
    terminals: tuple[str, ...]
    in_order: bool
    """No chunk begins before the end of the one before it."""
    file_rows: tuple[int, ...]
    """Rows of each file, bad ones included."""
    twice: Twice
    """Rows of the files whose id an earlier row of their terminal has."""
    seen: Seen
    """What the good rows hold."""
    labels: bool = True
    """Whether a file without the column of the labels was refused."""
    joined: Joined | None = None
    """What the files of [labels] say of the good rows."""
    bad: Mapping[str, int] = field(default_factory=dict)
    """How many rows break each rule."""


CHUNK_ROWS = 1 << 16

_KNOWN_LATE = ("label", "label_time", "scenario")


def survey(
    paths: Sequence[str | Path],
    config: Config,
    *,
    labels: bool = True,
    skip_bad_rows: str | Path | None = None,
    go_on: bool = False,
    chunk_rows: int = CHUNK_ROWS,
    progress: Callable[[str], None] | None = None,
) -> Survey:
    """Check every row as :func:`read` does, with the same errors, a chunk in memory at a time, and
    of what came before it the terminal and id of each row, where there is an id (20 bytes).
    ``go_on``: bad rows are counted, and an error only where all rows are.
    """
    return _surveyed(paths, config, labels, skip_bad_rows, chunk_rows, progress, None, go_on)


def _surveyed(
    paths: Sequence[str | Path],
    config: Config,
    labels: bool,
    skip_bad_rows: str | Path | None,
    chunk_rows: int,
    progress: Callable[[str], None] | None,
    gathered: _Gathered | None,
    go_on: bool = False,
) -> Survey:
    tell = progress or (lambda _: None)
    if skip_bad_rows is not None:
        require_csv_name(skip_bad_rows)
    wanted = wanted_columns(config)
    go_on |= skip_bad_rows is not None
    join = LabelJoin.open(config, required=labels, go_on=go_on, tell=tell)
    found, keys = _Found(config, labels, gathered, join), _Keys()
    for path in paths:
        rows = found.look(path, config, chunk_rows, keys)
        tell(_told(path, rows, wanted, wanted if labels else _known_early(path, wanted, config)))
    twice = keys.twice(paths, found.file_rows)
    if len(twice.rows):
        found = _Found(config, labels, gathered, join)
        for path in paths:
            found.look(path, config, chunk_rows, None, twice)
    total = sum(found.file_rows)
    if found.broken and (not go_on or not found.good):
        raise report([part.bad for part in found.broken], total)
    if skip_bad_rows is not None:
        sources = list(dict.fromkeys(wanted.values()))
        set_aside(skip_bad_rows, [(part.bad, part.table) for part in found.broken], sources)
        tell(f"{total - found.good} of {total} rows are bad and set aside in {skip_bad_rows}")
    if total == 0:
        raise DataError(f"{paths[0]}: holds no rows")
    for remark in found.seen.remarks():
        tell(remark)
    joined = None
    if join is not None:
        joined, lines = join.joined()
        for line in lines:
            tell(line)
    return Survey(
        found.good,
        tuple(found.terminals),
        found.in_order,
        tuple(found.file_rows),
        twice,
        found.seen,
        labels,
        joined,
        sum((part.bad.rules() for part in found.broken), Counter()),
    )


@dataclass(frozen=True)
class Twice:
    """Rows of files whose id an earlier row of their terminal has, ascending, and that row."""

    rows: npt.NDArray[np.int64]
    earlier: npt.NDArray[np.int64]
    files: tuple[str, ...]
    file_rows: tuple[int, ...]

    def where(self, row: int) -> str:
        """The file and the row that have the id of ``row`` already."""
        first = int(self.earlier[np.searchsorted(self.rows, row)])
        ends = np.cumsum(self.file_rows)
        i = int(np.searchsorted(ends, first, side="right"))
        return f"{self.files[i]}, row {first - int(ends[i]) + self.file_rows[i] + 1}"


class _Keys:
    """Terminal, id and row of every good row."""

    def __init__(self) -> None:
        self.terminal: list[npt.NDArray[np.int32]] = []
        self.id: list[npt.NDArray[np.int64]] = []
        self.row: list[npt.NDArray[np.int64]] = []

    def add(
        self,
        terminal: npt.NDArray[np.int64],
        ids: npt.NDArray[np.int64],
        row: npt.NDArray[np.int64],
    ) -> None:
        self.terminal.append(terminal.astype(np.int32))
        self.id.append(ids)
        self.row.append(row)

    def twice(self, paths: Sequence[str | Path], file_rows: Sequence[int]) -> Twice:
        """Rows whose terminal and id an earlier row has."""
        none = np.zeros(0, np.int64)
        if not self.row:
            return Twice(none, none, (), ())
        terminal, ids, row = (np.concatenate(a) for a in (self.terminal, self.id, self.row))
        order = np.lexsort((row, ids, terminal))
        later, earlier = order[1:], order[:-1]
        same = (terminal[later] == terminal[earlier]) & (ids[later] == ids[earlier])
        ascending = np.argsort(row[later[same]])
        return Twice(
            row[later[same]][ascending],
            row[earlier[same]][ascending],
            tuple(map(str, paths)),
            tuple(file_rows),
        )


class _Found:
    """One pass over the files; ``gathered`` takes the good rows."""

    def __init__(
        self, config: Config, labels: bool, gathered: _Gathered | None, join: LabelJoin | None
    ) -> None:
        self.labels, self.gathered, self.seen = labels, gathered, Seen(config)
        self._join = join
        if join is not None:
            join.restart()
        if gathered is not None:
            gathered.clear()
        self.terminals: dict[str, int] = {}
        self.broken: list[FileChunk] = []
        self.file_rows: list[int] = []
        self.good = 0
        self.in_order = True
        self._mark = 0

    def look(
        self,
        path: str | Path,
        config: Config,
        chunk_rows: int,
        keys: _Keys | None,
        twice: Twice | None = None,
    ) -> int:
        """Parse every row of the next file; the good ones' keys go to ``keys``, rows in ``twice``
        are bad. Returns how many rows there are."""
        has_id = "id" in config.data.resolved(config.schema)
        before, total = sum(self.file_rows), 0
        chunks = _chunks(path, config, before, chunk_rows, twice, self.labels)
        with stage(f"reading {path}", about_rows(path), "rows") as reading:
            for part in chunks:
                reading.step(len(part) + len(part.bad.ragged))
                total += len(part) + len(part.bad.ragged)
                self._take(part, has_id, keys)
        self.file_rows.append(total)
        return total

    def _take(self, part: FileChunk, has_id: bool, keys: _Keys | None) -> None:
        if part.bad.count:
            self.broken.append(part)
        fine = ~part.bad.bad
        terminal = part.arrays["terminal"][fine]
        code = _codes(part.names["terminal"], np.unique(terminal), self.terminals)
        if keys is not None and has_id:
            keys.add(code[terminal], part.arrays["id"][fine], part.arrays["row"][fine])
        times = part.arrays["t_mono_s"][fine]
        if len(times):
            self.in_order &= int(times.min()) >= self._mark
            self._mark = max(self._mark, int(times.max()))
        self.good += len(times)
        self.seen.add_rows(part.arrays, fine)
        if self._join is not None:
            self._join.add(part.arrays, part.names["terminal"], fine)
        if self.gathered is not None:
            self.gathered.add(part, fine, self.terminals)


def _codes(
    names: Sequence[str], used: npt.NDArray[np.int64], index: dict[str, int]
) -> npt.NDArray[np.int64]:
    """Positions in ``index`` of the names that are ``used``; new ones are added to it."""
    code = np.zeros(len(names) + 1, np.int64)
    for i in used.tolist():
        code[i] = index.setdefault(names[i], len(index))
    return code


def read_chunks(
    paths: Sequence[str | Path], config: Config, found: Survey, *, chunk_rows: int = CHUNK_ROWS
) -> Iterator[Transactions]:
    """The good rows of surveyed files, chunk by chunk; terminals are numbered as in the survey.

    Files whose rows are not in order of time come as one chunk. Scenarios are left out.
    """
    index = {name: i for i, name in enumerate(found.terminals)}
    first_row = 0
    gathered = _Gathered(config.schema)
    labelled = (lambda tx: tx) if found.joined is None else found.joined.apply
    for path in paths:
        before = first_row
        for part in _chunks(path, config, before, chunk_rows, found.twice, found.labels):
            first_row += len(part) + len(part.bad.ragged)
            part.names = {"terminal": part.names["terminal"]}
            fine = ~part.bad.bad
            gathered.add(part, fine, index)
            if found.in_order and fine.any():
                yield labelled(gathered.transactions(compact=False))
                gathered.clear()
    if not found.in_order:
        yield labelled(gathered.transactions(compact=False))


def _chunks(
    path: str | Path, config: Config, first_row: int, rows: int, twice: Twice | None, labels: bool
) -> Iterator[FileChunk]:
    columns = config.data.resolved(config.schema)
    optional = not config.data.columns
    wanted: Mapping[str, str] = wanted_columns(config)
    if not labels:
        wanted = _known_early(path, wanted, config)
    guard, decimals = CardGuard(str(path)), set[str]()
    for table, bad in read_table_chunks(path, wanted, optional, rows, config.data):
        part = FileChunk(bad, table, first_row, guard, decimals=decimals)
        parse(part, columns, config)
        if twice is not None:
            _mark_duplicates(part, columns, twice)
        yield part


def _known_early(path: str | Path, wanted: Mapping[str, str], config: Config) -> Mapping[str, str]:
    """``wanted``, without what comes with the labels when the file has no column of labels, and
    without a column of scenarios that is not there."""
    there = column_names(path, config.data)
    missing = {key for key, column in wanted.items() if column not in there}
    late = _KNOWN_LATE if "label" in missing else _KNOWN_LATE[-1:] if "scenario" in missing else ()
    return {k: v for k, v in wanted.items() if k.partition(".")[0] not in late}


def _told(path: str | Path, rows: int, wanted: Mapping[str, str], here: Mapping[str, str]) -> str:
    if "label" in here or "label" not in wanted:
        return f"{path}: {rows} rows"
    return f"{path}: {rows} rows; no column {wanted['label']!r}, so none of them has a label"


def _mark_duplicates(part: FileChunk, columns: Mapping[str, Column], twice: Twice) -> None:
    rows = part.arrays["row"]
    mask = np.isin(rows, twice.rows)
    if mask.any():
        rule = "the id must be unique per terminal; an earlier row has it"
        where = {int(i): f": {twice.where(int(rows[i]))}" for i in np.flatnonzero(mask)}
        part.bad.add(mask, label_of(columns, "id"), source_of(part, columns, "id"), rule, where)


_DTYPES: Mapping[str, tuple[str, type[np.integer]]] = {
    "row": ("row", np.int64),
    "id": ("id", np.int64),
    "t_mono_s": ("t_mono_s", np.uint32),
    "t_local_s": ("t_local_s", np.uint32),
    "present": ("present", np.uint32),
    "result": ("result", np.uint8),
    "response": ("response", np.int32),
    "action": ("action", np.uint8),
    "outcome_t_mono_s": ("outcome_time", np.uint32),
    "label": ("label", np.int8),
    "label_known_s": ("label_time", np.uint32),
}
"""Columns of Transactions: what parts call them, and how they are held."""


class _Gathered:
    """Good rows of parts, held as narrow as they can be."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._columns: dict[str, list[npt.NDArray[np.integer]]] = {}
        self._values: list[tuple[list[npt.NDArray[np.generic] | None], int]] = []
        self._terminals: dict[str, int] = {}
        self._scenarios: dict[str, int] = {}
        self._has_scenario = False

    def add(self, part: FileChunk, fine: npt.NDArray[np.bool_], terminals: dict[str, int]) -> None:
        """The rows ``fine``; ``terminals`` numbers all names of terminals."""
        rows = slice(None) if fine.all() else fine
        self._terminals = terminals

        def keep(name: str, values: npt.NDArray[np.integer], kind: type[np.integer]) -> None:
            self._columns.setdefault(name, []).append(values.astype(kind))

        for name, (source, kind) in _DTYPES.items():
            keep(name, part.arrays[source][rows], kind)
        for name, kind, index in (
            ("terminal", np.int32, terminals),
            ("scenario", np.int16, self._scenarios),
        ):
            self._has_scenario |= name == "scenario" and name in part.names
            names = part.names.get(name, [""])
            own = part.arrays[name][rows] if name in part.names else np.zeros(fine.sum(), np.int64)
            keep(name, _codes(names, np.unique(own), index)[own], kind)
        present = part.arrays["present"][rows]
        values = part.arrays["values"][rows]
        self._values.append((narrow(self.schema, values, present), len(values)))

    def transactions(self, compact: bool) -> Transactions:
        """All rows, in order; nothing is left here."""
        columns: dict[str, Any] = {}
        for name in list(self._columns):
            chunks = self._columns.pop(name)
            whole = chunks[0] if len(chunks) == 1 else np.concatenate(chunks)
            columns[name] = np.require(whole, requirements=["C", "W"])
        values = joined_values(self.schema, self._values)
        self._values = []
        if len(values) > CHUNK_ROWS:
            give_back()
        return Transactions(
            schema=self.schema,
            terminals=tuple(self._terminals),
            # Values is an array in all that is asked of the values of many rows
            values=cast("npt.NDArray[np.int64]", values) if compact else np.asarray(values),
            id=columns.pop("id").view(np.uint64),
            scenario=tuple(self._scenarios) if self._has_scenario else None,
            scenario_code=columns.pop("scenario"),
            **columns,
        )

# SPDX-License-Identifier: Apache-2.0
"""Captures to a Parquet file of transactions, a batch in memory at a time."""

from __future__ import annotations

import csv
import datetime as dt
import tempfile
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path
from typing import IO, TypedDict

import pyarrow as pa
import pyarrow.parquet as pq

from tinyfin import files
from tinyfin.captures.calendar import COMING, Calendar
from tinyfin.captures.elements import Elements, Row
from tinyfin.captures.iso8583 import Dialect, elements_of
from tinyfin.captures.join import Joiner
from tinyfin.captures.messages import Message, Unreadable, messages
from tinyfin.captures.tlv import add_tags
from tinyfin.data.cards import hide_pans
from tinyfin.data.containers import explained, require_csv_name, writes_csv
from tinyfin.errors import DataError, InputError
from tinyfin.progress import stage
from tinyfin.schema import PAYMENT

__all__ = ["Converted", "convert"]

_BATCH_ROWS = 1 << 14
_SHOWN = 5
_WRITTEN = 0.3
"""Bytes that are written, twice for a while, of a byte that is read."""
_YEAR, _GAP = dt.timedelta(days=365), dt.timedelta(days=7)
_TYPES = {"i32": pa.int32(), "i64": pa.int64(), "u64": pa.uint64(), "enum": pa.string()}
_FIELDS = (*PAYMENT.names[: PAYMENT.index("floor_limit_minor") + 1], "approval_hash")
_COLUMNS = pa.schema(
    [
        ("time", pa.timestamp("ms")),
        ("local_time", pa.timestamp("ms")),
        ("terminal", pa.string()),
        *((name, _TYPES[PAYMENT.field(name).type]) for name in _FIELDS),
        ("result", pa.string()),
        ("response", pa.int32()),
        ("outcome_time", pa.timestamp("ms")),
        ("rrn", pa.string()),
    ]
)
_ALWAYS = ("time", "local_time", "terminal", "result")


class Converted(TypedDict):
    """What :func:`convert` wrote, and what it read."""

    out: str
    messages: int
    transactions: int
    bad: int
    """Messages that cannot be read."""
    results: dict[str, int]
    """Transactions by result; "none" where no answer came."""
    passed_over: dict[str, int]
    """Messages that are no transaction and belong to none, by what they are."""
    columns: list[str]


def convert(
    paths: Sequence[str | Path],
    out: str | Path,
    *,
    token_key: bytes,
    dialect: Dialect | None = None,
    year: int | Sequence[int] | None = None,
    terminal: str | None = None,
    skip_bad_rows: str | Path | None = None,
) -> Converted:
    """Write the transactions of capture files as one Parquet file with the schema's names.

    ``dialect``: how ISO 8583 messages are written; None: the files hold TLV data, a transaction
    each. ``token_key``: of the keyed hash that takes the place of card numbers
    (:func:`tinyfin.data.tokens.load_token_key`). ``year``: of the first message of every file, or
    one for each file, for times without one. ``terminal``: of messages that name none.

    Messages that cannot be read, or whose time does not fit those around them
    (:class:`tinyfin.captures.calendar.Calendar`), raise DataError at the end: it names file, place
    and rule of the first five, and counts all. With ``skip_bad_rows`` they go to that CSV file,
    without their contents.
    """
    if writes_csv(out):
        raise InputError(f"{out}: the table is written as Parquet; end the name in .parquet")
    if terminal is not None and hide_pans(terminal) != terminal:
        raise InputError("--terminal looks like a card number; give the name of a terminal")
    if skip_bad_rows is not None:
        require_csv_name(skip_bad_rows)
    files.require_space(out, int(sum(map(_size, paths)) * _WRITTEN), "the transactions")
    years = list(year) if isinstance(year, Sequence) else [year]
    if len(years) not in (1, len(paths)):
        raise InputError(f"{len(years)} years for {len(paths)} captures: give one, or one for each")
    joiner = Joiner(token_key, Calendar(), terminal)
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        all_columns = held.enter_context(tempfile.TemporaryFile(dir=Path(out).parent))
        aside = None
        if skip_bad_rows is not None:
            place = held.enter_context(files.whole(skip_bad_rows))
            aside = held.enter_context(place.open("w", newline="", encoding="utf-8"))
        bad = _Bad(aside)
        read = _Reading(paths, years, dialect, joiner, bad)
        with pq.ParquetWriter(all_columns, _COLUMNS, compression="zstd") as writer:
            for rows in read.batches():
                writer.write_table(pa.Table.from_pylist(rows, schema=_COLUMNS))
        if bad.count and skip_bad_rows is None:
            raise bad.error(read.count)
        columns = [name for name in _COLUMNS.names if name in read.filled or name in _ALWAYS]
        if read.results:
            with files.whole(out) as unfinished:
                _copy(all_columns, unfinished, columns)
    if not read.results:  # the reasons of the messages that were set aside are kept
        raise DataError(
            f"{', '.join(map(str, paths))}: holds no transaction; {read.count} messages, "
            f"{bad.count} of them cannot be read{f': see {skip_bad_rows}' if bad.count else ''}"
        )
    return {
        "out": str(out),
        "messages": read.count,
        "transactions": sum(read.results.values()),
        "bad": bad.count,
        "results": dict(read.results.most_common()),
        "passed_over": dict(joiner.passed_over.most_common()),
        "columns": columns,
    }


def _size(path: str | Path) -> int:
    with explained(path):
        return Path(path).stat().st_size


def _copy(source: IO[bytes], to: Path, columns: list[str]) -> None:
    """The columns that hold something: a model must not expect one that is always empty."""
    source.seek(0)
    table = pq.ParquetFile(source)
    schema = pa.schema([_COLUMNS.field(name) for name in columns])
    with pq.ParquetWriter(to, schema, compression="zstd") as writer:
        for batch in table.iter_batches(_BATCH_ROWS, columns=columns):
            writer.write_batch(batch)


class _Bad:
    """Messages that cannot be read: counted, the first ones kept, all of them set aside."""

    def __init__(self, aside: IO[str] | None) -> None:
        self.count = 0
        self._first: list[str] = []
        self._rules: Counter[str] = Counter()
        self._writer = None if aside is None else csv.writer(aside)
        if self._writer is not None:
            self._writer.writerow(["file", "where", "bytes", "reason"])

    def add(self, path: str | Path, message: Message, rule: str) -> None:
        """One of ``path``; nothing of its contents is kept, which hold card numbers."""
        self.count += 1
        self._rules[rule.partition(": ")[2] or rule] += 1
        if len(self._first) < _SHOWN:
            self._first.append(f"  {path}, {message.where}: {rule}")
        if self._writer is not None:
            self._writer.writerow([str(path), message.where, len(message.data), rule])

    def error(self, total: int) -> DataError:
        """The first ones, and how many there are of each kind."""
        lines = [f"{self.count} of {total} messages cannot be read:", *self._first]
        if self.count > len(self._first):
            lines.append("by rule:")
            lines += [f"  {number} x {rule}" for rule, number in self._rules.most_common(10)]
        lines.append(
            "Is it the right --dialect (or --tlv)? --skip-bad-rows FILE sets such messages aside"
        )
        return DataError("\n".join(lines))


_Read = tuple[Message, str, Elements, str]
"""A message, its MTI, its elements, or why there are none."""


@dataclass
class _Reading:
    """The rows of all files, in batches."""

    paths: Sequence[str | Path]
    years: Sequence[int | None]
    """One for all files, or one for each."""
    dialect: Dialect | None
    joiner: Joiner
    bad: _Bad
    count: int = 0
    results: Counter[str] = field(default_factory=Counter)
    filled: set[str] = field(default_factory=set)

    def batches(self) -> Iterator[list[Row]]:
        """Lists of rows, in the order of their requests."""
        rows = self._rows()
        while batch := list(islice(rows, _BATCH_ROWS)):
            for row in batch:
                self.results[str(row["result"] or "none")] += 1
                self.filled |= {name for name, value in row.items() if value is not None}
            yield batch

    def _rows(self) -> Iterator[Row]:
        calendar, ended = self.joiner.calendar, None
        one_year = len(self.years) == 1 and self.years[0] is not None
        for path, year in zip(self.paths, cycle(self.years), strict=False):
            calendar.begin(year)
            for (message, mti, elements, problem), coming in self._ahead(path):
                calendar.follow(elements, coming)
                if one_year and ended is not None and calendar.now is not None:
                    _check_year(path, ended, calendar.now)
                    ended = None
                try:
                    if problem:
                        raise Unreadable(problem)
                    yield from self.joiner.add(mti, elements)
                except Unreadable as error:
                    self.bad.add(path, message, str(error))
            ended = calendar.now or ended
        yield from self.joiner.rest()

    def _ahead(self, path: str | Path) -> Iterator[tuple[_Read, Iterable[Elements]]]:
        """What is read of a file, each with the elements of what comes next."""
        ahead: deque[_Read] = deque()
        with stage(f"reading {path}", _size(path), "bytes") as reading:
            for message in messages(path):
                self.count += 1
                reading.step(message.end - reading.done)
                ahead.append(self._read(message))
                if len(ahead) > COMING:
                    yield ahead.popleft(), (one[2] for one in ahead)
            while ahead:
                yield ahead.popleft(), (one[2] for one in ahead)

    def _read(self, message: Message) -> _Read:
        mti, elements, problem = "", Elements(), message.problem
        try:
            if not problem and self.dialect is not None:
                mti, elements = elements_of(message.data, self.dialect)
            elif not problem:
                add_tags(elements, message.data)
        except Unreadable as error:
            return message, "", {}, str(error)
        return message, mti, elements, problem


def _check_year(path: str | Path, ended: dt.datetime, begins: dt.datetime) -> None:
    """Raises DataError where a file may go on with the one before it, in the next year."""
    if abs(begins + _YEAR - ended) <= _GAP:
        raise DataError(
            f"{path}: begins in {begins:%B}, where the file before it ends, in {ended:%B}: is it "
            "of the same year or the next? Give --year once for each CAPTURE, in their order"
        )

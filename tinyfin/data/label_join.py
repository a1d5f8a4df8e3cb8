# SPDX-License-Identifier: Apache-2.0
"""Labels from files joined to their transactions, which are looked at chunk by chunk.

A row of a file is taken when it matches one transaction and nothing contradicts it. The others are
counted and written out; the transactions that they might have meant have no label in the end.

What becomes known of a transaction changes nothing that was said of it before: where unlisted ones
are genuine, one that is listed later was genuine until then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tinyfin.config import Config
from tinyfin.data.label_files import DAY_S, LabelRows, read_labels
from tinyfin.data.problems import set_aside
from tinyfin.data.rows import wanted_of
from tinyfin.data.transactions import NEVER_S, Revised, Transactions, format_time
from tinyfin.data.values import row_keys
from tinyfin.errors import DataError
from tinyfin.results.labels import LabelFileFacts
from tinyfin.schema import Schema

__all__ = ["Joined", "LabelJoin"]

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
_PAIRS = 1 << 20
"""Candidates that are compared at a time."""
_MOST_SAYINGS = 100


@dataclass(frozen=True)
class Joined:
    """What files say of the transactions that were looked at."""

    row: Ints
    """Input rows with a label of their own in the end, ascending."""
    label: npt.NDArray[np.int8]
    known_s: npt.NDArray[np.uint32]
    revised: Revised | None
    doubtful: Ints
    """Input rows of which a file may say something, ascending."""
    genuine: bool
    """Whether all others are genuine."""
    files: tuple[LabelFileFacts, ...]

    def apply(self, tx: Transactions) -> Transactions:
        """The transactions with the labels of the files."""
        label, known_s = tx.label.copy(), tx.label_known_s.copy()
        if self.genuine:
            label[(label < 0) & ~np.isin(tx.row, self.doubtful)] = 0
        at = np.minimum(np.searchsorted(self.row, tx.row), max(len(self.row) - 1, 0))
        mine = self.row[at] == tx.row if len(self.row) else np.zeros(len(tx), np.bool_)
        label[mine], known_s[mine] = self.label[at[mine]], self.known_s[at[mine]]
        return replace(tx, label=label, label_known_s=known_s, revised=self.revised)


class _Chunk(NamedTuple):
    """Transactions, by what labels are joined by."""

    own: Ints
    """[4, n]: row, time, label, and when that became known."""
    local_s: Ints
    keys: Mapping[str, tuple[Ints, Mask]]
    """Values, and where they are; terminals by their number among ``names``."""
    names: Sequence[str]


class _Matches:
    """How many transactions each row of a file matches, and the first of them."""

    def __init__(self, rows: LabelRows, delay_s: int) -> None:
        self.rows, self._delay_s = rows, delay_s
        self._hash = row_keys(rows.keys.values(), len(rows))
        self._order = np.argsort(self._hash, kind="stable")
        self.count = np.zeros(len(rows), np.int64)
        self.first: Ints = np.zeros((4, len(rows)), np.int64)
        """[4, m], as ``own`` of a chunk has it."""
        self.doubtful: list[Ints] = []
        """[3, k]: transactions without a label of their own that rows which match several may mean,
        their times, and when that was known."""

    def add(self, chunk: _Chunk) -> None:
        """The next transactions."""
        for i, j in self._pairs(chunk):
            order = np.argsort(j, kind="stable")
            i, j = i[order], j[order]
            head = np.r_[True, j[1:] != j[:-1]] & (self.count[j] == 0)
            np.add.at(self.count, j, 1)
            self.first[:, j[head]] = chunk.own[:, i[head]]
            others = ~head & (chunk.own[2, i] < 0)
            (row, t), known = chunk.own[:2, i[others]], self.rows.known_s[j[others]]
            known = np.where(known < 0, t + self._delay_s, known)
            self.doubtful.append(_earliest(np.stack([row, t, known])))

    def _pairs(self, chunk: _Chunk) -> Iterator[tuple[Ints, Ints]]:
        """Rows of the chunk and of the file that match, some at a time."""
        columns, there = {}, np.ones(len(chunk.local_s), np.bool_)
        for name in self.rows.keys:
            values, present = chunk.keys[name]
            if name == "terminal":
                number = [self.rows.terminals.get(word, -1) for word in chunk.names]
                values = np.array([*number, -1], np.int64)[values]
                present = values >= 0
            columns[name] = values
            there &= present
        hashed = row_keys(columns.values(), len(there))
        known = self._hash[self._order]
        low, high = (np.searchsorted(known, hashed, side) for side in ("left", "right"))
        many = np.where(there, high - low, 0)
        found = np.flatnonzero(many)
        ends = np.cumsum(many[found])
        cuts = np.searchsorted(ends, np.arange(_PAIRS, int(ends[-1]) if len(ends) else 0, _PAIRS))
        for part in np.split(found, np.unique(cuts) + 1):
            i = np.repeat(part, many[part])
            start = np.repeat(np.cumsum(many[part]) - many[part], many[part])
            j = self._order[np.repeat(low[part], many[part]) + np.arange(len(i)) - start]
            same = self.rows.says[j]
            for name, values in columns.items():
                same &= values[i] == self.rows.keys[name][j]
            same &= self.rows.near(j, chunk.own[1, i], chunk.local_s[i])
            if same.any():
                yield i[same], j[same]


def _earliest(known: Ints) -> Ints:
    """Of each row the first of what is known: columns of ``known`` [row, time, moment]."""
    known = known[:, np.lexsort((known[2], known[0]))]
    return known[:, _steps(known[0])]


class LabelJoin:
    """Files of labels, and the transactions that were looked at for them."""

    def __init__(self, config: Config, files: Sequence[LabelRows]) -> None:
        self._config, self._files = config, files
        self._delay_s = config.data.label_delay_s
        self._genuine = config.labels.unlisted == "genuine"
        self.restart()

    @classmethod
    def open(
        cls, config: Config, *, required: bool, go_on: bool, tell: Callable[[str], None]
    ) -> LabelJoin | None:
        """The files of [labels]; None without any. ``required``: a file that is not there raises
        DataError, as unreadable rows do unless ``go_on``."""
        files = []
        for name, spec in config.labels.files.items():
            if not required and not Path(spec.file).is_file():
                tell(f"{spec.file}: is not there, so none of its labels is known (labels.{name})")
                continue
            files.append(read_labels(name, spec, config, go_on=go_on))
        return cls(config, files) if config.labels.files else None

    def restart(self) -> None:
        """Forget the transactions."""
        self._matches = [_Matches(rows, self._delay_s) for rows in self._files]
        self._begin_s, self._end_s = NEVER_S, 0
        self._late: list[Ints] = [np.zeros((4, 0), np.int64)]

    def add(self, arrays: Mapping[str, npt.NDArray[Any]], names: Sequence[str], fine: Mask) -> None:
        """The rows ``fine`` of a parsed chunk of transactions; ``names``: of its terminals."""
        t = arrays["t_mono_s"][fine].astype(np.int64)
        if not len(t):
            return
        self._begin_s = min(self._begin_s, int(t.min()))
        self._end_s = max(self._end_s, int(t.max()))
        local = arrays["t_local_s"][fine].astype(np.int64)
        all_there = np.ones(len(t), np.bool_)
        keys = {
            "id": (arrays["id"][fine].astype(np.int64), all_there),
            "terminal": (arrays["terminal"][fine].astype(np.int64), all_there),
            "day": (local // DAY_S, all_there),
            **_fields(self._config.schema, arrays, fine),
        }
        own = np.stack([arrays[x][fine] for x in ("row", "t_mono_s", "label", "label_time")])
        own = own.astype(np.int64)
        if self._genuine:
            self._late.append(own[:, (own[2] >= 0) & (own[3] > t + self._delay_s)])
        for matches in self._matches:
            matches.add(_Chunk(own, local, keys, names))

    def joined(self) -> tuple[Joined, list[str]]:
        """What the files say of the transactions, and a line on each file. Writes the file of the
        rows that were not taken."""
        parts = [self._said_by(i, m) for i, m in enumerate(self._matches)]
        rows = np.concatenate([p[0] for p in parts] or [np.zeros((6, 0), np.int64)], axis=1)
        rows = np.concatenate([rows, self._own(rows)], axis=1)
        rows = rows[:, np.lexsort((rows[4], rows[2], rows[0]))]
        row, _, known, label, file, place = rows
        group = np.cumsum(_steps(row, known)) - 1
        kinds = [np.bincount(group, label == kind) > 0 for kind in (0, 1)]
        both = (kinds[0] & kinds[1])[group] if len(group) else np.zeros(0, np.bool_)
        contradictory = [place[both & (file == i)] for i in range(len(self._files))]
        for lost, matches in zip(contradictory, self._matches, strict=True):
            rule = "contradicts what is said of the same transaction and was known at that moment"
            matches.rows.refuse(lost, rule)
        gone = np.setdiff1d(row[both], row[~both])
        doubts = np.concatenate([rows[:3, both], *(p[1] for p in parts)], axis=1)
        rows = rows[:, ~both]
        again = ~_steps(rows[0], rows[3])
        repeated = [int(np.count_nonzero(again & (rows[4] == i))) for i in range(len(self._files))]
        row, known, label, decided = self._as_heard(rows[:, ~again], doubts)
        last = np.r_[row[1:] != row[:-1], True] if len(row) else np.zeros(0, np.bool_)
        last &= decided
        most = int(np.bincount(np.unique(row, return_inverse=True)[1]).max(initial=0))
        if most > _MOST_SAYINGS:
            raise DataError(
                f"the files of [labels] change the label of one transaction {most} times; at most "
                f"{_MOST_SAYINGS} are read: correct what they are joined by"
            )
        clock = np.minimum(known, NEVER_S - 1).astype(np.uint32)
        revised = Revised(row[~last], label[~last].astype(np.int8), clock[~last])
        final = np.r_[row[last], gone]
        order = np.argsort(final)
        facts = tuple(
            self._facts(i, len(contradictory[i]), repeated[i], parts[i][2])
            for i in range(len(self._files))
        )
        self._write()
        found = Joined(
            final[order],
            np.r_[label[last], np.full(len(gone), -1)].astype(np.int8)[order],
            np.r_[clock[last], np.zeros(len(gone), np.uint32)][order],
            revised if len(revised.row) else None,
            np.unique(np.r_[gone, doubts[0]]),
            self._genuine,
            facts,
        )
        return found, [_line(one, self._config.labels.not_taken) for one in facts]

    def _as_heard(self, said: Ints, doubts: Ints) -> tuple[Ints, Ints, Ints, Mask]:
        """Row, moment and label of all that terminals hear, and whether the row has a label in the
        end: ``said``, and that a row was genuine ``label_delay`` after it, where that is so of what
        is unlisted and neither ``said`` nor ``doubts`` [row, time, moment] was known by then."""
        row, _, known, label = said[:4]
        first = _earliest(np.concatenate([said[:3], doubts], axis=1))
        due = first[1] + self._delay_s
        waited = self._genuine & (first[2] > due)
        listed, due = first[0, waited], due[waited]
        decided = np.r_[np.ones(len(row), np.bool_), np.isin(listed, row)]
        row, known = np.r_[row, listed], np.r_[known, due]
        label = np.r_[label, np.zeros(len(listed), np.int64)]
        order = np.lexsort((known, row))
        order = order[_steps(row[order], label[order])]
        return row[order], known[order], label[order], decided[order]

    def _said_by(self, number: int, matches: _Matches) -> tuple[Ints, Ints, dict[str, int]]:
        """What a file says (row, time, when known, label, number of the file, place in it), the
        transactions that its other rows may mean (row, time, when known), and how many of these
        there are by kind."""
        rows, count = matches.rows, matches.count
        row, t, own, _ = matches.first
        known = np.where(rows.known_s < 0, t + self._delay_s, rows.known_s)
        lost = np.flatnonzero(rows.says & (count == 0))
        outside = self._outside(rows)[lost]
        rows.says[lost[outside]] = False
        rows.refuse(lost[~outside], "matches no transaction")
        several = np.flatnonzero(rows.says & (count > 1))
        more = {int(j): f": {count[j]} transactions match" for j in several}
        rows.refuse(several, "does not say which transaction it is about", more)
        early = np.flatnonzero(rows.says & (known < t))
        more = {int(j): f", which was at {format_time(t[j])}" for j in early}
        rows.refuse(early, "was known before its transaction", more)
        left = np.flatnonzero(rows.says)
        when = np.stack([row, t, known])
        said = np.stack([*when[:, left], rows.label[left], np.full(len(left), number), left])
        doubted = np.r_[several, early]
        doubted = doubted[own[doubted] < 0]
        doubtful = np.concatenate([when[:, doubted], *matches.doubtful], axis=1)
        counts = {
            "outside": int(outside.sum()),
            "unmatched": len(lost) - int(outside.sum()),
            "ambiguous": len(several),
            "early": len(early),
        }
        return said.astype(np.int64), doubtful, counts

    def _outside(self, rows: LabelRows) -> Mask:
        """Rows about transactions that are earlier or later than all that were looked at."""
        begin, end = self._begin_s, self._end_s
        out = (rows.known_s >= 0) & (rows.known_s < begin)
        day = rows.keys.get("day", rows.days)
        if day is not None:
            out |= (day < begin // DAY_S - 1) | (day > end // DAY_S + 1)
        elif rows.t_s is not None:
            near = rows.spec.tolerance or 0
            out |= (rows.t_s < begin - near) | (rows.t_s > end + near)
        return out

    def _own(self, said: Ints) -> Ints:
        """What the transactions' own column says of those that ``said`` is about, and of those that
        count as genuine until it does."""
        own = [m.first[:, m.count > 0] for m in self._matches]
        every = np.concatenate([*self._late, *own], axis=1)
        row, at = np.unique(every[0], return_index=True)
        about = np.isin(row, said[0]) | (at < sum(x.shape[1] for x in self._late))
        row, t, label, known = every[:, at[about & (every[2, at] >= 0)]]
        none = np.full(len(row), -1)
        return np.stack([row, t, known, label, none, none])

    def _facts(
        self, number: int, contradictory: int, repeated: int, counts: Mapping[str, int]
    ) -> LabelFileFacts:
        rows = self._files[number]
        taken = int(np.count_nonzero(rows.says))
        given = {"taken": taken, "repeated": repeated, "contradictory": contradictory, **counts}
        others = sum(given.values()) - repeated
        refused = rows.bad.count - sum(given[x] for x in _REFUSED)
        return LabelFileFacts(
            name=rows.name,
            file=rows.file,
            **given,
            incomplete=refused,
            silent=len(rows) + len(rows.bad.ragged) - others - refused,
        )

    def _write(self) -> None:
        path = self._config.labels.not_taken
        parts = [(rows.bad, rows.table) for rows in self._files if rows.bad.count]
        if parts or Path(path).exists():
            columns = [c for rows in self._files for c in wanted_of(rows.spec.columns).values()]
            set_aside(path, parts, list(dict.fromkeys(columns)))


_REFUSED = ("contradictory", "unmatched", "ambiguous", "early")


def _steps(*columns: Ints) -> Mask:
    """Where one of the columns is not what it was in the row before."""
    out = np.zeros(len(columns[0]), np.bool_)
    out[:1] = True
    for column in columns:
        out[1:] |= column[1:] != column[:-1]
    return out


def _fields(
    schema: Schema, arrays: Mapping[str, npt.NDArray[Any]], fine: Mask
) -> dict[str, tuple[Ints, Mask]]:
    """Token and amount of the rows ``fine``, as far as the schema has them."""
    out = {}
    for name in {"token", "amount_minor"} & set(schema.names):
        at = schema.index(name)
        there = (arrays["present"][fine] >> np.uint32(at)) & 1 != 0
        out[name] = (np.ascontiguousarray(arrays["values"][fine, at]), there)
    return out


def _line(facts: LabelFileFacts, path: str) -> str:
    """What to say of a file."""
    rows = facts.taken + facts.silent + facts.outside + facts.not_taken
    text = f"{facts.file}: {facts.taken} of {rows} labels taken"
    if facts.repeated:
        text += f", {facts.repeated} of them said before"
    others = [(facts.outside, "about other times"), (facts.silent, "without a label")]
    text += "".join(f"; {n} {what}" for n, what in others if n)
    if facts.not_taken:
        why = [
            (facts.unmatched, "match no transaction"),
            (facts.ambiguous, "match several"),
            (facts.contradictory, "contradict others"),
            (facts.early, "are known before their transaction"),
            (facts.incomplete, "are incomplete"),
        ]
        named = ", ".join(f"{n} {what}" for n, what in why if n)
        text = f"WARNING: {text}; not taken, and written to {path}: {facts.not_taken} ({named})"
    return text

# SPDX-License-Identifier: Apache-2.0
"""Transactions as columns, in the order in which they were read."""

from __future__ import annotations

import datetime as dt
import hashlib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tinyfin.data.values import Values
from tinyfin.errors import DataError
from tinyfin.progress import stage
from tinyfin.schema import Schema

if TYPE_CHECKING:
    from tinyfin.config import Config
    from tinyfin.data.memory_tables import Table

__all__ = [
    "ACTIONS",
    "ADVICE",
    "EPOCH_UNIX_S",
    "NEVER_S",
    "NO_RESULT",
    "RESULTS",
    "TAKEN",
    "LabelNotes",
    "Revised",
    "Transactions",
    "advice",
    "format_time",
]

ACTIONS = ("accept", "go_online", "decline")
"""What a terminal can do with a transaction, by index: ``enum tfin_action``."""

ADVICE = ("accept", "go_online", "verify", "decline")
"""What a verdict advises, by caution: its action, and GO_ONLINE with the flag VERIFY."""

TAKEN = {"accept": 0, "go_online": 1, "verify": 1, "decline": 2}
"""What a terminal did, as the index into ACTIONS that its outcome says: to verify is to go online
with more care."""

RESULTS = ("approved", "declined", "cancelled", "timed_out", "reversed")
"""What became of a transaction, by index."""

NO_RESULT = 255
"""``result`` of a transaction whose outcome never arrives."""

NEVER_S = 2**32
"""A moment after every time of the engine."""

_HASHED_ROWS = 1 << 18
_SHARED = ("schema", "terminals", "scenario", "revised")

EPOCH_UNIX_S = 946_684_800
"""2000-01-01T00:00:00 in unix seconds: the zero of every time in the engine."""


def advice(action: npt.NDArray[np.uint8], verify: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """Indices into ADVICE of actions, and of where a GO_ONLINE is VERIFY."""
    online, declined = (action == ACTIONS.index(name) for name in ("go_online", "decline"))
    return np.asarray(action + declined + (online & verify), np.uint8)


def format_time(t_s: int) -> str:
    """A time in seconds since 2000-01-01 as ISO 8601."""
    start = dt.datetime(2000, 1, 1)
    return (start + dt.timedelta(seconds=int(t_s))).isoformat()


@dataclass(frozen=True)
class Revised:
    """Labels that were known until a later one took their place, k of them in order of ``row`` and
    ``known_s``. The labels of a row alternate, the one that it has in the end included. A row
    without one was taken for genuine until what was said of it made it doubtful."""

    row: npt.NDArray[np.int64]
    """Input row, as ``Transactions.row`` has it."""
    label: npt.NDArray[np.int8]
    known_s: npt.NDArray[np.uint32]


@dataclass(frozen=True)
class LabelNotes:
    """All labels of transactions, each when it became known: k notes."""

    index: npt.NDArray[np.int64]
    """Row of the Transactions."""
    label: npt.NDArray[np.int8]
    known_s: npt.NDArray[np.uint32]
    later: npt.NDArray[np.uint8]
    """How many notes on the same transaction come after this one."""

    def part(self, chosen: npt.NDArray[np.generic]) -> LabelNotes:
        """The notes of a mask or of indices."""
        return LabelNotes(*(getattr(self, field.name)[chosen] for field in fields(self)))


@dataclass(frozen=True)
class Transactions:
    """One row per transaction, n rows, F fields, in input order.

    Every time is in seconds since 2000-01-01. ``t_mono_s`` drives windows and order, ``t_local_s``
    (the wall clock at the terminal) drives calendar features only. ``label``, ``label_known_s`` and
    ``scenario`` never reach the engine: labels travel as notices, scenarios are for reports.
    """

    schema: Schema
    row: npt.NDArray[np.int64]
    """0-based input row, counted over all files."""
    terminal: npt.NDArray[np.int32]
    """Index into ``terminals``."""
    terminals: tuple[str, ...]
    """Terminal ids, in order of first appearance."""
    id: npt.NDArray[np.uint64]
    """Id of the transaction, unique per terminal."""
    t_mono_s: npt.NDArray[np.uint32]
    t_local_s: npt.NDArray[np.uint32]
    values: npt.NDArray[np.int64]
    """[n, F], C order; a u64 field is held as its bit pattern; absent fields hold ``missing``.
    Or :class:`~tinyfin.data.values.Values`, of which rows and columns can be taken."""
    present: npt.NDArray[np.uint32]
    """Bit i is set when field i is there."""
    result: npt.NDArray[np.uint8]
    """Index into RESULTS, or NO_RESULT."""
    response: npt.NDArray[np.int32]
    """Response code (DE39), 0..99, or -1."""
    action: npt.NDArray[np.uint8]
    """Index into ACTIONS: what the terminal did, whatever was advised; 0 where it is not known."""
    outcome_t_mono_s: npt.NDArray[np.uint32]
    label: npt.NDArray[np.int8]
    """-1 unknown, 0 genuine, 1 fraud."""
    label_known_s: npt.NDArray[np.uint32]
    """When the label becomes known."""
    scenario: tuple[str, ...] | None
    """Names of the scenarios, for reports; None if the data has none."""
    scenario_code: npt.NDArray[np.int16]
    """Index into ``scenario``; zeros if there is none."""
    revised: Revised | None = None
    """What was said of labels before; it may name rows that are not here."""

    @classmethod
    def from_table(
        cls, table: Table, config: Config | str | Path | None = None, *, labels: bool = True
    ) -> Transactions:
        """Transactions of a table of pandas, Polars or Arrow, mapped and checked as those of a
        file: :func:`tinyfin.data.readers.read` has the errors and ``labels``."""
        from tinyfin.config import as_config
        from tinyfin.data.readers import read

        return read(table, as_config(config), labels=labels)

    def __len__(self) -> int:
        return len(self.row)

    def __post_init__(self) -> None:
        n = len(self.row)
        for name, array in self._arrays().items():
            if len(array) != n:
                raise DataError(f"Transactions.{name} has {len(array)} rows, expected {n}")
        if self.values.shape != (n, len(self.schema.fields)):
            raise DataError(
                f"Transactions.values has shape {self.values.shape}, "
                f"expected ({n}, {len(self.schema.fields)})"
            )

    @property
    def amount(self) -> npt.NDArray[np.int64] | None:
        """Minor units; None for events that are no payments."""
        if "amount_minor" not in self.schema.names:
            return None
        return self.column("amount_minor").astype(np.int64, copy=False)

    def column(self, name: str) -> npt.NDArray[np.int64] | npt.NDArray[np.uint64]:
        """Values of one field, n rows; uint64 for a u64 field."""
        i = self.schema.index(name)
        values = self.values
        column = values.column(i) if isinstance(values, Values) else values[:, i]
        if self.schema.fields[i].type == "u64":
            return np.ascontiguousarray(column).view(np.uint64)
        return column

    def has(self, name: str) -> npt.NDArray[np.bool_]:
        """Where the field is present, n booleans."""
        mask: npt.NDArray[np.bool_] = (self.present >> np.uint32(self.schema.index(name))) & 1 != 0
        return mask

    def take(self, rows: npt.NDArray[np.generic] | slice) -> Transactions:
        """The rows of indices, a boolean mask or a slice, keeping ``terminals`` and codes."""
        picked: dict[str, Any] = {name: array[rows] for name, array in self._arrays().items()}
        return Transactions(**self._shared(), **picked)

    def label_notes(self, *, doubtful: bool = False) -> LabelNotes:
        """The labels of the rows, then those that they replaced; ``doubtful``: also those of rows
        that have no label in the end, which a terminal hears all the same."""
        final = np.flatnonzero(self.label >= 0)
        final_notes = LabelNotes(
            final, self.label[final], self.label_known_s[final], np.zeros(len(final), np.uint8)
        )
        if self.revised is None:
            return final_notes
        order = np.argsort(self.row, kind="stable")
        row = self.revised.row
        at = np.minimum(np.searchsorted(self.row[order], row), max(len(order) - 1, 0))
        here = np.flatnonzero(self.row[order][at] == row) if len(order) else np.zeros(0, np.int64)
        if not doubtful:
            here = here[self.label[order[at[here]]] >= 0]
        own, mine, said = row[here], order[at[here]], self.revised.label[here]
        later = np.searchsorted(own, own, "right") - np.arange(len(own))
        # an odd number says that the label is not the one in the end: no label stands for genuine
        later += (later % 2 == 1) != ((self.label[mine] == 1) != (said == 1))
        before = LabelNotes(mine, said, self.revised.known_s[here], later.astype(np.uint8))
        names = [field.name for field in fields(LabelNotes)]
        both = ([getattr(notes, name) for notes in (final_notes, before)] for name in names)
        return LabelNotes(*map(np.concatenate, both))

    def labels_at(
        self, moment_s: int
    ) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.uint32], Revised | None]:
        """Labels as they were known at a moment, -1 where none was, or none is in the end; since
        when, 0 where there is none; and those that were replaced by then."""
        late = self.label_known_s.astype(np.int64) > moment_s
        label = np.where(late, -1, self.label).astype(np.int8)
        known_s = np.where(late, 0, self.label_known_s).astype(np.uint32)
        if self.revised is None:
            return label, known_s, None
        notes = self.label_notes(doubtful=True)
        notes = notes.part(notes.known_s.astype(np.int64) <= moment_s)
        notes = notes.part(np.lexsort((-notes.later.astype(np.int64), notes.index)))
        last = np.append(notes.index[1:] != notes.index[:-1], True)[: len(notes.index)]
        last &= self.label[notes.index] >= 0
        newest, earlier = notes.part(last), notes.part(~last)
        label[newest.index], known_s[newest.index] = newest.label, newest.known_s
        row = self.row[earlier.index]
        by_row = np.lexsort((earlier.known_s, row))
        replaced = Revised(row[by_row], earlier.label[by_row], earlier.known_s[by_row])
        return label, known_s, replaced if len(row) else None

    def first_known_s(self) -> npt.NDArray[np.uint32]:
        """When a label of each row first became known, n rows; ``label_known_s`` where none did."""
        first = self.label_known_s.copy()
        if self.revised is not None:
            notes = self.label_notes()
            np.minimum.at(first, notes.index, notes.known_s)
        return first

    def before(self, t_s: int) -> Transactions:
        """The rows before a moment, in their order; they share memory with these where the rows
        are in order of time."""
        t = self.t_mono_s
        if np.all(t[1:] >= t[:-1]):
            return self.take(slice(0, int(np.searchsorted(t, t_s))))
        return self.take(np.flatnonzero(t.astype(np.int64) < t_s))

    def followed_by(self, other: Transactions) -> Transactions:
        """These rows, then those of ``other``, which has the same schema, terminals, scenarios."""
        mine, theirs_too = self._shared(), other._shared()
        if mine.pop("revised") is not theirs_too.pop("revised") or mine != theirs_too:
            raise DataError("only transactions of the same schema and terminals can be joined")
        theirs = other._arrays()
        joined: dict[str, Any] = {
            name: np.concatenate([array, theirs[name]]) for name, array in self._arrays().items()
        }
        return Transactions(**self._shared(), **joined)

    def scenarios(self) -> npt.NDArray[np.object_]:
        """Scenario names, one per row ('' if the data has none)."""
        names = np.array(self.scenario or ("",), dtype=object)
        return names[self.scenario_code]

    def fingerprint(self) -> str:
        """SHA-256 over the schema's fields and every column, in hexadecimal.

        Actions are part of it where one of them is not ``accept``: to say so of all is to say
        nothing.
        """
        with stage("fingerprint", len(self), "rows"):
            return self._fingerprint()

    def _fingerprint(self) -> str:
        digest = hashlib.sha256()
        for field in self.schema.fields:
            digest.update(repr((field.name, field.type, field.missing, field.values)).encode())
        digest.update(repr((self.terminals, self.scenario)).encode())
        for name, array in self._arrays().items():
            if name == "action" and not array.any():
                continue
            kind = "<i8" if name == "values" else array.dtype.str
            digest.update(f"{name} {kind} {array.shape}\n".encode())
            for start in range(0, len(array), _HASHED_ROWS):
                digest.update(np.ascontiguousarray(array[start : start + _HASHED_ROWS]).data)
        notes = self.label_notes(doubtful=True) if self.revised is not None else None
        if notes is not None and notes.later.any():
            before = notes.part(notes.later > 0)
            for column in (self.row[before.index], before.label, before.known_s):
                digest.update(column.tobytes())
        return digest.hexdigest()

    def _arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        return {
            field.name: getattr(self, field.name)
            for field in fields(self)
            if field.name not in _SHARED
        }

    def _shared(self) -> dict[str, Any]:
        """What all rows have together."""
        return {name: getattr(self, name) for name in _SHARED}

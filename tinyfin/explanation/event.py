# SPDX-License-Identifier: Apache-2.0
"""Find one event, and put its terminal into the state in which it came."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np
import numpy.typing as npt

from tinyfin.config import parse_moment
from tinyfin.data.events import OUTCOME, SCORE, Stream, event_stream
from tinyfin.data.tokens import parse_ids
from tinyfin.data.transactions import Transactions, format_time
from tinyfin.errors import InputError, MismatchError
from tinyfin.training.scoring import Scoring
from tinyfin.twin import Replay, Twin

__all__ = ["Terminal", "find_event"]

_SHOWN = 5
_FORMS = "row:N (from 0), id:ID, or TERMINAL@TIME, as `tinyfin score --with terminal,id,time` says"

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Terminal:
    """A terminal before the event that was asked for."""

    pack: bytes
    keys: Sequence[bytes]
    tx: Transactions
    """Of this terminal."""
    at: int
    """The event's row in ``tx``."""
    past: Stream
    """Everything that happened before."""

    def verdict(self) -> Replay:
        """What the pack answers, one row."""
        return self._run(self.tx.take(slice(self.at, self.at + 1)))

    def scores(
        self, values: npt.NDArray[np.int64], local_s: npt.NDArray[np.integer]
    ) -> npt.NDArray[np.uint32]:
        """Scores (q32) of n events in the place of the one that came, all in the same state.

        ``values`` [n, fields]; ``local_s``: wall clocks. Raises MismatchError where scoring has
        changed the state."""
        many = self.tx.take(np.full(len(values) + 2, self.at))
        own, clock = self.tx.values[self.at], self.tx.t_local_s[self.at]
        found = self._run(
            replace(
                many,
                id=np.full(len(many), self._waiting()),
                values=np.vstack([own, values, own]),
                t_local_s=np.r_[clock, local_s, clock].astype(np.uint32),
            )
        )
        if found.raw[0] != found.raw[-1]:
            raise MismatchError("scoring has changed the state of the terminal; report it")
        return found.score_q32[1:-1]

    def _run(self, events: Transactions) -> Replay:
        twin = Twin(self.pack, keys=self.keys)
        twin.run(self.tx, self.past)
        n = len(events)
        return twin.run(events, Stream(np.full(n, SCORE, np.uint8), np.arange(n), events.t_mono_s))

    def _waiting(self) -> np.uint64:
        """The id of the newest transaction without an outcome; of the event where none is. Scoring
        an id that is pending already writes nothing."""
        kind, index = self.past.kind, self.past.index
        scored = index[kind == SCORE]
        waiting = scored[~np.isin(scored, index[kind == OUTCOME])]
        return np.uint64(self.tx.id[waiting[-1] if len(waiting) else self.at])


def find_event(scoring: Scoring, event: str | int) -> Terminal:
    """The terminal of the event, before it. Raises InputError unless it is one transaction."""
    matches, first = _matching(event, scoring.first), scoring.first
    found: list[tuple[int, int, str]] = []
    for tx in scoring.chunks():
        for i in np.flatnonzero(matches(tx) & (tx.row >= first)).tolist():
            row, terminal = int(tx.row[i]), int(tx.terminal[i])
            place = f"{tx.terminals[terminal]}, {format_time(int(tx.t_mono_s[i]))}"
            found.append((row, terminal, f"row:{row - first} ({place})"))
    if not found:
        raise InputError(f"--event {event}: no transaction is that one; name it by {_FORMS}")
    if len(found) > 1:
        named = ", ".join(text for _, _, text in found[:_SHOWN])
        more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise InputError(f"--event {event}: may be {named}{more}; name one of them by its row:N")
    row, terminal, _ = found[0]
    parts = (tx.take(tx.terminal == terminal) for tx in scoring.chunks())
    own = reduce(Transactions.followed_by, parts)
    name = own.terminals[terminal]
    own = replace(own, terminal=np.zeros(len(own), np.int32), terminals=(name,))
    at = int(np.flatnonzero(own.row == row)[0])
    stream = event_stream(own, scoring.given)
    now = int(np.flatnonzero((stream.kind == SCORE) & (stream.index == at))[0])
    past = stream.part(np.arange(len(stream)) < now)
    return Terminal(scoring.pack.data, scoring.keys, own, at, past)


def _matching(event: str | int, first: int) -> Callable[[Transactions], Mask]:
    """Which transactions ``event`` may mean; rows are counted from ``first``. Raises InputError."""
    word = f"row:{event}" if isinstance(event, int) else event.strip()
    terminal, at, moment = word.rpartition("@")
    if at:
        try:
            t_s = parse_moment(moment)
        except ValueError as error:
            raise InputError(f"--event {event}: {error}") from error
        return lambda tx: (np.array(tx.terminals)[tx.terminal] == terminal) & (tx.t_mono_s == t_s)
    kind, _, name = word.rpartition(":") if word.startswith(("row:", "id:")) else ("", "", word)
    if kind == "row" and not name.isdecimal():
        raise InputError(f"--event {event}: is no row; name the event by {_FORMS}")
    row = int(name) + first if kind != "id" and name.isdecimal() else -1
    ids = [] if kind == "row" else [_id(name)]
    return lambda tx: (tx.row == row) | np.isin(tx.id, np.array(ids, np.uint64))


def _id(word: str) -> int:
    """The id of a text as the readers make it."""
    import pyarrow as pa

    return int(np.asarray(parse_ids(pa.array([word])).values, np.int64).view(np.uint64)[0])

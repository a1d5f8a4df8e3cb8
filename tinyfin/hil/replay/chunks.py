# SPDX-License-Identifier: Apache-2.0
"""Cuts a stream of many terminals into what one terminal sees, in chunks between checkpoints."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from tinyfin.data.events import SCORE, Stream
from tinyfin.data.transactions import Transactions

__all__ = ["Chunk", "by_terminal", "chunks"]


@dataclass(frozen=True)
class Chunk:
    """Events of one terminal, in their order. ``rows[i]`` is the row of ``tx[i]`` in the whole."""

    name: str
    rows: npt.NDArray[np.int64]
    tx: Transactions
    stream: Stream

    @property
    def scores(self) -> int:
        """How many of the events are scored."""
        return int(np.count_nonzero(self.stream.kind == SCORE))


def by_terminal(tx: Transactions, stream: Stream, limit: int | None = None) -> Iterator[Chunk]:
    """One chunk per terminal, by terminal index, with at most ``limit`` scored events in all."""
    terminal = tx.terminal[stream.index]
    order = np.argsort(terminal, kind="stable")
    edges = np.flatnonzero(np.diff(terminal[order])) + 1
    left = limit
    for events in np.split(order, edges) if len(order) else ():
        if left is not None:
            if left <= 0:
                return
            # up to the event before the first score too many
            scored = np.flatnonzero(stream.kind[events] == SCORE)
            if len(scored) > left:
                events = events[: scored[left]]
            left -= min(left, len(scored))
        name = tx.terminals[int(terminal[events[0]])]
        yield _chunk(name, np.arange(len(tx)), tx, stream, events)


def chunks(chunk: Chunk, events: int) -> Iterator[Chunk]:
    """The chunk in chunks of at most ``events`` events."""
    for start in range(0, len(chunk.stream), events):
        span = np.arange(start, min(start + events, len(chunk.stream)))
        yield _chunk(chunk.name, chunk.rows, chunk.tx, chunk.stream, span)


def _chunk(
    name: str,
    rows: npt.NDArray[np.int64],
    tx: Transactions,
    stream: Stream,
    events: npt.NDArray[np.intp],
) -> Chunk:
    used, index = np.unique(stream.index[events], return_inverse=True)
    own = tx.take(used)
    own = replace(own, terminal=np.zeros(len(used), np.int32), terminals=(name,))
    cut = Stream(stream.kind[events], index.astype(np.int64), stream.t_mono_s[events])
    return Chunk(name, rows[used], own, cut)

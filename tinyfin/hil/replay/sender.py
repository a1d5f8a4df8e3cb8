# SPDX-License-Identifier: Apache-2.0
"""Turns a chunk of events into EVENTS frames, and remembers what is in each."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field

from tinyfin.data.events import OUTCOME, SCORE
from tinyfin.hil.replay.chunks import Chunk
from tinyfin.wire.event_frames import EventsFrame, Outcome, changed_fields, plain_fields
from tinyfin.wire.frames import OVERHEAD_BYTES
from tinyfin.wire.messages import Hello, Request

__all__ = ["Sender", "Sent"]


@dataclass
class Sent:
    """One frame on its way: events [first, end) of the chunk, and the rows it scores."""

    first: int
    end: int
    count: int = 0
    """Events in the frame: an outcome that comes with its score is part of it."""
    scored: list[int] = field(default_factory=list)
    """Rows of the chunk's transactions, in the order of the verdicts."""


class Sender:
    """Frames of a chunk, made when they are asked for; :attr:`sent` has one entry per frame.

    The last frame asks for a checkpoint, but not with ``one_by_one``.

    frame_bytes: asked before each frame how long it should be at most; an event that alone is
    longer gets a frame of its own, up to what HELLO allows. restarts: row and kind of the events
    before which the twin took the terminal to be restarted; there its clock is set.
    """

    def __init__(
        self,
        chunk: Chunk,
        types: tuple[int, ...],
        hello: Hello,
        token: int | None,
        *,
        ticks: bool = False,
        one_by_one: bool = False,
        frame_bytes: Callable[[], int] | None = None,
        restarts: Collection[tuple[int, int]] = (),
    ) -> None:
        self.sent: deque[Sent] = deque()
        self.stopped = False
        """Set it to end the frames early."""
        self._types = types
        self._hello = hello
        self._ticks = ticks
        self._frame_bytes = frame_bytes or (lambda: hello.frame_bytes)
        self._max_events = hello.max_events
        self._alone = one_by_one
        tx, stream = chunk.tx, chunk.stream
        self._kind = stream.kind.tolist()
        self._index = stream.index.tolist()
        self._t = stream.t_mono_s.tolist()
        self._id = tx.id.tolist()
        self._t_mono = tx.t_mono_s.tolist()
        self._t_local = tx.t_local_s.tolist()
        self._values = tx.values[:, : len(types)].tolist()
        self._present = tx.present.tolist()
        self._changed: dict[int, tuple[int, list[int]]] = {}
        if not one_by_one:
            scored = stream.index[stream.kind == SCORE]
            own = tx.values[scored, : len(types)]
            known = changed_fields(own, tx.present[scored])
            self._changed = dict(zip(scored.tolist(), known, strict=True))
        self._plain = 0 if one_by_one else plain_fields(types, tx.values, tx.present)
        self._result = tx.result.tolist()
        self._response = tx.response.tolist()
        self._action = tx.action.tolist()
        self._fraud = (tx.label == 1).tolist()
        self._token = token
        self._restarts = frozenset(restarts)

    def frames(self) -> Iterator[tuple[int, bytes]]:
        """(type, payload) for :meth:`tinyfin.wire.client.Client.pipeline`."""
        at = 0
        count = len(self._kind)
        while at < count and not self.stopped:
            for room in (self._frame_bytes(), self._hello.frame_bytes):
                frame = EventsFrame(
                    self._types,
                    room - OVERHEAD_BYTES,
                    self._max_events,
                    self._hello.max_scores,
                    self._t[at],
                    self._ticks,
                    self._plain,
                )
                sent = Sent(at, at)
                while at < count and (taken := self._add(frame, at, sent)):
                    at += taken
                if at > sent.first or frame.count:
                    break
            else:
                raise ValueError("an event does not fit in a frame of the size that HELLO names")
            sent.end, sent.count = at, frame.count
            frame.checkpoint = at == count and not self._alone
            self.sent.append(sent)
            yield Request.EVENTS, frame.payload()

    def _add(self, frame: EventsFrame, at: int, sent: Sent) -> int:
        """Add the event (and its outcome when that is next); how many events that were."""
        row = self._index[at]
        kind = self._kind[at]
        if (row, kind) in self._restarts:
            if not frame.clock(self._t[at]):
                return 0
            self._restarts -= {(row, kind)}
        if kind == SCORE:
            joined = (
                not self._alone
                and at + 1 < len(self._kind)
                and self._kind[at + 1] == OUTCOME
                and self._index[at + 1] == row
                and (row, OUTCOME) not in self._restarts
            )
            done = frame.score(
                self._id[row],
                self._t_mono[row],
                self._t_local[row],
                self._values[row],
                self._present[row],
                self._outcome(at + 1) if joined else None,
                self._changed.get(row),
            )
            if done:
                sent.scored.append(row)
            return (2 if joined else 1) if done else 0
        if kind == OUTCOME:
            return int(frame.outcome(self._id[row], self._outcome(at)))
        token = 0
        if self._token is not None and self._present[row] >> self._token & 1:
            token = self._values[row][self._token]
        fraud = self._fraud[row] != bool(kind % 2)  # the label, or one that it has replaced
        return int(frame.notice(self._id[row], token, self._t[at], self._t_mono[row], fraud))

    def _outcome(self, at: int) -> Outcome:
        row = self._index[at]
        return Outcome(self._t[at], self._result[row], self._action[row], self._response[row])

# SPDX-License-Identifier: Apache-2.0
"""Ordered frames, several under way: each is done exactly once, however often it has to be sent."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from tinyfin.errors import ProtocolError
from tinyfin.wire import messages as m
from tinyfin.wire.channel import Channel, Doubt
from tinyfin.wire.frames import Frame, encode_frame
from tinyfin.wire.links import Deadline, LinkLost
from tinyfin.wire.messages import Answer, Request, WireError

__all__ = ["Pipelined"]

_SMALLEST_FRAME = 160
"""HELLO needs as much; the host does not go below it either."""
_FIRST_FRAME = 256
_GROW_BYTES = 16
_SHRINK = 0.7


def _answer_of(request: int) -> Answer:
    return Answer.VERDICTS if request == Request.EVENTS else Answer.ACK


@dataclass
class _Pending:
    sequence: int
    request: int
    wire: bytes
    sent_at: float = 0.0
    under_way: int = 0
    """Bytes under way when it was sent, its own included."""
    times: int = 0
    """How often it was sent."""


class Pipelined(Channel):
    """A channel that sends ordered frames."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._waiting: deque[_Pending] = deque()
        self._answers: dict[int, bytes] = {}
        self._nacked: int | None = None
        self._resent_at = 0.0
        self._progress_at = 0.0
        self._best_bytes = _FIRST_FRAME
        self._unharmed = True

    @property
    def frame_bytes(self) -> int:
        """The longest frame worth sending now: what HELLO allows, less where frames get damaged.

        Doubled by every answer until the first damage; from then on additive increase and
        multiplicative decrease, which settles where the bytes of a damaged frame cost as much as
        the heads of more, shorter ones.
        """
        return min(self._best_bytes, self.hello.frame_bytes)

    def pipeline(
        self, requests: Iterable[tuple[int, bytes]], *, alone: bool = False
    ) -> Iterator[bytes]:
        """Send ordered frames (type, payload), several under way, and give the answers' payloads.

        One answer per request, in order. Each is done exactly once by the device, however often it
        had to be sent. One request is drawn ahead, so that it goes out as soon as there is space
        for it; with ``alone`` each is drawn when its predecessor is answered, so that no reception
        disturbs what is counted.
        """
        source = iter(requests)
        upcoming: _Pending | None = None
        self._waiting.clear()
        self._answers.clear()
        self._nacked = None
        progress = Deadline(self.deadline_s)
        before = replace(self.counters)
        lost: LinkLost | Doubt | None = None
        while True:
            try:
                if lost is not None:
                    self._again(lost)
                    lost = None
                while True:
                    if upcoming is None and not (alone and self._waiting):
                        upcoming = self._draw(source)
                    if upcoming is None or not self._fits(upcoming, alone):
                        break
                    self._sequence = (self._sequence + 1) & 0xFFFF
                    frame, upcoming = upcoming, None
                    self._waiting.append(frame)
                    self._send(frame, self._under_way())
                if not self._waiting:
                    return
                answer = self._receive(self._patience())
                if answer is None:
                    if progress.passed:
                        raise self._stuck(progress.seconds, before)
                    self._ask_again()
                    continue
                self._take(answer)
                if progress.passed and self._waiting[0].sequence not in self._answers:
                    raise self._stuck(progress.seconds, before)  # it talks, but never to the point
            except (LinkLost, Doubt) as error:
                if isinstance(error, LinkLost) and not self.reconnect:
                    raise
                if progress.passed:
                    raise self._stuck(progress.seconds, before) from error
                lost = error
                continue
            while self._waiting and self._waiting[0].sequence in self._answers:
                self._nacked = None
                self._progress_at = time.monotonic()
                yield self._answers.pop(self._waiting.popleft().sequence)
                progress.restart()
                before = replace(self.counters)

    def ordered(self, request: int, payload: bytes = b"") -> bytes:
        """One ordered frame, and its answer's payload."""
        (answer,) = self.pipeline([(request, payload)])
        return answer

    def _draw(self, source: Iterator[tuple[int, bytes]]) -> _Pending | None:
        request = next(source, None)
        if request is None:
            return None
        wire = encode_frame(request[0], self._sequence, request[1])
        return _Pending(self._sequence, request[0], wire)

    def _fits(self, frame: _Pending, alone: bool) -> bool:
        if not self._waiting:
            return True
        return (
            len(self._waiting) < (1 if alone else self.hello.window)
            and self._under_way() + len(frame.wire) <= self.hello.credit_bytes
        )

    def _send(self, frame: _Pending, under_way: int) -> None:
        frame.under_way = under_way
        frame.sent_at = time.monotonic()
        frame.times += 1
        if frame.request in (Request.STATE_RESET, Request.STATE_WRITE):
            self.counters.state_up += len(frame.wire)
        self._write(frame.wire)

    def _under_way(self) -> int:
        return sum(len(p.wire) for p in self._waiting)

    def _patience(self) -> Deadline:
        """Until when the oldest frame's answer should have come."""
        oldest, wait_s = self._waiting[0], self.timing.wait_s
        due = max(
            oldest.sent_at + wait_s(oldest.under_way), self._progress_at + wait_s(len(oldest.wire))
        )
        return Deadline(max(0.0, due - time.monotonic()))

    def _again(self, lost: LinkLost | Doubt) -> None:
        """Open the link if it was lost, make sure of the session, send everything again."""
        expected = self._rejoin(lost).expected
        if self._waiting:
            # only a session that another program began in between can have turned the number back
            first = self._waiting[0].sequence
            if (expected - first) & 0xFFFF > len(self._waiting):
                raise ProtocolError(
                    f"{self.link.name}: the terminal expects frame {expected}, not {first}; "
                    "is another program on this line?"
                )
            self._resend(self._waiting)

    def _take(self, frame: Frame) -> None:
        """Deal with one frame that came in."""
        waiting = self._waiting
        if frame.type == Answer.ERROR:
            report = m.parse_error(frame.payload)
            if report.code not in (WireError.BAD_FRAME, WireError.SEQUENCE):
                raise self._refused(report)
            self.counters.complaints += 1
            self.timing.troubled = True
            # a complaint that comes within one answer's time of a repetition is about what was
            # sent before it
            since = time.monotonic() - self._resent_at
            echo = since < self.timing.usual_s(self._under_way())
            if report.expected != self._nacked or not echo:
                self._nacked = report.expected
                self._shrink()
                self._resend(waiting)
            return
        # a late answer to another request may carry the same number as its tag
        pending = next((p for p in waiting if p.sequence == frame.sequence), None)
        if pending is None or frame.type != _answer_of(pending.request):
            self.counters.stray += 1
            return
        if pending.times == 1:
            self.timing.sample(time.monotonic() - pending.sent_at, pending.under_way)
            more = self._best_bytes if self._unharmed else _GROW_BYTES
            self._best_bytes = min(self._best_bytes + more, self.hello.frame_bytes)
        self._answers[frame.sequence] = frame.payload
        if pending is not waiting[0] and waiting[0].times == 1:
            # answers come in order, so the oldest one's was lost: the device has kept it
            self._resend([waiting[0]])

    def _ask_again(self) -> None:
        self._nacked = None
        self._shrink()
        self._missed()
        self._resend(self._waiting)

    def _shrink(self) -> None:
        self._unharmed = False
        self._best_bytes = max(_SMALLEST_FRAME, int(_SHRINK * self.frame_bytes))

    def _resend(self, waiting: Iterable[_Pending]) -> None:
        under_way = 0
        for pending in waiting:
            under_way += len(pending.wire)
            self.counters.retransmitted += 1
            self._resent_at = time.monotonic()
            self._send(pending, under_way)

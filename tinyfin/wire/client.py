# SPDX-License-Identifier: Apache-2.0
"""The host's end of the wire: everything that can be asked of a terminal."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from tinyfin.errors import ProtocolError
from tinyfin.wire import messages as m
from tinyfin.wire.channel import BACK_S, Counters, Doubt, TargetRebooted
from tinyfin.wire.frames import OVERHEAD_BYTES, Frame, encode_frame
from tinyfin.wire.links import Deadline, LinkLost, SerialSpeed, speed_of
from tinyfin.wire.messages import Answer, Capability, Request, WireError
from tinyfin.wire.pipeline import Pipelined
from tinyfin.wire.state_frames import state_frames

__all__ = ["SPEEDS", "Client", "Counters", "TargetRebooted", "speeds_between"]

SPEEDS = (3_000_000, 2_000_000, 1_500_000, 1_000_000, 921_600, 460_800, 230_400)
"""Speeds in baud that adapters and chips have in common."""

_CHECKS = 4
_CHECK_S = 0.8
"""How long an answer may take at a new speed, apart from its bytes. The terminal needs a second to
go back, so a shorter wait would save nothing."""
_BITS_PER_BYTE = 10

_STATE_DATA_HEAD = 4
_REQUEST_WAIT_S = 0.1
"""The shortest wait for a request's answer on a bad line: its work is not that of the events."""
_REQUEST_BYTES = 1536
"""As if so many bytes were under way: an answer may be a whole frame."""


def speeds_between(first: int, highest: int) -> list[int]:
    """Speeds above ``first`` to try, from ``highest`` down."""
    return sorted({baud for baud in (highest, *SPEEDS) if first < baud <= highest}, reverse=True)


@dataclass
class Client(Pipelined):
    """One session with one terminal; see :class:`tinyfin.wire.channel.Channel` for what it raises.

    ``pipeline`` and ``ordered`` send what changes state, the rest of the methods what only asks.
    """

    _too_fast: set[int] = field(default_factory=set, repr=False)
    """Speeds that were tried in vain."""

    def connect(self, deadline_s: float = 15.0) -> m.Hello:
        """As of :class:`Channel`; then the line is made as fast as both ends, the cable and
        ``speed_up_to`` allow."""
        deadline = Deadline(deadline_s)
        while True:
            super().connect(deadline_s)
            if not self.speed_up_to or not self.hello.capabilities & Capability.SPEED:
                return self.hello
            try:
                self._raise_speed()
                return self.hello
            except TargetRebooted:  # there is nothing yet that it could have lost
                if deadline.passed:
                    raise

    def _raise_speed(self) -> None:
        """Try speeds from the highest down; the first that carries frames both ways stays."""
        line = speed_of(self.link)
        if line is None or self._is_raised:
            return
        for baud in speeds_between(line.first_baud, self.speed_up_to):
            if baud in self._too_fast:
                continue
            if not self._both_can(line, baud):
                self._too_fast.add(baud)
                continue
            with contextlib.suppress(ValueError):  # it could a moment ago: now it carries nothing
                self._change_speed(baud)
            if self._carries(baud):
                return
            self._too_fast.add(baud)
            self._lower_speed()
            hello = self._greet(Deadline(BACK_S))
            if hello.boot_nonce != self.hello.boot_nonce:
                raise self._rebooted(hello.boot_nonce, hello.reset_cause)

    def _both_can(self, line: SerialSpeed, baud: int) -> bool:
        """Whether this port and the terminal's can do a speed; then the terminal has it."""
        try:  # there and back, before the terminal is asked
            line.set_baud(baud)
            line.set_baud(line.first_baud)
        except ValueError:
            return False
        answer = self.request(Request.SPEED_REQUEST, Answer.SPEED, baud.to_bytes(4, "little"))
        return m.Reader(answer, "SPEED").unpack("I") == (baud,)

    def _carries(self, baud: int) -> bool:
        """Whether the longest frames get through at the present speed, whole and in time."""
        ask = baud.to_bytes(4, "little")
        most = self.hello.frame_bytes - OVERHEAD_BYTES
        ask += bytes(at & 0xFF for at in range(most - len(ask)))
        wait_s = _CHECK_S + 2 * self.hello.frame_bytes * _BITS_PER_BYTE / baud
        self._write(b"\0")  # ends what the change of speed looked like
        for _ in range(_CHECKS):
            damaged, tag, end = self.damaged, self._next_tag(), Deadline(wait_s)
            self._write(encode_frame(Request.SPEED_REQUEST, tag, ask))
            while (frame := self._receive(end, alive=False)) is not None:
                if (frame.type, frame.sequence) == (Answer.SPEED, tag):
                    break
            if frame is None or self.damaged != damaged:
                return False
        return True

    def request(
        self, request: int, answer: int, payload: bytes = b"", *, work_s: float = 0
    ) -> bytes:
        """A request that may be repeated, asked again until its answer comes. work_s: how long the
        terminal may work on it.

        When an earlier copy is answered first, the answer to the last one is waited for, too: only
        then is the terminal's ring empty again.
        """
        progress = Deadline(self.deadline_s + work_s)
        before = replace(self.counters)
        tags: list[int] = []
        found: bytes | None = None
        lost: LinkLost | Doubt | None = None
        while True:
            try:
                if lost is not None:
                    self._rejoin(lost)
                    lost = None
                self.counters.retransmitted += bool(tags)
                tags.append(self._next_tag())
                self._write(encode_frame(request, tags[-1], payload))
                wait = Deadline(max(_REQUEST_WAIT_S, self.timing.wait_s(_REQUEST_BYTES)) + work_s)
                while not progress.passed and (frame := self._receive(wait)) is not None:
                    if frame.sequence in tags and frame.type == answer:
                        found = frame.payload
                        if frame.sequence == tags[-1]:
                            return found
                    elif self._was_damaged(frame, tags):
                        break
                    else:
                        self.counters.stray += 1
                else:
                    if found is not None:
                        return found
                    self._missed()
            except (LinkLost, Doubt) as error:
                if isinstance(error, LinkLost) and not self.reconnect:
                    raise
                lost = error
            if progress.passed:
                raise self._stuck(progress.seconds, before) from lost

    def _was_damaged(self, frame: Frame, tags: list[int]) -> bool:
        """Whether the device says that it got no frame; raises what it says of the request."""
        if frame.type != Answer.ERROR:
            return False
        report = m.parse_error(frame.payload)
        if report.code in (WireError.BAD_FRAME, WireError.SEQUENCE):
            self.counters.complaints += 1
            self.timing.troubled = True
            return report.code == WireError.BAD_FRAME
        if frame.sequence in tags or report.code == WireError.NO_SESSION:
            raise self._refused(report)
        return False

    def reset_state(self) -> None:
        """Forget all state: cold start."""
        self.acknowledged(self.ordered(Request.STATE_RESET))

    def write_state(self, image: bytes) -> None:
        """Put a state image on the terminal; TargetError when it refuses the image."""
        for answer in self.pipeline(self.state_requests(image)):
            self.acknowledged(answer)

    def state_requests(self, image: bytes | None) -> Iterator[tuple[int, bytes]]:
        """Requests for :meth:`pipeline` that set the state: to an image, or cold if None.

        Give their answers to :meth:`acknowledged`.
        """
        if image is None:
            yield Request.STATE_RESET, b""
            return
        for piece in state_frames(image, self.frame_bytes - OVERHEAD_BYTES):
            yield Request.STATE_WRITE, piece

    def read_state(self) -> bytes:
        """The terminal's state image."""
        room = self.hello.frame_bytes - OVERHEAD_BYTES - _STATE_DATA_HEAD
        image = bytearray()
        while len(image) < self.hello.state_bytes:
            size = min(room, self.hello.state_bytes - len(image))
            where = len(image).to_bytes(4, "little") + size.to_bytes(2, "little")
            answer = self.request(Request.STATE_READ, Answer.STATE_DATA, where)
            if len(answer) != _STATE_DATA_HEAD + size or answer[:_STATE_DATA_HEAD] != where[:4]:
                raise self._other_than_asked("STATE_DATA")
            image += answer[_STATE_DATA_HEAD:]
        return bytes(image)

    def checkpoint(self) -> m.Checkpoint:
        """Digests of state and answers. Call it when nothing is under way."""
        return m.parse_checkpoint(self.request(Request.CHECKPOINT_REQUEST, Answer.CHECKPOINT))

    def detail(self, what: int) -> bytes:
        """Of the event scored last: 0 features (int16), 1 network input, 2 network output."""
        data = bytearray()
        while True:
            where = bytes([what]) + len(data).to_bytes(2, "little")
            r = m.Reader(self.request(Request.DETAIL_READ, Answer.DETAIL, where), "DETAIL")
            of, at, total = r.unpack("BHH")
            piece = r.rest()
            left = total - at
            if (of, at) != (what, len(data)) or len(piece) > left or bool(piece) != bool(left):
                raise self._other_than_asked("DETAIL")
            data += piece
            if len(data) == total:
                return bytes(data)

    def _other_than_asked(self, answer: str) -> ProtocolError:
        return ProtocolError(
            f"{self.link.name}: {answer} holds other bytes than were asked for; is the terminal's "
            "firmware of this version of tinyfin?"
        )

    def infer(self, inputs: bytes, *, measure: bool = False) -> m.Inferred:
        """Run the network alone on int8 inputs; ``output`` of the result is complete.

        ``measure`` runs it twice and counts ticks and stack around the second run."""
        room = self.hello.frame_bytes - OVERHEAD_BYTES - 3
        offset = 0
        while True:
            piece = inputs[offset : offset + room]
            last = offset + len(piece) == len(inputs)
            flags = (1 | 2 * measure) if last else 0
            head = bytes([flags]) + offset.to_bytes(2, "little")
            answer = self.request(Request.INFER, Answer.INFERRED, head + piece)
            if last:
                break
            offset += len(piece)
        result = m.parse_inferred(answer)
        if len(result.output) < result.output_count:
            return m.Inferred(
                result.error,
                result.raw,
                result.ticks,
                result.stack_bytes,
                result.output_count,
                self.detail(2),
            )
        return result

    def stats(self) -> dict[str, int]:
        """The engine's and the wire's counters."""
        return m.parse_stats(self.request(Request.STATS_REQUEST, Answer.STATS))

    def monitor(self) -> bytes:
        """The monitor image (docs/formats/probation.md) of a terminal that announces MONITOR."""
        return self.request(Request.MONITOR_READ, Answer.MONITOR)

    def stack(self) -> tuple[int, int]:
        """Bytes of the painted stack, and how many of them were never used; 0, 0 when unknown."""
        painted, free = m.Reader(self.request(Request.STACK_REQUEST, Answer.STACK), "STACK").unpack(
            "II"
        )
        return painted, free

    def reboot(self) -> None:
        """Restart the terminal; the session ends. Call :meth:`connect` again."""
        with contextlib.suppress(TargetRebooted):  # then the answer was lost, the restart was not
            self.request(Request.REBOOT, Answer.ACK)
        self.restarts()

    def restarts(self) -> None:
        """The terminal restarts because of what it was told: the session ends, as of
        :meth:`reboot`."""
        self._hello = None
        self._lower_speed()

    def exit(self, code: int = 0) -> None:
        """End the emulator or the process on the other side."""
        self.request(Request.EXIT, Answer.ACK, bytes([code]))
        self._hello = None

    def acknowledged(self, answer: bytes) -> None:
        """Check an ACK of a frame that sets the state; ProtocolError when the engine refused."""
        error = m.Reader(answer, "ACK").signed()
        if error:
            raise ProtocolError(
                f"{self.link.name}: the terminal refused the state image: engine error {error} "
                "(tinyfin.h lists them); is the same pack on both sides?"
            )

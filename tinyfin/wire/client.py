# SPDX-License-Identifier: Apache-2.0
"""The host's end of the wire: finds the terminal, keeps frames under way, repairs what is lost."""

from __future__ import annotations

import secrets
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from tinyfin.errors import (
    BootError,
    FlashError,
    LinkError,
    ProtocolError,
    TargetError,
)
from tinyfin.wire import messages as m
from tinyfin.wire.frames import OVERHEAD_BYTES, Deframer, Frame, encode_frame
from tinyfin.wire.image import state_frames
from tinyfin.wire.links import Deadline, Link
from tinyfin.wire.messages import Answer, Request, WireError

__all__ = ["Client", "Counters", "TargetRebooted"]

_SYNC_S = 0.25
_FLOOD_LOGS = 1000
"""Lines of log without a single answer between them, that are no accident."""
_STATE_DATA_HEAD = 4


class TargetRebooted(BootError):
    """The terminal has restarted and lost what it knew of this session."""


@dataclass
class Counters:
    """What went over the line, delimiters and everything included."""

    bytes_up: int = 0
    bytes_down: int = 0
    frames_up: int = 0
    frames_down: int = 0
    retransmitted: int = 0
    """Frames sent again."""
    complaints: int = 0
    """BAD_FRAME and SEQUENCE errors of the device."""
    stray: int = 0
    """Answers that nobody waited for, such as repeated ones."""
    logs: int = 0
    """LOG frames."""


@dataclass
class _Pending:
    sequence: int
    wire: bytes
    sent_at: float
    resent: bool = False


@dataclass
class Client:
    """One session with one terminal over one link. Not for use from several threads.

    Every wait ends: an answer that does not come within ``answer_timeout_s`` is asked for again,
    and after ``deadline_s`` without any progress TargetError says so. A terminal that restarts
    raises TargetRebooted.
    """

    link: Link
    answer_timeout_s: float = 5.0
    deadline_s: float = 30.0
    on_log: Callable[[int, str], None] | None = None
    counters: Counters = field(default_factory=Counters)

    def __post_init__(self) -> None:
        self._deframer = Deframer()
        self._frames: deque[Frame] = deque()
        self._sequence = secrets.randbelow(1 << 16)
        self._tag = secrets.randbelow(1 << 16)
        self._hello: m.Hello | None = None

    # ------------------------------------------------------------------ session

    @property
    def hello(self) -> m.Hello:
        """What the terminal said of itself; TargetError before :meth:`connect`."""
        if self._hello is None:
            raise ProtocolError(f"{self.link.name}: no session yet; call connect() first")
        return self._hello

    @property
    def damaged(self) -> int:
        """Stretches of received bytes that were no frame."""
        return self._deframer.damaged

    def connect(self, deadline_s: float = 15.0) -> m.Hello:
        """Ask for HELLO until it comes, and begin a session.

        Raises BootError when not a byte comes or the device restarts over and over, ProtocolError
        when something else answers than this version's firmware.
        """
        deadline = Deadline(deadline_s)
        self._hello = None
        session = secrets.randbelow((1 << 32) - 1) + 1
        first = self._sequence
        payload = (
            bytes([m.VERSION]) + session.to_bytes(4, "little") + first.to_bytes(2, "little")
        )
        heard = False
        boots: set[int] = set()
        while not deadline.passed:
            # the leading delimiter ends whatever a dirty line has left in the device
            self._write(b"\0" + encode_frame(Request.HELLO_REQUEST, self._next_tag(), payload))
            wait = Deadline(min(_SYNC_S, deadline.left()))
            while not deadline.passed and (frame := self._receive(wait)) is not None:
                heard = True
                if frame.type == Answer.HELLO:
                    hello = m.parse_hello(frame.payload)
                    if hello.session == session:
                        self._hello = hello
                        return hello
                    boots.add(hello.boot_nonce)
                elif frame.type == Answer.ERROR:
                    report = m.parse_error(frame.payload)
                    if report.code == WireError.VERSION_REFUSED:
                        raise ProtocolError(
                            f"{self.link.name}: the terminal refuses protocol version "
                            f"{m.VERSION}; build and flash the firmware of this version of tinyfin"
                        )
        raise self._silence(deadline_s, heard, len(boots))

    def _silence(self, seconds: float, heard: bool, boots: int) -> TargetError:
        got = self.counters.bytes_down
        kind: type[TargetError] = ProtocolError
        if boots > 1:
            kind = BootError
            why = f"it restarted {boots} times meanwhile; check its power supply and watchdog"
        elif heard:
            why = "frames came, but no HELLO for this session; is another program on this line?"
        elif self.counters.logs:
            why = f"{self._flood()}; send fewer logs, or none until HELLO_REQUEST is answered"
        elif got:
            why = (
                f"{got} bytes came, but no frame; check the baud rate and that the tinyfin "
                "firmware runs there"
            )
        else:
            kind = BootError
            why = "not a byte came; check power, cable and port, and flash the tinyfin firmware"
        return kind(f"{self.link.name}: no HELLO within {seconds:g} s: {why}")

    def _flood(self) -> str:
        return f"nothing but {self.counters.logs} lines of log came"

    def close(self) -> None:
        """Close the link."""
        self.link.close()

    # ------------------------------------------------------------------ ordered frames

    def pipeline(
        self, requests: Iterable[tuple[int, bytes]], *, alone: bool = False
    ) -> Iterator[bytes]:
        """Send ordered frames (type, payload), several under way, and give the answers' payloads.

        One answer per request, in order. Each is done exactly once by the device, however often it
        had to be sent. The next request is drawn when there is room for it on the line; with
        ``alone`` when its predecessor is answered, so that no reception disturbs what is counted.
        """
        hello = self.hello
        source = iter(requests)
        waiting: deque[_Pending] = deque()
        answers: dict[int, bytes] = {}
        upcoming: bytes | None = None
        nacked: int | None = None
        progress = Deadline(self.deadline_s)
        logs = self.counters.logs
        while True:
            while len(waiting) < (1 if alone else hello.window):
                if upcoming is None:
                    request = next(source, None)
                    if request is None:
                        break
                    upcoming = encode_frame(request[0], self._sequence, request[1])
                under_way = sum(len(p.wire) for p in waiting)
                if waiting and under_way + len(upcoming) > hello.credit_bytes:
                    break
                waiting.append(_Pending(self._sequence, upcoming, time.monotonic()))
                self._sequence = (self._sequence + 1) & 0xFFFF
                self._write(upcoming)
                upcoming = None
            if not waiting:
                return
            timeout = waiting[0].sent_at + self.answer_timeout_s - time.monotonic()
            frame = self._receive(Deadline(max(0.0, timeout)))
            if frame is None:
                if progress.passed:
                    raise self._stuck(progress.seconds, logs)
                self._resend(waiting)
                nacked = None
                continue
            if progress.passed and frame.sequence != waiting[0].sequence:
                raise self._stuck(progress.seconds, logs)  # it talks on, but never to the point
            if frame.type == Answer.ERROR:
                report = m.parse_error(frame.payload)
                if report.code in (WireError.BAD_FRAME, WireError.SEQUENCE):
                    self.counters.complaints += 1
                    if report.expected != nacked:
                        nacked = report.expected
                        self._resend(waiting)
                    continue
                raise self._refused(report)
            # a late answer to another request may carry the same number as its tag
            ordered = frame.type in (Answer.VERDICTS, Answer.ACK)
            if not ordered or all(p.sequence != frame.sequence for p in waiting):
                self.counters.stray += 1
                continue
            answers[frame.sequence] = frame.payload
            if frame.sequence != waiting[0].sequence and not waiting[0].resent:
                # answers come in order, so the oldest one's was lost: the device has kept it
                waiting[0].resent = True
                self._resend([waiting[0]])
            while waiting and waiting[0].sequence in answers:
                nacked = None
                yield answers.pop(waiting.popleft().sequence)
                progress.restart()
                logs = self.counters.logs

    def ordered(self, request: int, payload: bytes = b"") -> bytes:
        """One ordered frame, and its answer's payload."""
        (answer,) = self.pipeline([(request, payload)])
        return answer

    def _resend(self, waiting: Iterable[_Pending]) -> None:
        for pending in waiting:
            self.counters.retransmitted += 1
            pending.sent_at = time.monotonic()
            self._write(pending.wire)

    # ------------------------------------------------------------------ other requests

    def request(self, request: int, answer: int, payload: bytes = b"") -> bytes:
        """A request that changes no state, asked again until its answer comes."""
        logs = self.counters.logs
        progress = Deadline(self.deadline_s)
        tag = self._next_tag()
        wire = encode_frame(request, tag, payload)
        first = True
        while not progress.passed:
            if not first:
                self.counters.retransmitted += 1
            first = False
            self._write(wire)
            wait = Deadline(min(self.answer_timeout_s, progress.left()))
            while not progress.passed and (frame := self._receive(wait)) is not None:
                if frame.type == Answer.ERROR:
                    report = m.parse_error(frame.payload)
                    if report.code in (WireError.BAD_FRAME, WireError.SEQUENCE):
                        self.counters.complaints += 1
                        break
                    if frame.sequence == tag or report.code == WireError.NO_SESSION:
                        raise self._refused(report)
                elif frame.sequence == tag and frame.type == answer:
                    return frame.payload
                self.counters.stray += 1
        raise self._stuck(progress.seconds, logs)

    def reset_state(self) -> None:
        """Forget all state: cold start."""
        self._acknowledged(self.ordered(Request.STATE_RESET), "reset its state")

    def write_state(self, image: bytes) -> None:
        """Put a state image on the terminal; TargetError when it refuses the image."""
        room = self.hello.frame_bytes - OVERHEAD_BYTES
        frames = ((int(Request.STATE_WRITE), piece) for piece in state_frames(image, room))
        for answer in self.pipeline(frames):
            self._acknowledged(answer, "take the state image")

    def read_state(self) -> bytes:
        """The terminal's state image."""
        room = self.hello.frame_bytes - OVERHEAD_BYTES - _STATE_DATA_HEAD
        image = bytearray()
        while len(image) < self.hello.state_bytes:
            size = min(room, self.hello.state_bytes - len(image))
            where = len(image).to_bytes(4, "little") + size.to_bytes(2, "little")
            image += self.request(Request.STATE_READ, Answer.STATE_DATA, where)[_STATE_DATA_HEAD:]
        return bytes(image)

    def checkpoint(self) -> m.Checkpoint:
        """Digests of state and answers. Call it when nothing is under way."""
        return m.parse_checkpoint(
            self.request(Request.CHECKPOINT_REQUEST, Answer.CHECKPOINT)
        )

    def detail(self, what: int) -> bytes:
        """Of the event scored last: 0 features (int16), 1 network input, 2 network output."""
        data = bytearray()
        while True:
            where = bytes([what]) + len(data).to_bytes(2, "little")
            r = m.Reader(self.request(Request.DETAIL_READ, Answer.DETAIL, where), "DETAIL")
            _, _, total = r.unpack("BHH")
            data += r.rest()
            if len(data) >= total:
                return bytes(data)

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
                result.error, result.raw, result.ticks, result.stack_bytes, result.output_count,
                self.detail(2),
            )  # fmt: skip
        return result

    def stats(self) -> dict[str, int]:
        """The engine's and the wire's counters."""
        return m.parse_stats(self.request(Request.STATS_REQUEST, Answer.STATS))

    def stack(self) -> tuple[int, int]:
        """Bytes of the painted stack, and how many of them were never used; 0, 0 when unknown."""
        painted, free = m.Reader(
            self.request(Request.STACK_REQUEST, Answer.STACK), "STACK"
        ).unpack("II")
        return painted, free

    def reboot(self) -> None:
        """Restart the terminal; the session ends. Call :meth:`connect` again."""
        self.request(Request.REBOOT, Answer.ACK)
        self._hello = None

    def exit(self, code: int = 0) -> None:
        """End the emulator or the process on the other side."""
        self.request(Request.EXIT, Answer.ACK, bytes([code]))
        self._hello = None

    # ------------------------------------------------------------------ bytes

    def _acknowledged(self, answer: bytes, what: str) -> None:
        error = m.Reader(answer, "ACK").signed()
        if error:
            raise ProtocolError(
                f"{self.link.name}: the terminal did not {what}: engine error {error} "
                "(tinyfin.h lists them); is the same pack on both sides?"
            )

    def _next_tag(self) -> int:
        self._tag = (self._tag + 1) & 0xFFFF
        return self._tag

    def _write(self, wire: bytes) -> None:
        self.counters.frames_up += 1
        self.counters.bytes_up += len(wire)
        self.link.write(wire)

    def _receive(self, deadline: Deadline) -> Frame | None:
        """The next frame that is neither a log nor news of a reboot; None when it is too late."""
        late = False
        while True:
            while self._frames:
                frame = self._frames.popleft()
                self.counters.frames_down += 1
                if frame.type == Answer.LOG:
                    self._log(frame.payload)
                elif frame.type == Answer.HELLO and self._hello is not None:
                    self._check_alive(m.parse_hello(frame.payload))
                else:
                    return frame
            if late:  # logs alone must not keep anybody waiting
                return None
            left = deadline.left()
            late = left == 0.0
            data = self.link.read(left)
            if data:
                self.counters.bytes_down += len(data)
                self._frames.extend(self._deframer.feed(data))

    def _log(self, payload: bytes) -> None:
        self.counters.logs += 1
        if self.on_log is not None:
            r = m.Reader(payload, "LOG")
            self.on_log(r.take(1)[0], r.text())

    def _check_alive(self, again: m.Hello) -> None:
        if again.session != self.hello.session or again.boot_nonce != self.hello.boot_nonce:
            raise self._rebooted(again.boot_nonce, again.reset_cause)

    def _rebooted(self, nonce: int, cause: int) -> TargetRebooted:
        why = f", reset cause {cause}" if cause else ""
        return TargetRebooted(
            f"{self.link.name}: the terminal restarted in the middle of the session (boot nonce "
            f"{self.hello.boot_nonce:08x}, now {nonce:08x}{why}); its state is gone. Check its "
            "power supply and watchdog, then run again"
        )

    def _refused(self, report: m.ErrorReport) -> TargetError:
        if report.code == WireError.NO_SESSION:
            return self._rebooted(report.boot_nonce, 0)
        if report.code == WireError.NO_PACK:
            return FlashError(
                f"{self.link.name}: the terminal refused its pack: {report}; "
                "build and flash it again"
            )
        if report.code == WireError.NOT_OFFERED:
            return ProtocolError(
                f"{self.link.name}: the terminal does not offer this: {report}; a release leaves "
                "out reading and writing state, INFER and EXIT, and a chip has no EXIT; use a "
                "terminal built without --release"
            )
        return ProtocolError(
            f"{self.link.name}: the terminal refused a frame: {report}; "
            "is its firmware of this version of tinyfin?"
        )

    def _stuck(self, seconds: float, logs: int) -> TargetError:
        came = self.counters.logs - logs
        if came > _FLOOD_LOGS:
            return ProtocolError(
                f"{self.link.name}: no answer for {seconds:g} s, but {came} lines of log; logs "
                "must leave the line to answers: send fewer of them"
            )
        return LinkError(
            f"{self.link.name}: no answer for {seconds:g} s; the terminal hangs or the line is "
            "broken. Reset the target and check the cable"
        )

# SPDX-License-Identifier: Apache-2.0
"""Frames to and from one terminal: finding it, noticing that it restarted, getting it back."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from tinyfin.errors import BootError, LinkError, ProtocolError, TargetError, TinyfinError
from tinyfin.wire import messages as m
from tinyfin.wire.frames import Deframer, Frame, encode_frame
from tinyfin.wire.links import Deadline, Link, LinkLost, others_at, speed_of
from tinyfin.wire.messages import Answer, Request, WireError
from tinyfin.wire.refusals import refused_pack
from tinyfin.wire.timing import AnswerTime

__all__ = ["BACK_S", "Channel", "Counters", "Doubt", "NoSealingKey", "NotOffered", "TargetRebooted"]

_SYNC_S = 0.25
_RAISED_S = 0.6
"""How long HELLO is waited for at a speed that the terminal may have left."""
BACK_S = 3.0
"""The terminal goes back to its first speed within 1 s; then it has to answer."""
_FLOOD_LOGS = 1000
"""Lines of log without a single answer between them, that are no accident."""


class TargetRebooted(BootError):
    """The terminal has restarted and lost what it knew of this session."""


class NotOffered(ProtocolError):
    """The terminal's firmware was built without what it was asked for."""


class NoSealingKey(ProtocolError):
    """The terminal has not the sealing key that it was asked to use."""


class Doubt(Exception):
    """A frame says that the terminal has restarted; it may be an old one, so ask first."""


@dataclass
class Counters:
    """What went over the line, delimiters and everything included, and what was repaired."""

    bytes_up: int = 0
    bytes_down: int = 0
    state_up: int = 0
    """How many of ``bytes_up`` set the state: STATE_RESET and STATE_WRITE."""
    frames_up: int = 0
    frames_down: int = 0
    retransmitted: int = 0
    """Frames sent again."""
    complaints: int = 0
    """BAD_FRAME and SEQUENCE errors of the device."""
    timeouts: int = 0
    """Waits that ended without an answer, after which frames were sent again."""
    stray: int = 0
    """Answers that no one waited for, such as repeated ones."""
    reconnects: int = 0
    """Links that were lost and opened again within a session."""
    logs: int = 0
    """Lines of log."""


@dataclass
class Channel:
    """One session with one terminal over one link. Not for use from several threads.

    Every wait ends. A frame is sent again when its answer takes longer than answers on this line
    take, at most ``answer_timeout_s``; after ``deadline_s`` without any progress TargetError says
    so. A terminal that restarts raises TargetRebooted. A link that is lost raises LinkLost, or,
    with ``reconnect``, is opened again and the session goes on.
    """

    link: Link
    answer_timeout_s: float = 5.0
    deadline_s: float = 30.0
    on_log: Callable[[int, str], None] | None = None
    reconnect: bool = False
    speed_up_to: int = 0
    """The highest speed in baud to try, on a serial line to a terminal that can change it."""
    counters: Counters = field(default_factory=Counters)

    def __post_init__(self) -> None:
        self._deframer = Deframer()
        self._frames: deque[Frame] = deque()
        self._sequence = secrets.randbelow(1 << 16)
        self._tag = secrets.randbelow(1 << 16)
        self._greeting = b""
        self._session = 0
        self._hello: m.Hello | None = None
        self._heard_at = 0.0
        """When the last bytes came."""
        self.timing = AnswerTime(self.answer_timeout_s)

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
        self._session = secrets.randbelow((1 << 32) - 1) + 1
        self._greeting = (
            bytes([m.VERSION])
            + self._session.to_bytes(4, "little")
            + self._sequence.to_bytes(2, "little")
        )
        deadline = Deadline(deadline_s)
        self._hello = None
        while True:
            try:
                self._hello = self._greet_at_its_speed(deadline)
                return self._hello
            except LinkLost:
                if not self.reconnect:
                    raise
                self._reopen(deadline)

    @property
    def baud(self) -> int | None:
        """The speed of the line now, where it has one."""
        line = speed_of(self.link)
        return None if line is None else line.baud

    def close(self) -> None:
        """Close the link."""
        self.link.close()

    # ------------------------------------------------------------------ the speed

    @property
    def _is_raised(self) -> bool:
        line = speed_of(self.link)
        return line is not None and line.baud != line.first_baud

    def _change_speed(self, baud: int | None = None) -> None:
        """Change the host's side; None: to the speed at which the line opens. ValueError when the
        port cannot do it."""
        line = speed_of(self.link)
        assert line is not None
        line.set_baud(line.first_baud if baud is None else baud)
        self._deframer.restart()
        self._frames.clear()
        troubled = self.timing.troubled
        self.timing = AnswerTime(self.answer_timeout_s)
        self.timing.troubled = troubled

    def _lower_speed(self) -> None:
        if self._is_raised:
            with contextlib.suppress(ValueError):  # then the port is gone: the next read says so
                self._change_speed()

    def _greet_at_its_speed(self, deadline: Deadline) -> m.Hello:
        """HELLO; a terminal that does not answer at a raised speed has left it, or does so when it
        hears nothing but noise."""
        if self._is_raised:
            try:
                return self._greet(Deadline(_RAISED_S))
            except LinkLost:
                raise
            except TargetError:
                self._lower_speed()
                deadline = Deadline(max(BACK_S, deadline.left()))
        return self._greet(deadline)

    def _missed(self) -> None:
        """A wait ended without an answer. Doubt at a raised speed: it may be the reason."""
        self.counters.timeouts += 1
        self.timing.missed()
        if self._is_raised:
            raise Doubt

    # ------------------------------------------------------------------ the session

    def _greet(self, deadline: Deadline) -> m.Hello:
        """HELLO of the session that the greeting names.

        A terminal that boots answers late, and then every greeting that its ring has kept. Until
        the last of them is answered, the ring has less space than HELLO announces.
        """
        before, heard = replace(self.counters), 0
        found: m.Hello | None = None
        boots: set[int] = set()
        tags = set()
        while not deadline.passed:
            # the leading delimiter ends whatever a dirty line has left in the device
            tag = self._next_tag()
            tags.add(tag)
            self._write(b"\0" + encode_frame(Request.HELLO_REQUEST, tag, self._greeting))
            wait = Deadline(min(_SYNC_S, deadline.left()))
            while not deadline.passed and (frame := self._receive(wait, alive=False)) is not None:
                heard += 1
                if frame.type == Answer.HELLO:
                    hello = m.parse_hello(frame.payload)
                    # the tag distinguishes it from one that a line repeats
                    if hello.session == self._session and frame.sequence in tags:
                        found = hello
                        if frame.sequence == tag:
                            return hello
                    boots.add(hello.boot_nonce)
                elif frame.type == Answer.ERROR:
                    report = m.parse_error(frame.payload)
                    if report.code == WireError.VERSION_REFUSED:
                        raise ProtocolError(
                            f"{self.link.name}: the terminal refuses protocol version "
                            f"{m.VERSION}; build and flash the firmware of this version of tinyfin"
                        )
            if found is not None:
                return found
        raise self._silence(deadline.seconds, before, heard, len(boots))

    def _silence(self, seconds: float, before: Counters, heard: int, boots: int) -> TargetError:
        return self._with_others(self._silence_words(seconds, before, heard, boots))

    def _silence_words(
        self, seconds: float, before: Counters, heard: int, boots: int
    ) -> TargetError:
        received = self.counters.bytes_down - before.bytes_down
        logs = self.counters.logs - before.logs
        kind: type[TargetError] = ProtocolError
        if boots > 1:
            kind = BootError
            why = f"it restarted {boots} times meanwhile; check its power supply and watchdog"
        elif heard and self._is_silent(seconds):
            kind = LinkError
            why = (
                "frames came at first, then nothing; the terminal hangs or the line is broken. "
                "Reset the target and check the cable"
            )
        elif heard:
            why = "frames came, but no HELLO for this session; is another program on this line?"
        elif logs:
            why = (
                f"nothing but {logs} lines of log came; send fewer logs, or none until "
                "HELLO_REQUEST is answered"
            )
        elif received:
            why = (
                f"{received} bytes came, but no frame; check the baud rate and that the tinyfin "
                "firmware runs there"
            )
        elif self._hello is not None:
            kind = LinkError
            why = (
                "it answered before, and now not a byte came; the terminal hangs or the line is "
                "broken. Reset the target and check the cable"
            )
        else:
            kind = BootError
            why = "not a byte came; check power, cable and port, and flash the tinyfin firmware"
        return kind(f"{self.link.name}: no HELLO within {seconds:g} s: {why}")

    def _reopen(self, deadline: Deadline) -> None:
        """Open a lost link again; what was on its way is lost with it."""
        self._deframer.restart()
        self._frames.clear()
        self.link.reopen(max(1.0, deadline.left()))
        self.counters.reconnects += 1

    def _rejoin(self, why: LinkLost | Doubt) -> m.Hello:
        """Open a lost link again, and go on with this session if it is still there.

        Raises LinkLost when the link must not or cannot be opened, TargetRebooted when the terminal
        has restarted meanwhile.
        """
        deadline = Deadline(self.deadline_s)
        while True:
            if isinstance(why, LinkLost) and (not self.reconnect or self._hello is None):
                raise why
            try:
                if isinstance(why, LinkLost):
                    self._reopen(deadline)
                hello = self._greet_at_its_speed(deadline)
                break
            except LinkLost as error:
                if deadline.passed:
                    raise
                why = error
        if hello.boot_nonce != self.hello.boot_nonce:
            raise self._rebooted(hello.boot_nonce, hello.reset_cause)
        return hello

    def _check_alive(self, again: m.Hello) -> None:
        if again.session != self.hello.session or again.boot_nonce != self.hello.boot_nonce:
            raise Doubt

    def _rebooted(self, nonce: int, cause: int) -> TargetRebooted:
        why = f", reset cause {cause}" if cause else ""
        return TargetRebooted(
            f"{self.link.name}: the terminal restarted in the middle of the session (boot nonce "
            f"{self.hello.boot_nonce:08x}, now {nonce:08x}{why}); its state is gone. Check its "
            "power supply and watchdog, then run again"
        )

    # ------------------------------------------------------------------ frames

    def _next_tag(self) -> int:
        self._tag = (self._tag + 1) & 0xFFFF
        return self._tag

    def _write(self, wire: bytes) -> None:
        self.counters.frames_up += 1
        self.counters.bytes_up += len(wire)
        self.link.write(wire)

    def _receive(self, deadline: Deadline, *, alive: bool = True) -> Frame | None:
        """The next frame that is neither a log nor news of a reboot; None when it is too late.

        Logs do not move the deadline: a terminal that only logs is one that does not answer.
        """
        asked = False
        while True:
            while self._frames:
                frame = self._frames.popleft()
                self.counters.frames_down += 1
                if frame.type == Answer.LOG:
                    self._log(frame.payload)
                elif alive and frame.type == Answer.HELLO and self._hello is not None:
                    self._check_alive(m.parse_hello(frame.payload))
                else:
                    return frame
            left = deadline.left()
            if asked and left == 0.0:
                return None
            asked = True
            data = self.link.read(left)
            if data:
                self._heard_at = time.monotonic()
                self.counters.bytes_down += len(data)
                damaged = self._deframer.damaged
                self._frames.extend(self._deframer.feed(data))
                # before the session there may be anything: what a boot loader says, half a frame
                if self._deframer.damaged != damaged and alive:
                    self.timing.troubled = True

    def _log(self, payload: bytes) -> None:
        self.counters.logs += 1
        if self.on_log is not None:
            r = m.Reader(payload, "LOG")
            self.on_log(r.take(1)[0], r.text())

    # ------------------------------------------------------------------ words

    def _is_silent(self, seconds: float) -> bool:
        """Whether nothing came in the second half of a wait that is over."""
        return time.monotonic() - self._heard_at > seconds / 2

    def _refused(self, report: m.ErrorReport) -> TinyfinError | Doubt:
        if report.code == WireError.NO_SESSION:
            return Doubt()
        if report.code == WireError.NO_PACK:
            return refused_pack(self.link.name, report.engine_error)
        if report.code in (WireError.NOT_OFFERED, WireError.UNKNOWN_TYPE):
            return NotOffered(
                f"{self.link.name}: the terminal does not offer this: {report}; a release "
                "answers HELLO and STATS and takes what is signed, with --release-replay also "
                "EVENTS, CHECKPOINT and REBOOT, and a chip has no EXIT; use a terminal built "
                "without --release"
            )
        if report.code == WireError.SEALING_KEY:
            return NoSealingKey(f"{self.link.name}: {report}; name a sealing key that it has")
        return ProtocolError(
            f"{self.link.name}: the terminal refused a frame: {report}; "
            "is its firmware of this version of tinyfin?"
        )

    def _stuck(self, seconds: float, before: Counters) -> TargetError:
        """The error when no answer came for so long; ``before``: the counters at its beginning."""
        return self._with_others(self._stuck_words(seconds, before))

    def _with_others(self, error: TargetError) -> TargetError:
        """The error, with the programs named that have the port open, too: they may have taken the
        answers, or sent what came instead."""
        users = others_at(self.link)
        if not users:
            return error
        return type(error)(
            f"{error}. The port is also open in {', '.join(users)}: end that program", error.kind
        )

    def _stuck_words(self, seconds: float, before: Counters) -> TargetError:
        now = self.counters
        logs = now.logs - before.logs
        frames = now.frames_down - before.frames_down - logs
        complaints = now.complaints - before.complaints
        head = f"{self.link.name}: no answer for {seconds:g} s"
        if logs > _FLOOD_LOGS:
            return ProtocolError(
                f"{head}, but {logs} lines of log; logs must leave the line to answers: send fewer "
                "of them"
            )
        if self._is_silent(seconds):
            return LinkError(
                f"{head}; the terminal hangs or the line is broken. Reset the target and check the "
                "cable"
            )
        if complaints:
            return LinkError(
                f"{head}, but {complaints} complaints of damaged frames; what is sent to the "
                "terminal gets damaged on its way: check cable, hub and baud rate"
            )
        received = now.bytes_down - before.bytes_down
        if not frames and not logs:
            return ProtocolError(
                f"{head}, but {received} bytes that are no frame; something else writes to this "
                "line: a crash handler, printf of the firmware, another program, or its baud rate "
                "has changed"
            )
        return ProtocolError(
            f"{head}, but {frames} frames and {logs} lines of log, none of them the answer; is the "
            "terminal's firmware of this version of tinyfin?"
        )

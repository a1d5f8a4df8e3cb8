# SPDX-License-Identifier: Apache-2.0
"""The log of a registry: a file of events that only grows, read, verified and appended to."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from tinyfin.documents import first_fault
from tinyfin.errors import InputError, MismatchError
from tinyfin.output_claims import claimed
from tinyfin.pack.signing import Key
from tinyfin.progress import Stage, stage
from tinyfin.registry.events import (
    KINDS,
    Event,
    Opened,
    Subject,
    parse_line,
    signed_text,
    time_text,
)
from tinyfin.registry.state import Fault, State, Verdict

__all__ = [
    "LOCK_WAIT_S",
    "Followed",
    "Head",
    "Log",
    "follow",
    "latest_time",
    "next_event",
    "parse_head",
]

LOCK_WAIT_S = 20.0
"""How long to wait for another process that appends."""
_AHEAD_S = 600
"""How far the clock of who signed may be ahead of this one."""


@dataclass(frozen=True)
class Head:
    """The newest event of a log at some time."""

    number: int
    digest: str
    """SHA-256 of its line, in hexadecimal."""

    def __str__(self) -> str:
        return f"{self.number}:{self.digest}"


@dataclass
class Followed:
    """A log as far as it can be followed."""

    state: State = field(default_factory=State)
    events: list[Event] = field(default_factory=list)
    taken_bytes: int = 0
    """Of the file, up to the end of the last event."""
    verdict: Verdict = Verdict.VALID
    number: int | None = None
    """Of the event at fault; None when VALID."""
    why: str = ""
    """What is wrong with it; empty when VALID."""

    @property
    def head(self) -> Head:
        """The newest event."""
        return Head(self.state.number, self.state.head)

    def go_on(self, data: bytes) -> None:
        """Take what stands in the file from ``taken_bytes`` on."""
        self.verdict, self.number, self.why = Verdict.VALID, None, ""
        with stage("checking the log", data.count(b"\n"), "events") as work:
            self._go_on(data, work)

    def _go_on(self, data: bytes, work: Stage) -> None:
        at = 0
        while at < len(data):
            end = data.find(b"\n", at) + 1
            line = data[at : end or len(data)]
            if not end or (b"\0" in line and end == len(data)):
                left = len(data) - at
                self._fault(
                    Verdict.TORN,
                    f"is torn: {left} bytes that are no whole line, as a power cut leaves them; "
                    "it never counted, and the next event takes its place",
                )
                return
            try:
                self.take(parse_line(line))
            except InputError as error:
                self._fault(Verdict.CORRUPT, str(error))
                return
            except Fault as fault:
                self._fault(fault.verdict, str(fault))
                return
            at = end
            work.step()

    def take(self, event: Event) -> None:
        """Go on by an event. Raises Fault, and then nothing has changed."""
        self.state.take(event)
        self.events.append(event)
        self.taken_bytes += len(event.line)

    def compare(self, heads: Sequence[Head]) -> None:
        """Hold a log that is whole against events that it had before."""
        if self.verdict not in (Verdict.VALID, Verdict.TORN):
            return
        for head in sorted(heads, key=lambda head: head.number):
            if head.number > self.state.number:
                self.number = self.state.number + 1
                self.verdict = Verdict.TRUNCATED
                self.why = (
                    f"is missing: the log ends with event {self.state.number}, and event "
                    f"{head.number} was there"
                )
                return
            if self.events[head.number - 1].digest != head.digest:
                self.number, self.verdict = head.number, Verdict.FORKED
                self.why = "is another one than the head names"
                return

    def _fault(self, verdict: Verdict, why: str) -> None:
        self.verdict, self.number, self.why = verdict, self.state.number + 1, why


def follow(data: bytes, heads: Sequence[Head] = ()) -> Followed:
    """Read a log from its first event on, and compare it with events that it had before."""
    found = Followed()
    found.go_on(data)
    if found.verdict == Verdict.VALID and not found.events:
        found.verdict, found.number, found.why = Verdict.TRUNCATED, 1, "is missing"
    found.compare(heads)
    return found


def parse_head(text: str) -> Head:
    """A head from ``NUMBER:HASH``, or from a file that holds the newest line of a log, which is
    signed. Raises InputError."""
    number, _, digest = text.partition(":")
    if number.isdecimal() and len(digest) == 64 and not set(digest) - set("0123456789abcdef"):
        head = Head(int(number), digest)
        if head.number:
            return head
    try:
        event = parse_line(Path(text).read_bytes())
    except (OSError, InputError) as error:
        raise InputError(
            f"head {text!r}: give NUMBER:HASH, as every command that records an event prints it, "
            f"or a file with the newest line of the log ({error})"
        ) from error
    return Head(event.number, event.digest)


class Log:
    """The log in a file. A second reading goes on where the first one ended."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.followed = Followed()
        self.torn_bytes = 0
        """What :meth:`append` removed of a torn line."""

    @property
    def state(self) -> State:
        """After the newest event that was read."""
        return self.followed.state

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the log alone for the length of the block, and know its newest event. Raises
        InputError, which names who holds it, when that takes longer than LOCK_WAIT_S."""
        with claimed(self.path, wait_s=LOCK_WAIT_S):
            self.refresh()
            yield

    def refresh(self) -> None:
        """Read what has come. Raises MismatchError when the log is not valid, InputError when it
        cannot be read; a torn last line is left alone."""
        found = self.followed
        try:
            with self.path.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(found.taken_bytes)
                data = file.read()
        except OSError as error:
            raise InputError(
                f"{self.path}: cannot be read: {error.strerror}; make a registry with `tinyfin "
                "registry init`"
            ) from error
        if size < found.taken_bytes:
            raise MismatchError(f"{self.path}: has become shorter while it was read")
        found.go_on(data)
        if found.verdict not in (Verdict.VALID, Verdict.TORN) or not found.events:
            raise MismatchError(
                f"{self.path}: {found.verdict}: event {found.number or 1} {found.why}; do not go "
                "on with this log: see docs/registry.md"
            )

    def append(
        self,
        kind: str,
        subject: Subject | None,
        detail: Mapping[str, object],
        key: Key,
        *,
        now_s: int | None = None,
    ) -> Event:
        """Sign an event and append it; it is on the disk when this returns.

        now_s: seconds since 1970, the clock's if None. Raises InputError when it breaks a rule, and
        as :meth:`writing` and :meth:`refresh` do.
        """
        with self.writing():
            event = next_event(self.state, kind, subject, detail, key, now_s)
            at = self.followed.taken_bytes
            self.torn_bytes = self.path.stat().st_size - at
            try:
                self.followed.take(event)
                _write(self.path, event.line, at)
            except Fault as fault:
                raise InputError(f"{self.path}: {kind!r} is refused: {fault}") from fault
            except BaseException as error:
                self.followed = Followed()  # it is ahead of the file
                if not isinstance(error, OSError):
                    raise
                raise InputError(
                    f"{self.path}: cannot be written: {error.strerror}; nothing was recorded"
                ) from error
        return event


def next_event(
    state: State,
    kind: str,
    subject: Subject | None,
    detail: Mapping[str, object],
    key: Key,
    now_s: int | None = None,
) -> Event:
    """Sign the event that goes on from a state. The rules of the state are not asked. Raises
    InputError for a detail that its kind does not have, for a key that the policy lacks, and for a
    time that the clock has not reached."""
    if kind not in KINDS:
        raise InputError(f"events of the kind {kind!r} are not declared")
    try:
        said = KINDS[kind].model_validate(detail)
    except ValidationError as error:
        raise InputError(f"{kind!r}: {first_fault(error)}") from error
    policy = said.policy if isinstance(said, Opened) else state.policy
    key_id = f"{key.key_id:08x}"
    person = None if policy is None else policy.person(key_id)
    if person is None:
        raise InputError(f"key {key_id} is none of the policy's; sign with a key that it names")
    clock_s = int(time.time())
    time_s = clock_s if now_s is None else now_s
    if time_s > clock_s + _AHEAD_S:
        raise InputError(
            f"{kind!r}: its time {time_text(time_s)} is later than the clock, {time_text(clock_s)}"
        )
    facts = {
        "actor": {"key": key_id, "name": person.name},
        "before": state.head,
        "detail": said.as_dict(),
        "format": 1,
        "kind": kind,
        "number": state.number + 1,
        "subject": None if subject is None else subject.model_dump(),
        "time": time_text(time_s),
    }
    try:
        return Event.model_validate({**facts, "signature": key.sign(signed_text(facts)).hex()})
    except ValidationError as error:
        raise InputError(f"event {kind!r}: {first_fault(error)}") from error


def latest_time() -> str:
    """The latest time that an event can have by the clock of this machine."""
    return time_text(int(time.time()) + _AHEAD_S)


def _write(path: Path, line: bytes, end: int) -> None:
    """Put a line at ``end``, in the place of a torn one if there is one, onto the disk."""
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.ftruncate(descriptor, end)
        written = 0
        while written < len(line):
            written += os.pwrite(descriptor, line[written:], end + written)
        os.fsync(descriptor)
    except BaseException:
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, end)
        raise
    finally:
        os.close(descriptor)

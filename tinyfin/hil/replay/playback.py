# SPDX-License-Identifier: Apache-2.0
"""Plays a transcript to a terminal again, and compares what it answers with what was recorded.

What the host sent is put back into the order in which the terminal had to do it; what was sent
twice is sent once. A restart in the transcript is a restart in the playback.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

from tinyfin.errors import InputError, PackError
from tinyfin.hil.links.transcript import Entry, Kind, Transcript, entries
from tinyfin.hil.replay.differences import fields
from tinyfin.wire import messages as m
from tinyfin.wire.client import Client
from tinyfin.wire.frames import Frame
from tinyfin.wire.messages import Answer, Capability, Request, WireError

__all__ = ["PlaybackResult", "Step", "count", "pack_ids", "playback", "steps"]

_ORDERED = (Request.EVENTS, Request.STATE_RESET, Request.STATE_WRITE)
_ASKED = {
    Request.CHECKPOINT_REQUEST: Answer.CHECKPOINT,
    Request.DETAIL_READ: Answer.DETAIL,
    Request.STATE_READ: Answer.STATE_DATA,
    Request.INFER: Answer.INFERRED,
}

_NO_SESSION = "the transcript holds no session with a terminal; record it again"
_RETRIED = (WireError.BAD_FRAME, WireError.SEQUENCE, WireError.NO_SESSION)


@dataclass
class Step:
    """One thing to do again. ``what``: ``boot``, ``session``, or the name of a request."""

    what: str
    request: int = 0
    payload: bytes = b""
    answer: bytes | None = None
    """What was recorded; None when no answer came."""
    at_us: int = 0
    hello: m.Hello | None = None


class Differing(TypedDict):
    """A field of an answer in which both differ."""

    field: str
    expected: object
    found: object


class FirstDifference(TypedDict):
    """The first answer that differed."""

    at_s: float
    request: str
    number: int
    differences: list[Differing]
    recorded: str
    got: str


@dataclass
class PlaybackResult:
    """What a playback found."""

    sent: int = 0
    compared: int = 0
    differing: int = 0
    boots: int = 0
    whole: bool = True
    fault: str = ""
    """Where the transcript ends early."""
    first: FirstDifference | None = None
    about: dict[str, object] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Something was compared, all of it was equal, and the transcript was whole."""
        return self.compared > 0 and not self.differing and self.whole

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {"ok": self.ok, **vars(self)}


def steps(transcript: Transcript) -> Iterator[Step]:
    """What to do again, in order."""
    state = _Order()
    for entry in entries(transcript):
        yield from state.entry(entry)
    yield from state.end()


class _Order:
    """Puts ordered frames into the order of their numbers, and answers to their requests."""

    def __init__(self) -> None:
        self._session: tuple[int, int] | None = None
        self._nonce: int | None = None
        self._expected = 0
        self._early: dict[int, Step] = {}
        self._waiting: dict[int, Step] = {}
        self._asked: dict[int, Step] = {}
        self._ready: list[Step] = []
        self._blind = False
        """Records are missing: nothing can be compared until the state is set again."""

    def entry(self, entry: Entry) -> Iterator[Step]:
        if entry.kind == Kind.GAP:
            yield from self._flush(everything=True)
            self._forget()
            self._session, self._blind = None, True
        if entry.frame is None:
            return
        if entry.kind == Kind.UP:
            self._up(entry, entry.frame)
        else:
            yield from self._down(entry, entry.frame)
        yield from self._flush()

    def end(self) -> Iterator[Step]:
        yield from self._flush(everything=True)

    def _flush(self, everything: bool = False) -> Iterator[Step]:
        """Steps whose answer is known, or to which none can come any more, in order."""
        while self._ready:
            step = self._ready[0]
            if not everything and step.answer is None and step.what not in ("boot", "session"):
                return
            self._ready.pop(0)
            if step.request == Request.STATE_RESET or _begins_image(step):
                self._blind = False
            if not self._blind or not step.request:
                yield step

    def _up(self, entry: Entry, frame: Frame) -> None:
        if frame.type in _ORDERED:
            if self._session is None or frame.sequence in self._waiting:
                return
            name = Request(frame.type).name
            step = Step(name, frame.type, frame.payload, at_us=entry.at_us)
            distance = (frame.sequence - self._expected) & 0xFFFF
            if distance < 0x8000:
                self._early.setdefault(frame.sequence, step)
            while self._expected in self._early:
                done = self._early.pop(self._expected)
                self._waiting[self._expected] = done
                self._ready.append(done)
                self._expected = (self._expected + 1) & 0xFFFF
        elif frame.type in _ASKED:
            before = self._asked.get(frame.sequence)
            if before is not None and before.payload == frame.payload and not before.answer:
                return
            name = Request(frame.type).name
            step = Step(name, frame.type, frame.payload, at_us=entry.at_us)
            self._asked[frame.sequence] = step
            self._ready.append(step)

    def _down(self, entry: Entry, frame: Frame) -> Iterator[Step]:
        if frame.type == Answer.HELLO:
            hello = m.parse_hello(frame.payload)
            if hello.session and (hello.session, hello.boot_nonce) != self._session:
                yield from self._begin(entry, hello)
        elif frame.type == Answer.ERROR:
            self._refused(frame)
        elif frame.type in (Answer.VERDICTS, Answer.ACK):
            step = self._waiting.pop(frame.sequence, None)
            if step is not None:
                step.answer = frame.payload
        else:
            step = self._asked.get(frame.sequence)
            if step is not None and frame.type == _ASKED[Request(step.request)]:
                step.answer = step.answer or frame.payload
                del self._asked[frame.sequence]

    def _refused(self, frame: Frame) -> None:
        """A frame that was refused did nothing: it is not sent again."""
        if m.parse_error(frame.payload).code in _RETRIED:
            return
        step = self._waiting.pop(frame.sequence, None)
        if step is not None:
            self._expected = frame.sequence
        else:
            step = self._asked.pop(frame.sequence, None)
        if step is not None and step.answer is None:
            self._ready = [other for other in self._ready if other is not step]

    def _begin(self, entry: Entry, hello: m.Hello) -> Iterator[Step]:
        yield from self._flush(everything=True)
        if hello.boot_nonce != self._nonce:
            self._ready.append(Step("boot", at_us=entry.at_us))
        self._ready.append(Step("session", at_us=entry.at_us, hello=hello))
        self._session, self._nonce = (hello.session, hello.boot_nonce), hello.boot_nonce
        self._expected = hello.expected
        self._forget()

    def _forget(self) -> None:
        self._early.clear()
        self._waiting.clear()
        self._asked.clear()


def _begins_image(step: Step) -> bool:
    return step.request == Request.STATE_WRITE and step.payload[:1] == b"\0"


def playback(
    transcript: Transcript,
    client: Client,
    *,
    packs: Collection[str] = (),
    progress: Callable[[int], object] = lambda _: None,
) -> PlaybackResult:
    """Do everything again on the terminal behind ``client``. The first difference is kept, and the
    rest is compared all the same.

    packs: ids of packs that are one model in several layouts, and give the same answers.
    Raises InputError for a transcript without a session, and before anything is sent when it was
    recorded with another pack than the terminal runs; TargetError when that does not answer.
    """
    todo = list(steps(transcript))
    _same_pack(todo, client, packs)
    result = PlaybackResult(whole=transcript.whole, fault=transcript.fault, about=transcript.about)
    batch: list[Step] = []
    for step in todo:
        if step.request in _ORDERED:
            batch.append(step)
            if len(batch) < 256:
                continue
        _send(client, batch, result, progress)
        batch = []
        if step.what == "boot":
            if result.boots or client.connect().capabilities & Capability.REBOOT:
                client.reboot()
            result.boots += 1
        elif step.what == "session":
            client.connect()
        elif step.request not in _ORDERED:
            request = Request(step.request)
            got = client.request(request, _ASKED[request], step.payload)
            _compare(step, got, result)
            progress(1)
    _send(client, batch, result, progress)
    if not result.sent:
        raise InputError(_NO_SESSION)
    return result


def _same_pack(todo: Iterable[Step], client: Client, packs: Collection[str]) -> None:
    """InputError when what is here runs another pack than what was recorded."""
    recorded = [step.hello for step in todo if step.hello is not None]
    if not recorded:
        raise InputError(_NO_SESSION)
    here = client.connect()
    for there in recorded:
        if there.pack_id != here.pack_id and not {there.pack_id, here.pack_id} <= set(packs):
            raise InputError(
                f"the transcript was recorded with pack {there.pack_id} (a {there.target}), and "
                f"{client.link.name} runs pack {here.pack_id}: answers of different packs are not "
                "compared; give the run of the recording with --run, or flash it"
            )


def _send(
    client: Client, batch: list[Step], result: PlaybackResult, progress: Callable[[int], object]
) -> None:
    frames = ((step.request, step.payload) for step in batch)
    for step, got in zip(batch, client.pipeline(frames) if batch else (), strict=True):
        _compare(step, got, result)
        progress(1)


def _compare(step: Step, got: bytes, result: PlaybackResult) -> None:
    result.sent += 1
    if step.answer is None:
        return
    result.compared += 1
    if not (differences := _differences(step.request, step.answer, got)):
        return
    result.differing += 1
    if result.first is None:
        result.first = {
            "at_s": round(step.at_us / 1e6, 6),
            "request": step.what,
            "number": result.sent,
            "differences": differences,
            "recorded": step.answer.hex(),
            "got": got.hex(),
        }


def _differences(request: int, recorded: bytes, got: bytes) -> list[Differing]:
    """The fields in which two answers differ, with what was recorded and what came now."""
    if recorded == got:
        return []
    expected, found = fields(request, recorded), fields(request, got)
    return [
        {"field": name, "expected": expected.get(name), "found": found.get(name)}
        for name in {**expected, **found}
        if expected.get(name) != found.get(name)
    ]


def pack_ids(run: Path | None, public_keys: Sequence[Path] = ()) -> list[str]:
    """The ids of a run's pack in every layout, which all give the same answers; none without a
    run."""
    from tinyfin.formats import LAYOUTS
    from tinyfin.pack.container import parse_pack
    from tinyfin.pack.layouts import choose
    from tinyfin.pack.trust import trusted_keys
    from tinyfin.targets.flash import run_pack

    found = []
    if run is not None and run.exists():
        keys = trusted_keys(run, public_keys)
        for layout in LAYOUTS:
            with contextlib.suppress(PackError):
                found.append(parse_pack(choose(run_pack(run), layout, keys), keys=keys).pack_id)
    return [one.hex() for one in found]


def count(transcript: Transcript) -> int:
    """How many requests a transcript holds."""
    return sum(step.what not in ("boot", "session") for step in steps(transcript))

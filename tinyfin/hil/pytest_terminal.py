# SPDX-License-Identifier: Apache-2.0
"""A terminal of a rig as a test sees it: score, outcome, notice, reboot; and whole replays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tinyfin.data.transactions import ACTIONS, RESULTS, TAKEN, Transactions
from tinyfin.errors import InputError, TinyfinError
from tinyfin.hil.links.transcript import Kind, Transcript, describe, entries
from tinyfin.hil.replay.result import ReplayResult
from tinyfin.hil.rigs.rigfile import Rig, run_of, select
from tinyfin.hil.runs.results import Case
from tinyfin.hil.runs.target import Job, TargetRun, capabilities
from tinyfin.pack.container import parse_pack
from tinyfin.twin import FLAGS
from tinyfin.wire.client import Client
from tinyfin.wire.event_frames import EventsFrame, Outcome, field_types
from tinyfin.wire.frames import OVERHEAD_BYTES
from tinyfin.wire.messages import Request, parse_verdicts

__all__ = ["Answered", "Bench", "Replayer", "Terminal"]

Replayer = Callable[..., ReplayResult]

_WIRE_LINES = 60
_START_S = 800_000_000
"""When a test's first event happens: in May 2025."""


class Answered(NamedTuple):
    """A verdict. ``score`` is a probability from 0 to 1, ``id`` names the event later on."""

    id: int
    score: float
    raw: int
    action: str
    reasons: tuple[int, ...]
    flags: tuple[str, ...]
    t_mono_s: int
    token: int


class Terminal:
    """One terminal. Time moves by ``after_s`` of each call, never by itself; no test sleeps.

    :attr:`client` is the wire beneath, for everything that is not here.
    """

    def __init__(self, client: Client, pack: bytes, fields: tuple[str, ...]) -> None:
        self.client = client
        self._types = field_types(pack)
        self.fields = fields
        """Names of the schema's fields."""
        self.t_mono_s = _START_S
        self._next_id = 1

    @property
    def capabilities(self) -> list[str]:
        """What it offers: ticks, stack, infer, reboot, exit, replay, state."""
        return capabilities(self.client.hello)

    def score(self, *, after_s: int = 1, event_id: int | None = None, **fields: int) -> Answered:
        """Score an event; ``fields`` are named as the schema names them, the rest is absent.

        Raises InputError for a field that the schema does not have.
        """
        self.t_mono_s += after_s
        names = self.fields
        unknown = [name for name in fields if name not in names]
        if unknown:
            raise InputError(f"the schema has no field {unknown[0]!r}; it has {', '.join(names)}")
        values = [int(fields.get(name, 0)) for name in names]
        present = sum(1 << at for at, name in enumerate(names) if name in fields)
        number = self._next_id if event_id is None else event_id
        self._next_id = max(self._next_id, number) + 1
        frame = self._frame()
        if not frame.score(number, self.t_mono_s, self.t_mono_s, values, present, None):
            raise InputError("the event does not fit in a frame of the size that HELLO names")
        (verdict,) = parse_verdicts(self._send(frame), 1).verdicts
        if verdict.error:
            raise InputError(f"the terminal did not score it: engine error {verdict.error}")
        flags = tuple(name for bit, name in FLAGS.items() if verdict.flags & bit)
        return Answered(
            number,
            verdict.score_q32 / 2**32,
            verdict.raw,
            "verify" if "VERIFY" in flags else ACTIONS[verdict.action],
            tuple(verdict.reasons),
            flags,
            self.t_mono_s,
            int(fields.get("token", 0)),
        )

    def outcome(
        self,
        event: Answered | int,
        result: str = "approved",
        *,
        after_s: int = 1,
        response: int | None = None,
        action: str = "accept",
    ) -> int:
        """Report what became of an event; the engine's error code, 0 when it took it.

        result: approved, declined, cancelled, timed_out or reversed. action: what the terminal
        did, whatever was advised: accept, go_online, verify or decline.
        """
        if result not in RESULTS:
            raise InputError(f"result {result!r} is none of {', '.join(RESULTS)}")
        if action not in TAKEN:
            raise InputError(f"action {action!r} is none of {', '.join(TAKEN)}")
        self.t_mono_s += after_s
        frame = self._frame()
        number = event if isinstance(event, int) else event.id
        code = -1 if response is None else response
        said = Outcome(self.t_mono_s, RESULTS.index(result), TAKEN[action], code)
        frame.outcome(number, said)
        return self._error(frame)

    def notice(self, event: Answered, *, fraud: bool, after_s: int = 1) -> int:
        """Report what became known of an event later; the error code, 0 when the engine took it."""
        self.t_mono_s += after_s
        frame = self._frame()
        frame.notice(event.id, event.token, self.t_mono_s, event.t_mono_s, fraud)
        return self._error(frame)

    def reboot(self, *, keep_state: bool = False) -> None:
        """Restart it; with ``keep_state`` its state is read before and written back after."""
        image = self.client.read_state() if keep_state else None
        self.client.reboot()
        self.client.connect()
        if image is not None:
            self.client.write_state(image)

    def state(self) -> bytes:
        """Its state image."""
        return self.client.read_state()

    def stats(self) -> dict[str, int]:
        """Its counters."""
        return self.client.stats()

    def _frame(self) -> EventsFrame:
        hello = self.client.hello
        return EventsFrame(
            self._types,
            hello.frame_bytes - OVERHEAD_BYTES,
            hello.max_events,
            hello.max_scores,
            self.t_mono_s,
        )

    def _send(self, frame: EventsFrame) -> bytes:
        return self.client.ordered(Request.EVENTS, frame.payload())

    def _error(self, frame: EventsFrame) -> int:
        errors = parse_verdicts(self._send(frame), 0).errors
        return errors[0][1] if errors else 0


class Bench:
    """One target for a session of tests: brought up when it is first needed, and again after a
    test that lost it. Raises what the run of a rig raises, with its kind."""

    def __init__(
        self, rig: Rig, name: str, run: Path | None = None, folder: Path | None = None
    ) -> None:
        (spec,) = select(rig, (name,)).values()
        what = run_of(rig, run, "--tinyfin-run")
        from tinyfin.pack.trust import trusted_keys

        self.name = name
        keys: Sequence[bytes] = trusted_keys(what, ())
        self._job = Job(
            name,
            spec,
            rig.deadlines,
            what,
            tuple(keys),
            (),
            folder,
            what="pytest",
            boards=rig.boards,
        )
        self._target = TargetRun(self._job)
        self._up = False
        self._broken: TinyfinError | None = None

    def terminal(self) -> Terminal:
        """The terminal, connected and cold."""
        if self._broken is not None:
            raise self._broken
        if not self._up:
            try:
                for step in (self._target.flash, self._target.boot):
                    step(Case(name=step.__name__))
            except TinyfinError as error:
                self._broken = error
                raise
            self._up = True
        else:
            self._target.connected()
        client, flashed = self._target.client, self._target.flashed
        assert client is not None
        assert flashed is not None
        client.reset_state()
        meta = parse_pack(flashed.pack, keys=flashed.keys).meta
        return Terminal(client, flashed.pack, tuple(str(name) for name in meta["fields"]))

    def begin(self, test: str) -> None:
        """Write down which test begins."""
        self._target.remark(f"test {test}")

    def wire(self) -> str:
        """What went over the wire last, for people: the end of the transcript."""
        records = self._target.recent
        begun = [at for at, r in enumerate(records) if r.kind == Kind.NOTE]
        lines = [
            describe(e) for e in entries(Transcript({}, records[begun[-1] if begun else 0 :], True))
        ]
        return "\n".join(lines[-_WIRE_LINES:])

    @property
    def transcript(self) -> Path | None:
        """Where the transcript is."""
        folder, name = self._job.folder, self._target.result.transcript
        return folder / name if folder is not None and name else None

    def facts(self) -> dict[str, str]:
        """What the JUnit file has in addition to the tests."""
        hello = self._target.result.hello.as_dict()
        return {"target": self._job.spec.target, **{key: str(hello[key]) for key in hello}}

    def replayer(self) -> Replayer:
        """A function that replays simulated transactions, or given ones, and compares.

        Called with either ``tx`` and ``stream``, or ``terminals``, ``days`` and ``seed`` of the
        simulator; ``limit``, ``chaos``, ``on_reboot`` and ``checkpoint_events`` as
        :func:`tinyfin.hil.replay.replay` takes them. Raises MismatchError at a difference.
        """
        from tinyfin.hil.links.faults import Chaos
        from tinyfin.hil.replay import replay
        from tinyfin.hil.runs.suites import Change, Simulated, Suite, SuiteData
        from tinyfin.hil.runs.suites_data import rounds

        def run(
            tx: Transactions | None = None,
            stream: Any = None,
            *,
            terminals: int = 1,
            days: int = 4,
            seed: int = 1,
            change: Sequence[dict[str, object]] = (),
            chaos: str | None = None,
            **more: Any,
        ) -> ReplayResult:
            if tx is None:
                asked = Simulated(terminals=terminals, days=days, seed=seed)
                changes = [Change.model_validate(one) for one in change]
                tx, stream = next(rounds(Suite(data=SuiteData(simulate=asked), change=changes)))
            faults = None if chaos is None else Chaos.parse(chaos)
            if faults is not None and faults.reboot:
                more.setdefault("on_reboot", "resume")
            assert self._target.client is not None
            assert self._target.flashed is not None
            result = replay(
                self._target.flashed.pack,
                tx,
                stream,
                self._target.client,
                target=self.name,
                keys=self._target.flashed.keys,
                chaos=faults,
                **more,
            )
            result.check()
            return result

        return run

    def close(self) -> None:
        """Release it."""
        self._target.close()

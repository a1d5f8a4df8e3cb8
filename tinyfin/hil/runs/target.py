# SPDX-License-Identifier: Apache-2.0
"""Takes one target through a run: flash, boot, self-test, suites. Nothing passes by default."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack

from tinyfin.errors import BenchError, BootError, FlashError, TargetError
from tinyfin.hil.failures import NOT_REACHED, Failure, FailureKind
from tinyfin.hil.links.transcript import Kind, Record, Writer
from tinyfin.hil.replay.facts import ReplayFacts
from tinyfin.hil.rigs.access import Access, Flashed, reach
from tinyfin.hil.rigs.lease import Lease
from tinyfin.hil.rigs.ports import lease_names
from tinyfin.hil.rigs.rigfile import HOST, Deadlines, TargetSpec
from tinyfin.hil.runs.link import BenchLink
from tinyfin.hil.runs.measured import asleep, drawn, energy, latency
from tinyfin.hil.runs.results import (
    PASSED,
    SKIPPED,
    STEPS,
    Case,
    Greeting,
    Reset,
    TargetResult,
    Totals,
)
from tinyfin.hil.runs.suites import Suite
from tinyfin.wire.client import Client
from tinyfin.wire.links import Deadline, Link
from tinyfin.wire.messages import Capability, Hello

if TYPE_CHECKING:
    from tinyfin.data.events import Stream
    from tinyfin.data.transactions import Transactions

__all__ = ["Event", "Job", "TargetRun", "Tell", "run_target"]


class _What(TypedDict, total=False):
    case: str
    status: str
    text: str
    seconds: float
    done: int
    of: int


class Event(_What):
    """What happens on a target: begin, end, progress, ladder or note, and what belongs to it."""

    target: str
    event: str


Tell = Callable[[Event], object]

_LOG_LINES = 50
_TELL_S = 0.5


@dataclass(frozen=True)
class Job:
    """What one target has to go through; it can be sent to another process."""

    name: str
    spec: TargetSpec
    deadlines: Deadlines
    run: Path
    keys: tuple[bytes, ...]
    suites: tuple[Suite, ...]
    folder: Path | None = None
    """Where the transcript goes; none is written if None."""
    index: int = 0
    of: int = 1
    what: str = "tinyfin hil run"
    lease_wait_s: float | None = None
    boards: Path | None = None
    """The rig's folder of own board files."""


def run_target(job: Job, tell: Tell = lambda _: None) -> TargetResult:
    """Run a job to its end, whatever happens; the result says what."""
    run = TargetRun(job, tell)
    try:
        run.all()
    finally:
        run.close()
    return run.result


class TargetRun:
    """One target on its way. ``reach``, ``client`` and ``flashed`` are there once they are made."""

    def __init__(self, job: Job, tell: Tell = lambda _: None) -> None:
        self.job, self.tell = job, tell
        suites = [Case(name=suite.name, about=suite.about) for suite in job.suites]
        self.result = TargetResult(
            name=job.name,
            target=job.spec.target,
            emulated=job.spec.is_emulated,
            cases=[*(Case(name=name) for name in STEPS), *suites],
        )
        self.reach: Access = reach(job.name, job.spec, job.deadlines, self._note, job.boards)
        self.client: Client | None = None
        self.flashed: Flashed | None = None
        self._link: BenchLink | None = None
        self._logs: deque[str] = deque(maxlen=_LOG_LINES)
        self._start = time.monotonic()
        self._lease = contextlib.ExitStack()
        self._down: Failure | None = None
        self._writer: Writer | None = None
        if job.folder is not None:
            path = job.folder / f"{job.name}.transcript.gz"
            about = {"name": job.name, "target": job.spec.target}
            self._writer = Writer(path, about)
            self.result.transcript = path.name

    # ------------------------------------------------------------------ the whole

    def all(self) -> None:
        """Every case in turn. After one that leaves no terminal, the rest is not reached."""
        steps: list[Callable[[Case], bool]] = [self.flash, self.boot, self.self_test]
        steps += [lambda case, suite=suite: self.suite(case, suite) for suite in self.job.suites]  # type: ignore[misc]
        for at, (case, step) in enumerate(zip(self.result.cases, steps, strict=True)):
            if self._down is None and at > 2:
                self._revive()
            if self._down is not None:
                self._not_reached(case, self._down)
                continue
            self._do(case, step)
            if case.failure is not None and (at < 2 or case.failure.kind == FailureKind.BENCH):
                self._down = case.failure
        self.result.seconds = time.monotonic() - self._start
        self.result.logs = list(self._logs)

    def _do(self, case: Case, step: Callable[[Case], bool]) -> None:
        start = time.monotonic()
        case.reached = True
        self._say("begin", case=case.name)
        try:
            if step(case):
                case.status = PASSED
            elif case.status != SKIPPED:
                raise BenchError(f"{self.job.name}: {case.name} ended without any proof")
        except Exception as error:
            case.failure = Failure.of(error)
        finally:
            case.seconds = time.monotonic() - start
            if self._link is not None:
                self._link.deadline = None
        words = str(case.failure) if case.failure else case.note
        self._say("end", case=case.name, status=case.status, text=words, seconds=case.seconds)

    def _not_reached(self, case: Case, why: Failure) -> None:
        message = f"{NOT_REACHED}{why.message}"
        case.failure = Failure(kind=why.kind, message=message, exit_code=why.exit_code)
        self._say("end", case=case.name, status=case.status, text="not reached", seconds=0.0)

    def close(self) -> None:
        """Let go of line, emulator, lease and transcript; may be called twice."""
        with contextlib.suppress(Exception):
            if self.client is not None:
                self.client.close()
        self.reach.close()
        self._lease.close()
        if self._writer is not None:
            self._writer.close()
            self.result.transcript_stopped = self._writer.stopped

    # ------------------------------------------------------------------ the cases

    def flash(self, case: Case) -> bool:
        """Lease the board, build, flash."""
        wait = self.job.lease_wait_s
        lease = Lease(
            lease_names(self.job.spec),
            self.job.what,
            note=self._note,
            wait_s=self.job.deadlines.lease_s if wait is None else wait,
        )
        self._lease.enter_context(lease)
        self.reach.power()
        self.flashed = self.reach.prepare(self.job.run, self.job.keys)
        case.facts = ReplayFacts(
            flash_bytes=self.flashed.flash_bytes,
            ram_bytes=self.flashed.ram_bytes,
            how=self.flashed.how,
        )
        if self.flashed.skipped:
            case.status, case.note = SKIPPED, self.flashed.skipped
            return False
        return True

    def boot(self, case: Case) -> bool:
        """Open the line and get HELLO, by the ladder if need be; it must be what was flashed."""
        self._open()
        self.connected(case)
        assert self.client is not None
        hello = self.client.hello
        self.result.hello = Greeting(
            target=hello.target,
            build_id=hello.build_id,
            pack_id=hello.pack_id,
            boot_nonce=f"{hello.boot_nonce:08x}",
            capabilities=capabilities(hello),
        )
        case.facts = ReplayFacts(**dict(self.result.hello))
        assert self.flashed is not None
        check_hello(self.job.name, hello, self.job.spec, self.flashed)
        return True

    def self_test(self, case: Case) -> bool:
        """The terminal's own account, and small questions whose answers the twin knows."""
        from tinyfin.hil.runs.selftest import self_test

        assert self.client is not None
        assert self.flashed is not None
        self._limit(self.job.deadlines.silence_s * 4)
        case.facts = self_test(self.client, self.flashed.pack, self.flashed.keys, self.job.name)
        return True

    def suite(self, case: Case, suite: Suite) -> bool:
        """Replay a suite and compare everything."""
        from tinyfin.hil.runs.suites_data import cut, rounds

        assert self.client is not None
        missing = [c for c in suite.needs if c not in self.result.hello.capabilities]
        if missing:
            case.status = SKIPPED
            case.note = f"this terminal does not offer {', '.join(missing)}"
            return False
        if suite.energy is not None and self.reach.meter is None:
            case.status = SKIPPED
            case.note = f"there is no meter: targets.{self.job.name}.meter is not given"
            return False
        self._limit(suite.deadline_s)
        self.remark(f"suite {suite.name}")
        self.client.connect(self.job.deadlines.boot_s)
        if suite.malformed.frames:
            from tinyfin.hil.runs.hostile import send_hostile

            case.facts.hostile = send_hostile(
                self.client, suite.malformed.frames, suite.malformed.seed, self.job.name
            )
        wanted = suite.data.events
        if wanted is not None and suite.data.shared:
            wanted = wanted // self.job.of + (self.job.index < wanted % self.job.of)
        totals, begin, most = Totals(), time.monotonic(), suite.data.duration_s
        name, meter, sleep, awake = self.job.name, self.reach.meter, None, None
        with contextlib.ExitStack() as measuring:
            if suite.energy is not None and meter is not None:
                sleep = asleep(suite.energy, meter, self.client, name)
                awake = measuring.enter_context(drawn(meter))
            try:
                for tx, stream in rounds(suite, self.job.index):
                    if wanted is not None:
                        stream = cut(stream, wanted - totals.events)
                    self._round(suite, totals, tx, stream, wanted)
                    if wanted is not None and totals.events >= wanted:
                        break
                    if most is not None and time.monotonic() - begin >= most:
                        break
            finally:
                totals.update(case.facts)
        notes = []
        if suite.latency is not None:
            timed = latency(suite.latency, totals.ticks, self.client.hello.tick_hz, name)
            case.facts.latency = timed
            notes.append(f"p99 {timed.p99_us:,.0f} µs, at most {timed.max_us:,.0f} µs")
            if self.job.spec.is_emulated:
                notes[-1] += ", by the clock of this machine: no chip's time"
        if suite.energy is not None and meter is not None and sleep and awake:
            verdicts = totals.sums.verdicts
            spent = energy(suite.energy, sleep, awake[0], meter.volts, verdicts, name)
            case.facts.energy = spent
            notes.append(
                f"{spent.uj_per_verdict:,.1f} µJ per verdict, {spent.sleep_ua:,.1f} µA asleep"
            )
        if notes:
            case.note = "; ".join(notes)
        if case.facts.unexplained_reboots:
            raise BootError(
                f"{self.job.name}: restarted {case.facts.unexplained_reboots} times without "
                "a request; every answer was right all the same. Check its power and watchdog"
            )
        # each round has checked itself; what was never asked is not proven
        return totals.sums.verdicts > 0 and (
            wanted is None or most is not None or totals.events >= wanted
        )

    def _round(
        self, suite: Suite, totals: Totals, tx: Transactions, stream: Stream, wanted: int | None
    ) -> None:
        from tinyfin.data.events import SCORE
        from tinyfin.hil.links.faults import Chaos
        from tinyfin.hil.replay import replay

        assert self.client is not None
        assert self.flashed is not None
        chaos = None
        if suite.replay.chaos is not None:
            chaos = Chaos.parse(suite.replay.chaos)
            chaos = replace(chaos, seed=chaos.seed + 1000 * self.job.index + totals.rounds)
        scores = max(1, int((stream.kind == SCORE).sum()))
        of = wanted or min(len(stream), int(len(stream) * (suite.data.limit or scores) / scores))
        done, said_s, begun = 0, 0.0, totals.events

        def progress(verdicts: int) -> None:
            nonlocal done, said_s
            done += verdicts
            now = time.monotonic()
            events = begun + int(done * len(stream) / scores)
            if self._link is not None:
                self._link.progress = f"{events:,} of {of:,} events"
            if now - said_s >= _TELL_S:
                said_s = now
                self._say("progress", case=suite.name, done=min(events, of), of=of)

        result = replay(
            self.flashed.pack,
            tx,
            stream,
            self.client,
            limit=suite.data.limit,
            instructions=self._instructions(suite.latency is not None),
            target=self.job.name,
            progress=progress,
            keys=self.flashed.keys,
            checkpoint_events=suite.replay.checkpoint_events,
            on_reboot=suite.replay.on_reboot,
            chaos=chaos,
        )
        if suite.latency is not None:
            totals.ticks.append(result.instructions)
            result.instructions = None
        result.baud = self.client.baud
        result.flash_bytes, result.ram_bytes = self.flashed.flash_bytes, self.flashed.ram_bytes
        totals.add(result)
        result.check()

    def _instructions(self, timed: bool) -> Callable[[int], int] | None:
        """What is made of the ticks of each verdict; None: they are not asked for."""
        if timed:
            return int
        if not self.reach.counts:
            return None

        def count(ticks: int) -> int:
            return self.reach.instructions(ticks) or 0

        return count

    # ------------------------------------------------------------------ line and ladder

    def _open(self) -> None:
        link: Link = self.reach.open()
        self._link = BenchLink(link, self._writer, self._alive)
        deadlines = self.job.deadlines
        self.client = Client(
            self._link,
            answer_timeout_s=deadlines.answer_s,
            deadline_s=deadlines.silence_s,
            on_log=self._log,
            speed_up_to=self.job.spec.baud_up_to or 0,
        )

    def connected(self, case: Case | None = None) -> Hello:
        """HELLO, trying every rung of the ladder before giving up."""
        assert self.client is not None
        assert self._link is not None
        try:
            return self.client.connect(self.job.deadlines.boot_s)
        except TargetError as error:
            first = error
        if first.kind in (FailureKind.BENCH, FailureKind.FLASH):
            raise first
        for name, action in self.reach.rungs():
            said = str(first)
            try:
                self.remark(f"ladder: {name}")
                action(self._link)
                hello = self.client.connect(self.job.deadlines.boot_s)
            except TargetError as error:
                self._climbed(name, said, f"in vain: {error}")
                if error.kind == FailureKind.BENCH:
                    raise
                continue
            self._climbed(name, said, "it answers again")
            if case is not None:
                case.note = f"answered only after: {name}"
            return hello
        tried = ", ".join(name for name, _ in self.reach.rungs()) or "none is configured"
        raise type(first)(f"{first} (resets tried: {tried})", first.kind)

    def _climbed(self, rung: str, why: str, outcome: str) -> None:
        at = round(time.monotonic() - self._start, 1)
        self.result.ladder.append(Reset(at_s=at, rung=rung, why=why, outcome=outcome))
        self._say("ladder", text=f"{rung}: {outcome}")

    def _revive(self) -> None:
        """After a suite that lost the terminal, get it back for the next one, if that can be."""
        last = next((c for c in reversed(self.result.cases) if c.reached), None)
        if last is None or last.failure is None or last.failure.kind == FailureKind.MISMATCH:
            return
        try:
            self.connected(None)
        except Exception as error:
            self._down = Failure.of(error)

    def _alive(self, lost: bool) -> None:
        self.reach.check(lost)

    def _limit(self, seconds: float) -> None:
        assert self._link is not None
        self._link.progress = ""
        self._link.deadline = Deadline(seconds)

    # ------------------------------------------------------------------ words

    def _log(self, level: int, line: str) -> None:
        self._logs.append(line)

    def _note(self, text: str) -> None:
        self._say("note", text=text)

    def remark(self, text: str) -> None:
        """Write a note into the transcript."""
        if self._writer is not None:
            self._writer.put(Kind.NOTE, text.encode())

    @property
    def recent(self) -> list[Record]:
        """The last records of the transcript, if one is written."""
        return [] if self._writer is None else list(self._writer.recent)

    def _say(self, event: str, **facts: Unpack[_What]) -> None:
        self.tell({**facts, "target": self.job.name, "event": event})


def capabilities(hello: Hello) -> list[str]:
    """Names of what a terminal offers."""
    return [str(flag.name).lower() for flag in Capability if hello.capabilities & flag]


def check_hello(name: str, hello: Hello, spec: TargetSpec, flashed: Flashed) -> None:
    """FlashError unless what answers is what was flashed, MismatchError when it computes the pack's
    golden vectors wrong."""
    from tinyfin.pack.container import parse_pack
    from tinyfin.wire.refusals import refused_pack

    if hello.open_error:
        raise refused_pack(name, hello.open_error)
    if hello.target != spec.target and not (spec.target == HOST and hello.target == "host"):
        raise FlashError(
            f"{name}: a {hello.target} answers, not a {spec.target}; another board is at this "
            "port, or targets.{name}.target is wrong".replace("{name}", name)
        )
    wanted = parse_pack(flashed.pack, keys=flashed.keys).pack_id.hex()
    if hello.pack_id != wanted:
        raise FlashError(
            f"{name}: runs pack {hello.pack_id}, not {wanted}; the image was not written, or was "
            "built from another run. Flash it again (flash = true)"
        )
    if flashed.build_id is not None and hello.build_id != flashed.build_id:
        raise FlashError(
            f"{name}: runs firmware of build {hello.build_id}, not {flashed.build_id}; the image "
            "was not written. Look at the flash command's words, and flash it again"
        )


def hello_facts(hello: Hello) -> dict[str, object]:
    """HELLO for JSON."""
    facts = asdict(hello)
    facts["capabilities"] = capabilities(hello)
    facts["boot_nonce"] = f"{hello.boot_nonce:08x}"
    return facts

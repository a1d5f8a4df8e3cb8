# SPDX-License-Identifier: Apache-2.0
"""Runs a rig: every target in a process of its own, all at once, and what they found in files.

A process, because a wait that nothing can end from within (a driver that hangs) can still be ended
by ending the process. What a process says comes back as it happens.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from pathlib import Path

from tinyfin import files
from tinyfin.errors import InputError
from tinyfin.hil.failures import Failure, FailureKind
from tinyfin.hil.rigs.rigfile import Rig, TargetSpec, require_emulator
from tinyfin.hil.runs import junit
from tinyfin.hil.runs.results import STEPS, Case, RigResult, TargetResult
from tinyfin.hil.runs.suites import Suite
from tinyfin.hil.runs.target import Job, TargetRun, Tell
from tinyfin.targets import catalogue

__all__ = ["forget_results", "jobs", "run_rig", "write_results"]

_SLACK_S = 60.0
_STOP_S = 15.0
_BEAT_S = 2.0


def jobs(
    rig: Rig,
    names: Mapping[str, TargetSpec],
    suites: Sequence[Suite],
    *,
    run: Path,
    keys: Sequence[bytes],
    folder: Path | None,
    lease_wait_s: float | None = None,
) -> list[Job]:
    """One job per target of ``names``."""
    return [
        Job(
            name,
            spec,
            rig.deadlines,
            run,
            tuple(keys),
            tuple(suites),
            folder,
            at,
            len(names),
            f"tinyfin hil run, rig {rig.name}",
            lease_wait_s,
            rig.boards,
        )
        for at, (name, spec) in enumerate(names.items())
    ]


def run_rig(
    rig: Rig, todo: Sequence[Job], tell: Tell = lambda _: None, *, slack_s: float = _SLACK_S
) -> RigResult:
    """Run all jobs, each in a process; every one has a result in the end, whatever happens.

    tell: gets what happens, as it happens: dicts with target, event (begin, end, progress, ladder,
    note) and what belongs to it. A process that outlives the sum of its deadlines by ``slack_s`` is
    ended, and its target has failed.
    """
    started = time.gmtime()
    begin = time.monotonic()
    workers = [_Worker(job, slack_s) for job in todo]
    try:
        while any(not worker.done for worker in workers):
            open_ones = [w.pipe for w in workers if not w.done]
            ready = wait(open_ones, timeout=0.2)
            for worker in workers:
                if worker.done:
                    continue
                if worker.pipe in ready:
                    worker.receive(tell)
                worker.watch(tell)
    finally:
        for worker in workers:
            worker.stop()
    first = todo[0] if todo else None
    return RigResult(
        rig=rig.name,
        rig_file=rig.where,
        run=str(first.run) if first else "",
        suites=[suite.name for suite in first.suites] if first else [],
        targets=[worker.result for worker in workers],
        started=time.strftime("%Y-%m-%dT%H:%M:%S", started),
        seconds=time.monotonic() - begin,
    )


class _Worker:
    """A process that runs one job, seen from outside."""

    def __init__(self, job: Job, slack_s: float) -> None:
        context = multiprocessing.get_context("spawn")
        self.job = job
        self.pipe, theirs = context.Pipe()
        self.result = _unproven(job, "it was never run")
        self.done = False
        self._process = context.Process(target=_work, args=(job, theirs), name=job.name)
        # Ctrl-C reaches the whole group: the process leaves it to its parent from the beginning on
        before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        try:
            self._process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
        self._limit_s = longest_s(job) + slack_s
        self._end = time.monotonic() + self._limit_s
        self._begin = time.monotonic()
        self._case = ""

    def receive(self, tell: Tell) -> None:
        """Take one message."""
        try:
            what, value = self.pipe.recv()
        except (EOFError, OSError):
            self._process.join(_STOP_S)
            code = self._process.exitcode
            self._fail(
                f"its process ended with code {code} in {self._case or 'the beginning'}; if "
                "no one ended it, look at the machine's memory, then run again",
                tell,
            )
            return
        if what == "result":
            self.result, self.done = value, True
        elif what == "event":
            if value["event"] == "begin":
                self._case = value["case"]
            tell(value)

    def watch(self, tell: Tell) -> None:
        """End it when it is far too late."""
        if not self.done and time.monotonic() > self._end:
            self._fail(
                f"did not end within {self._limit_s:.0f} s, all its deadlines together, and hung "
                f"in {self._case or 'the beginning'}; it was ended. A driver or a tool hangs: see "
                "the machine's log",
                tell,
            )

    def _fail(self, why: str, tell: Tell) -> None:
        self.result = _unproven(self.job, why)
        self.result.seconds = time.monotonic() - self._begin
        self.done = True
        tell(
            {
                "target": self.job.name,
                "event": "end",
                "case": self._case,
                "status": "failed",
                "text": f"bench: {why}",
                "seconds": self.result.seconds,
            }
        )

    def stop(self) -> None:
        """End the process, and what it started."""
        process = self._process
        if process.is_alive() and self.result.ok:
            process.join(_STOP_S)
        if process.is_alive():
            process.terminate()
            process.join(_STOP_S)
        if process.is_alive() and process.pid is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.kill()
        process.join()
        self.pipe.close()


def longest_s(job: Job) -> float:
    """All deadlines of a job together, ladders included, in seconds."""
    d = job.deadlines
    lease = d.lease_s if job.lease_wait_s is None else job.lease_wait_s
    ladder = 4 * (d.reset_s + d.port_s + d.boot_s) + d.boot_s + d.port_s
    suites = sum(suite.deadline_s + d.silence_s + ladder for suite in job.suites)
    return lease + d.build_s + d.flash_s + ladder + 5 * d.silence_s + suites


def _unproven(job: Job, why: str) -> TargetResult:
    failure = Failure(kind=FailureKind.BENCH, message=f"{job.name}: {why}")
    names = (*STEPS, *(suite.name for suite in job.suites))
    return TargetResult(
        name=job.name,
        target=job.spec.target,
        emulated=job.spec.is_emulated,
        cases=[Case(name=name, failure=failure) for name in names],
    )


def _work(job: Job, pipe: Connection) -> None:
    """The process: runs the job and sends what happens; ends with its parent."""
    os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _terminated)
    lock = threading.Lock()

    def send(what: str, value: object) -> None:
        with lock:
            pipe.send((what, value))

    def beat() -> None:
        # without a parent to report to there is nothing to go on for
        while True:
            time.sleep(_BEAT_S)
            try:
                send("beat", None)
            except OSError:
                os.kill(os.getpid(), signal.SIGTERM)
                return

    threading.Thread(target=beat, daemon=True).start()
    run = TargetRun(job, lambda event: send("event", event))
    try:
        run.all()
    finally:
        run.close()
    send("result", run.result)


def _terminated(number: int, _: object) -> None:
    signal.signal(number, signal.SIG_IGN)  # once is enough: a second one would end the cleaning up
    sys.exit(128 + number)


def forget_results(folder: Path, *, junit_path: Path | None = None) -> None:
    """Remove an earlier run's results: a run that breaks off must not leave a green one behind.

    Raises InputError when one cannot be removed.
    """
    report = junit_path or folder / "junit.xml"
    transcripts = folder.glob("*.transcript.gz")
    others = (folder / name for name in ("result.json", "report.html", "report.json"))
    for path in (report, *others, *transcripts):
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise InputError(
                f"{path}: cannot be replaced: {error.strerror}; choose another"
            ) from error


def write_results(result: RigResult, folder: Path, *, junit_path: Path | None = None) -> None:
    """Write ``junit.xml``, ``result.json`` and ``report.html`` to ``folder``; their names go into
    ``result.files``. Raises InputError when they cannot be written."""
    from tinyfin.hil.runs.report import write_report

    names = {
        "junit": junit_path or folder / "junit.xml",
        "json": folder / "result.json",
        "report": folder / "report.html",
    }
    for target in result.targets:
        if target.transcript:
            names[f"transcript {target.name}"] = folder / target.transcript
    result.files = {key: str(path) for key, path in names.items()}
    write_report(names["report"], result)
    junit.write(names["junit"], result)
    files.write(names["json"], result.text())


def with_options(
    suites: Sequence[Suite],
    *,
    events: int | None = None,
    minutes: float | None = None,
    chaos: str | None = None,
) -> list[Suite]:
    """The suites with what the command line changes of them."""
    made = []
    for suite in suites:
        changed = suite if events is None else suite.with_data(events=events)
        if minutes is not None:
            changed = changed.with_data(duration_s=60 * minutes)
        made.append(changed if chaos is None else changed.with_chaos(chaos))
    return made


def without_flash(todo: Sequence[Job]) -> list[Job]:
    """The jobs, taking what the targets hold already."""
    return [replace(job, spec=job.spec.model_copy(update={"flash": False})) for job in todo]


def emulated_by(todo: Sequence[Job], emulator: str, boards: Path | None) -> list[Job]:
    """The jobs, emulated targets in that emulator. ConfigError for one that it cannot run."""
    done = []
    for job in todo:
        if job.spec.emulated:
            job = replace(job, spec=job.spec.model_copy(update={"emulator": emulator}))
            require_emulator(job.name, job.spec, catalogue.get(job.spec.target, boards))
        done.append(job)
    return done


Note = Callable[[str], object]

# SPDX-License-Identifier: Apache-2.0
"""What a run of the rig found: cases that fail until they are proven."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict, Field, PlainSerializer, computed_field

from tinyfin.documents import Document, Facts, Reported
from tinyfin.hil.failures import Failure, FailureKind
from tinyfin.hil.replay.facts import Instructions, ReplayFacts
from tinyfin.hil.replay.result import ReplayResult

__all__ = [
    "FAILED",
    "PASSED",
    "SKIPPED",
    "Case",
    "Greeting",
    "Reset",
    "RigResult",
    "TargetResult",
    "Totals",
]

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"
STEPS = ("flash", "boot", "self-test")
"""The cases before the suites."""

Seconds = Annotated[float, PlainSerializer(lambda value: round(value, 3), return_type=float)]


def _given(options: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in options.items() if value}


class Greeting(Reported):
    """What a terminal said of itself when it was greeted."""

    target: str = ""
    build_id: str = ""
    pack_id: str = ""
    boot_nonce: str = ""
    capabilities: list[str] = Field(default_factory=list)


class Case(Facts):
    """One thing that had to be proven of one target."""

    name: str
    about: str = ""
    status: str = FAILED
    seconds: Seconds = 0.0
    failure: Failure | None = None
    """Why it failed, or was not reached."""
    reached: bool = False
    note: str = ""
    """Why it was skipped, or what is worth saying of a pass."""
    facts: ReplayFacts = ReplayFacts()


class Reset(Facts):
    """A reset that was tried: when, which, why, and what came of it."""

    at_s: float
    rung: str
    why: str
    outcome: str


class RigTotals(Facts):
    """Numbers of the replays, summed over targets and suites."""

    events: int = 0
    verdicts: int = 0
    lost: int = 0
    doubled: int = 0
    mismatches: int = 0
    unexplained_reboots: int = 0


class Sums(RigTotals):
    """What is added up of the replays of one suite."""

    transactions: int = 0
    terminals: int = 0
    checkpoints: int = 0
    retransmitted: int = 0
    state_bytes: int = 0


class Totals:
    """Several replays of one suite, added up."""

    def __init__(self) -> None:
        self.rounds = 0
        self.sums = Sums()
        self.seconds = 0.0
        self.faults: dict[str, int] = {}
        self.repaired: dict[str, int] = {}
        self.overruns = 0
        self._bytes = [0, 0]
        self._last: ReplayFacts | None = None
        self._instructions: list[Instructions] = []
        self.ticks: list[npt.NDArray[np.int64] | None] = []
        """Of each replay, where verdicts were timed."""

    @property
    def events(self) -> int:
        """Events replayed so far."""
        return self.sums.events

    def add(self, result: ReplayResult) -> None:
        """One more replay."""
        facts = result.facts()
        self.rounds += 1
        for name in Sums.model_fields:
            setattr(self.sums, name, getattr(self.sums, name) + getattr(result, name))
        self.seconds += result.seconds
        _add(self.faults, result.faults)
        _add(self.repaired, vars(result.repaired))
        self.overruns += result.device_stats.get("receive_overruns", 0)
        self._bytes[0] += result.bytes_up
        self._bytes[1] += result.bytes_down - result.tick_bytes
        if facts.instructions is not None:
            self._instructions.append(facts.instructions)
        self._last = facts

    def update(self, facts: ReplayFacts) -> None:
        """Say it of a case, as ``ReplayResult.facts`` does of one; nothing before the first."""
        if self._last is None:
            return
        n, seconds = max(1, self.sums.verdicts), max(self.seconds, 1e-9)
        given = {name: getattr(self._last, name) for name in self._last.model_fields_set}
        for name, value in {**given, **dict(self.sums)}.items():
            setattr(facts, name, value)
        facts.rounds = self.rounds
        facts.seconds = round(self.seconds, 3)
        facts.transactions_per_second = round(n / seconds, 1)
        facts.events_per_second = round(self.events / seconds, 1)
        facts.bytes_up_per_transaction = round(self._bytes[0] / n, 2)
        facts.bytes_down_per_transaction = round(self._bytes[1] / n, 2)
        facts.faults = dict(sorted(self.faults.items()))
        facts.repaired = dict(self.repaired)
        facts.receive_overruns = self.overruns
        if self._instructions:
            facts.instructions = Instructions(
                median=self._instructions[-1].median,
                p99_9=max(found.p99_9 for found in self._instructions),
                max=max(found.max for found in self._instructions),
            )


def _add(sums: dict[str, int], more: Mapping[str, int]) -> None:
    for key, value in more.items():
        sums[key] = sums.get(key, 0) + value


class TargetResult(Facts):
    """Everything about one target."""

    model_config = ConfigDict(extra="ignore")

    name: str
    target: str
    emulated: bool
    cases: list[Case]
    hello: Greeting = Greeting()
    ladder: list[Reset] = Field(default_factory=list)
    """Every reset that was tried."""
    logs: list[str] = Field(default_factory=list)
    """The terminal's last lines of log."""
    transcript: str | None = None
    transcript_stopped: str = ""
    """Why the transcript ends before the run does."""
    seconds: float = 0.0

    @computed_field  # type: ignore[prop-decorator]  # mypy knows no decorated property
    @property
    def ok(self) -> bool:
        """Every case is proven that was not skipped, and where suites were asked for, one of
        them."""
        done = [case for case in self.cases if case.status != SKIPPED]
        suites = self.cases[len(STEPS) :]
        replayed = not suites or any(case.status == PASSED for case in suites)
        return bool(done) and replayed and all(case.status == PASSED for case in done)

    @property
    def first_failure(self) -> Failure | None:
        """Of the first case that failed."""
        return next((case.failure for case in self.cases if case.failure), None)

    @computed_field  # type: ignore[prop-decorator]  # mypy knows no decorated property
    @property
    def failure(self) -> str | None:
        """The kind of the first failure."""
        first = self.first_failure
        return str(first.kind) if first else None


class RigResult(Document):
    """Everything about a run: ``result.json``."""

    NAME: ClassVar[str] = "rig.json"

    model_config = ConfigDict(extra="ignore")

    rig: str
    rig_file: str
    run: str
    suites: list[str]
    targets: list[TargetResult]
    started: str = ""
    """When, ISO 8601 in UTC."""
    seconds: Seconds = 0.0
    files: dict[str, str] = Field(default_factory=dict)
    options: Annotated[dict[str, object], PlainSerializer(_given)] = Field(default_factory=dict)
    """What else shaped it: long options of ``tinyfin hil run`` and their values."""

    @computed_field  # type: ignore[prop-decorator]  # mypy knows no decorated property
    @property
    def ok(self) -> bool:
        """There are targets, and every one is proven."""
        return bool(self.targets) and all(target.ok for target in self.targets)

    @computed_field  # type: ignore[prop-decorator]  # mypy knows no decorated property
    @property
    def exit_code(self) -> int:
        """0, or 4 when any answer differed, else the code of the first failure."""
        failures = [f for t in self.targets for c in t.cases if (f := c.failure)]
        if any(f.kind == FailureKind.MISMATCH for f in failures):
            return 4
        return 0 if self.ok else failures[0].exit_code if failures else 5

    @computed_field  # type: ignore[prop-decorator]  # mypy knows no decorated property
    @property
    def totals(self) -> RigTotals:
        """What the replays add up to."""
        facts = [case.facts for target in self.targets for case in target.cases]
        return RigTotals(
            **{
                name: sum(getattr(one, name) or 0 for one in facts)
                for name in RigTotals.model_fields
            }
        )

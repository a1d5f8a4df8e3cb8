# SPDX-License-Identifier: Apache-2.0
"""What a run of the rig found: cases that fail until they are proven."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from tinyfin.hil.failures import Failure, FailureKind
from tinyfin.hil.replay.result import ReplayResult

__all__ = ["FAILED", "PASSED", "SKIPPED", "Case", "RigResult", "TargetResult", "Totals"]

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"
STEPS = ("flash", "boot", "self-test")
"""The cases before the suites."""

_SUMS = (
    "transactions",
    "verdicts",
    "terminals",
    "events",
    "checkpoints",
    "mismatches",
    "lost",
    "doubled",
    "retransmitted",
    "seconds",
    "state_bytes",
    "unexplained_reboots",
)


@dataclass
class Case:
    """One thing that had to be proven of one target."""

    name: str
    about: str = ""
    status: str = FAILED
    seconds: float = 0.0
    failure: Failure | None = None
    """Why it failed, or was not reached."""
    reached: bool = False
    note: str = ""
    """Why it was skipped, or what is worth saying of a pass."""
    facts: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "name": self.name,
            "about": self.about,
            "status": self.status,
            "seconds": round(self.seconds, 3),
            "failure": self.failure.as_dict() if self.failure else None,
            "reached": self.reached,
            "note": self.note,
            "facts": self.facts,
        }


class Totals:
    """Several replays of one suite, added up."""

    def __init__(self) -> None:
        self.rounds = 0
        self.sums: dict[str, float] = dict.fromkeys(_SUMS, 0)
        self.faults: dict[str, int] = {}
        self.repaired: dict[str, int] = {}
        self.overruns = 0
        self._bytes = [0, 0]
        self._last: dict[str, Any] = {}
        self._instructions: list[dict[str, int]] = []

    @property
    def events(self) -> int:
        """Events replayed so far."""
        return int(self.sums["events"])

    def add(self, result: ReplayResult) -> None:
        """One more replay."""
        facts = result.as_dict()
        self.rounds += 1
        for name in _SUMS:
            self.sums[name] += facts[name]
        _add(self.faults, facts["faults"])
        _add(self.repaired, facts["repaired"])
        self.overruns += int(facts["device_stats"].get("receive_overruns", 0))
        self._bytes[0] += result.bytes_up
        self._bytes[1] += result.bytes_down - result.tick_bytes
        if facts.get("instructions"):
            self._instructions.append(facts["instructions"])
        self._last = facts

    def as_dict(self) -> dict[str, Any]:
        """As ``ReplayResult.as_dict``, for all of them; {} before the first."""
        if not self._last:
            return {}
        n = max(1, self.sums["verdicts"])
        whole = {name: int(value) for name, value in self.sums.items() if name != "seconds"}
        out = {
            **self._last,
            **whole,
            "rounds": self.rounds,
            "seconds": round(self.sums["seconds"], 3),
            "transactions_per_second": round(n / max(self.sums["seconds"], 1e-9), 1),
            "events_per_second": round(self.events / max(self.sums["seconds"], 1e-9), 1),
            "bytes_up_per_transaction": round(self._bytes[0] / n, 2),
            "bytes_down_per_transaction": round(self._bytes[1] / n, 2),
            "faults": dict(sorted(self.faults.items())),
            "repaired": self.repaired,
            "receive_overruns": self.overruns,
        }
        if self._instructions:
            out["instructions"] = {
                "median": self._instructions[-1]["median"],
                "p99_9": max(found["p99_9"] for found in self._instructions),
                "max": max(found["max"] for found in self._instructions),
            }
        return out


def _add(sums: dict[str, int], more: Mapping[str, int]) -> None:
    for key, value in more.items():
        sums[key] = sums.get(key, 0) + int(value)


@dataclass
class TargetResult:
    """Everything about one target."""

    name: str
    target: str
    emulated: bool
    cases: list[Case]
    hello: dict[str, Any] = field(default_factory=dict)
    """target, build_id, pack_id, boot_nonce, capabilities."""
    ladder: list[dict[str, Any]] = field(default_factory=list)
    """Every reset that was tried: when, why, which, and what came of it."""
    logs: list[str] = field(default_factory=list)
    """The terminal's last lines of log."""
    transcript: str | None = None
    transcript_stopped: str = ""
    """Why the transcript ends before the run does."""
    seconds: float = 0.0

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

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        facts = asdict(self)
        facts["cases"] = [case.as_dict() for case in self.cases]
        first = self.first_failure
        return {**facts, "ok": self.ok, "failure": str(first.kind) if first else None}


@dataclass
class RigResult:
    """Everything about a run."""

    rig: str
    rig_file: str
    run: str
    suites: list[str]
    targets: list[TargetResult]
    started: str = ""
    """When, ISO 8601 in UTC."""
    seconds: float = 0.0
    files: dict[str, str] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    """What else shaped it: long options of ``tinyfin hil run`` and their values."""

    @property
    def ok(self) -> bool:
        """There are targets, and every one is proven."""
        return bool(self.targets) and all(target.ok for target in self.targets)

    @property
    def exit_code(self) -> int:
        """0, or 4 when any answer differed, else the code of the first failure."""
        failures = [f for t in self.targets for c in t.cases if (f := c.failure)]
        if any(f.kind == FailureKind.MISMATCH for f in failures):
            return 4
        return 0 if self.ok else failures[0].exit_code if failures else 5

    def total(self, name: str) -> int:
        """A number of the replays, summed over targets and suites."""
        return sum(int(c.facts.get(name, 0)) for t in self.targets for c in t.cases)

    def as_dict(self) -> dict[str, Any]:
        """The JSON of a run."""
        names = ("events", "verdicts", "lost", "doubled", "mismatches", "unexplained_reboots")
        return {
            "format": 1,
            "ok": self.ok,
            "exit_code": self.exit_code,
            "rig": self.rig,
            "rig_file": self.rig_file,
            "run": self.run,
            "suites": self.suites,
            "options": {name: value for name, value in self.options.items() if value},
            "started": self.started,
            "seconds": round(self.seconds, 3),
            "totals": {name: self.total(name) for name in names},
            "targets": [target.as_dict() for target in self.targets],
            "files": self.files,
        }

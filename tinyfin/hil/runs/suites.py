# SPDX-License-Identifier: Apache-2.0
"""Suites: what is asked of every target of a rig, read from ``hil/suites/NAME.toml``.

about, needs, deadline_s
[data]       which transactions: simulated, or files
[[change]]   what happens to them: clocks that jump, outcomes that come late or never
[replay]     faults on the line, restarts
[malformed]  hostile frames before the replay
[latency]    how long a verdict may take
[energy]     what a verdict may cost
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from tinyfin.config.toml import read_toml
from tinyfin.errors import ConfigError
from tinyfin.hil.rigs.rigfile import Rig, explain

__all__ = [
    "Change",
    "EnergyGate",
    "LatencyGate",
    "Malformed",
    "Simulated",
    "Suite",
    "SuiteData",
    "find",
    "places",
]

Share = Annotated[float, Field(ge=0, le=1)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Simulated(_Section):
    """Transactions of the simulator."""

    terminals: Annotated[int, Field(ge=1, le=1000)] = 2
    days: Annotated[int, Field(ge=1, le=365)] = 8
    seed: Annotated[int, Field(ge=0)] = 1


class SuiteData(_Section):
    """Which transactions are replayed."""

    simulate: Simulated = Simulated()
    files: list[str] = []
    """Instead: CSV or Parquet, seen from the suite's file."""
    config: str | None = None
    """tinyfin.toml with the mapping of the files' columns."""
    limit: Annotated[int, Field(ge=1)] | None = None
    """At most so many transactions of each round."""
    events: Annotated[int, Field(ge=1)] | None = None
    """Go on with the simulator's next seed until so many events were replayed."""
    duration_s: Annotated[float, Field(gt=0)] | None = None
    """Begin no further seed after so many seconds, however many events there were."""
    shared: bool = False
    """``events`` are shared out among the targets, each with data of its own."""


class Change(_Section):
    """Something that happens to the stream of every terminal; the twin sees it, too."""

    kind: Literal[
        "clock-jump", "late-outcomes", "lost-outcomes", "repeated-outcomes", "repeated-notices"
    ]
    share: Share = 0.1
    """Of the outcomes or notices."""
    at: list[Share] = [0.5]
    """Where in a terminal's stream a clock jumps."""
    seconds: Annotated[int, Field(ge=-(2**31), lt=2**31)] = 0
    """How far it jumps; below 0 back."""
    clock: Literal["mono", "local", "both"] = "both"
    by_events: Annotated[int, Field(ge=1)] = 20
    """How much later an outcome comes."""
    seed: Annotated[int, Field(ge=0)] = 1

    @model_validator(mode="after")
    def _jumps(self) -> Change:
        if self.kind == "clock-jump" and not self.seconds:
            raise ValueError("a clock-jump needs seconds, such as seconds = -7200")
        return self


class SuiteReplay(_Section):
    """How it is replayed."""

    chaos: str | None = None
    """Faults on the line, as `tinyfin replay --chaos`."""
    on_reboot: Literal["fail", "resume"] = "fail"
    checkpoint_events: Annotated[int, Field(ge=1, le=1_000_000)] | None = None

    @model_validator(mode="after")
    def _spec(self) -> SuiteReplay:
        if self.chaos is not None:
            from tinyfin.hil.links.faults import Chaos

            try:
                chaos = Chaos.parse(self.chaos)
            except ConfigError as error:
                raise ValueError(str(error)) from error
            if chaos.reboot and self.on_reboot != "resume":
                raise ValueError('chaos with reboots needs on_reboot = "resume"')
        return self


class Malformed(_Section):
    """Frames that no host should send: each must be refused and must change nothing."""

    frames: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    seed: Annotated[int, Field(ge=0)] = 1


class LatencyGate(_Section):
    """How long a verdict may take, by the terminal's own counter."""

    p99_us: Annotated[float, Field(gt=0)] | None = None
    max_us: Annotated[float, Field(gt=0)] | None = None


class EnergyGate(_Section):
    """What a verdict may cost, and what may be drawn between two, by the board's meter."""

    idle_s: Annotated[float, Field(gt=0, le=3600)] = 10.0
    """How long the terminal is left alone."""
    uj_per_verdict: Annotated[float, Field(gt=0)] | None = None
    sleep_ua: Annotated[float, Field(gt=0)] | None = None


class Suite(_Section):
    """One suite, as its file says it."""

    name: str = ""
    about: str = ""
    needs: list[
        Literal[
            "ticks",
            "stack",
            "infer",
            "reboot",
            "exit",
            "replay",
            "state",
            "speed",
            "install",
            "command",
            "audit",
            "report",
            "seal",
            "monitor",
        ]
    ] = []
    """Capabilities; a target without them is skipped, and the result says so."""
    deadline_s: Annotated[float, Field(gt=0, le=7 * 86_400)] = 600.0
    """For the whole suite on one target."""
    data: SuiteData = SuiteData()
    change: list[Change] = []
    replay: SuiteReplay = SuiteReplay()
    malformed: Malformed = Malformed()
    latency: LatencyGate | None = None
    energy: EnergyGate | None = None
    folder: Path = Field(default=Path(), exclude=True)
    """Where the suite's file is."""

    def with_data(self, **values: object) -> Suite:
        """The same with other ``events`` or ``duration_s``."""
        return self.model_copy(update={"data": self.data.model_copy(update=values)})

    def with_chaos(self, chaos: str) -> Suite:
        """The same with other faults; restarts among them are resumed from."""
        from tinyfin.hil.links.faults import Chaos

        on_reboot = "resume" if Chaos.parse(chaos).reboot else self.replay.on_reboot
        replay = self.replay.model_copy(update={"chaos": chaos, "on_reboot": on_reboot})
        return self.model_copy(update={"replay": replay})


def places(rig: Rig | None) -> list[Path]:
    """Folders that are looked through for suites."""
    from tinyfin import paths

    found = [] if rig is None or rig.path is None else [rig.path.parent / "suites"]
    found += [Path("hil/suites"), paths.project_dir() / "hil" / "suites"]
    return [folder for i, folder in enumerate(found) if folder not in found[:i]]


def find(name: str, rig: Rig | None = None) -> Suite:
    """The suite of that name or path. Raises ConfigError with the nearest names."""
    path = Path(name)
    if path.suffix == ".toml" or path.is_file():
        return load(path)
    known: list[str] = []
    for folder in places(rig):
        if (folder / f"{name}.toml").is_file():
            return load(folder / f"{name}.toml")
        known += sorted(found.stem for found in folder.glob("*.toml"))
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(dict.fromkeys(known))}"
    raise ConfigError(f"suite {name!r} is not known; {hint} (or give the path of a .toml file)")


def load(path: Path) -> Suite:
    """Read and check a suite. Raises ConfigError with every key that is wrong."""
    table = read_toml(path)
    table.setdefault("name", path.stem)
    table.pop("folder", None)
    try:
        suite = Suite.model_validate(table)
    except ValidationError as error:
        raise ConfigError(explain(error, str(path), Suite)) from error
    return suite.model_copy(update={"folder": path.parent})

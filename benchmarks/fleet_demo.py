# SPDX-License-Identifier: Apache-2.0
"""Ninety days of a fleet: its world changes, a bad candidate is stopped, a good one comes into
service everywhere.

    python -m benchmarks.fleet_demo [--out build/fleet_demo] [--terminals 2000] [--desk 2]

2,000 simulated terminals, each the engine of a terminal with its own state and monitor, and two
that are the real firmware in QEMU, which take their packs over the wire. All of them report in the
terminals' own bytes to a real lake; the controller sees what is in the lake, and nothing else. The
world changes on day 30. Ends with exit code 4 when something that it claims did not happen.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.terminal_reports import Reading, reports
from tinyfin import files, simulator
from tinyfin.config import Simulate, load
from tinyfin.data.events import SCORE, Stream, event_stream
from tinyfin.data.memory_tables import as_files
from tinyfin.data.readers import read
from tinyfin.data.transactions import Transactions
from tinyfin.field.keys import terminal_keys
from tinyfin.field.report import COUNTERS
from tinyfin.fleet import archives
from tinyfin.fleet.ingest import ingest
from tinyfin.fleet.labels import add_labels
from tinyfin.fleet.lake import Lake, day_number
from tinyfin.fleet.requests import answer, judged, record
from tinyfin.fleet.secrets import ReportKeys
from tinyfin.fleet.status import status_of
from tinyfin.fleet_simulator.packs import Recipe, Scorer, trained
from tinyfin.hil.links.session import at_link
from tinyfin.hil.replay.chunks import by_terminal
from tinyfin.hil.replay.sender import Sender
from tinyfin.oracle.probation import PASSED, Bounds, Counts
from tinyfin.pack.calibration import Calibration
from tinyfin.pack.container import sign_again
from tinyfin.pack.signing import generate_key
from tinyfin.pages.blocks import figure, table
from tinyfin.pages.charts import folds
from tinyfin.pages.render import Headline, PageSection, page
from tinyfin.pages.svg import Axis, Mark
from tinyfin.registry.contents import gather
from tinyfin.registry.policy import Person
from tinyfin.registry.policy import Policy as RegistryPolicy
from tinyfin.registry.registry import Registry
from tinyfin.release.workflow import Options, release
from tinyfin.rollout.controller import STOPPED, Rollout, State
from tinyfin.rollout.definition import Definition, define
from tinyfin.rollout.definition import Member as Listed
from tinyfin.rollout.members import Stage
from tinyfin.rollout.membership import digests
from tinyfin.rollout.observed import observed
from tinyfin.rollout.policy import Policy, Wave
from tinyfin.targets import build, catalogue
from tinyfin.targets.emulate import Emulator
from tinyfin.training.run_folder import RunFolder
from tinyfin.twin import Replay, Twin
from tinyfin.wire import audit_frames, field_frames, slot_frames
from tinyfin.wire.client import Client
from tinyfin.wire.event_frames import field_types
from tinyfin.wire.links import TcpLink
from tinyfin.wire.slot_frames import Command, Phase, Place, Reason

FIRST_DAY = date(2026, 3, 2)
DAYS, SHIFT, WARM = 90, 30, 7
DAY_S, TICK_H, REPORT_S = 86_400, 6, 84_600
TOWN = 250
FLEET = bytes(range(32))
PARENT, BAD, GOOD = "parent", "bad", "good"
OLD_WORLD = (-WARM - 98, 84)
"""First day and days of what the parent is trained on."""
NEW_WORLD = (SHIFT, 15)
"""The same of its successor."""
LOOKS, TRIAL_EVENTS = (100, 200), 50
OFF_PER_DAY, OFF_DAYS = 0.003, 4.0
_SIZES = {"laboratory": 20, "300": 300, "1,000": 1000}
_WAVES = [Wave(name=name, terminals=size) for name, size in _SIZES.items()]
_POLICY = Policy(waves=[*_WAVES, Wave(name="all", share=1)])
Ints = npt.NDArray[np.int64]


def world(seed: int, terminals: int, first: int, days: int) -> Simulate:
    """A town from day ``first`` on, counted from the fleet's first one. On day 30 everything begins
    to cost twice as much."""
    shift = (FIRST_DAY + timedelta(days=SHIFT)).isoformat()
    start = (FIRST_DAY + timedelta(days=first)).isoformat()
    given = {"terminals": terminals, "days": days, "seed": seed, "start": start}
    return Simulate.model_validate({**given, "seasons": [{"start": shift, "amounts": 2.0}]})


def transactions(settings: Simulate) -> Transactions:
    """Of a town."""
    with as_files(simulator.simulate(settings)) as paths:
        return read(paths, load())


# ------------------------------------------------------------------------------------ packs


class Made(Scorer):
    """A pack of the demo."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.path, self.tag = path, self.pack.pack_id[:4]
        bounds = self.pack.sections.get("PROB")
        self.bounds = Bounds.of(bounds) if bounds else None


def released(
    folder: Path, name: str, parent: Path | None, first: int, days: int, seed: int = 1
) -> Path:
    """Train a pack on ``days`` days of a town from day ``first`` on, the last one to test it, and
    release it on another town of the same time. Both begin four weeks earlier, to be warm."""
    place = folder / name
    place.mkdir()
    begin = FIRST_DAY + timedelta(days=first)
    recipe = Recipe(weeks=(0, (days - 1) / 7), seed=seed, first_day=begin)
    data, early, later = (place / f"{one}.parquet" for one in ("training", "early", "later"))
    terminals = 8000 // days
    simulator.write(simulator.simulate(world(11, terminals, first - 28, 28 + days)), data)
    run = RunFolder(trained(data, recipe).parent)
    table = simulator.simulate(world(12, 400, first - 28, 28 + min(days, 28)))
    is_early = pc.less(
        table["time"], pa.scalar(datetime(begin.year, begin.month, begin.day), table["time"].type)
    )
    pq.write_table(table.filter(is_early), early)
    pq.write_table(table.filter(pc.invert(is_early)), later)
    options = Options(
        looks=LOOKS if parent else (),
        trial_events=TRIAL_EVENTS if parent else None,
        auto_trial=parent is not None,
        auto_confirm=parent is not None,
        allow=("not-better", "not-calibrated", "over-budget", "too-different"),
    )
    release(run, [later], warmup=[early], parent=parent, options=options)
    return run.path / "release" / "model.tfpack"


def broken(good: Made, place: Path) -> Path:
    """The pack with a calibration that is moved by a part of its range, under
    the bounds of the one that was released."""
    calibration = good.pack.calibration
    assert calibration is not None
    spread = (calibration.raw[-1] - calibration.raw[0]) // 40
    moved = Calibration(tuple(raw - spread for raw in calibration.raw), calibration.p_q32)
    found = sign_again(good.pack, None, sections={**good.pack.sections, "CALI": moved.encode()})
    files.write(place, found)
    return place


# ------------------------------------------------------------------------------- terminals


@dataclass
class Member:
    """A simulated terminal: its slots, as its journal has them, and its probation."""

    id: bytes
    pack: str = PARENT
    """That runs."""
    active: str = PARENT
    other: str | None = None
    phase: Phase = Phase.NONE
    reason: Reason = Reason.NONE
    given_up: bytes = bytes(4)
    offered: str | None = None
    counts: Counts | None = None
    boot: int = 1
    number: int = 0
    off_until: int = 0

    def night(self, packs: dict[str, Made]) -> str:
        """What is done by day and with the restart of the night; the pack that ran until then."""
        before = self.pack
        if self.phase == Phase.STAGED and self.other:
            self.phase = Phase.SHADOW
            self._begin(packs[self.other], 1)
        elif self.phase == Phase.TRIAL and self.other and self.pack != self.other:
            self.pack = self.other
            self._begin(packs[self.other], 2)
        elif self.phase == Phase.NONE:
            self.pack, self.counts = self.active, None
        if self.offered is not None:
            self.other, self.offered = self.offered, None
            self.phase, self.reason = Phase.STAGED, Reason.NONE
        self.boot += self.pack != before
        self.number = 0 if self.pack != before else self.number
        return before

    def _begin(self, made: Made, phase: int) -> None:
        assert made.bounds is not None
        self.counts = Counts(made.bounds, made.pack.pack_id, phase)

    def judge(self, packs: dict[str, Made]) -> None:
        """After the events of a day."""
        if self.counts is None or self.other is None or self.counts.result <= 1:
            return
        passed = self.counts.result == PASSED
        if self.counts.phase == 1:
            if passed:
                self.phase = Phase.TRIAL
            else:
                self.give_up(packs, Reason.SHADOW)
        elif self.phase == Phase.TRIAL and self.pack == self.other:
            if passed:
                self.active, self.other, self.phase = self.other, None, Phase.NONE
                self.reason, self.given_up = Reason.CONFIRMED, bytes(4)
            else:
                self.give_up(packs, Reason.TRIAL)

    def give_up(self, packs: dict[str, Made], reason: Reason) -> None:
        """The pack that is not active."""
        if self.other is not None:
            self.given_up, self.other = packs[self.other].tag, None
            self.phase, self.reason = Phase.NONE, reason

    def reading(self, packs: dict[str, Made], day: int, twin: Twin, number: int) -> Reading:
        """Of the evening."""
        self.number += 1
        active = Place.FACTORY if self.active == PARENT else Place.SLOT_0
        other = Place.NONE if self.other is None else Place.SLOT_0
        stats = twin.stats(number)
        return Reading(
            self.id,
            self.boot,
            self.number,
            (day_number(FIRST_DAY) + day) * DAY_S + REPORT_S,
            tuple(stats.get(name, 0) for name in COUNTERS),
            running=Place.FACTORY if self.pack == PARENT else Place.SLOT_0,
            places=active | other << 2 | self.phase << 4,
            reason=self.reason,
            active_tag=packs[self.active].tag,
            other_tag=self.given_up if self.other is None else packs[self.other].tag,
            monitor=twin.monitor(number),
            probation=self.counts.image() if self.counts else b"",
        )


class Town:
    """Terminals of a town; a twin for each pack, and the state goes with the terminal."""

    def __init__(self, settings: Simulate, first: int) -> None:
        self.tx = transactions(settings)
        self.stream = event_stream(self.tx, "both")
        n = len(self.tx.terminals)
        self.members = [Member((first + i).to_bytes(8, "big")) for i in range(n)]
        self.merchant = [int(self.tx.column("mcc")[self.tx.terminal == i][0]) for i in range(n)]
        self.twins: dict[str, Twin] = {}
        self.labelled = 0

    def day(self, day: int, packs: dict[str, Made], rng: np.random.Generator) -> None:
        """The restart of the night and the events of a day."""
        on = np.ones(len(self.members), bool)
        for number, member in enumerate(self.members):
            if day >= member.off_until and rng.random() < OFF_PER_DAY:
                member.off_until = day + int(rng.geometric(1 / OFF_DAYS))
            on[number] = day >= member.off_until
            if on[number]:
                before = member.night(packs)
                if member.pack != before:
                    state = self.twin(before, packs).export_state(number)
                    self.twin(member.pack, packs).import_state(number, state)
        part = self.part(day)
        terminal = self.tx.terminal[part.index]
        for name in {member.pack for member in self.members}:
            runs = on & [member.pack == name for member in self.members]
            chosen = part.part(runs[terminal])
            found = self.twin(name, packs).run(self.tx, chosen)
            self._count(name, chosen.index[chosen.kind == SCORE], found, packs)
        for member in self.members:
            member.judge(packs)

    def part(self, day: int) -> Stream:
        """The events of a day; all those before the first one are of day 0."""
        begin = (day_number(FIRST_DAY) + day) * DAY_S
        t_s = self.stream.t_mono_s
        return self.stream.part((t_s >= (begin if day else 0)) & (t_s < begin + DAY_S))

    def twin(self, name: str, packs: dict[str, Made]) -> Twin:
        """Of a pack."""
        if name not in self.twins:
            made = packs[name].pack
            self.twins[name] = Twin(made.data, terminals=len(self.members), monitor=True)
        return self.twins[name]

    def _count(self, name: str, rows: Ints, found: Replay, packs: dict[str, Made]) -> None:
        """The events of probations under the pack that runs."""
        terminal = self.tx.terminal[rows]
        busy = {
            number: member
            for number, member in enumerate(self.members)
            if member.pack == name and member.counts is not None and member.counts.result == 1
        }
        for other in {member.other for member in busy.values()} - {None}:
            assert other is not None
            of = np.isin(terminal, [n for n, m in busy.items() if m.other == other])
            own, made = rows[of], packs[other]
            raw = made.raw(made.inputs(found.features[own]))
            score = made.scores(raw)
            actions = np.minimum(made.advice(score), 2)
            parent = found.score_q32[own]
            alerts = packs[name].advice(parent) > 0
            columns = (terminal[of], parent, alerts, raw, score, actions, found.action[own])
            for n, *shadow, action in zip(*(c.tolist() for c in columns), strict=True):
                counts = busy[n].counts
                if counts is not None and counts.phase == 1:
                    counts.shadow(*shadow)
                elif counts is not None:
                    counts.trial(action, saturated=False)

    def labels(self, until: int) -> pa.Table:
        """What has become known by the evening of a day and was not given before: every fraud, and
        one of fifty genuine ones."""
        begin = day_number(FIRST_DAY) * DAY_S
        time_s = self.tx.t_mono_s.astype(np.int64)
        known = time_s + 7 * DAY_S
        new = (known >= begin + self.labelled * DAY_S) & (known < begin + until * DAY_S)
        fraud = self.tx.label == 1
        rows = np.flatnonzero(new & (fraud | (self.tx.id % 50 == 0)))
        self.labelled = until
        names = [self.members[i].id.hex() for i in self.tx.terminal[rows]]
        words = np.where(fraud[rows], "fraud", "cleared")
        cells = (names, self.tx.id[rows].astype(np.int64), time_s[rows], known[rows], words)
        columns = zip(("terminal", "id", "time", "known", "label"), cells, strict=True)
        return pa.table(dict(columns))


class Desk:
    """The real firmware in QEMU; a day is a boot, its transactions, and a report."""

    def __init__(self, member: Member, image: Path, kept: Path, tx: Transactions, number: int):
        self.member, self._image, self._kept = member, image, kept
        self._tx, self._stream, self._number = tx, event_stream(tx, "both"), number
        self.stages: list[Phase] = []
        """That its journal has been in."""

    @contextmanager
    def _on(self) -> Iterator[Client]:
        target = catalogue.get("cortex-m4")
        with (
            Emulator(target, self._image, icount=False, kept=self._kept) as emulator,
            at_link(TcpLink(*emulator.address, restart=emulator.restart)) as session,
        ):
            session.client.connect()
            yield session.client

    def day(self, day: int, packs: dict[str, Made], stop: bool) -> bytes:
        """Its report."""
        first = (day_number(FIRST_DAY) + day) * DAY_S
        t_s = self._stream.t_mono_s
        mine = self._tx.terminal[self._stream.index] == self._number
        mine &= (t_s >= first) & (t_s < first + DAY_S)
        with self._on() as client:
            if not self.stages:
                field_frames.provision(client, self.member.id, terminal_keys(FLEET, self.member.id))
            now = slot_frames.info(client)
            if stop and now.phase in (Phase.STAGED, Phase.SHADOW):
                slot_frames.command(client, Command.ABORT)
            elif stop and now.phase == Phase.TRIAL:
                slot_frames.command(client, Command.REVERT)
            elif self.member.offered is not None:
                slot_frames.install(client, packs[self.member.offered].pack.data)
                slot_frames.command(client, Command.ACTIVATE)
                self.member.offered = None
            for chunk in by_terminal(self._tx, self._stream.part(mine)):
                types = field_types(packs[PARENT].pack.data)
                for frame in Sender(chunk, types, client.hello, None).frames():
                    client.ordered(*frame)
            now = slot_frames.info(client)
            self.stages.append(now.phase)
            if now.reason == Reason.CONFIRMED:
                self.member.active = GOOD
            return audit_frames.read_report(client)


# --------------------------------------------------------------------------------- the fleet


class Records:
    """A registry with three persons, who bring packs into service and stop them."""

    def __init__(self, path: Path) -> None:
        self._keys = {name: generate_key() for name in ("builder", "validation", "risk")}
        persons = [Person(name=name, key=key.public.hex()) for name, key in self._keys.items()]
        policy = RegistryPolicy(persons=persons, development=True)
        self.registry = Registry.create(path, policy, self._keys["risk"])

    def promote(self, source: Path, made: Made) -> None:
        """A pack is added, looked at by one, approved by two, and promoted."""
        keys, pack = self._keys, made.pack.pack_id.hex()
        self.registry.add(gather(source), keys["builder"])
        self.registry.validate(pack, {}, keys["validation"])
        for name in ("validation", "risk"):
            self.registry.record("approved", pack, {"note": ""}, keys[name])
        self.registry.record("released", pack, {"note": ""}, keys["risk"])
        detail = {"note": "", "stage": "production", "fleet": "demo", "wave": 0}
        self.registry.record("promoted", pack, detail, keys["risk"])

    def halt(self, made: Made, why: str) -> None:
        """Stop it."""
        pack = made.pack.pack_id.hex()
        self.registry.record("halted", pack, {"why": why}, self._keys["validation"])

    def ask(self, made: Made, lake: Lake, day: int) -> list[str]:
        """The requests for a candidate that the lake gives reason for; the only call of drift."""
        number = day_number(FIRST_DAY) + day
        causes = judged(lake, made.pack, number).causes
        events = record(self.registry, made.pack, causes, number, self._keys["risk"])
        return [f"{one.detail['cause']}: {one.detail['why']}" for one in events]

    def answer(self, made: Made, day: int) -> None:
        """All open requests, with this pack."""
        number = day_number(FIRST_DAY) + day
        for event in self.registry.events():
            if event.kind == "candidate.requested":
                pack = made.pack.pack_id.hex()
                answer(self.registry, event.number, number, self._keys["risk"], pack=pack)


class Campaign:
    """A campaign of the whole fleet."""

    def __init__(
        self, name: str, packs: dict[str, Made], members: Sequence[Member], strata: Sequence[int]
    ) -> None:
        self.name, self._members = name, members
        listed = [
            Listed(m.id.hex(), str(stratum), m.id.hex())
            for m, stratum in zip(members, strata, strict=True)
        ]
        self.definition: Definition = define(
            name, packs[name].path, packs[PARENT].path, _POLICY, listed
        )
        self.rollout = Rollout(
            _POLICY,
            digests(self.definition.campaign, [m.id for m in members]),
            np.unique(strata, return_inverse=True)[1].astype(np.int64),
            promise=self.definition.promise,
        )
        self.rollout.do("approve")
        self.state, self.wave, self.why = State.APPROVED, 0, ""

    def tick(self, day: int, lake: Lake, packs: dict[str, Made]) -> bool:
        """In the morning after a day; whether the campaign is in another state or wave."""
        hour = (day_number(FIRST_DAY) + day + 1) * 24 + TICK_H
        aliases = [lake.key.terminal(m.id) for m in self._members]
        seen = observed(lake, self.definition, aliases, self.rollout.offered_h, hour)
        tick = self.rollout.tick(hour, seen)
        for number in tick.offers.tolist():
            self._members[number].offered = self.name
        if tick.state in STOPPED:
            for member in self._members:
                late = member.phase == Phase.TRIAL
                member.give_up(packs, Reason.REVERTED if late else Reason.ABORTED)
                member.offered = None
                member.active = PARENT
        before = (self.state, self.wave)
        self.state, self.wave, self.why = tick.state, tick.wave, tick.why
        return (self.state, self.wave) != before

    @property
    def stopped(self) -> bool:
        """Whether it was halted."""
        return self.state in STOPPED


@dataclass
class Diary:
    """What happened."""

    begun: float = field(default_factory=time.monotonic)
    events: list[tuple[int, str, str]] = field(default_factory=list)
    """Day, kind, and words."""
    stages: list[Counter[str]] = field(default_factory=list)
    """Members by stage, by day."""

    def note(self, day: int, kind: str, text: str) -> None:
        """Keep it, and say it."""
        self.events.append((day, kind, text))
        used = time.process_time()
        elapsed = time.monotonic() - self.begun
        print(f"day {day:2d}  {kind}: {text}  [{elapsed:.0f} s, CPU {used:.0f} s]", flush=True)

    def first(self, kind: str) -> int | None:
        """The day of the first event of a kind."""
        return next((day for day, one, _ in self.events if one == kind), None)


class Fleet:
    """All of it."""

    def __init__(self, folder: Path, terminals: int, desk: int) -> None:
        self.folder, self.diary = folder, Diary()
        self.packs: dict[str, Made] = {}
        self.sources: dict[str, Path] = {}
        self._rng = np.random.default_rng(1)
        parent = released(folder, PARENT, None, *OLD_WORLD)
        self._take(PARENT, parent)
        self.diary.note(0, "parent", f"trained and released, {len(self.packs[PARENT].pack.data)} B")
        sizes = [min(TOWN, terminals - at) for at in range(0, terminals, TOWN)]
        self.towns = [
            Town(world(100 + i, size, -WARM, WARM + DAYS), 0xA000_0000_0000_0000 + TOWN * i)
            for i, size in enumerate(sizes)
        ]
        self.desks = self._desks(desk)
        simulated = [member for town in self.towns for member in town.members]
        self.members = [*simulated, *(one.member for one in self.desks)]
        merchants = [kind for town in self.towns for kind in town.merchant]
        self.strata = [*merchants, *(merchants[:1] * desk)]
        self.diary.note(0, "fleet", f"{len(self.members)} terminals of {len(self.towns)} towns")
        self.lake = Lake.create(folder / "lake", buckets=1)
        self._keys = ReportKeys(FLEET)
        self.records = Records(folder / "registry")
        self.records.promote(self.sources[PARENT], self.packs[PARENT])
        self.campaigns: list[Campaign] = []

    def _take(self, name: str, path: Path) -> None:
        self.packs[name] = Made(path)
        self.sources[name] = path.parent.parent if path.parent.name == "release" else path

    def _desks(self, count: int) -> list[Desk]:
        if not count:
            return []
        elf = build.build(
            catalogue.get("cortex-m4"), pack=self.packs[PARENT].path, defines=("TFIN_STATE_LOG",)
        ).elf
        tx = transactions(world(99, count, 0, DAYS))
        ids = [(0xD000_0000_0000_0000 + n).to_bytes(8, "big") for n in range(count)]
        return [
            Desk(Member(one), elf, self.folder / f"flash{n}.bin", tx, n)
            for n, one in enumerate(ids)
        ]

    def live(self, day: int) -> None:
        """A day of every terminal, and their reports in the lake."""
        readings: dict[str, list[Reading]] = {}
        for town in self.towns:
            town.day(day, self.packs, self._rng)
            for number, member in enumerate(town.members):
                if day >= member.off_until:
                    twin = town.twin(member.pack, self.packs)
                    one = member.reading(self.packs, day, twin, number)
                    readings.setdefault(member.pack, []).append(one)
        made = [
            data
            for name, some in readings.items()
            for data in reports(self.packs[name].path, FLEET, some)
        ]
        stop = bool(self.campaigns) and self.campaigns[-1].stopped
        made += [one.day(day, self.packs, stop) for one in self.desks]
        data = archives.packed((f"{at}.tfreport", one) for at, one in enumerate(made))
        files.write(self.lake.inbox / f"{day:03d}.tar", data)
        done = ingest(self.lake, self._keys)
        if done.refused:
            self.diary.note(day, "refused", str(done.refused))

    def run(self) -> None:
        """All days."""
        for day in range(DAYS):
            self.live(day)
            self._ask(day)
            self._prepare(day)
            stages = Counter({"targeted": len(self.members)})
            if self.campaigns:
                one = self.campaigns[-1]
                if one.tick(day, self.lake, self.packs):
                    wave = _POLICY.waves[one.wave].name
                    kind = (
                        "halted" if one.stopped else "done" if one.state == State.DONE else "wave"
                    )
                    why = "" if kind == "wave" else f": {one.why.split(';')[0]}"
                    self.diary.note(day, f"{one.name} {kind}", f"{one.state}, {wave}{why}")
                    if one.state == State.ROLLING_BACK:
                        self.records.halt(self.packs[one.name], one.why)
                names = [Stage(n).name.lower() for n in one.rollout.stage.tolist()]
                stages = Counter(names)
            self.diary.stages.append(stages)

    def _ask(self, day: int) -> None:
        if self.diary.first("request") is not None or day < SHIFT - 5:
            return
        if day % 5 == 0:
            labels = pa.concat_tables([town.labels(day) for town in self.towns])
            pq.write_table(labels, self.folder / "labels.parquet")
            add_labels(self.lake, [self.folder / "labels.parquet"])
        for said in self.records.ask(self.packs[PARENT], self.lake, day):
            self.diary.note(day, "request", said)

    def _prepare(self, day: int) -> None:
        """A bad candidate, made in haste of what there was before; then one of the new world."""
        if self.diary.first("request") is None:
            return
        parent = self.packs[PARENT].path
        if BAD not in self.packs:
            made = Made(released(self.folder, "haste", parent, *OLD_WORLD, seed=2))
            self._take(BAD, broken(made, self.folder / "bad.tfpack"))
            self._begin(BAD, day)
        elif (
            GOOD not in self.packs
            and self.campaigns[-1].state == State.ROLLED_BACK
            and day >= sum(NEW_WORLD)
        ):
            self._take(GOOD, released(self.folder, GOOD, parent, *NEW_WORLD))
            self.records.answer(self.packs[GOOD], day)
            self._begin(GOOD, day)

    def _begin(self, name: str, day: int) -> None:
        self.records.promote(self.sources[name], self.packs[name])
        self.campaigns.append(Campaign(name, self.packs, self.members, self.strata))
        self.diary.note(day, f"{name} begins", self.packs[name].pack.pack_id.hex()[:16])


# ------------------------------------------------------------------------------- what it shows


def claims(fleet: Fleet) -> list[tuple[str, bool]]:
    """What the demo claims, and whether it happened."""
    diary, status = fleet.diary, status_of(fleet.lake)
    asked, halted, done = (diary.first(k) for k in ("request", "bad halted", "good done"))
    bad, good = (next((c for c in fleet.campaigns if c.name == n), None) for n in (BAD, GOOD))
    last = fleet.diary.stages[-1]
    without = [last[one.name.lower()] for one in (Stage.TARGETED, Stage.OFFERED, Stage.FELL_BACK)]
    confirmed = [desk for desk in fleet.desks if desk.member.active == GOOD]
    everywhere = f"{last['confirmed']} confirmed, {last['silent']} silent, {sum(without)} without"
    probed = [one for one in confirmed if {Phase.SHADOW, Phase.TRIAL} <= set(one.stages)]
    genuine = diary.first("refused") is None and status["terminals"] == len(fleet.members)
    asked_late = asked is not None and asked >= SHIFT
    passed = good is not None and good.state == State.DONE
    return [
        ("every report was genuine", genuine),
        (f"the change of day {SHIFT} raised a request, not before it: day {asked}", asked_late),
        (
            f"the bad candidate was halted before its second wave ended: day {halted}",
            bad is not None and bad.stopped and bad.wave <= 1,
        ),
        (f"the good one passed every wave: day {done}", passed),
        (f"it reached every terminal that reports ({everywhere})", passed and not sum(without)),
        (
            f"firmware in QEMU took it over the wire: {len(probed)} of {len(fleet.desks)}",
            len(probed) == len(fleet.desks),
        ),
    ]


def written(fleet: Fleet, found: Sequence[tuple[str, bool]]) -> Path:
    """The page."""
    shown = ("shadow", "trial", "confirmed", "fell_back", "silent")
    series = {
        name.replace("_", " "): [float(day[name]) for day in fleet.diary.stages] for name in shown
    }
    styles = {name: i for i, name in enumerate(series)}
    chart = folds(
        "stages", "Members by stage", [str(day) for day in range(DAYS)], series, styles,
        "members", "; ".join(f"day {d}: {k}" for d, k, _ in fleet.diary.events), most=float("inf"),
    )  # fmt: skip
    kinds = {"request", "bad halted", "good begins", "good done"}
    marks = {kind: day for day, kind, _ in reversed(fleet.diary.events) if kind in kinds}
    marks["the world changes"] = SHIFT
    axis = Axis(0, DAYS, 62, 532)
    chart.marks(axis, [Mark(day + 0.5, kind) for kind, day in marks.items()], 34, 270)
    rows = [[str(day), kind, text] for day, kind, text in fleet.diary.events]
    text = page(
        "Ninety days of a fleet",
        subtitle=f"{len(fleet.members)} terminals, {len(fleet.desks)} of them the firmware in QEMU",
        verdict=Headline(
            "All of it happened" if all(ok for _, ok in found) else "Something did not happen",
            all(ok for _, ok in found),
            [f"{'yes' if ok else 'NO'}: {what}" for what, ok in found],
        ),
        headline=[],
        sections=[
            PageSection("stages", "Members by stage", [
                figure(chart, "Of the campaign of the day.", legend=list(styles.items())),
            ]),
            PageSection("log", "What happened", [table("Log", ["day", "what", ""], rows)]),
        ],
        facts_file="registry/log.jsonl",
    )  # fmt: skip
    place = fleet.folder / "fleet_demo.html"
    files.write(place, text)
    return place


def main() -> None:
    """Run it, and say what it has shown."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fleet_demo")
    parser.add_argument("--out", type=Path, default=Path("build/fleet_demo"))
    parser.add_argument("--terminals", type=int, default=2000)
    parser.add_argument("--desk", type=int, default=2, help="terminals that are firmware in QEMU")
    asked = parser.parse_args()
    shutil.rmtree(asked.out, ignore_errors=True)
    asked.out.mkdir(parents=True)
    fleet = Fleet(asked.out, asked.terminals, asked.desk)
    fleet.run()
    found = claims(fleet)
    print(f"\n{written(fleet, found)}")
    print("\n".join(f"{'yes' if ok else 'NO '}  {what}" for what, ok in found))
    sys.exit(0 if all(ok for _, ok in found) else 4)


if __name__ == "__main__":
    main()

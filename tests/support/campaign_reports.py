# SPDX-License-Identifier: Apache-2.0
"""Reports of terminals that take a pack, with the sections of slots, probation and monitor; and
what they say of a campaign's members, read one by one: the oracle of what DuckDB finds."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from tests.support import fleet as bench
from tinyfin.field.keys import terminal_keys
from tinyfin.field.report import Monitor, Report, Tag, encode, encode_counters, encode_monitor
from tinyfin.fleet.lake import Lake
from tinyfin.pack.monitor_image import MonitorCounts, window
from tinyfin.rollout.members import Seen, Stage

NEW, PARENT, OTHER = bytes(range(16)), bytes(range(50, 66)), bytes(range(90, 106))
BINS, PARENT_BINS = 8, 5
_PHASES = {"none": 0, "loading": 2, "staged": 3, "shadow": 4, "trial": 5}
_REASONS = {"none": 0, "reverted": 3, "tries_used_up": 4, "confirmed": 6, "shadow": 7, "trial": 8}


def report(
    which: int,
    boot: int,
    number: int,
    hour: int,
    running: bytes,
    *,
    phase: str = "none",
    reason: str = "none",
    active: bytes = PARENT,
    other: bytes = bytes(4),
    counters: tuple[int, ...] = (),
    cause: int = 0,
    monitor: Monitor | None = None,
    probation: tuple[bytes, str, tuple[int, ...], int, int] | None = None,
) -> bytes:
    """``probation``: pack, phase, table, alerts, the parent's alerts."""
    slots = struct.pack("<BBB4s4sIIHH", 0, _PHASES[phase] << 4, _REASONS[reason], active[:4],
                        other[:4], 1, 0, 0, 0)  # fmt: skip
    sections = [
        (int(Tag.COUNTERS), encode_counters(list(counters) + [0] * (15 - len(counters)))),
        (int(Tag.RESETS), bytes([cause])),
        (int(Tag.SLOTS), slots),
    ]
    if monitor is not None:
        sections.append((int(Tag.MONITOR), encode_monitor(monitor)))
    if probation is not None:
        pack, its, table, alerts, parents = probation
        numbers = (sum(table), parents, alerts, 0, 1 if its == "shadow" else 2, 1, 0)
        body = struct.pack("<8s16HIHHHHBBH", pack[:8], *table, 0, *numbers)
        sections.append((int(Tag.PROBATION), body))
    made = Report(bench.terminal(which), boot, number, running[:8], hour * 3600, tuple(sections))
    return encode(made, terminal_keys(bench.FLEET, bench.terminal(which)).report).data


@dataclass
class Life:
    """A terminal from day to day; some restart, halve their counts, lose them, or are off."""

    which: int
    draw: random.Random
    offered_h: int
    running: bytes = PARENT
    stage: int = Stage.TARGETED
    boot: int = 1
    number: int = 0
    counters: list[int] = field(default_factory=lambda: [0] * 15)
    counts: list[int] = field(default_factory=lambda: [0] * PARENT_BINS)
    events: int = 0
    halvings: int = 0
    table: list[int] = field(default_factory=lambda: [0] * 16)
    alerts: list[int] = field(default_factory=lambda: [0, 0])

    def day(self, first_h: int) -> Iterator[bytes]:
        draw = self.draw
        if draw.random() < 0.15:
            return
        for hour in sorted(draw.sample(range(first_h, first_h + 24), draw.choice([1, 1, 1, 2]))):
            cause = 0
            if draw.random() < 0.25:
                self.boot, self.number = self.boot + draw.randrange(1, 9), 0
                cause = draw.choice([0, 1, 2])
                if draw.random() < 0.3:
                    self.counters, self.events, self.halvings = [0] * 15, 0, 0
                    self.counts = [0] * len(self.counts)
            self._go_on(hour)
            self.number += 1
            yield self._report(hour, cause)

    def _go_on(self, hour: int) -> None:
        draw, n = self.draw, self.draw.randrange(40)
        for index, more in ((0, n), (1, n), (3, draw.randrange(3))):
            self.counters[index] += more
        if draw.random() < 0.05:
            self.halvings += 1
            self.counts = [count >> 1 for count in self.counts]
        for _ in range(n):
            self.counts[draw.randrange(len(self.counts))] += 1
        self.events += n
        if self.stage == Stage.SHADOW:
            for _ in range(n):
                self.table[draw.randrange(16)] += 1
            self.alerts = [count + draw.randrange(3) for count in self.alerts]
        if hour > self.offered_h >= 0 and draw.random() < 0.4:
            self._next()

    def _next(self) -> None:
        if self.stage >= Stage.TRIAL:
            if self.stage == Stage.TRIAL:
                fell = self.draw.random() < 0.3
                self.stage = Stage.FELL_BACK if fell else Stage.CONFIRMED
                if fell:
                    self._run(PARENT, PARENT_BINS)
            return
        self.stage = {Stage.TARGETED: Stage.STAGED}.get(Stage(self.stage), Stage(self.stage + 1))
        if self.stage == Stage.TRIAL:
            self._run(NEW, BINS)

    def _run(self, pack: bytes, bins: int) -> None:
        self.running, self.counts, self.events, self.halvings = pack, [0] * bins, 0, 0

    def _report(self, hour: int, cause: int) -> bytes:
        stage = Stage(self.stage)
        phase = {Stage.STAGED: "staged", Stage.SHADOW: "shadow", Stage.TRIAL: "trial"}
        more: dict[str, Any] = {"phase": phase.get(stage, "none")}
        if stage in phase:
            more["other"] = NEW
        elif stage == Stage.FELL_BACK:
            more |= {"other": NEW, "reason": "trial"}
        elif stage == Stage.CONFIRMED:
            more |= {"other": PARENT, "active": NEW, "reason": "confirmed"}
        elif self.which % 3 == 0:  # gave another pack up, before the campaign
            more |= {"other": OTHER, "reason": "shadow"}
        if stage in (Stage.SHADOW, Stage.TRIAL):
            table = tuple(self.table) if stage == Stage.SHADOW else (0,) * 16
            name = "shadow" if stage == Stage.SHADOW else "trial"
            more["probation"] = (NEW, name, table, *self.alerts)
        if self.draw.random() < 0.9:
            more["monitor"] = Monitor(self.halvings, 0, self.events, (*self.counts, 1, 2))
        counters = tuple(self.counters)
        return report(
            self.which, self.boot, self.number, hour, self.running, cause=cause,
            counters=counters, **more,
        )  # fmt: skip


# ------------------------------------------------------------------------------ the oracle


def by_hand(lake: Lake, members: int, offered: list[int], hour: int) -> Seen:
    """The same as :func:`tinyfin.rollout.observed.observed`, report by report."""
    seen = Seen.nothing(members)
    manifest = lake.manifest().parts
    rows = [row for part in manifest.values() for row in lake.read(part).to_pylist()]
    new, parent = NEW.hex()[:16], PARENT.hex()[:16]
    times: list[tuple[int, int, int, int]] = []
    lives: dict[int, list[dict[str, Any]]] = {}
    for i in range(members):
        alias = lake.key.terminal(bench.terminal(i))
        whole = sorted(
            (row for row in rows if row["terminal"] == alias),
            key=lambda r: (r["hour"], r["audit_sequence"] or 0, r["boot"], r["number"]),
        )
        own = lives[i] = [row for row in whole if row["hour"] <= hour]
        if not own:
            continue
        seen.heard_h[i], seen.stage[i] = own[-1]["hour"], stage_of(own[-1])
        since = offered[i]
        if since >= 0:
            fell = [r for r in own if r["hour"] > since and stage_of(r) == Stage.FELL_BACK]
            seen.falls[i] = len(fell)
        shadows = [
            r
            for r in own
            if r["probation_pack"] == new
            and r["probation_phase"] == "shadow"
            and r["hour"] >= since
        ]
        if shadows:
            seen.table[i] = shadows[-1]["probation_table"]
            seen.alerts[i] = shadows[-1]["probation_alerts"]
            seen.parent_alerts[i] = shadows[-1]["probation_parent_alerts"]
        if since < 0:
            continue
        _counted(seen, i, own, since, new, _begins(whole))
        confirmed = [r["hour"] for r in own if stage_of(r) == Stage.CONFIRMED and r["hour"] > since]
        until = confirmed[0] if confirmed else 10**9
        if confirmed:
            began = [r["hour"] for r in own if r["pack"] == new and r["hour"] > since]
            times.append((i, since, began[0], until))
        before: dict[str, MonitorCounts] = {}
        for row in own:
            pack = row["pack"]
            if row["monitor_counts"] is None or pack not in (new, parent):
                continue
            if (pack == new) != (row["hour"] > since) or row["hour"] <= since - 2 * 168:
                continue
            bins = BINS if pack == new else PARENT_BINS
            counts = (np.array(row["monitor_counts"][:bins], np.int64),)
            now = MonitorCounts(
                row["monitor_events"], row["monitor_halvings"], 0, counts, row["boot"]
            )
            [found] = window(before.get(pack), now)
            if pack == parent:
                if pack in before and row["hour"] > since - 168:
                    seen.scores_before[i, :bins] += found.astype(np.int32)
            elif row["hour"] <= until:
                seen.scores_first[i, :bins] += found.astype(np.int32)
            elif row["hour"] > hour - 168:
                seen.scores_after[i, :bins] += found.astype(np.int32)
            before[pack] = now
    others = [i for i in range(members) if offered[i] < 0]
    for k, i in enumerate(others if times else []):
        seen.pair[i], *at = times[k * len(times) // len(others)]
        _around(seen, i, [r for r in lives[i] if r["pack"] == parent], at, hour)
    return seen


def _around(seen: Seen, i: int, own: list[dict[str, Any]], at: list[int], hour: int) -> None:
    """The parent's scores of a member with a pair, at the times of the pair's."""
    offered, began, until = at
    before = None
    for row in own:
        if row["monitor_counts"] is None or row["hour"] <= offered - 2 * 168:
            continue
        counts = (np.array(row["monitor_counts"][:PARENT_BINS], np.int64),)
        now = MonitorCounts(row["monitor_events"], row["monitor_halvings"], 0, counts, row["boot"])
        [found] = window(before, now)
        if before is not None and offered - 168 < row["hour"] <= offered:
            seen.scores_before[i, :PARENT_BINS] += found.astype(np.int32)
        if before is not None and began - 24 < row["hour"] <= until:
            seen.scores_first[i, :PARENT_BINS] += found.astype(np.int32)
        if before is not None and row["hour"] > max(until, hour - 168):
            seen.scores_after[i, :PARENT_BINS] += found.astype(np.int32)
        before = now


def stage_of(row: dict[str, Any]) -> int:
    """By docs/rollout.md."""
    new = NEW.hex()
    if row["pack"] == new[:16] and row["active_tag"] == new[:8] and row["phase"] != "trial":
        return Stage.CONFIRMED
    if row["phase"] != "none":
        at = {"staged": Stage.STAGED, "shadow": Stage.SHADOW, "trial": Stage.TRIAL}
        return at.get(row["phase"], Stage.TARGETED) if row["other_tag"] == new[:8] else 0
    gave_up = row["reason"] not in ("none", "journal_lost", "confirmed")
    return Stage.FELL_BACK if row["other_tag"] == new[:8] and gave_up else Stage.TARGETED


def _begins(own: list[dict[str, Any]]) -> bool:
    """Whether a terminal counts from 0 after a restart: docs/formats/lake.md."""
    restarts = [(a, b) for a, b in pairwise(own) if a["boot"] != b["boot"]]
    fell = sum(any(b[c] < a[c] for c in _ENGINE) for a, b in restarts)
    return 4 * fell >= len(restarts)


def _counted(
    seen: Seen, i: int, own: list[dict[str, Any]], since: int, new: str, begins: bool
) -> None:
    names = ("scored", "saturations")
    for a, b in pairwise(own):
        other_boot = a["boot"] != b["boot"]
        anew = any(b[c] < a[c] for c in _ENGINE) or (other_boot and begins)
        scored, saturated = (b[c] - (0 if anew else a[c]) for c in names)
        fault = other_boot and b["reset_cause"] == "fault"
        values = (scored, saturated, fault, min(b["hour"] - a["hour"], 48))
        if b["pack"] == new and b["hour"] > since:
            when = "after"
        elif b["pack"] != new and since - 168 < b["hour"] <= since:
            when = "before"
        else:
            continue
        for name, value in zip(("events", "saturated", "faults", "hours"), values, strict=True):
            getattr(seen, f"{name}_{when}")[i] += value


_ENGINE = (
    "scored", "committed", "clock_clamps", "saturations", "pending_overflows",
    "unknown_outcomes", "notices", "notice_duplicates", "label_overflows", "evictions",
)  # fmt: skip

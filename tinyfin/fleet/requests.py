# SPDX-License-Identifier: Apache-2.0
"""Requests for a candidate: why a pack in service should be trained again, as signed events of a
registry. A request never releases anything; somebody, or `tinyfin retrain`, answers it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Annotated

import numpy as np
from pydantic import Field

from tinyfin.config import parse_moment
from tinyfin.documents import Facts
from tinyfin.errors import InputError
from tinyfin.fleet.drift import has_drifted, strata_on
from tinyfin.fleet.estimates import estimated_on, realised_on
from tinyfin.fleet.lake import Lake, date_of, day_number
from tinyfin.fleet.monitors import FleetCounts, read_counts
from tinyfin.fleet.packs import histogram_names
from tinyfin.fleet.views import connect
from tinyfin.pack.container import Pack
from tinyfin.pack.levels import DAY_S
from tinyfin.pack.signing import Key
from tinyfin.registry.events import Event, PackId, declare
from tinyfin.registry.registry import Registry

__all__ = [
    "COOL_DOWN_DAYS",
    "Cause",
    "Judged",
    "Request",
    "answer",
    "judged",
    "record",
    "request_of",
    "requests_of",
]

ASKED, ANSWERED = "candidate.requested", "candidate.answered"
COOL_DOWN_DAYS = 14
"""After a request, or its answer, until there may be another one of the same cause."""
MOST_DROP = 0.2
"""Of precision, against what the release promised."""
DRIFT_DAYS, STRATA = 3, 2
"""Days running on which a histogram has drifted, in so many strata (or in the only one)."""
MOST_DAYS = 90
"""Since the training ended."""
LEVEL_SHARE = 0.25
"""Of the terminals, at the highest level of their alert budget at the ends of two weeks."""


class Cause(StrEnum):
    """Why a candidate is asked for."""

    ESTIMATED = "estimated precision"
    REALISED = "realised precision"
    DRIFT = "drift"
    AGE = "age"
    BUDGET = "alert budget"


class Requested(Facts):
    """Detail of the event."""

    cause: Cause
    control: bool
    """Whether the pack keeps control events; without them data since its release shows what it let
    through, and nothing else."""
    day: date
    why: Annotated[str, Field(min_length=1)]


class Answered(Facts):
    """Detail of the event."""

    day: date
    pack: PackId | None
    """The candidate; none: it was decided against one."""
    request: int
    """Number of its event."""
    why: str


declare(ASKED, Requested)
declare(ANSWERED, Answered)


@dataclass(frozen=True)
class Request:
    """A request of a registry, and its answer if it has one."""

    event: Event
    answer: Event | None

    @property
    def name(self) -> str:
        """``NUMBER:HASH`` of its event."""
        return f"{self.event.number}:{self.event.digest}"

    @property
    def last_day(self) -> int:
        """Of request and answer, counted from 2000-01-01."""
        found = (self.event if self.answer is None else self.answer).detail["day"]
        return day_number(date.fromisoformat(found))


@dataclass(frozen=True)
class Judged:
    """Causes that hold on a day, and why; ``waiting``: those that mature labels are waited for."""

    causes: Mapping[Cause, str]
    waiting: str | None


def judged(
    lake: Lake,
    pack: Pack,
    day: int,
    strata: Mapping[str, str] | None = None,
    review_by: date | None = None,
) -> Judged:
    """What a lake says of a pack up to a day, counted from 2000-01-01. Raises InputError,
    ToolError."""
    with connect(lake, day) as base:
        counts = read_counts(base, pack, strata)
        estimate = estimated_on(pack, counts, day, 7)
        realised = realised_on(base, pack)
        [(mature,)] = base.execute("SELECT max(day) FROM notice_day WHERE mature").fetchall()
    until = parse_moment(str(pack.lineage["until"])) // DAY_S if "until" in pack.lineage else None
    causes: dict[Cause, str] = {}
    if estimate is not None:
        least = (1 - MOST_DROP) * estimate.promised_precision
        promised = f"{estimate.promised_precision:.3f} promised"
        if estimate.precision[1] < least:
            causes[Cause.ESTIMATED] = f"at most {estimate.precision[1]:.3f} in a week; {promised}"
        if realised is not None and realised.precision is not None:
            _, low, high = realised.precision
            if high < least:
                causes[Cause.REALISED] = f"{low:.3f} to {high:.3f}; {promised}"
    if found := drifted_histograms(counts, histogram_names(pack), day):
        causes[Cause.DRIFT] = f"{DRIFT_DAYS} days running: {'; '.join(found)}"
    if pack.levels is not None and (
        share := _at_the_top(counts, len(pack.levels.thresholds) - 1, day)
    ):
        causes[Cause.BUDGET] = f"{share:.0%} of the terminals at the highest level for two weeks"
    waiting = None
    trained = 0 if until is None else until
    known = -1 if mature is None else day_number(mature)
    if causes and known <= trained:
        to = "no day" if mature is None else f"{mature}"
        waiting = f"{', '.join(causes)}: labels are mature to {to}, and the pack knows those before"
        causes = {}
    if until is not None and day - until > MOST_DAYS:
        causes[Cause.AGE] = f"its training ended {day - until} days ago"
    if review_by is not None and day >= day_number(review_by):
        causes[Cause.AGE] = f"to be reviewed by {review_by}"
    return Judged(causes, waiting)


def drifted_histograms(counts: FleetCounts, names: Sequence[str], day: int) -> list[str]:
    """Histograms that have drifted on the newest :data:`DRIFT_DAYS` in strata enough, and where."""
    days = [strata_on(counts, at) for at in range(day - DRIFT_DAYS + 1, day + 1)]
    tests = len(names) * len(days[0])
    found = []
    for i, name in enumerate(names):
        where = [
            stratum
            for stratum in days[0]
            if all(has_drifted(one[stratum][i], tests) for one in days)
        ]
        if where and len(where) >= min(STRATA, len(days[0])):
            found.append(f"{name} in {', '.join(where)}")
    return found


def _at_the_top(counts: FleetCounts, top: int, day: int) -> float | None:
    """The least share of terminals that ended each of two weeks at a level; None below
    :data:`LEVEL_SHARE`."""
    shares = []
    for end in (day - 7, day):
        rows = np.flatnonzero((counts.day > end - 7) & (counts.day <= end) & (counts.level >= 0))
        last = rows[
            np.append(counts.terminal[rows][1:] != counts.terminal[rows][:-1], True)[: len(rows)]
        ]
        shares.append(float(np.mean(counts.level[last] == top)) if len(last) else 0.0)
    return min(shares) if min(shares) >= LEVEL_SHARE else None


def requests_of(registry: Registry, pack: str | None = None) -> list[Request]:
    """The requests of a registry, of one pack or of all, in their order. Raises as
    :meth:`Registry.events`."""
    events = registry.events()
    answers = {one.detail["request"]: one for one in events if one.kind == ANSWERED}
    return [
        Request(one, answers.get(one.number))
        for one in events
        if one.kind == ASKED and (pack is None or (one.subject and one.subject.pack == pack))
    ]


def request_of(registry: Registry, number: int) -> Request:
    """The open request of this event. Raises InputError."""
    for one in requests_of(registry):
        if one.event.number == number and one.answer is None:
            return one
    raise InputError(
        f"{registry.path}: event {number} is no open request; `tinyfin fleet requests` lists them"
    )


def record(
    registry: Registry,
    pack: Pack,
    causes: Mapping[Cause, str],
    day: int,
    key: Key,
    *,
    now_s: int | None = None,
) -> list[Event]:
    """Record a request for each cause of which there is none that is open, or was asked or answered
    within :data:`COOL_DOWN_DAYS`. The same day again records nothing. Raises as
    :meth:`Registry.record`."""
    control = pack.decision is not None and pack.decision.control_share_q16 > 0
    made = []
    with registry.log.writing():  # nobody else asks meanwhile
        entry = registry.find(pack.pack_id.hex())
        before = requests_of(registry, entry.pack)
        for cause, why in causes.items():
            same = [one for one in before if one.event.detail["cause"] == cause]
            if all(one.answer and day - one.last_day >= COOL_DOWN_DAYS for one in same):
                detail = Requested(cause=cause, control=control, day=date_of(day), why=why)
                made.append(registry.record(ASKED, entry.pack, detail.as_dict(), key, now_s=now_s))
    return made


def answer(
    registry: Registry,
    number: int,
    day: int,
    key: Key,
    *,
    pack: str | None = None,
    why: str = "",
    now_s: int | None = None,
) -> Event:
    """Record what became of a request: the id of a candidate, or why there is none. Raises
    InputError when it is not open, and as :meth:`Registry.record`."""
    with registry.log.writing():
        asked = request_of(registry, number).event
        assert asked.subject is not None
        detail = Answered(day=date_of(day), pack=pack, request=number, why=why)
        return registry.record(ANSWERED, asked.subject.pack, detail.as_dict(), key, now_s=now_s)

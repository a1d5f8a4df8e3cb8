# SPDX-License-Identifier: Apache-2.0
"""Terminals of a fleet, each with the days of a terminal of the bank, and what they report.

A terminal takes a pack as its firmware does: what is offered is loaded by day and begins its shadow
after the restart of the night; a shadow that has passed is on trial from the next night on; a trial
that has passed is confirmed at once. A terminal that is off has no events: its days go on where
they were when it is on again.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tinyfin.documents import Facts
from tinyfin.errors import InputError
from tinyfin.fleet_simulator.bank import Bank
from tinyfin.fleet_simulator.probations import PASSED, Repeated
from tinyfin.rollout.members import Seen, Stage

__all__ = ["DAY_H", "Conditions", "Fleet"]

DAY_H = 24
REPORT_H = 20
"""Hour of the day from which on terminals report, within four hours."""
WEEK = 7
_LOST = np.iinfo(np.int32).max
_TRIES = 3
_TURNS_BAD = 3
"""Days after its confirmation on which a pack that is good then bad turns bad."""
_SLOW_EVENTS = 10
"""One event of so many takes longer than the watchdog allows, in a pack that is slow."""
_AFTERWARDS = "higher"
"""What such a pack is afterwards."""
Ints = npt.NDArray[np.int64]


class Conditions(Facts):
    """How healthy a fleet is, whatever pack it runs. No source has these figures; those that are
    given here are assumptions."""

    off_per_day: float = 0.003
    """Share of terminals that stop reporting on a day, for a while."""
    off_days: float = 4.0
    """That such a terminal stays off, on the average (geometric)."""
    lost_per_day: float = 0.0001
    """Share of terminals that never come back, of a day."""
    late: float = 0.05
    """Share of reports that come a day later."""
    faults_per_day: float = 0.002
    """Restarts by a fault of a terminal, with any pack."""


class Fleet:
    """``terminals`` that run the parent; :meth:`offer` them the pack ``name`` of the bank. ``seen``
    is what their reports have said until now."""

    def __init__(
        self, bank: Bank, name: str, terminals: int, seed: int, conditions: Conditions
    ) -> None:
        if terminals < 1:
            raise InputError(f"a fleet of {terminals} terminals; give 1 or more")
        self._bank, self._name, self._given = bank, name, conditions
        self._days = bank.days_of(name)
        columns = ("table", "alerts", "parent_alerts", "scores")
        self._sums = {column: Repeated(getattr(self._days, column)) for column in columns}
        later = bank.days_of(_AFTERWARDS) if name == "turns-bad" else self._days
        self._later_scores = Repeated(later.scores)
        self._events, self._saturated = Repeated(bank.events), Repeated(bank.saturated)
        self._parent_scores = Repeated(bank.parent_scores)
        self._rng = np.random.default_rng([seed, 1])
        self.place = self._rng.integers(0, len(bank.events), terminals)
        """int64[n]: the terminal of the bank that each one is."""
        weeks = max(1, bank.facts.days // WEEK)
        self._clock = WEEK * self._rng.integers(1, 1 + weeks, terminals)
        """Day of its own that each one is at; a week lies before it."""
        self._off_until = np.zeros(terminals, np.int64)
        self._stage = np.full(terminals, Stage.TARGETED, np.uint8)
        self._confirmed = np.zeros(terminals, np.int64)
        """Own day on which the pack was confirmed."""
        self._began = np.full(terminals, _LOST, np.int64)
        """Own day on which the pack begins to run."""
        self._ended = np.full(terminals, _LOST, np.int64)
        self._faults = np.zeros(terminals, np.int64)
        self._shadow = np.full(terminals, _LOST, np.int64)
        """Own day on which the shadow began."""
        self._news = np.zeros(terminals, bool)
        """Whether there is something that no report has brought in yet."""
        self._due_h = np.zeros(terminals, np.int64)
        self._withdrawn = False
        self.seen = Seen.nothing(terminals)
        self._report_h = REPORT_H + np.arange(terminals) % 4
        self.day = 0

    @property
    def strata(self) -> Ints:
        """int64[n]: number of the stratum, by category of the merchant and traffic."""
        named = self._bank.merchant * 3 + self._bank.traffic
        return np.asarray(np.unique(named, return_inverse=True)[1][self.place])

    # ------------------------------------------------------------------------ the host

    def offer(self, members: Ints) -> None:
        """Let members load the pack on their next day."""
        self._stage[members] = Stage.OFFERED
        place, now = self.place[members], self._clock[members]
        begin = now - WEEK
        self.seen.events_before[members] = self._events.sums(place, begin, now)
        self.seen.saturated_before[members] = self._saturated.sums(place, begin, now)
        self.seen.scores_before[members] = self._parent_scores.sums(place, begin, now)
        self.seen.hours_before[members] = DAY_H * WEEK
        faults = self._rng.poisson(WEEK * self._given.faults_per_day, len(members))
        self.seen.faults_before[members] = faults

    def withdraw(self) -> None:
        """Let all members go back to the parent in the night that comes."""
        self._withdrawn = True

    # ------------------------------------------------------------------- the terminals

    def live(self) -> None:
        """A day of all terminals: the restart of the night, events, and the report."""
        on = self._switched_on()
        self._restart(on)
        self._count(on)
        self._report(on)
        self._clock += on
        self.day += 1

    def _switched_on(self) -> npt.NDArray[np.bool_]:
        draw = self._rng.random(len(self.place))
        given, was_on = self._given, self._off_until <= self.day
        off = np.flatnonzero(was_on & (draw < given.off_per_day))
        self._off_until[off] = self.day + self._rng.geometric(1 / given.off_days, len(off))
        self._off_until[was_on & (draw > 1 - given.lost_per_day)] = _LOST
        return self._off_until <= self.day

    def _restart(self, on: npt.NDArray[np.bool_]) -> None:
        stage = self._stage
        if self._withdrawn:
            back = np.flatnonzero(on & (stage > Stage.TARGETED) & (stage != Stage.FELL_BACK))
            self._give_up(back, 0)
            return
        staged = np.flatnonzero(on & (stage == Stage.STAGED))
        stage[staged] = Stage.SHADOW
        self._shadow[staged] = self._clock[staged]
        stage[on & (stage == Stage.OFFERED)] = Stage.STAGED

    def _give_up(self, members: Ints, after_days: int) -> None:
        """The parent runs from so many days after this one on."""
        self._stage[members] = Stage.FELL_BACK
        self._ended[members] = self._clock[members] + after_days
        self._news[members] = True

    def _count(self, on: npt.NDArray[np.bool_]) -> None:
        """What the events of the day bring."""
        stage, days = self._stage, self._days
        runs = np.flatnonzero(on & ((stage == Stage.TRIAL) | (stage == Stage.CONFIRMED)))
        runs = runs[self._began[runs] <= self._clock[runs]]
        self._faults[runs] += self._rng.poisson(self._given.faults_per_day, len(runs))
        if self._name == "slow":
            now = self._clock[runs]
            events = self._events.sums(self.place[runs], now, now + 1)
            self._faults[runs] += self._rng.binomial(events, 1 / _SLOW_EVENTS)
        trial = runs[stage[runs] == Stage.TRIAL]
        if self._name == "crashing":
            self._faults[trial] += _TRIES
        tried_out = self._faults[trial] >= _TRIES
        self._give_up(trial[tried_out], 0 if self._name == "crashing" else 1)
        trial = trial[~tried_out]
        ended, passed = self._ended_today(trial, self._began, days.trial_days, days.trial_result)
        self._give_up(trial[ended & ~passed], 1)
        stage[trial[passed]] = Stage.CONFIRMED
        self._confirmed[trial[passed]] = self._clock[trial[passed]]
        shadow = np.flatnonzero(on & (stage == Stage.SHADOW))
        self._news[shadow] = True
        ended, passed = self._ended_today(
            shadow, self._shadow, days.shadow_days, days.shadow_result
        )
        self._give_up(shadow[ended & ~passed], 1)
        stage[shadow[passed]] = Stage.TRIAL
        self._began[shadow[passed]] = self._clock[shadow[passed]] + 1

    def _ended_today(
        self,
        members: Ints,
        began: Ints,
        days: npt.NDArray[np.uint16],
        result: npt.NDArray[np.uint16],
    ) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """Of members in probation: whether it has its result, and whether it has passed."""
        place, begin = self.place[members], began[members] % self._events.period
        ended = self._clock[members] - began[members] >= days[place, begin]
        return ended, ended & (result[place, begin] == PASSED)

    # --------------------------------------------------------------------- the reports

    def _report(self, on: npt.NDArray[np.bool_]) -> None:
        """What of the reports arrives before the next morning."""
        speaks = on
        if self._name == "silent":
            speaks = on & ~((self._began <= self._clock) & (self._ended > self._clock))
        self._due_h[speaks] = (DAY_H * self.day + self._report_h)[speaks]
        late = self._rng.random(len(on)) < self._given.late
        fresh = ~late & (self._due_h > self.seen.heard_h)
        self.seen.heard_h[fresh] = self._due_h[fresh]
        members = np.flatnonzero(fresh & (self._stage > Stage.OFFERED))
        self.seen.stage[members] = self._stage[members]
        until = self._clock + on  # one that is off today has reported all of its last day
        self._see_shadow(members[self._news[members]], until)
        running = self._began[members] < until[members]
        self._see_running(members[running & (self._news | (self._ended == _LOST))[members]], until)
        self._news[members] = False

    def _see_shadow(self, members: Ints, until: Ints) -> None:
        members = members[self._shadow[members] < _LOST]
        place, begin = self.place[members], self._shadow[members]
        first, days = begin % self._events.period, self._days
        ended = until[members] - begin > days.shadow_days[place, first]
        for name in ("table", "alerts", "parent_alerts"):
            column, final = getattr(self.seen, name), getattr(days, f"shadow_{name}")
            column[members] = self._sums[name].sums(place, begin, until[members])
            column[members[ended]] = final[place[ended], first[ended]]

    def _see_running(self, members: Ints, until: Ints) -> None:
        place, begin = self.place[members], self._began[members]
        end = np.minimum(until[members], self._ended[members])
        seen = self.seen
        seen.events_after[members] = self._events.sums(place, begin, end)
        seen.saturated_after[members] = self._saturated.sums(place, begin, end)
        seen.hours_after[members] = DAY_H * (end - begin)
        seen.faults_after[members] = self._faults[members]
        confirmed = np.flatnonzero(self._stage[members] == Stage.CONFIRMED)
        members, place, begin, end = (x[confirmed] for x in (members, place, begin, end))
        after = self._confirmed[members] + 1
        seen.scores_after[members] = self._scores(place, np.maximum(after, end - WEEK), end, after)
        new = np.flatnonzero(~seen.scores_first[members].any(axis=1))
        first = self._sums["scores"].sums(place[new], begin[new], after[new])
        seen.scores_first[members[new]] = first

    def _scores(self, place: Ints, begin: Ints, end: Ints, after: Ints) -> npt.NDArray[np.int32]:
        """Events by bin of the pack's score; ``after``: the day after the confirmation."""
        turn = np.clip(after + _TURNS_BAD, begin, end)
        bad = self._later_scores.sums(place, turn, end)
        return self._sums["scores"].sums(place, begin, turn) + bad

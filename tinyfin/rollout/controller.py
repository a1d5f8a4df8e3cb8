# SPDX-License-Identifier: Apache-2.0
"""The controller of a campaign: from what members report to offers, the next wave, or a halt.

It is pure: no clock, no files; equal ticks give equal answers. Time is in hours since 2000-01-01.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from tinyfin.errors import InputError
from tinyfin.rollout.gates import Gate, Group, Promise, confirmed_gate, gates_of, precision_gate
from tinyfin.rollout.members import NEVER, Hours, Seen, Stage
from tinyfin.rollout.membership import Digests, positions, waves_of
from tinyfin.rollout.policy import Policy

__all__ = ["OFFERING", "OVER", "STOPPED", "WATCHED", "Progress", "Rollout", "State", "Tick"]

_DAY_H = 24
_BACKLOG = 0.05
"""Of a wave's members that may wait for an offer when the next wave begins: those that were not
heard of for days report again one by one."""
_SAMPLE = 1 << 15
"""Members of a wave whose events gates look at, at most: the first in the order of the campaign,
which takes every stratum by its share. Failures and silence are counted of all."""
_HAS_PACK = (Stage.STAGED, Stage.SHADOW, Stage.TRIAL, Stage.CONFIRMED)


class State(StrEnum):
    """Where a campaign is."""

    DRAFT = "draft"
    APPROVED = "approved"
    RUNNING = "running"
    """In the wave of its number."""
    PAUSED = "paused"
    """By a person. Gates are looked at; nothing is offered."""
    INCONCLUSIVE = "inconclusive"
    """A wave has waited too long for its gates. As PAUSED; only a person lets it go on."""
    DONE = "done"
    """Every wave has passed. Members that were not heard of are offered the pack when they are, so
    gates are looked at."""
    ENDED = "ended"
    """By a person: nothing is offered any more, and members keep what they have."""
    HALTED = "halted"
    ROLLING_BACK = "rolling_back"
    """Halted; members go back to the parent."""
    ROLLED_BACK = "rolled_back"
    """No member that reports has the pack."""


OFFERING = (State.RUNNING, State.DONE)
"""States in which members are offered the pack."""
_WAITING = (State.PAUSED, State.INCONCLUSIVE)
WATCHED = (*OFFERING, *_WAITING)
"""States in which gates are looked at."""
STOPPED = (State.HALTED, State.ROLLING_BACK, State.ROLLED_BACK)
OVER = (*STOPPED, State.ENDED)
_DEEDS = {
    "approve": (State.APPROVED, (State.DRAFT,)),
    "pause": (State.PAUSED, (State.RUNNING,)),
    "resume": (State.RUNNING, _WAITING),
    "pass": (State.RUNNING, _WAITING),
    "halt": (State.HALTED, (State.DRAFT, State.APPROVED, *WATCHED)),
    "end": (State.ENDED, (State.APPROVED, *WATCHED, State.ROLLING_BACK)),
}
"""What persons do: the state that it makes, and those in which it can be done."""


@dataclass(frozen=True)
class Progress:
    """All that a campaign remembers, but for its members."""

    state: State = State.DRAFT
    wave: int = 0
    hour: int = NEVER
    """Of the newest tick that changed something."""
    look_h: int = NEVER
    """When gates were looked at."""
    began_h: int = NEVER
    """Of the tick with which the wave began, or the first one after a person let it go on."""
    confirmed_h: int = NEVER
    """Since when enough members of the wave have confirmed."""
    taken_h: int = NEVER
    """Since when a member of the wave has taken the pack."""
    why: str = ""


@dataclass(frozen=True)
class Tick:
    """What a tick came to."""

    state: State
    wave: int
    why: str
    offers: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    """Members that are to be offered the pack now, and were not before."""
    gates: tuple[Gate, ...] = ()
    """Empty where gates were not looked at."""
    changed: bool = False
    """Whether the campaign or a member is another one than before."""


class Rollout:
    """A campaign of terminals. ``ranks``: their :func:`digests`. ``strata``: int64[n], the number
    of each one's stratum. ``windows``: by number of the stratum the hours of the day in which it is
    offered the pack, where the policy's own do not count. ``stage`` and ``offered_h`` (hour of the
    offer) are arrays over members; with ``progress`` they are its whole state."""

    def __init__(
        self,
        policy: Policy,
        ranks: Digests,
        strata: npt.NDArray[np.int64],
        *,
        promise: Promise | None = None,
        windows: dict[int, Sequence[int]] | None = None,
    ) -> None:
        if len(ranks) != len(strata) or not len(ranks):
            raise InputError(f"{len(ranks)} terminals and {len(strata)} strata: give one for each")
        self.policy, self.promise = policy, promise or Promise()
        self.place = positions(ranks, strata)
        self.wave_of = waves_of(self.place, policy)
        self.stage = np.zeros(len(ranks), np.uint8)
        self.offered_h: Hours = np.full(len(ranks), NEVER, np.int64)
        self.progress = Progress()
        self._sizes = policy.sizes(len(ranks))
        self._strata = strata
        self._open = np.zeros((int(strata.max()) + 1, _DAY_H), bool)
        self._open[:, policy.limits.offer_hours] = True
        for number, hours in (windows or {}).items():
            self._open[number] = np.isin(np.arange(_DAY_H), hours)

    def __len__(self) -> int:
        return len(self.stage)

    def restore(
        self, progress: Progress, stage: npt.NDArray[np.uint8], offered_h: Hours
    ) -> Rollout:
        """Go on from what another one of the same campaign had come to; copies the arrays."""
        self.progress, self.stage, self.offered_h = progress, stage.copy(), offered_h.copy()
        return self

    # ------------------------------------------------------------------------ persons

    def do(self, deed: str, why: str = "") -> None:
        """What persons do: ``approve`` lets the next tick begin the first wave; after ``pause``
        nothing is offered until ``resume``, with which the days of the wave begin again at the next
        tick, or ``pass``, with which the wave passes by a person's word and not by its gates;
        ``halt`` stops it for good; ``end`` leaves members as they are. Raises InputError in a state
        in which it cannot be done."""
        state, come_from = _DEEDS[deed]
        now = self.progress
        if now.state not in come_from:
            raise InputError(
                f"the campaign is {now.state}; it can be {state} only when it is "
                f"{', '.join(come_from)}"
            )
        now = replace(now, state=self._stop if deed == "halt" else state, why=why)
        if deed == "resume":
            now = replace(now, began_h=NEVER)
        self.progress = self._next_wave(now, NEVER) if deed == "pass" else now

    def actions(self) -> dict[str, npt.NDArray[np.int64]]:
        """What members should be told now: ``offer``, ``abort`` or ``revert``."""
        now, has = self.progress.state, self.stage != Stage.TARGETED
        runs = np.isin(self.stage, (Stage.TRIAL, Stage.CONFIRMED))
        if now in STOPPED:
            found = {
                "abort": has & ~runs & (self.stage != Stage.FELL_BACK),
                "revert": runs & self.policy.limits.revert,
            }
        else:
            waits = np.isin(self.stage, (Stage.OFFERED, Stage.NOT_TAKEN))
            found = {"offer": waits & (now in OFFERING)}
        return {action: np.flatnonzero(which) for action, which in found.items()}

    # -------------------------------------------------------------------------- ticks

    def tick(
        self, hour: int, seen: Seen, *, precision: tuple[float, float, float] | None = None
    ) -> Tick:
        """Go on to ``hour`` by what was seen until then; the same hour again changes nothing.

        precision: low and high end of what the pack's precision is, by mature labels or estimated,
        and what was promised. Raises InputError for an hour before the last one, and for what no
        terminals can have reported; then nothing has changed.
        """
        before = self.progress
        if hour < before.hour:
            raise InputError(
                f"hour {hour} is before that of the last tick, {before.hour}; ticks go forward"
            )
        if hour == before.hour or before.state in (State.DRAFT, State.ENDED):
            return Tick(before.state, before.wave, before.why)
        _require_sound(seen, len(self))
        now = replace(before, hour=hour)
        if now.state == State.APPROVED:
            now = replace(now, state=State.RUNNING, why="begun")
        if now.began_h == NEVER:
            now = replace(now, began_h=hour)
        if now.taken_h == NEVER and self._is_taken(now, seen):
            now = replace(now, taken_h=hour)
        stage = self._stages(now, seen)
        gates: tuple[Gate, ...] = ()
        if now.state in WATCHED and (now.look_h == NEVER or hour - now.look_h >= _DAY_H):
            self._require_reports(now, seen)
            gates = self._look(now, seen, stage, precision)
            now = self._judged(replace(now, look_h=hour), gates, seen)
        if now.state in (State.ROLLING_BACK, State.ROLLED_BACK):
            left = np.isin(stage, _HAS_PACK).any()
            now = replace(now, state=State.ROLLING_BACK if left else State.ROLLED_BACK)
        offers = self._offers(now, seen)
        changed = bool(len(offers)) or not np.array_equal(stage, self.stage)
        changed |= replace(now, hour=before.hour) != before
        if changed:
            stage[offers] = Stage.OFFERED
            self.offered_h[offers] = hour
            self.stage, self.progress = stage, now
        return Tick(now.state, now.wave, now.why, offers, gates, changed)

    def _require_reports(self, now: Progress, seen: Seen) -> None:
        """Refuse to judge when no member at all reports: then it is not the pack that is silent."""
        newest, silent_h = int(seen.heard_h.max()), self.policy.gates.silent_days * _DAY_H
        if (self.offered_h != NEVER).any() and now.hour - newest > silent_h:
            said = "none is there" if newest == NEVER else f"the newest is of hour {newest}"
            raise InputError(
                f"no terminal has reported for {self.policy.gates.silent_days:g} days before hour "
                f"{now.hour}: {said}; look at the carriers, the lake's key and the clock, or halt "
                "the campaign by hand"
            )

    def _is_taken(self, now: Progress, seen: Seen) -> bool:
        members = (self.wave_of == now.wave) & (self.offered_h != NEVER)
        return bool((members & ((seen.stage != Stage.TARGETED) | (seen.falls > 0))).any())

    def _stages(self, now: Progress, seen: Seen) -> npt.NDArray[np.uint8]:
        """What members that were offered the pack have come to. One that fell back stays so, and so
        does one that left the pack after it had confirmed it. A campaign that is stopped takes
        newest reports alone, of whoever has the pack: it is to be gone.

        Where nobody of the wave has taken the pack, it is the delivery that has failed, and not
        these members: nobody is NOT_TAKEN."""
        stage, hour, stopped = self.stage.copy(), now.hour, now.state in STOPPED
        counted = self.offered_h != NEVER
        if stopped:
            counted |= np.isin(seen.stage, _HAS_PACK) | (stage != Stage.TARGETED)
        members = np.flatnonzero(counted)
        gates, offered = self.policy.gates, self.offered_h[members]
        was, reported = stage[members], seen.stage[members]
        said = np.maximum(reported, Stage.OFFERED)
        delivered_h = np.where(self.wave_of[members] == now.wave, now.taken_h, 0)
        untaken = hour - np.maximum(offered, delivered_h) > gates.not_taken_days * _DAY_H
        said[(said == Stage.OFFERED) & (delivered_h != NEVER) & untaken] = Stage.NOT_TAKEN
        confirmed = np.isin(was, (Stage.CONFIRMED, Stage.GONE)) | (reported == Stage.CONFIRMED)
        heard = np.minimum(np.maximum(seen.heard_h[members], offered), hour)
        silent = hour - heard > gates.silent_days * _DAY_H
        said[silent] = np.where(confirmed, Stage.GONE, Stage.SILENT)[silent]
        fell = reported == Stage.FELL_BACK
        if not stopped:
            fell |= (was == Stage.FELL_BACK) | (seen.falls[members] > 0)
            fell |= confirmed & (reported == Stage.TARGETED)
        said[fell] = Stage.FELL_BACK
        stage[members] = said
        return stage

    def _elsewhere(self, now: Progress, seen: Seen) -> tuple[int, int]:
        """Members of later waves that were heard of lately (of the waves before it for the last
        one): those that are silent, and all. What is silent everywhere is no fault of the wave."""
        gates = self.policy.gates
        quiet_h = now.hour - seen.heard_h
        lately = (seen.heard_h != NEVER) & (quiet_h <= gates.known_days * _DAY_H)
        known = lately & (self.wave_of > now.wave) & (self.offered_h == NEVER)
        if not known.any():
            known = lately & (self.wave_of < now.wave) & (self.offered_h != NEVER)
        silent = known & (quiet_h > gates.silent_days * _DAY_H)
        return int(silent.sum()), int(known.sum())

    def _look(
        self,
        now: Progress,
        seen: Seen,
        stage: npt.NDArray[np.uint8],
        precision: tuple[float, float, float] | None,
    ) -> tuple[Gate, ...]:
        """The gates of the wave; of the waves before it only those that are broken count."""
        day = 1 + (now.hour - now.began_h) // _DAY_H
        found: list[Gate] = []
        first = sum(self._sizes[: now.wave])
        for name, which, start in (
            ("", self.wave_of == now.wave, first),
            ("earlier ", self.wave_of < now.wave, 0),
        ):
            members = np.flatnonzero((self.offered_h != NEVER) & which)
            sample = members[self.place[members] < start + _SAMPLE]
            around = self._elsewhere(now, seen)
            of_members = seen, members, stage[members], sample
            group = Group(self.policy, self.promise, *of_members, *around, name, day)
            if not name:
                found.append(confirmed_gate(group, self._sizes[now.wave]))
            gates = gates_of(group)
            found += [gate for gate in gates if not name or gate.state == "broken"]
        if precision is not None:
            found.append(precision_gate(precision, self.policy))
        return tuple(found)

    def _judged(self, now: Progress, gates: Sequence[Gate], seen: Seen) -> Progress:
        broken = [gate for gate in gates if gate.state == "broken"]
        if broken:
            why = "; ".join(f"{gate.name}: {gate.text}" for gate in broken)
            return replace(now, state=self._stop, why=why)
        if now.state != State.RUNNING:
            return now
        waiting = [gate.name for gate in gates if gate.state == "waits"]
        if "confirmed" in waiting:
            now = replace(now, confirmed_h=NEVER)
        else:
            since = now.hour if now.confirmed_h == NEVER else now.confirmed_h
            now = replace(now, confirmed_h=since)
            soak_h = self.policy.waves[now.wave].soak_days * _DAY_H - (now.hour - since)
            waiting += [f"soak ({soak_h:g} h)"] if soak_h > 0 else []
        backlog = int((self._eligible(now, seen)).sum())
        if backlog > _BACKLOG * self._sizes[now.wave]:
            waiting.append(f"offers ({backlog} members)")
        if not waiting:
            return self._next_wave(now, now.hour)
        if now.hour - now.began_h >= self.policy.limits.wait_days * _DAY_H:
            why = f"{self.policy.limits.wait_days:g} days were not enough for: {', '.join(waiting)}"
            return replace(now, state=State.INCONCLUSIVE, why=why)
        return replace(now, why=f"waits for {', '.join(waiting)}")

    @property
    def _stop(self) -> State:
        return State.ROLLING_BACK if self.policy.limits.revert else State.HALTED

    def _next_wave(self, now: Progress, began_h: int) -> Progress:
        """The next wave that has members; behind the last one it is done."""
        later = [i for i, size in enumerate(self._sizes) if i > now.wave and size]
        if not later:
            return replace(now, state=State.DONE, began_h=began_h, why="every wave has passed")
        why = f"wave {self.policy.waves[later[0]].name} begins"
        return replace(
            now, wave=later[0], began_h=began_h, confirmed_h=NEVER, taken_h=NEVER, why=why
        )

    def _eligible(self, now: Progress, seen: Seen) -> npt.NDArray[np.bool_]:
        """Members of the waves that have begun which report, and have nothing of the pack yet. Who
        has it already, by hand or from before, is neither offered it nor counted."""
        may: npt.NDArray[np.bool_] = self.offered_h == NEVER
        may &= seen.stage == Stage.TARGETED
        may &= (self.wave_of <= now.wave) & (seen.heard_h != NEVER)
        may &= now.hour - seen.heard_h <= self.policy.gates.silent_days * _DAY_H
        return may

    def _offers(self, now: Progress, seen: Seen) -> npt.NDArray[np.int64]:
        """In the order of the campaign, as many as the limit allows in an hour."""
        if now.state not in OFFERING:
            return np.empty(0, np.int64)
        may = self._eligible(now, seen) & self._open[self._strata, now.hour % _DAY_H]
        offers = np.flatnonzero(may)
        return offers[np.argsort(self.place[offers])][: self.policy.limits.offers_per_hour]


def _require_sound(seen: Seen, members: int) -> None:
    """Refuse what no reports can say: an analysis that fails stops the campaign's tick."""
    for name, values in vars(seen).items():
        if len(values) != members:
            raise InputError(f"{name}: {len(values)} members in place of {members}")
        if int(values.min(initial=0)) < (NEVER if name in ("heard_h", "pair") else 0):
            raise InputError(f"{name}: a member has a negative count; observe the lake again")
    if int(seen.stage.max(initial=0)) > Stage.FELL_BACK or (seen.stage == Stage.OFFERED).any():
        raise InputError("stage: a report says none of OFFERED and what a wait ends in")

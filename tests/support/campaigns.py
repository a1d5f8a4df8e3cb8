# SPDX-License-Identifier: Apache-2.0
"""A fleet in a few arrays that takes what a campaign offers, and reports every day.

Events come to each terminal at a rate and with scores of its own, so terminals are clusters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from tinyfin.rollout.controller import Rollout, Tick
from tinyfin.rollout.gates import Promise
from tinyfin.rollout.members import BINS, Seen, Stage
from tinyfin.rollout.membership import Digests, digests
from tinyfin.rollout.policy import Policy, Wave

HOUR0 = 24 * 9_800
CAMPAIGN = bytes(range(16))


def terminal(number: int) -> bytes:
    """An id."""
    return (0xC0FFEE0000000000 + number).to_bytes(8, "big")


def ranks(members: int) -> Digests:
    """Of so many terminals in a campaign."""
    return digests(CAMPAIGN, map(terminal, range(members)))


def short_policy(*shares: float, first: int = 20, soak_days: float = 1, **gates: object) -> Policy:
    """A first wave of some terminals, then shares."""
    waves = [Wave(name="first", terminals=first, soak_days=soak_days)]
    waves += [Wave(name=f"{x:g}", share=x, soak_days=soak_days) for x in (*shares, 1.0)]
    return Policy.model_validate({"waves": waves, "gates": gates})


class Fleet:
    """Shadow takes 3 days, trial 2; what the pack does wrong is given to :meth:`day`."""

    def __init__(self, members: int, seed: int, *, off: float = 0.0) -> None:
        self.draw = np.random.default_rng(seed)
        self.seen = Seen.nothing(members)
        self.rate = self.draw.gamma(2.0, 40.0, members) + 5
        mix = self.draw.dirichlet(np.full(BINS, 20.0), members)
        self.mix = mix
        self.off = off
        self.taken_d = np.full(members, -1)
        self.alert = self.draw.gamma(0.5, 0.02, members)
        self.hour = HOUR0

    def day(
        self,
        *,
        alerts: float = 1.0,
        falls: float = 0.001,
        faults: float = 2e-4,
        silent: float = 0.0,
        shift_after_days: int | None = None,
        saturated: float = 1e-4,
        takes: float = 1.0,
    ) -> Seen:
        """A day later; probabilities are by event, hour or (``falls``, ``silent``) by member.
        ``takes``: :func:`run` lets this share of offers be taken."""
        seen, draw = self.seen, self.draw
        self.hour += 24
        d = (self.hour - HOUR0) // 24
        on = draw.random(len(seen)) >= self.off
        gone = (self.taken_d >= 0) & (draw.random(len(seen)) < silent)
        self.rate[gone] = 0
        on &= self.rate > 0
        seen.heard_h[on] = self.hour - draw.integers(0, 12, int(on.sum()))
        age = np.where(self.taken_d < 0, -1, d - self.taken_d)
        fell = (age >= 1) & (age <= 5) & (draw.random(len(seen)) < falls / 5)
        live = (self.taken_d >= 0) & on & (seen.stage != Stage.FELL_BACK)
        stage = np.select([age < 1, age < 4, age < 6], [0, Stage.SHADOW, Stage.TRIAL], 5)
        seen.stage[live] = stage[live]
        seen.stage[live & fell] = Stage.FELL_BACK
        live &= ~fell
        n = np.where(live, draw.poisson(self.rate), 0)
        shadow = np.flatnonzero(live & (age >= 1) & (age < 4))
        self._shadow(shadow, n[shadow], alerts)
        runs = np.flatnonzero(live & (age >= 4))
        late = age[runs] >= 6
        seen.events_after[runs] += n[runs]
        seen.hours_after[runs] += 24
        seen.faults_after[runs] += draw.poisson(24 * faults, len(runs))
        seen.saturated_after[runs] += draw.binomial(n[runs], saturated)
        p = self.mix[runs]
        if shift_after_days is not None:
            bad = age[runs] >= 6 + shift_after_days
            p = np.where(bad[:, None], np.roll(p * np.linspace(0.05, 3, BINS), 3, axis=1), p)
            p = p / p.sum(axis=1, keepdims=True)
        counts = draw.multinomial(n[runs], p).astype(np.int32)
        seen.scores_first[runs[~late]] += counts[~late]
        seen.scores_after[runs[late]] += counts[late]
        return seen

    def _shadow(self, which: npt.NDArray[np.int64], n: npt.NDArray[np.int64], more: float) -> None:
        seen, draw = self.seen, self.draw
        cells = np.diag([0.45, 0.27, 0.12, 0.04]) + np.diag([0.03] * 3, 1) + np.diag([0.01] * 3, -1)
        seen.table[which] += draw.multinomial(n, (cells / cells.sum()).ravel()).astype(np.int32)
        both = draw.binomial(n, np.minimum(0.9 * self.alert[which], 0.4))
        seen.parent_alerts[which] += both + draw.binomial(n, 0.1 * self.alert[which])
        alike = draw.binomial(both, min(more, 1.0))
        extra = np.maximum(0.1 + 0.9 * (more - 1), 0.1) * self.alert[which]
        seen.alerts[which] += alike + draw.binomial(n, np.minimum(extra, 0.4))

    def take(self, offers: npt.NDArray[np.int64]) -> None:
        """Begin with the pack, after a week of which as much was seen as is counted later."""
        seen, draw = self.seen, self.draw
        self.taken_d[offers] = (self.hour - HOUR0) // 24
        n = draw.poisson(7 * self.rate[offers])
        seen.events_before[offers], seen.hours_before[offers] = n, 168
        seen.saturated_before[offers] = draw.binomial(n, 1e-4)
        seen.faults_before[offers] = draw.poisson(168 * 2e-4, len(offers))
        seen.scores_before[offers] = draw.multinomial(n, self.mix[offers])


def run(
    policy: Policy,
    members: int,
    seed: int,
    *,
    days: int = 120,
    off: float = 0.0,
    promise: Promise | None = None,
    strata: npt.NDArray[np.int64] | None = None,
    watch: Callable[[Rollout, Fleet, Tick], None] = lambda *_: None,
    **what: float,
) -> tuple[Rollout, Sequence[Tick]]:
    """A campaign until it is done, stopped or inconclusive."""
    fleet = Fleet(members, seed, off=off)
    codes = np.arange(members) % 3 if strata is None else strata
    rollout = Rollout(policy, ranks(members), codes, promise=promise)
    rollout.do("approve")
    ticks = []
    for _ in range(days):
        seen = fleet.day(**what)  # type: ignore[arg-type]
        tick = rollout.tick(fleet.hour, seen)
        fleet.take(tick.offers[: round(what.get("takes", 1) * len(tick.offers))])
        ticks.append(tick)
        watch(rollout, fleet, tick)
        if tick.state not in ("running",):
            break
    return rollout, ticks

# SPDX-License-Identifier: Apache-2.0
"""The policy of a campaign: its waves, the bounds of its gates, its limits; and what they find."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from tinyfin.config.toml import read_as
from tinyfin.documents import Facts

__all__ = ["Gates", "Limits", "Omissible", "Policy", "Power", "Wave"]

Share = Annotated[float, Field(gt=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Hour = Annotated[int, Field(ge=0, le=23)]
Omissible = Literal["paired", "alerts", "self_difference", "faults", "saturations"]

_TESTS = 22
"""Of a look: eleven, of the wave and of the waves before it."""


class Wave(Facts):
    """Members up to here, those of earlier waves included: so many, or a share of the fleet."""

    name: Annotated[str, Field(min_length=1, max_length=40)]
    terminals: Annotated[int, Field(ge=1)] | None = None
    share: Share | None = None
    soak_days: Annotated[float, Field(ge=0)] = 2.0
    """That a wave is watched after enough of its members have confirmed the pack."""

    @model_validator(mode="after")
    def _one_size(self) -> Self:
        if (self.terminals is None) == (self.share is None):
            raise ValueError(f"wave {self.name!r}: give terminals or share, and not both")
        return self

    def size(self, fleet: int) -> int:
        """Members up to here, of a fleet of so many."""
        if self.terminals is not None:
            return min(self.terminals, fleet)
        assert self.share is not None
        return math.ceil(self.share * fleet)


class Gates(Facts):
    """Bounds. docs/rollout.md has the formulas."""

    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    """With which a bound is kept before a wave passes."""
    halt_risk: Annotated[float, Field(gt=0, lt=0.5)] = 0.01
    """That a campaign whose pack keeps every bound is halted, all looks together, at most."""
    shows_from_terminals: Annotated[int, Field(ge=1)] = 250
    """A wave of fewer members passes when nothing contradicts a bound; others must show it."""
    confirmed_share: Share = 0.5
    """Of a wave's members, before it passes."""
    failure_share: Share = 0.01
    """Of members that fall back, fault again and again, or do not take the pack, below; and of
    silent ones, above what is silent in the rest of the fleet."""
    healthy_failure_share: Annotated[float, Field(ge=0, lt=1)] = 0.002
    """What falls back of a good pack: 0.1 % in shadow, 0.1 % on trial. A wave that is too small to
    show ``failure_share`` passes with as many failures as this explains."""
    silent_days: Positive = 3.0
    """Without a report; no offer is made to such a member either."""
    known_days: Positive = 30.0
    """Members of later waves that have reported in so many days say how many are silent anyway."""
    not_taken_days: Positive = 14.0
    fault_loop_per_day: Positive = 3.0
    """Faults, from which on a member counts as failed; at least so many in all."""
    paired_events: Annotated[int, Field(ge=1)] = 20_000
    paired_terminals: Annotated[int, Field(ge=1)] = 50
    alerts_margin: Share = 0.25
    """By which alerts may differ from those that the release promised."""
    self_events: Annotated[int, Field(ge=1)] = 5_000
    """Of scores since confirmation, in a wave that must show its bounds."""
    self_psi: Positive = 0.10
    """Stability index of the score, against what the pack was confirmed for."""
    fault_rate_per_hour: Positive = 0.001
    """Faults in an hour, more than before: 0.001 are 99.9 % of hours without one."""
    saturation_factor: Positive = 2.0
    saturation_per_1000: Annotated[float, Field(ge=0)] = 1.0
    """Saturated values per 1,000 events that are allowed on top of the factor."""
    precision_drop: Share = 0.20
    """Of the promised precision, from which on a campaign is halted."""
    without: list[Omissible] = Field(default_factory=list)
    """Gates that this pack cannot have: without a shadow there is no paired table."""


class Window(Facts):
    """Hours of the day (UTC) in which a stratum may be offered the pack."""

    stratum: str
    hours: list[Hour]


class Limits(Facts):
    """Of a campaign."""

    wait_days: Positive = 28.0
    """That a wave may wait for its gates before the campaign is inconclusive."""
    offers_per_hour: Annotated[int, Field(ge=1)] | None = None
    offer_hours: list[Hour] = Field(default_factory=lambda: list(range(24)))
    """Hours of the day (UTC) in which offers are made."""
    windows: list[Window] = Field(default_factory=list)
    """Other hours for some strata."""
    revert: bool = True
    """Whether members go back to the parent when the campaign is halted."""


@dataclass(frozen=True)
class Power:
    """What the gate on failures finds in a wave, by the binomial distribution."""

    wave: str
    terminals: int
    halts_at: int
    """Failures, in one look at all of them."""
    finds_share: float
    """The failure rate that is halted with ``confidence``."""
    passes_with: int
    """Failures, at most."""

    @property
    def text(self) -> str:
        """A sentence."""
        if self.halts_at > self.terminals:
            return (
                f"{self.wave}: {self.terminals} are too few to halt for failures; "
                f"{self.passes_with} pass"
            )
        return (
            f"{self.wave}: a failure rate of {100 * self.finds_share:.2g} % is halted; "
            f"{self.halts_at} of {self.terminals} halt, {self.passes_with} pass"
        )


def _default_waves() -> list[Wave]:
    shares = ((0.01, 4), (0.05, 3), (0.25, 2), (0.5, 2), (1, 2))
    rest = [Wave(name=f"{100 * s:g} %", share=s, soak_days=d) for s, d in shares]
    return [Wave(name="laboratory", terminals=10, soak_days=4), *rest]


class Policy(Facts):
    """Waves, gates and limits; without arguments the usual ones."""

    waves: Annotated[list[Wave], Field(min_length=1, max_length=100)] = Field(
        default_factory=_default_waves
    )
    gates: Gates = Field(default_factory=Gates)
    limits: Limits = Field(default_factory=Limits)

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = [wave.name for wave in self.waves]
        if len(set(names)) != len(names):
            raise ValueError("two waves have one name")
        for sizes in ([w.terminals for w in self.waves], [w.share for w in self.waves]):
            given = [size for size in sizes if size is not None]
            if sorted(set(given)) != given:
                raise ValueError("waves must grow: each has the members of those before it")
        if self.waves[-1].share != 1:
            raise ValueError("the last wave must have share = 1: every terminal")
        return self

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """The policy of a TOML file: [[waves]], [gates], [limits]. Raises ConfigError."""
        return read_as(cls, path)

    def look_risk(self, day: int = 1) -> float:
        """Of each test of the look on a day of a wave, from 1 (Bonferroni): ``halt_risk`` shared
        out over waves and what follows the last one. Of a wave's share nine tenths are for its
        ``wait_days``; the rest is for all days after them, each with 1 / (day (day - 1))."""
        looks = math.ceil(self.limits.wait_days) + 1
        part = 0.9 / looks if day <= looks else 0.1 * looks / (day * (day - 1))
        return self.gates.halt_risk * part / ((len(self.waves) + 1) * _TESTS)

    def sizes(self, fleet: int) -> list[int]:
        """Members of each wave alone."""
        ends = np.maximum.accumulate([wave.size(fleet) for wave in self.waves])
        return [int(n) for n in np.diff(ends, prepend=0)]

    def halts_at(self, members: int, day: int = 1) -> int:
        """Failures whose share is above ``failure_share`` by the lower Clopper-Pearson bound with
        the risk of that day's look (C. J. Clopper and E. S. Pearson, 1934)."""
        from scipy.stats import binom

        return int(binom.isf(self.look_risk(day), members, self.gates.failure_share)) + 1

    def passes_with(self, members: int) -> int:
        """Failures whose share is below ``failure_share`` by the upper Clopper-Pearson bound; where
        a wave is too small for that, those that ``healthy_failure_share`` explains."""
        from scipy.stats import binom

        gates = self.gates
        shown = int(binom.ppf(1 - gates.confidence, members, gates.failure_share)) - 1
        return max(shown, int(binom.ppf(gates.confidence, members, gates.healthy_failure_share)))

    def power(self, sizes: Sequence[int]) -> list[Power]:
        """What the gate on failures finds in waves of so many members each; empty ones are left
        out."""
        from scipy.stats import beta

        rows = []
        for wave, n in zip(self.waves, sizes, strict=True):
            if n:
                k = self.halts_at(n)
                finds = float(beta.ppf(self.gates.confidence, k, n - k + 1)) if k <= n else 1.0
                rows.append(Power(wave.name, n, k, finds, self.passes_with(n)))
        return rows

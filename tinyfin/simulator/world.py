# SPDX-License-Identifier: Apache-2.0
"""The town: terminals, cards and the random streams that everything is drawn from."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from tinyfin.config.sections import Season
from tinyfin.errors import ConfigError
from tinyfin.simulator.merchants import PROFILES, Profile
from tinyfin.simulator.rows import Ints

__all__ = ["DAY", "ISSUERS", "Terminal", "World", "mix64"]

DAY = 86_400
ISSUERS = 40
_CARDS_PER_TERMINAL = 250


def mix64(seed: int, value: npt.ArrayLike) -> npt.NDArray[np.uint64]:
    """SplitMix64's finaliser over ``value``, salted: well-spread 64-bit tokens from counters."""
    with np.errstate(over="ignore"):
        z = np.asarray(value).astype(np.int64).view(np.uint64) + np.uint64(
            (seed * 0x9E3779B97F4A7C15 + 0x9E3779B97F4A7C15) % 2**64
        )
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return np.asarray(z ^ (z >> np.uint64(31)))


@dataclass
class Terminal:
    """One terminal at one merchant."""

    index: int
    kind: str
    profile: Profile
    scale: float
    regulars: Ints
    """Cards of the regulars, the most frequent first."""
    outages: list[tuple[int, int]] = field(default_factory=list)
    """Start and end of each time without a host, seconds since 2000-01-01."""
    reboots: list[int] = field(default_factory=list)
    """Starts that are not the daily one."""

    @property
    def id(self) -> str:
        """Terminal id (DE41 has 8 characters)."""
        return f"T{self.index:07d}"

    @property
    def hours(self) -> npt.NDArray[np.float64]:
        """Weight of each hour of the day, summing to 1."""
        weights = np.array([int(digit) for digit in self.profile.hours], np.float64)
        return np.asarray(weights / weights.sum())

    @property
    def opens_s(self) -> int:
        """Second of the day of the first busy hour: when the terminal is started."""
        return int(np.flatnonzero(self.hours)[0]) * 3600


class World:
    """Terminals, cards and seeded random streams; the same arguments make the same world."""

    def __init__(
        self,
        terminals: int,
        days: int,
        seed: int,
        start_s: int,
        merchants: Mapping[str, float],
        seasons: Sequence[Season] = (),
    ) -> None:
        self.days = days
        self.seasons = tuple(seasons)
        self.seed = seed
        self.start_s = start_s
        self.end_s = start_s + days * DAY
        self.cards = max(2000, _CARDS_PER_TERMINAL * terminals)
        weights = 1.0 / np.arange(1, ISSUERS + 1)
        self.card_bin = self.rng("issuers").choice(ISSUERS, self.cards, p=weights / weights.sum())
        self.terminals = self._terminals(terminals, merchants)

    def rng(self, *name: str | int) -> np.random.Generator:
        """The random stream called ``name``; streams do not disturb one another."""
        words = [zlib.crc32(str(part).encode()) for part in name]
        return np.random.default_rng(np.random.SeedSequence([self.seed, *words]))

    def seasonal(self, what: Literal["amounts", "sales"], time_s: Ints) -> npt.NDArray[np.float64]:
        """The seasons' factor at each time; 1 outside of all of them."""
        factor = np.ones(len(time_s))
        for season in self.seasons:
            end = self.end_s if season.end is None else season.end
            inside = (time_s >= season.start) & (time_s < end)
            factor[inside] *= season.amounts if what == "amounts" else season.sales
        return factor

    def _terminals(self, count: int, merchants: Mapping[str, float]) -> list[Terminal]:
        for name in merchants:
            if name not in PROFILES:
                raise ConfigError(
                    f"simulate.merchants: unknown merchant {name!r}; "
                    f"known are {', '.join(PROFILES)}"
                )
        weights = {name: merchants.get(name, 0.0) for name in PROFILES} if merchants else {}
        if merchants and not any(weights.values()):
            raise ConfigError("simulate.merchants: every weight is 0; give one of them a weight")
        kinds = _shares(weights or dict.fromkeys(PROFILES, 1.0), count)
        out = []
        for index, kind in enumerate(kinds):
            profile = PROFILES[kind]
            rng = self.rng("terminal", index)
            size = min(profile.regulars, self.cards)
            terminal = Terminal(
                index,
                kind,
                profile,
                float(rng.lognormal(-0.1, 0.3)),
                rng.choice(self.cards, size, replace=False).astype(np.int64),
            )
            self._troubles(terminal, rng)
            out.append(terminal)
        return out

    def _troubles(self, terminal: Terminal, rng: np.random.Generator) -> None:
        """Ordinary outages and reboots."""
        profile = terminal.profile
        for _ in range(int(rng.poisson(profile.outages_per_day * self.days))):
            start = int(rng.integers(self.start_s, self.end_s))
            length = int(60 + rng.exponential(profile.outage_minutes * 60))
            terminal.outages.append((start, start + length))
        count = int(rng.poisson(self.days / 25))
        terminal.reboots += [int(t) for t in rng.integers(self.start_s, self.end_s, count)]


def _shares(weights: Mapping[str, float], count: int) -> list[str]:
    """``count`` names in turn, as often as their weights say."""
    names = [name for name, weight in weights.items() if weight > 0]
    total = sum(weights.values())
    used = dict.fromkeys(names, 0)
    out = []
    for i in range(count):
        due = max(names, key=lambda name: weights[name] / total * (i + 1) - used[name])
        used[due] += 1
        out.append(due)
    return out

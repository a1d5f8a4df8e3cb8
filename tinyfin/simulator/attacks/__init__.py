# SPDX-License-Identifier: Apache-2.0
"""Scenarios laid over the ordinary business: attacks, and hard negatives that look like them.

To add one, add one file here that defines ``ATTACK = Attack(...)``; it is found by itself. Its
``inject`` draws from ``incident.rng`` only, and ``finish``, which completes the rows, draws from a
stream of the scenario's own. So no scenario changes the rows of another, but for what counts
transactions: counters of terminals and cards, and the offline queue.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from zlib import crc32

import numpy as np
import numpy.typing as npt

from tinyfin.errors import ConfigError
from tinyfin.simulator.rows import Ints, Rows, make
from tinyfin.simulator.world import DAY, ISSUERS, Terminal, World

__all__ = ["ONE_STREAM", "Attack", "Incident", "attacks", "incidents"]

ONE_STREAM = frozenset(
    {
        "card_testing",
        "distraction_refund",
        "expiry_guessing",
        "fallback",
        "forced_post",
        "lunch_rush",
        "offline_burst",
        "split_sale",
        "stolen_terminal",
        "takeover",
        "tourist_coach",
        "voice_approvals",
    }
)
"""Scenarios for which ``finish`` draws from the stream of ordinary business, because they are older
than the streams. Do not change it: that would change the file of every seed."""


@dataclass(frozen=True)
class Attack:
    """One kind of scenario. ``label`` 1: fraud; 0: a hard negative."""

    name: str
    about: str
    per_terminal_day: float
    """Mean incidents per terminal and day."""
    inject: Callable[[Incident], Rows]
    label: int = 1
    merchants: tuple[str, ...] = ()
    """Profiles it happens at; any if empty."""
    hours: tuple[int, ...] = ()
    """Hours of the day it starts in; the merchant's busy hours if empty."""
    on_demand: bool = False
    """Happens only where [simulate.attacks] names it."""


@dataclass
class Incident:
    """One happening of a scenario: where, when, and the means to write it down."""

    world: World
    terminal: Terminal
    rng: np.random.Generator
    start_s: int
    label: int
    scenario: int
    first_card: int

    def strangers(self, n: int, bins: int = 0) -> tuple[Ints, Ints]:
        """n cards never used in town and their issuers: ``bins`` different ones, 0 for any."""
        cards = self.first_card + np.arange(n, dtype=np.int64)
        self.first_card += n
        pool = self.rng.choice(ISSUERS, bins or ISSUERS, replace=False)
        return cards, self.rng.choice(pool, n)

    def townspeople(self, n: int) -> tuple[Ints, Ints]:
        """n different cards of the town and their issuers."""
        cards = self.rng.choice(self.world.cards, n, replace=False).astype(np.int64)
        return cards, self.world.card_bin[cards]

    def rows(self, n: int, **columns: npt.ArrayLike) -> Rows:
        """n rows of this incident; see ``rows.make`` for the columns."""
        given = {
            "terminal": self.terminal.index,
            "label": self.label,
            "scenario": self.scenario,
            **columns,
        }
        return make(n, **given)

    def times(self, n: int, low_s: float, high_s: float) -> Ints:
        """n times from the start on, with gaps of low to high seconds."""
        gaps = self.rng.uniform(low_s, high_s, n)
        return self.start_s + np.floor(np.cumsum(gaps)).astype(np.int64)

    def on_days(self, days: npt.ArrayLike, hours: Sequence[int] = ()) -> Ints:
        """Sorted times, one on each of ``days`` (0: the day of the start), in one of ``hours``;
        without ``hours``, when the merchant is busy."""
        day = np.asarray(days, np.int64)
        busy = None if hours else self.terminal.hours
        hour = self.rng.choice(hours or 24, len(day), p=busy)
        midnight = self.start_s - (self.start_s - self.world.start_s) % DAY
        second = self.rng.integers(0, 3600, len(day))
        return np.sort(midnight + day * DAY + hour * 3600 + second)

    def shift(self, n: int) -> Ints:
        """n sorted times in one operator's shift: the half of the day that holds the start."""
        half = (self.start_s - self.world.start_s) % DAY // (DAY // 2)
        open_hours = np.flatnonzero(self.terminal.hours)
        return self.on_days(np.zeros(n), open_hours[open_hours // 12 == half].tolist())

    def customers(self, n: int) -> tuple[Ints, Ints]:
        """n cards of customers and their issuers: half of them the shop's regulars."""
        cards = self.rng.integers(0, self.world.cards, n)
        regulars = self.rng.choice(self.terminal.regulars, n)
        cards = np.where(self.rng.random(n) < 0.5, regulars, cards).astype(np.int64)
        return cards, self.world.card_bin[cards]

    def priced(self, amount_minor: npt.ArrayLike) -> Ints:
        """Amounts rounded down to the price points of the merchant, at least one of them."""
        step = self.terminal.profile.step_minor
        steps = np.maximum(np.asarray(amount_minor) // step, 1)
        return np.asarray(steps * step, np.int64)

    def cut_link(self, start_s: int, end_s: int) -> None:
        """The terminal has no host from ``start_s`` to ``end_s``."""
        self.terminal.outages.append((start_s, end_s))


@cache
def attacks() -> Mapping[str, Attack]:
    """All scenarios by name, in the order of their names."""
    found = {}
    for module in sorted(pkgutil.iter_modules(__path__), key=lambda module: module.name):
        attack = importlib.import_module(f"{__name__}.{module.name}").ATTACK
        found[attack.name] = attack
    return found


def incidents(
    world: World, factors: Mapping[str, float], start: Mapping[str, int] | None = None
) -> list[Rows]:
    """The rows of all incidents. ``factors`` multiply the rates; 0 leaves a scenario out.
    ``start``: when a scenario begins, local time in s; its day counts.

    The incidents of a scenario are spread over the whole time from then on, so that every part of a
    split by time holds some; there is at least one. Raises ConfigError for unknown scenarios, and
    for one that would begin before or after the data.
    """
    known = attacks()
    start = start or {}
    for key, names in (("attacks", factors), ("attacks_start", start)):
        for name in names:
            if name not in known:
                raise ConfigError(
                    f"simulate.{key}: unknown scenario {name!r}; known are {', '.join(known)}"
                )
    for name, moment in start.items():
        if not world.start_s <= moment < world.end_s:
            raise ConfigError(
                f"simulate.attacks_start: {name} begins outside of the {world.days} days that are "
                "simulated; choose a moment within them, or leave it out with attacks"
            )
    out = []
    for code, attack in enumerate(known.values(), start=1):
        factor = factors.get(attack.name, 0.0 if attack.on_demand else 1.0)
        if factor > 0:
            first = (start.get(attack.name, world.start_s) - world.start_s) // DAY
            days = world.days - first
            mean = attack.per_terminal_day * factor * len(world.terminals) * days
            count = max(1, round(mean))
            out += [_happen(world, attack, code, i, count, first) for i in range(count)]
    return out


def _happen(world: World, attack: Attack, code: int, i: int, count: int, first: int) -> Rows:
    """Incident ``i`` of ``count`` from day ``first`` on."""
    rng = world.rng("attack", attack.name, i)
    places = [t for t in world.terminals if not attack.merchants or t.kind in attack.merchants]
    terminal = places[int(rng.integers(len(places)))] if places else world.terminals[0]
    day = first + int((i + rng.random()) / count * (world.days - first))
    day = min(day, world.days - 1)
    busy = terminal.hours if not attack.hours else None
    hour = int(rng.choice(attack.hours or 24, p=busy))
    start = world.start_s + day * DAY + hour * 3600 + int(rng.integers(0, 3600))
    first_card = (crc32(attack.name.encode()) << 24) + (i << 12)
    return attack.inject(Incident(world, terminal, rng, start, attack.label, code, first_card))

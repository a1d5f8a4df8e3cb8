# SPDX-License-Identifier: Apache-2.0
"""How the probation of a pack ends at a terminal that begins it on any of its days.

A terminal's days come again from the first on when they have all been, so every day is followed by
as many as are needed. Looks are at whole numbers of events, as the terminal takes them, and judged
by :func:`tinyfin.release.paired.failed_at`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from tinyfin.formats import PROBATION_RESULTS
from tinyfin.pack.probation import Probation
from tinyfin.release.paired import failed_at

__all__ = ["GOES_ON", "PASSED", "Probations", "Repeated", "Town", "probations"]

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
GOES_ON, PASSED = (PROBATION_RESULTS.index(word) for word in ("goes on", "passed"))
_OF_FAILED = [PROBATION_RESULTS.index(word) for word in ("far", "differs", "stability", "alerts")]
_ALERTS, _SATURATED = (PROBATION_RESULTS.index(word) for word in ("alerts", "saturated"))
_U16 = 65_535
_NEVER = 1 << 40


class Repeated:
    """Sums over stretches of what comes again and again: ``counts`` int[places, period, ...]."""

    def __init__(self, counts: npt.NDArray[np.integer]) -> None:
        self.period = counts.shape[1]
        zero = np.zeros_like(counts[:, :1], np.int32)
        self._before = np.concatenate([zero, np.cumsum(counts, axis=1, dtype=np.int32)], axis=1)

    def sums(self, place: Ints, begin: Ints, end: Ints) -> npt.NDArray[np.int32]:
        """int32[n, ...]: from step ``begin`` of each place until before ``end``; neither is less
        than 0."""
        first = begin % self.period
        rounds, last = np.divmod(end - begin + first, self.period)
        found: npt.NDArray[np.int32] = self._before[place, last] - self._before[place, first]
        again = np.flatnonzero(rounds)
        shape = (-1,) + (1,) * (found.ndim - 1)
        found[again] += rounds[again].reshape(shape) * self._before[place[again], self.period]
        return found


@dataclass(frozen=True)
class Town:
    """Events of k terminals over some days, in order of terminal and time, n of them."""

    terminal: Ints
    """0 to k - 1; each has events."""
    day: Ints
    """From 0 on."""
    days: int
    t_s: Ints
    features: npt.NDArray[np.int16]
    label: npt.NDArray[np.int8]
    saturated: Mask
    parent: npt.NDArray[np.uint32]
    """score_q32 of the pack that runs."""
    merchant: Ints
    """[k]: category of the merchant."""

    @property
    def terminals(self) -> int:
        """k."""
        return len(self.merchant)

    def daily(self, code: npt.NDArray[np.integer | np.bool_], bins: int) -> npt.NDArray[np.uint16]:
        """uint16[k, days, bins]: events of each code of a terminal and day."""
        cell = (self.terminal * self.days + self.day) * bins + code
        counts = np.bincount(cell, minlength=self.terminals * self.days * bins)
        return np.minimum(counts, _U16).astype(np.uint16).reshape(self.terminals, self.days, bins)


@dataclass(frozen=True)
class Probations:
    """By terminal and day of its begin: uint16[k, days], the table with 16 counts more. Days are
    those until the one with the result, 0 for the day of the begin."""

    shadow_days: npt.NDArray[np.uint16]
    shadow_result: npt.NDArray[np.uint16]
    """Of :data:`tinyfin.formats.PROBATION_RESULTS`."""
    shadow_table: npt.NDArray[np.uint16]
    shadow_alerts: npt.NDArray[np.uint16]
    shadow_parent_alerts: npt.NDArray[np.uint16]
    trial_days: npt.NDArray[np.uint16]
    trial_result: npt.NDArray[np.uint16]


class _Counts:
    """Tables and alerts of stretches of events that begin at each day of each terminal; in the
    place of :class:`tinyfin.release.paired.Windows`."""

    def __init__(self, town: Town, cell: Ints, parent_alert: Mask, own_alert: Mask) -> None:
        self._base = np.searchsorted(town.terminal, np.arange(town.terminals))
        self._many = np.diff(np.r_[self._base, len(cell)])
        wide = np.zeros((len(cell) + 1, 18), np.int32)
        np.put_along_axis(wide[1:], cell[:, None], 1, axis=1)
        wide[1:, 16], wide[1:, 17] = parent_alert, own_alert
        self._before = np.cumsum(wide, axis=0, out=wide)
        whole = np.arange(town.terminals * town.days)
        self.terminal, self._first_day = np.divmod(whole, town.days)
        self.begin = np.searchsorted(town.terminal * town.days + town.day, whole)
        self.begin -= self._base[self.terminal]
        self._town = town

    def _upto(self, event: Ints) -> Ints:
        base, many = self._base[self.terminal], self._many[self.terminal]
        rounds, rest = np.divmod(event, many)
        found = self._before[base + rest].astype(np.int64) - self._before[base]
        found += rounds[:, None] * (self._before[base + many] - self._before[base])
        return found

    def until(self, events: int) -> tuple[Ints, Ints, Ints]:
        found = self._upto(self.begin + events) - self._upto(self.begin)
        return found[:, :16].reshape(-1, 4, 4), found[:, 16], found[:, 17]

    def days_until(self, event: Ints) -> Ints:
        """Days from the begin of each until its event of this number, from 0 on."""
        rounds, rest = np.divmod(self.begin + event, self._many[self.terminal])
        day = self._town.day[self._base[self.terminal] + rest] + rounds * self._town.days
        return np.asarray(day - self._first_day)

    def nth(self, mask: Mask, n: int) -> Ints:
        """From the begin of each, the number of the event that is its ``n``-th (from 0 on) of
        ``mask``; a number too large for any probation where there is none."""
        at = np.flatnonzero(mask).astype(np.int64)
        if not len(at):
            return np.full(len(self.begin), _NEVER)
        before = np.asarray(np.searchsorted(at, np.r_[self._base, len(mask)]))
        first, many = before[:-1][self.terminal], np.diff(before)[self.terminal]
        begin = np.searchsorted(at, self._base[self.terminal] + self.begin) - first
        rounds, rest = np.divmod(begin + n, np.maximum(many, 1))
        event = at[np.minimum(first + rest, len(at) - 1)] - self._base[self.terminal]
        event = event + rounds * self._many[self.terminal] - self.begin
        return np.asarray(np.where(many > 0, event, _NEVER))


def probations(
    town: Town, bounds: Probation, cell: Ints, parent_alert: Mask, own_alert: Mask
) -> Probations:
    """``cell``: place of each event in the paired table, row of the parent, 0 to 15."""
    counts = _Counts(town, cell, parent_alert, own_alert)
    failed = failed_at(bounds, counts)
    fails = failed >= 0
    look = np.where(fails.any(axis=0), fails.argmax(axis=0), len(bounds.looks) - 1)
    events = np.array([one.events for one in bounds.looks])[look]
    why = failed[look, np.arange(len(look))]
    tables, parents, owns = zip(*(counts.until(one.events) for one in bounds.looks), strict=True)
    alerts = counts.nth(own_alert, bounds.trial_alerts)
    saturated = counts.nth(town.saturated, bounds.trial_saturated)
    passed = np.full_like(alerts, bounds.trial_events - 1)
    end = np.minimum(np.minimum(alerts, saturated), passed)
    # a count that passes its bound with the last event fails; alerts are looked at first
    trial = np.where(alerts == end, _ALERTS, np.where(saturated == end, _SATURATED, PASSED))
    found = (
        counts.days_until(events - 1),
        np.where(why >= 0, np.array(_OF_FAILED)[why], PASSED),
        np.choose(look[:, None, None], tables).reshape(-1, 16),
        np.choose(look, owns),
        np.choose(look, parents),
        counts.days_until(end),
        trial,
    )
    shape = (town.terminals, town.days)
    names = [one.name for one in fields(Probations)]
    parts = {
        name: np.minimum(part, _U16).astype(np.uint16).reshape(*shape, *part.shape[1:])
        for name, part in zip(names, found, strict=True)
    }
    return Probations(**parts)

# SPDX-License-Identifier: Apache-2.0
"""What can be the matter with transactions, counted chunk by chunk: missing, double, unknown,
silent."""

from __future__ import annotations

from collections import Counter

import numpy as np
import numpy.typing as npt

from tinyfin.config import Config
from tinyfin.data.currencies import CURRENCIES
from tinyfin.data.transactions import Transactions, format_time
from tinyfin.data.values import row_keys
from tinyfin.results.check import DayRows, Doubles, Gap, SilentTerminal, UnknownCodes

__all__ = ["Health"]

DAY_S = 86_400
_FEWEST_ROWS = 20
_FEWEST_DAYS = 7
_SILENT_S = 3 * DAY_S
_GAP_S = 3600
_TIMES = 2
"""A silence is so many times as long as what is usual."""
_LISTED = 20
_CODES = {"currency": frozenset({0, *CURRENCIES}), "mcc": frozenset({0, *range(700, 10_000)})}
"""Numbers of ISO 4217, and the ranges of ISO 18245 that begin with 0700 (what is below is reserved;
the first code is 0742); 0 says that there is none."""

Ints = npt.NDArray[np.int64]


class Health:
    """Rows in order of time, in chunks that number terminals alike; any order in one chunk.

    Keeps 8 bytes of each row.
    """

    def __init__(self, config: Config) -> None:
        mapping = config.data.resolved(config.schema)
        self._plain = config.data.plain
        self.schema = config.schema
        self._codes = [
            name
            for name in _CODES
            if name in config.schema.names and not (name in mapping and mapping[name].hash)
        ]
        self._unknown: dict[str, Counter[int]] = {name: Counter() for name in self._codes}
        self.rows = 0
        self._absent: Counter[str] = Counter()
        self._days: Counter[int] = Counter()
        self._pauses: dict[int, tuple[int, int]] = {}
        self._keys: list[npt.NDArray[np.uint64]] = []
        self._example: str | None = None
        self._names: tuple[str, ...] = ()
        self._count, self._last_s, self._longest_s = (np.zeros(0, np.int64) for _ in range(3))
        self.first_s, self.last_s = 2**32, -1

    def add(self, tx: Transactions) -> None:
        """The next rows."""
        if not len(tx):
            return
        self.rows += len(tx)
        for name in self.schema.names:
            self._absent[name] += int(np.count_nonzero(~tx.has(name)))
        for name in self._codes:
            found, count = np.unique(tx.column(name)[tx.has(name)], return_counts=True)
            for code, n in zip(found.tolist(), count.tolist(), strict=True):
                if code not in _CODES[name]:
                    self._unknown[name][code] += n
        t = tx.t_mono_s.astype(np.int64)
        self._add_keys(tx, t)
        if not self._plain:
            self._add_terminals(tx, t)
            self._add_days(np.sort(t))
        self.first_s, self.last_s = min(self.first_s, int(t.min())), max(self.last_s, int(t.max()))

    def _add_keys(self, tx: Transactions, t: Ints) -> None:
        names = tx.schema.names
        by_card = {"token", "amount_minor"} <= set(names)
        compared = ("token", "amount_minor") if by_card else names
        columns = [tx.column(name).astype(np.int64) for name in compared]
        if not self._plain:
            columns += [tx.terminal.astype(np.int64), t]
        key = row_keys(columns, len(tx))
        rows = np.flatnonzero(tx.has("token")) if by_card else np.arange(len(tx))
        key = key[rows]
        self._keys.append(key)
        if self._example is None and len(key):
            order = np.argsort(key, kind="stable")
            again = np.flatnonzero(key[order][1:] == key[order][:-1])
            if len(again):
                row = rows[order[again[0]]]
                where = tx.terminals[tx.terminal[row]]
                self._example = f"terminal {where}, {format_time(tx.t_mono_s[row])}"

    def _add_terminals(self, tx: Transactions, t: Ints) -> None:
        if len(self._count) < len(tx.terminals):
            more = len(tx.terminals) - len(self._count)
            self._names = tx.terminals
            self._count = np.r_[self._count, np.zeros(more, np.int64)]
            self._longest_s = np.r_[self._longest_s, np.zeros(more, np.int64)]
            self._last_s = np.r_[self._last_s, np.full(more, -1)]
        order = np.lexsort((t, tx.terminal))
        own, at = tx.terminal[order], t[order]
        first = np.r_[True, own[1:] != own[:-1]]
        before = np.where(first, self._last_s[own], np.r_[0, at[:-1]])
        np.maximum.at(self._longest_s, own, np.where(before >= 0, at - before, 0))
        np.maximum.at(self._last_s, own, at)
        self._count += np.bincount(own, minlength=len(self._count))

    def _add_days(self, t: Ints) -> None:
        days, count = np.unique(t // DAY_S, return_counts=True)
        self._days.update(dict(zip(days.tolist(), count.tolist(), strict=True)))
        before = np.r_[self.last_s if self.last_s >= 0 else t[0], t[:-1]]
        pause = t - before
        order = np.lexsort((pause, t // DAY_S))
        ends = np.flatnonzero(np.r_[np.diff(t[order] // DAY_S) != 0, True])
        for i in order[ends].tolist():
            day, found = int(t[i]) // DAY_S, (int(pause[i]), int(before[i]))
            self._pauses[day] = max(found, self._pauses.get(day, (0, 0)))

    def missing(self, mapped: set[str]) -> dict[str, float]:
        """Share of rows without each field in ``mapped``."""
        return {
            name: self._absent[name] / max(self.rows, 1)
            for name in self.schema.names
            if name in mapped
        }

    def doubles(self, ids: int) -> Doubles:
        """Rows that are there once more; ``ids``: rows whose id was there before."""
        keys = np.concatenate(self._keys) if self._keys else np.zeros(0, np.uint64)
        rows = len(keys) - len(np.unique(keys))
        return Doubles(ids=ids, rows=rows, example=self._example)

    def unknown_codes(self) -> dict[str, UnknownCodes]:
        """Codes that are in no list, by field."""
        return {
            name: UnknownCodes(
                rows=sum(found.values()), codes=[code for code, _ in found.most_common(_LISTED)]
            )
            for name, found in self._unknown.items()
            if found
        }

    def gaps(self) -> list[Gap]:
        """Pauses of an hour and more that are twice as long as nine of ten days have any."""
        if len(self._pauses) < _FEWEST_DAYS:
            return []
        longest = np.array([pause for pause, _ in self._pauses.values()])
        usual_s = int(np.quantile(longest, 0.9, method="higher"))
        found = sorted(p for p in self._pauses.values() if p[0] > max(_TIMES * usual_s, _GAP_S))
        return [
            Gap(begin=format_time(begin), end=format_time(begin + pause), hours=pause / 3600)
            for pause, begin in sorted(found[-_LISTED:], key=lambda p: p[1])
        ]

    def silent(self) -> list[SilentTerminal]:
        """Terminals with twenty rows and more that end three days and more before the data, and
        twice as long before as they ever paused; those with the most rows first."""
        silent_s = self.last_s - self._last_s
        found = np.flatnonzero(
            (self._count >= _FEWEST_ROWS)
            & (silent_s > np.maximum(_TIMES * self._longest_s, _SILENT_S))
        )
        return [
            SilentTerminal(
                terminal=self._names[i],
                rows=int(self._count[i]),
                last=format_time(self._last_s[i]),
                silent_days=float(silent_s[i] / DAY_S),
                longest_pause_days=float(self._longest_s[i] / DAY_S),
            )
            for i in found[np.argsort(-self._count[found], kind="stable")].tolist()
        ]

    def days(self) -> list[DayRows]:
        """All days from the first to the last."""
        span = range(min(self._days), max(self._days) + 1) if self._days else ()
        return [DayRows(day=format_time(d * DAY_S)[:10], rows=self._days[d]) for d in span]

    def remarks(self) -> list[str]:
        """What is bad, a line each, at most three."""
        lines = []
        doubles, gaps, silent = self.doubles(0), self.gaps(), self.silent()
        if doubles.rows:
            what = "terminal, time, amount and card" if "token" in self.schema.names else "all"
            lines.append(
                f"{doubles.rows} of {self.rows} rows are there twice (equal in {what}); one: "
                f"{doubles.example}"
            )
        strange = [
            f"{x.rows} rows have a {name} of no ISO list ({', '.join(map(str, x.codes[:3]))})"
            for name, x in self.unknown_codes().items()
        ]
        lines += ["; ".join(strange)] if strange else []
        if silent or gaps:
            pauses = []
            if silent:
                pauses.append(f"{len(silent)} terminals fall silent ({silent[0].terminal} first)")
            if gaps:
                longest = max(gap.hours for gap in gaps)
                pauses.append(f"{len(gaps)} gaps in time (one of {longest:.0f} h)")
            lines.append("; ".join(pauses))
        more = "`tinyfin check` says more"
        return [f"WARNING: {line}" + f"; {more}" * (line is lines[-1]) for line in lines]

# SPDX-License-Identifier: Apache-2.0
"""What the monitors of a fleet have counted, day by day, from the reports of a lake."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tinyfin.errors import InputError
from tinyfin.fleet.inventory import read_inventory
from tinyfin.fleet.lake import Lake
from tinyfin.pack.container import Pack
from tinyfin.pack.drift import DriftSection
from tinyfin.pack.monitor_image import LOST

if TYPE_CHECKING:
    import duckdb

__all__ = ["ALL", "OTHERS", "WINDOW", "FleetCounts", "increments", "read_counts", "read_strata"]

WINDOW = 500
"""Events of a terminal's newest window; what it counts until it has as many is left out: its
features are still settling."""
ALL, OTHERS = "all", "not in the inventory"

Ints = npt.NDArray[np.int64]

_REPORTS = """
    WITH every AS (
        SELECT terminal, hour, audit_sequence, boot, number, pack, monitor_halvings,
            monitor_events, monitor_counts, monitor_level, lag(pack) OVER (
                PARTITION BY terminal ORDER BY hour, audit_sequence, boot, number) AS pack_before
        FROM report)
    SELECT terminal, monitor_counts AS counts, (hour // 24)::BIGINT AS day, boot::BIGINT AS boot,
        monitor_halvings::BIGINT AS halvings, monitor_events::BIGINT AS events,
        coalesce(monitor_level::BIGINT, -1) AS level, pack_before IS DISTINCT FROM pack AS other
    FROM every WHERE pack = ? AND monitor_counts IS NOT NULL
    ORDER BY terminal, hour, audit_sequence, boot, number"""


@dataclass(frozen=True)
class FleetCounts:
    """Counts between two reports of a terminal, n of them, by terminal and then in the order of its
    clock; K positions are the bins of the histograms of DRFT, one behind the other."""

    drift: DriftSection
    terminals: tuple[str, ...]
    """T aliases."""
    stratum: tuple[str, ...]
    """Of each terminal."""
    terminal: Ints
    """int64[n], an index into ``terminals``; ascends."""
    day: Ints
    """int64[n], counted from 2000-01-01, on which the later report was made."""
    counts: npt.NDArray[np.int32]
    """int32[n, K]; 0 where a report has no such histogram."""
    level: Ints
    """int64[n]: of the thresholds, by the later report; -1: not reported."""

    @cached_property
    def spans(self) -> list[slice]:
        """The positions of each histogram."""
        ends = np.cumsum([h.bins for h in self.drift.histograms])
        return [
            slice(int(end) - h.bins, int(end))
            for end, h in zip(ends, self.drift.histograms, strict=True)
        ]

    @cached_property
    def events(self) -> Ints:
        """int64[n]: of the score's histogram."""
        return np.asarray(self.counts[:, self.spans[0]].sum(1, dtype=np.int64))

    @cached_property
    def settled(self) -> npt.NDArray[np.bool_]:
        """bool[n]: not among a terminal's first :data:`WINDOW` events."""
        return self._held(self.events) - self.events >= WINDOW

    @cached_property
    def newest(self) -> npt.NDArray[np.bool_]:
        """bool[n]: in a terminal's newest window, the last rows that hold :data:`WINDOW` events."""
        whole = np.bincount(self.terminal, self.events, len(self.terminals))
        return self.settled & (whole[self.terminal] - self._held(self.events) < WINDOW)

    def _held(self, values: Ints) -> Ints:
        """int64[n]: running sums of each terminal."""
        held = np.cumsum(values)
        first = np.searchsorted(self.terminal, np.arange(len(self.terminals)))
        return held - (held[first] - values[first])[self.terminal] if len(held) else held

    @cached_property
    def first_day(self) -> Ints:
        """int64[T]: of what is settled; a day that never comes where nothing is."""
        first = np.full(len(self.terminals), 1 << 40)
        np.minimum.at(first, self.terminal[self.settled], self.day[self.settled])
        return first

    def by_terminal(self, rows: npt.NDArray[np.bool_]) -> Ints:
        """int64[T, K]: sums of these rows."""
        found = np.zeros((len(self.terminals), self.counts.shape[1]), np.int64)
        chosen = np.flatnonzero(rows)
        if len(chosen):
            at, first = np.unique(self.terminal[chosen], return_index=True)
            found[at] = np.add.reduceat(self.counts[chosen], first, axis=0, dtype=np.int64)
        return found

    def days(self, first: int, last: int) -> npt.NDArray[np.bool_]:
        """bool[n]: settled, of these days and those between."""
        return self.settled & (self.day >= first) & (self.day <= last)


def read_counts(
    base: duckdb.DuckDBPyConnection, pack: Pack, strata: Mapping[str, str] | None = None
) -> FleetCounts:
    """What terminals have counted under a pack. ``strata``: by alias, of
    :func:`read_strata`; all terminals are one stratum if None. Raises InputError for a pack
    without DRFT."""
    if pack.drift is None:
        raise InputError(
            f"pack {pack.pack_id.hex()} has no section DRFT, so terminals count nothing; make one "
            "with `tinyfin release`"
        )
    found = base.sql(_REPORTS, params=[pack.pack_id.hex()[:16]]).to_arrow_table()
    names, terminal = np.unique(found["terminal"].to_numpy(), return_inverse=True)
    counts = increments(
        *_matrix(found["counts"].combine_chunks(), pack.drift),
        pack.drift.score.bins,
        np.append(True, terminal[1:] != terminal[:-1])[: len(terminal)] | found["other"].to_numpy(),
        *(found[name].to_numpy() for name in ("boot", "halvings", "events")),
    )
    aliases = tuple(map(str, names))
    return FleetCounts(
        pack.drift,
        aliases,
        tuple(ALL if strata is None else strata.get(name, OTHERS) for name in aliases),
        terminal.astype(np.int64),
        found["day"].to_numpy(),
        counts,
        found["level"].to_numpy(),
    )


def _matrix(lists: pa.ListArray, drift: DriftSection) -> tuple[npt.NDArray[np.int32], Ints]:
    """int32[n, K] of lists of counts, and how many positions of whole histograms each has."""
    ends = np.cumsum([0, *(h.bins for h in drift.histograms)])
    lengths = lists.value_lengths().to_numpy().astype(np.int64)
    known = ends[np.searchsorted(ends, lengths, "right") - 1]
    row = np.repeat(np.arange(len(lists)), lengths)
    place = np.arange(len(row)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    kept = place < known[row]
    matrix = np.zeros((len(lists), int(ends[-1])), np.int32)
    matrix[row[kept], place[kept]] = lists.flatten().to_numpy()[kept]
    return matrix, known


def increments(
    matrix: npt.NDArray[np.int32],
    known: Ints,
    score_bins: int,
    first: npt.NDArray[np.bool_],
    boot: Ints,
    halvings: Ints,
    events: Ints,
) -> npt.NDArray[np.int32]:
    """What :func:`tinyfin.pack.monitor_image.window` finds between each reading and the one before
    it, all at once: int32[n, K]. ``known``: positions of whole histograms that a reading has;
    ``first``: the one before it is of another terminal or pack."""
    if not len(matrix):
        return matrix
    known_before, boot_before, halvings_before, events_before = (
        np.roll(column, 1) for column in (known, boot, halvings, events)
    )
    halved = halvings - halvings_before
    shift = np.clip(halved, 0, 31)
    difference = matrix - (np.roll(matrix, 1, axis=0) >> shift[:, None].astype(np.int32))
    missing = -np.minimum(difference[:, :score_bins], 0).sum(1)
    same = boot == boot_before
    anew = first | (halved < 0) | (known_before == 0)
    anew |= ~same & (missing > LOST * events_before / 2.0**shift)
    anew |= same & (events < events_before)
    place = np.arange(matrix.shape[1])
    difference[place >= np.minimum(known, known_before)[:, None]] = 0
    return np.where(anew[:, None], matrix, np.maximum(difference, 0))


def read_strata(lake: Lake, path: Path) -> dict[str, str]:
    """By alias the stratum of each terminal of an inventory. Raises InputError."""
    return {lake.key.terminal(bytes.fromhex(id)): name for id, name in read_inventory(path)}

# SPDX-License-Identifier: Apache-2.0
"""Drift of terminals in service, from their reports."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tinyfin.documents import plain
from tinyfin.errors import InputError
from tinyfin.field.keys import load_fleet_key, terminal_keys
from tinyfin.field.report import Report, parse_report, require_genuine
from tinyfin.pack.container import Pack
from tinyfin.pack.monitor_image import MonitorCounts, split_counts
from tinyfin.training.terminal_drift import Comparison, against_past, against_stratum, last_window

__all__ = ["Drifts", "read_reports", "terminal_drifts"]

_PACK_BYTES = 8


@dataclass(frozen=True)
class Drifts:
    """Per terminal (hexadecimal id) and histogram what was found."""

    names: tuple[str, ...]
    """Of the histograms: "score", then features."""
    past: Mapping[str, list[Comparison]]
    stratum: Mapping[str, list[Comparison]]
    levels: Mapping[str, int]

    @property
    def drifted(self) -> list[str]:
        """Terminals of which a histogram has drifted, against their past or their stratum."""
        return [
            name
            for name in self.past
            if any(c.drifted for c in self.past[name] + self.stratum[name])
        ]

    def as_json(self) -> list[dict[str, object]]:
        """One object per terminal."""

        def rows(found: list[Comparison]) -> list[dict[str, object]]:
            return [
                {"histogram": name} | {key: plain(value) for key, value in vars(one).items()}
                for name, one in zip(self.names, found, strict=False)
            ]

        return [
            {
                "terminal": name,
                "drifted": name in self.drifted,
                "level": self.levels[name],
                "past": rows(self.past[name]),
                "stratum": rows(self.stratum[name]),
            }
            for name in self.past
        ]

    def rows(self) -> list[tuple[str, ...]]:
        """A table with its head; a terminal without a verdict has a row that says so."""
        head = ("terminal", "histogram", "against", "events", "index", "distance", "p", "state")
        table: list[tuple[str, ...]] = [head]
        for name in self.past:
            found = [("past", self.past[name]), ("stratum", self.stratum[name])]
            if not any(one for _, one in found):
                table.append((name, "-", "past", "-", "-", "-", "-", "needs another report"))
            for what, comparisons in found:
                for histogram, one in zip(self.names, comparisons, strict=False):
                    table.append((name, histogram, what, *_cells(one)))
        return table


def _cells(one: Comparison) -> tuple[str, ...]:
    few = math.isnan(one.p_value)
    state = "too few events" if few else "drifted" if one.drifted else "ok"
    return (
        f"{one.events} after {one.events_before}",
        f"{one.stability_index:.3f}",
        f"{one.jensen_shannon:.3f}",
        "-" if few else f"{one.p_value:.2g}",
        state,
    )


def read_reports(
    files: Sequence[Path], pack: Pack, fleet_path: Path | None = None
) -> tuple[dict[str, list[MonitorCounts]], int]:
    """Counts of each terminal in the order of its clock, and how many reports were left out: of
    another pack, or without counts. The same report twice counts once.

    Raises InputError for what is no report, what its terminal has not made (with ``fleet_path``),
    and a pack without DRFT.
    """
    drift = pack.drift
    if drift is None:
        raise InputError(
            "the pack has no section DRFT, so terminals count nothing; make one with `tinyfin "
            "release`"
        )
    fleet = None if fleet_path is None else load_fleet_key(fleet_path)
    held: dict[str, dict[tuple[int, int, int], Report]] = defaultdict(dict)
    others = 0
    for file in files:
        report = parse_report(file.read_bytes(), file)
        if fleet is not None:
            require_genuine(report, terminal_keys(fleet, report.terminal).report, file)
        if report.pack != pack.pack_id[:_PACK_BYTES] or report.monitor is None:
            others += 1
            continue
        order = report.t_s, report.boot_nonce, report.number
        held[report.terminal.hex()][order] = report
    if not held:
        raise InputError(
            f"none of {len(files)} reports is of pack {pack.pack_id.hex()} and has counts; name "
            "the pack that the terminals run"
        )
    found = {}
    for name, reports in held.items():
        monitors = [(r.boot_nonce, r.monitor) for _, r in sorted(reports.items())]
        found[name] = [
            MonitorCounts(m.events, m.halvings, m.level, split_counts(m.counts, drift), boot)
            for boot, m in monitors
            if m is not None
        ]
    return found, others


def terminal_drifts(
    readings: Mapping[str, Sequence[MonitorCounts]], pack: Pack, events: int
) -> Drifts:
    """Compares each terminal's newest window of ``events`` with its past and with the others'."""
    assert pack.drift is not None
    windows = {name: last_window(of, events) for name, of in readings.items()}
    known = pack.meta.get("features", ())
    features = [h.feature for h in pack.drift.features]
    return Drifts(
        ("score", *(str(known[i]) if i < len(known) else f"feature {i}" for i in features)),
        {name: against_past(pack.drift, past, now) for name, (past, now) in windows.items()},
        against_stratum({name: now for name, (_, now) in windows.items()}),
        {name: of[-1].level for name, of in readings.items()},
    )

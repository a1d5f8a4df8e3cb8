# SPDX-License-Identifier: Apache-2.0
"""The figures of a lake, its campaigns and a registry, as families of Prometheus.

No label names a terminal, so the number of series does not grow with the fleet: labels are packs
(at most :data:`MOST_PACKS`), strata (:data:`MOST_STRATA`) and words of a fixed list.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa

from tinyfin import optional_packages
from tinyfin.errors import InputError
from tinyfin.field.report import COUNTERS
from tinyfin.fleet.drift import FleetDrift, drift_of
from tinyfin.fleet.lake import Lake
from tinyfin.fleet.monitors import ALL, OTHERS
from tinyfin.fleet.requests import requests_of
from tinyfin.fleet.status import status_of
from tinyfin.fleet.views import connect, rows_of
from tinyfin.pack.container import Pack
from tinyfin.registry.registry import Registry
from tinyfin.rollout.controller import State
from tinyfin.rollout.members import Stage
from tinyfin.rollout.store import Store

if TYPE_CHECKING:
    import duckdb
    from prometheus_client.core import Metric

__all__ = ["FAMILIES", "MOST_PACKS", "MOST_STRATA", "Figures", "Sources", "exposed", "figures_of"]

MOST_PACKS = 4
"""Those of most terminals now, and those that are asked about; others together are ``other``."""
MOST_STRATA = 20
MOST_CAMPAIGNS = 20
"""The newest ones."""
SILENT_DAYS = (1, 3, 7, 30)
_PHASE_DAYS = 7
_OTHER = "other"
_NO_NAMES = frozenset({"none", ALL, OTHERS})
_DAY_S = 86_400
_EPOCH = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)
Kind = Literal["gauge", "counter"]

_WHERE = ("pack", "stratum")
FAMILIES: dict[str, tuple[Kind, str, tuple[str, ...]]] = {
    "snapshot_timestamp_seconds": ("gauge", "when these figures were made, Unix time", ()),
    "snapshot_duration_seconds": ("gauge", "how long that took", ()),
    "lake_reports": ("gauge", "reports in the lake, one of each boot and day", ()),
    "lake_waiting_files": ("gauge", "files that wait to be merged", ()),
    "lake_refused_reports": ("gauge", "reports that were refused and are kept aside", ("reason",)),
    "lake_newest_report_timestamp_seconds": (
        "gauge",
        "the hour of the newest report, by the terminals' clocks, those ahead of time left out",
        (),
    ),
    "terminals": ("gauge", "terminals, by the pack of their newest report", _WHERE),
    "terminals_silent": (
        "gauge",
        "terminals whose newest report is more than so many days old",
        ("stratum", "days"),
    ),
    "terminals_in_phase": (
        "gauge",
        f"terminals by phase and reason of their other slot, of the last {_PHASE_DAYS} days",
        ("phase", "reason"),
    ),
    "terminals_in_conflict": ("gauge", "terminals of which two differing reports came", ()),
    "restarts": ("counter", "restarts of terminals", ("pack", "cause")),
    **dict.fromkeys(COUNTERS, ("counter", "of the terminals, as reports count it", _WHERE)),
    "notices_per_transaction": ("gauge", "notices for each scored one", ("pack", "of")),
    "label_delay_seconds": ("gauge", "within which nine of ten labels become known", ()),
    "stability_index": (
        "gauge",
        "of a histogram, its newest 7 days against the first 28; the largest of any stratum",
        ("pack", "histogram"),
    ),
    "score_stability_index": ("gauge", "of the score's histogram", _WHERE),
    "histograms_drifted": ("gauge", "histograms of the stratum that have drifted", _WHERE),
    "terminals_drifted": ("gauge", "terminals that differ from their own past", ("pack",)),
    "terminals_drifted_by_chance": ("gauge", "as many would by chance, at most", ("pack",)),
    "precision": ("gauge", "of alerts", ("pack", "of")),
    "recall": ("gauge", "of frauds", ("pack", "of")),
    "campaign_state": ("gauge", "1: the campaign is in that state", ("campaign", "state")),
    "campaign_wave": ("gauge", "number of the wave, from 0", ("campaign",)),
    "campaign_members": ("gauge", "members by stage", ("campaign", "stage")),
    "registry_packs": ("gauge", "packs by how far they have come", ("standing",)),
    "registry_events": ("gauge", "events of the log", ()),
    "requests_open": ("gauge", "open requests for a candidate", ("cause",)),
    "request_oldest_age_seconds": ("gauge", "age of the oldest open request", ()),
}
"""By name without the prefix ``tinyfin_``: kind, meaning, labels."""


@dataclass(frozen=True)
class Sources:
    """What is looked at."""

    lake: Lake
    packs: Sequence[Pack] = ()
    """Of these also drift, precision and recall."""
    strata: Mapping[str, str] | None = None
    """By alias of the terminal."""
    store: Store | None = None
    """Of campaigns."""
    registry: Registry | None = None
    day: int | None = None
    """In place of today, at its end; counted from 2000-01-01."""


class Figures:
    """The families and their values."""

    def __init__(self, packs: frozenset[str], strata: frozenset[str]) -> None:
        self._known = {"pack": packs, "stratum": strata}
        self._values: dict[str, dict[tuple[str, ...], float]] = {name: {} for name in FAMILIES}

    def add(self, name: str, value: float | None, **labels: object) -> None:
        """Values of one place add up; of stability indices the largest stays. None: nothing is
        known, and no series is made."""
        if value is None:
            return
        place = []
        for label in FAMILIES[name][2]:
            text = "none" if labels[label] is None else str(labels[label])
            known = self._known.get(label)
            place.append(text if known is None or text in known | _NO_NAMES else _OTHER)
        values = self._values[name]
        before = values.get(tuple(place), 0.0)
        largest = name.endswith("stability_index")
        values[tuple(place)] = max(before, value) if largest else before + value

    def rows(self, name: str) -> dict[tuple[str, ...], float]:
        """Of a family, by the values of its labels."""
        return self._values[name]

    def collect(self) -> Iterator[Metric]:
        """As :mod:`prometheus_client` takes them."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        kinds = {"gauge": GaugeMetricFamily, "counter": CounterMetricFamily}
        for name, values in self._values.items():
            kind, meaning, labels = FAMILIES[name]
            family = kinds[kind](f"tinyfin_{name}", meaning, labels=labels)
            for place, value in sorted(values.items()):
                family.add_metric(place, value)
            if values:
                yield family


def exposed(sources: Sources) -> bytes:
    """The figures as they are now, in Prometheus' text format. Raises ToolError without the
    packages, InputError when something cannot be read."""
    optional_packages.require(["prometheus_client"], "for metrics")
    from prometheus_client import CollectorRegistry, generate_latest

    registry = CollectorRegistry(auto_describe=False)
    registry.register(figures_of(sources))
    return generate_latest(registry)


def figures_of(sources: Sources) -> Figures:
    """All figures. Raises as :func:`exposed`."""
    optional_packages.require(["duckdb", "scipy", "sqlalchemy"], "for the figures of a fleet")
    if len(sources.packs) > MOST_PACKS:
        raise InputError(f"{len(sources.packs)} packs are asked about; give at most {MOST_PACKS}")
    begun = time.monotonic()
    now = dt.datetime.now(dt.UTC)
    day = (now - _EPOCH).days if sources.day is None else sources.day
    lake = sources.lake
    with connect(lake, day) as base:
        rest = ALL if sources.strata is None else OTHERS
        _prepare(base, sources.strata or {}, rest, 24 * (day + 1))
        asked = [pack.pack_id.hex()[:16] for pack in sources.packs]
        found = Figures(*_kept(base, asked))
        _terminals(found, base)
    _lake(found, lake)
    for pack in sources.packs:
        _drift(found, drift_of(lake, pack, day, sources.strata), pack.pack_id.hex()[:16])
    if sources.store is not None:
        _campaigns(found, sources.store)
    if sources.registry is not None:
        _registry(found, sources.registry, day)
    found.add("snapshot_timestamp_seconds", now.timestamp())
    found.add("snapshot_duration_seconds", time.monotonic() - begun)
    return found


_STRATUM = pa.schema([("terminal", pa.string()), ("stratum", pa.string())])


def _prepare(
    base: duckdb.DuckDBPyConnection, strata: Mapping[str, str], rest: str, until_h: int
) -> None:
    """The table of each terminal's newest report: ``now``; ``rest``: the stratum of those that are
    in none."""
    columns = {"terminal": list(strata), "stratum": list(strata.values())}
    base.register("stratum_rows", pa.table(columns, _STRATUM))
    base.execute(
        f"""
        CREATE TABLE now AS
        SELECT terminal, coalesce(any_value(stratum), '{rest}') AS stratum, max(hour) AS hour,
            {until_h} - max(hour) AS age_h, arg_max(pack, hour) AS pack,
            arg_max(phase, hour) AS phase, arg_max(reason, hour) AS reason,
            bool_or(conflict) AS conflict
        FROM report LEFT JOIN stratum_rows USING (terminal) GROUP BY terminal"""
    )


def _kept(
    base: duckdb.DuckDBPyConnection, asked: Sequence[str]
) -> tuple[frozenset[str], frozenset[str]]:
    """Packs and strata that have series of their own."""
    kept = []
    for column, most, first in (("pack", MOST_PACKS, asked), ("stratum", MOST_STRATA, ())):
        rows = base.execute(
            f"SELECT {column} FROM now WHERE {column} IS NOT NULL AND {column} NOT IN (?, ?) "
            f"GROUP BY {column} ORDER BY count(*) DESC, {column}",
            [ALL, OTHERS],
        ).fetchall()
        names = dict.fromkeys((*first, *(row[0] for row in rows)))
        kept.append(frozenset(list(names)[:most]))
    return kept[0], kept[1]


def _terminals(found: Figures, base: duckdb.DuckDBPyConnection) -> None:
    for row in rows_of(base, "SELECT pack, stratum, count(*) AS n FROM now GROUP BY ALL"):
        found.add("terminals", row.pop("n"), **row)
    for days in SILENT_DAYS:
        silent = f"count(*) FILTER (age_h > {24 * days}) AS n"
        for row in rows_of(base, f"SELECT stratum, {silent} FROM now GROUP BY ALL"):
            found.add("terminals_silent", row.pop("n"), days=days, **row)
    whole = rows_of(
        base, "SELECT max(hour) AS hour, count(*) FILTER (conflict) AS conflicts FROM now"
    )[0]
    found.add("terminals_in_conflict", whole["conflicts"])
    if whole["hour"] is not None:
        newest = _EPOCH + dt.timedelta(hours=whole["hour"])
        found.add("lake_newest_report_timestamp_seconds", newest.timestamp())
    phases = f"""
        SELECT phase, reason, count(*) AS n FROM now
        WHERE age_h <= {24 * _PHASE_DAYS} AND phase IS NOT NULL GROUP BY ALL"""
    for row in rows_of(base, phases):
        found.add("terminals_in_phase", row.pop("n"), **row)
    sums = ", ".join(f"sum(t.{name})::DOUBLE AS {name}" for name in COUNTERS)
    counted = f"""
        SELECT t.pack, stratum, {sums} FROM terminal_day t JOIN now USING (terminal)
        GROUP BY t.pack, stratum"""
    for row in rows_of(base, counted):
        where = {"pack": row["pack"], "stratum": row["stratum"]}
        for name in COUNTERS:
            found.add(name, row[name], **where)
    for row in rows_of(
        base,
        "SELECT pack, reset_cause AS cause, sum(restarts)::DOUBLE AS n FROM restart GROUP BY ALL",
    ):
        found.add("restarts", row.pop("n"), **row)


def _lake(found: Figures, lake: Lake) -> None:
    status: dict[str, Any] = status_of(lake)
    found.add("lake_reports", status["reports"])
    found.add("lake_waiting_files", status["waiting"])
    for reason, count in status["kept_aside"].items():
        found.add("lake_refused_reports", count, reason=reason)
    if (days := status["label_delay_days"]) is not None:
        found.add("label_delay_seconds", days * _DAY_S)
    for pack, share in status["notice_share"].items():
        for of, value in share.items():
            found.add("notices_per_transaction", value, pack=pack, of=of)


def _drift(found: Figures, drift: FleetDrift, pack: str) -> None:
    found.add("terminals_drifted", drift.drifted, pack=pack)
    found.add("terminals_drifted_by_chance", drift.expected_by_chance, pack=pack)
    for row in drift.comparable:
        found.add("stability_index", row.stability_index, pack=pack, histogram=row.histogram)
        found.add("histograms_drifted", float(row.drifted), pack=pack, stratum=row.of)
        if row.histogram == "score":
            found.add("score_stability_index", row.stability_index, pack=pack, stratum=row.of)
    if (estimate := drift.estimate) is not None:
        for name in ("precision", "recall"):
            low, high = getattr(estimate, name)
            found.add(name, low, pack=pack, of="estimated, at least")
            found.add(name, high, pack=pack, of="estimated, at most")
            found.add(name, getattr(estimate, f"promised_{name}"), pack=pack, of="promised")
    if (realised := drift.realised) is not None:
        for name in ("precision", "recall"):
            share = getattr(realised, name)
            found.add(name, None if share is None else share[0], pack=pack, of="came true")


def _campaigns(found: Figures, store: Store) -> None:
    for name in store.names()[-MOST_CAMPAIGNS:]:
        rollout = store.campaign(name).rollout
        now = rollout.progress
        for state in State:
            found.add("campaign_state", float(now.state == state), campaign=name, state=state)
        found.add("campaign_wave", now.wave, campaign=name)
        for stage in Stage:
            members = int((rollout.stage == stage).sum())
            found.add("campaign_members", members, campaign=name, stage=stage.name.lower())


def _registry(found: Figures, registry: Registry, day: int) -> None:
    state = registry.state()
    found.add("registry_events", state.number)
    for entry in state.entries.values():
        found.add("registry_packs", 1, standing=entry.standing)
    waiting = [one for one in requests_of(registry) if one.answer is None]
    for one in waiting:
        found.add("requests_open", 1, cause=one.event.detail["cause"])
    if waiting:
        oldest = min(one.last_day for one in waiting)
        found.add("request_oldest_age_seconds", (day - oldest) * _DAY_S)

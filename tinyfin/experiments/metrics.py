# SPDX-License-Identifier: Apache-2.0
"""What an experiment can measure: counts and exposures of terminals, from the lake."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tinyfin.errors import InputError

if TYPE_CHECKING:
    import duckdb

__all__ = ["METRICS", "Metric", "counted", "mature_until"]

_COUNTERS = """SELECT terminal, sum({count}) AS y, {exposure} AS x
    FROM terminal_day WHERE day BETWEEN $first AND $last GROUP BY terminal"""
_LABELS = """SELECT terminal, count(*) FILTER (fraud{only}) AS frauds, count(*) FILTER (alerted) AS
    alerted FROM label_now WHERE day BETWEEN $first AND $last GROUP BY terminal"""
_SCORED = _COUNTERS.format(count="0", exposure="sum(scored)")
_FRAUDS = (
    "SELECT terminal, coalesce(frauds, 0) AS y, x FROM ({scored}) LEFT JOIN ({labels}) "
    "USING (terminal)"
)


@dataclass(frozen=True)
class Metric:
    """A ratio of two sums over terminals."""

    unit: str
    scale: float
    """The rate is for so much exposure."""
    query: str
    """Rows of terminal, y (count) and x (exposure) between the days $first and $last."""
    labels: bool = False
    """Whether it needs labels, which become known later."""
    binary: bool = True
    """Whether an event has it or not."""


METRICS = {
    "alerts": Metric(
        "alerts per 1,000 events in shadow or trial",
        1000,
        """SELECT terminal, sum(y) AS y, sum(x) AS x FROM (
            SELECT terminal, probation_pack, max(probation_alerts) AS y, max(probation_events) AS x
            FROM report WHERE DATE '2000-01-01' + CAST(hour // 24 AS INTEGER)
                BETWEEN $first AND $last AND probation_pack IN (SELECT unnest($packs))
            GROUP BY terminal, probation_pack, probation_phase) GROUP BY terminal""",
    ),
    "saturations": Metric(
        "saturated values per 1,000 events",
        1000,
        _COUNTERS.format(count="saturations", exposure="sum(scored)"),
        binary=False,
    ),
    "faults": Metric(
        "restarts by a fault per 1,000 hours of days with a report",
        1000,
        _COUNTERS.format(count="faults", exposure="24 * count(DISTINCT day)"),
        binary=False,
    ),
    "frauds": Metric(
        "reported frauds per 1,000 events",
        1000,
        _FRAUDS.format(scored=_SCORED, labels=_LABELS.format(only="")),
        labels=True,
    ),
    "frauds_caught": Metric(
        "reported frauds with an alert per 1,000 events",
        1000,
        _FRAUDS.format(scored=_SCORED, labels=_LABELS.format(only=" AND alerted")),
        labels=True,
    ),
    "precision": Metric(
        "frauds per 100 alerted events with a label",
        100,
        f"SELECT terminal, frauds AS y, alerted AS x FROM ({_LABELS.format(only=' AND alerted')})",
        labels=True,
    ),
}
"""By name."""


def counted(
    base: duckdb.DuckDBPyConnection,
    metric: Metric,
    first: str,
    last: str,
    packs: Mapping[str, Sequence[str]],
) -> dict[str, tuple[float, float]]:
    """Count and exposure by terminal (alias) from one day to another; those without exposure are
    left out. ``packs``: by arm, how the ids of its pack begin."""
    given = {"first": first, "last": last, "packs": [x for ids in packs.values() for x in ids]}
    used = {name: value for name, value in given.items() if f"${name}" in metric.query}
    rows = base.execute(metric.query, used).fetchall()
    return {name: (float(y or 0), float(x)) for name, y, x in rows if x}


def mature_until(base: duckdb.DuckDBPyConnection) -> str:
    """The last day whose labels are mature, as the view notice_day has it. Raises InputError
    without labels."""
    query = "SELECT (as_of - ceil((horizon_h + 24) / 24)::INTEGER)::VARCHAR FROM maturity"
    found = base.execute(query).fetchall()[0][0]
    if found is None:
        raise InputError("the lake has no labels, and the metric needs them")
    return str(found)

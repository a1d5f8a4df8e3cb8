# SPDX-License-Identifier: Apache-2.0
"""What the reports of a lake say of a campaign's members, by DuckDB (docs/formats/lake.md).

A report is of the campaign's pack when it names one of its ids, and of its success when that pack
runs, is the active one, and no other is on trial; another one may lie there, or watch. Only genuine
reports are in a lake.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tinyfin.fleet.lake import Lake
from tinyfin.fleet.monitors import increments
from tinyfin.fleet.views import connect
from tinyfin.rollout.definition import Definition
from tinyfin.rollout.members import BINS, CELLS, NEVER, Hours, Seen, Stage

if TYPE_CHECKING:
    import duckdb

__all__ = ["WEEK_H", "observed"]

WEEK_H = 168
_MOST_COVERED_H = 48
"""That one report covers, at most: a terminal that was off did not run."""
_ORDER = "hour, audit_sequence, boot, number"
_PHASES = f"""CASE
    WHEN phase = 'staged' AND other_ours THEN {int(Stage.STAGED)}
    WHEN phase = 'shadow' AND other_ours THEN {int(Stage.SHADOW)}
    WHEN phase = 'trial' AND other_ours THEN {int(Stage.TRIAL)}
    WHEN phase <> 'trial' AND ours AND active_ours THEN {int(Stage.CONFIRMED)}
    WHEN phase = 'none' AND other_ours AND reason NOT IN ('none', 'journal_lost', 'confirmed')
        THEN {int(Stage.FELL_BACK)}
    ELSE {int(Stage.TARGETED)} END"""
_MARKED = """CREATE TEMP VIEW marked AS
    SELECT member.number AS member, offered, report.*, coalesce(pack IN ({ids}), FALSE) AS ours,
        coalesce(pack IN ({parents}), FALSE) AS parents,
        coalesce(active_tag IN ({tags}), FALSE) AS active_ours,
        coalesce(other_tag IN ({tags}), FALSE) AS other_ours
    FROM report JOIN member USING (terminal) WHERE hour <= {hour}"""
_NEWEST = f"""SELECT member, hour, {_PHASES} AS stage,
        count(*) FILTER ({_PHASES} = {int(Stage.FELL_BACK)} AND offered >= 0 AND hour > offered)
            OVER (PARTITION BY member) AS falls FROM marked
    QUALIFY row_number() OVER (PARTITION BY member ORDER BY hour DESC, audit_sequence DESC,
        boot DESC, number DESC) = 1"""
_SHADOW = """SELECT member, probation_alerts, probation_parent_alerts, {cells} FROM marked
    WHERE probation_pack IN ({ids}) AND probation_phase = 'shadow' AND hour >= offered
    QUALIFY row_number() OVER (PARTITION BY member ORDER BY hour DESC, audit_sequence DESC,
        boot DESC, number DESC) = 1"""
_COUNTED = """
    WITH spans AS (
        SELECT member.number AS member, offered, increment.*, pack IN ({ids}) AS ours,
            hour - lag(hour) OVER (PARTITION BY terminal ORDER BY hour, boot) AS span
        FROM increment JOIN member USING (terminal) WHERE offered >= 0 AND hour <= {hour}
    ), sides AS (
        SELECT *, coalesce(ours, FALSE) AND hour > offered AS late,
            NOT coalesce(ours, FALSE) AND hour > offered - {week} AND hour <= offered AS early
        FROM spans WHERE span IS NOT NULL
    )
    SELECT member, {sums} FROM sides GROUP BY member"""
_SCORES = f"""
    SELECT member, hour, boot, ours, monitor_events, monitor_halvings, {{counts}},
        NOT ours AND hour > offered - {WEEK_H} AS before,
        ours AND NOT coalesce(hour > confirmed, FALSE) AS first,
        ours AND coalesce(hour > confirmed, FALSE) AND hour > {{hour}} - {WEEK_H} AS after
    FROM (SELECT *, min(hour) FILTER ({_PHASES} = {int(Stage.CONFIRMED)} AND hour > offered)
            OVER (PARTITION BY member) AS confirmed FROM marked)
    WHERE ((ours AND hour > offered) OR (parents AND hour > offered - 2 * {WEEK_H}
            AND hour <= offered))
        AND len(monitor_counts) >= CASE WHEN ours THEN {{own}} ELSE {{parent}} END
        AND offered >= 0
    ORDER BY member, ours, {_ORDER}"""
_TIMES = f"""SELECT member, any_value(offered) AS offered, min(hour) FILTER (ours) AS began,
        min(hour) FILTER ({_PHASES} = {int(Stage.CONFIRMED)}) AS confirmed FROM marked
    WHERE offered >= 0 AND hour > offered GROUP BY member HAVING confirmed IS NOT NULL
    ORDER BY member"""
_AROUND = f"""
    SELECT member, hour, boot, FALSE AS ours, monitor_events, monitor_halvings, {{counts}},
        hour > offered - {WEEK_H} AND hour <= offered AS before,
        hour > began - 24 AND hour <= confirmed AS first,
        hour > greatest(confirmed, {{hour}} - {WEEK_H}) AS after
    FROM report JOIN around USING (terminal)
    WHERE pack IN ({{parents}}) AND hour > offered - 2 * {WEEK_H} AND hour <= {{hour}}
        AND len(monitor_counts) >= {{parent}}
    ORDER BY member, {_ORDER}"""
"""The parent's scores of other members, at the times of their pairs. A trial has begun in the day
before the first report of it."""
_AROUND_MOST = 4096
"""Members with a pair, at most."""
_SUMS = {
    "events": "scored",
    "saturated": "saturations",
    "faults": "(first_of_boot AND reset_cause = 'fault')::INTEGER",
    "hours": f"least(span, {_MOST_COVERED_H})",
}
Rows = dict[str, npt.NDArray[np.int64]]


def observed(
    lake: Lake, definition: Definition, aliases: Sequence[str], offered_h: Hours, hour: int
) -> Seen:
    """What reports until ``hour`` say of the members of these aliases. Raises ToolError without
    DuckDB, InputError."""
    seen = Seen.nothing(len(aliases))
    ids = _quoted(one[:16] for one in definition.layouts)
    known = {
        "ids": ids,
        "tags": _quoted(one[:8] for one in definition.layouts),
        "parents": _quoted(one[:16] for one in definition.parent_layouts),
        "hour": hour,
        "week": WEEK_H,
    }
    columns = {"terminal": aliases, "number": np.arange(len(aliases)), "offered": offered_h}
    with connect(lake) as base:
        base.register("member", pa.table(columns))
        base.execute(_MARKED.format(**known))
        newest = _rows(base, _NEWEST)
        seen.heard_h[newest["member"]] = newest["hour"]
        seen.stage[newest["member"]] = newest["stage"]
        seen.falls[newest["member"]] = newest["falls"]
        found = _rows(base, _SHADOW.format(cells=_listed("probation_table", CELLS), **known))
        seen.table[found["member"]] = _wide(found, CELLS)
        seen.alerts[found["member"]] = found["probation_alerts"]
        seen.parent_alerts[found["member"]] = found["probation_parent_alerts"]
        sums = ", ".join(
            f"coalesce(sum({value}) FILTER ({side}), 0)::BIGINT AS {name}_{when}"
            for name, value in _SUMS.items()
            for side, when in (("early", "before"), ("late", "after"))
        )
        found = _rows(base, _COUNTED.format(sums=sums, **known))
        for name in found.keys() - {"member"}:
            getattr(seen, name)[found["member"]] = found[name]
        known |= {
            "own": definition.score_bins or CELLS,
            "parent": definition.parent_score_bins or 1,
            "counts": _listed("monitor_counts", BINS),
        }
        _put_scores(seen, _rows(base, _SCORES.format(**known)), definition)
        times, others = _rows(base, _TIMES), np.flatnonzero(offered_h == NEVER)
        if len(times["member"]) and len(others) and definition.parent_score_bins:
            others = others[:: -(-len(others) // _AROUND_MOST)]
            at = np.arange(len(others)) * len(times["member"]) // len(others)
            table = {name: values[at] for name, values in times.items()}
            seen.pair[others] = table.pop("member")
            table |= {"terminal": np.array(aliases)[others], "member": others}
            base.register("around", pa.table(table))
            _put_scores(seen, _rows(base, _AROUND.format(**known)), definition)
    return seen


def _quoted(ids: object) -> str:
    return ", ".join(f"'{one}'" for one in ids)  # type: ignore[attr-defined]


def _listed(name: str, size: int) -> str:
    return ", ".join(f"coalesce({name}[{i + 1}], 0) AS c{i}" for i in range(size))


def _rows(base: duckdb.DuckDBPyConnection, query: str) -> Rows:
    return {name: c.astype(np.int64) for name, c in base.execute(query).fetchnumpy().items()}


def _wide(rows: Rows, size: int) -> npt.NDArray[np.int64]:
    return np.stack([rows[f"c{i}"] for i in range(size)], axis=1)


def _put_scores(seen: Seen, rows: Rows, definition: Definition) -> None:
    """What members have scored before the offer, until they confirmed the pack, and in the last
    week: from report to report, the rows of one member and pack behind each other."""
    member, ours = rows["member"], rows["ours"].astype(bool)
    bins = np.where(ours, definition.score_bins, definition.parent_score_bins)
    counts = (_wide(rows, BINS) * (np.arange(BINS) < bins[:, None])).astype(np.int32)
    first = np.ones(len(member), bool)
    first[1:] = (member[1:] != member[:-1]) | (ours[1:] != ours[:-1])
    readings = (rows[name] for name in ("boot", "monitor_halvings", "monitor_events"))
    scored = increments(counts, bins, BINS, first, *readings)
    for when in ("before", "first", "after"):
        which = rows[when].astype(bool) & (ours | ~first)  # the parent has counted before
        np.add.at(getattr(seen, f"scores_{when}"), member[which], scored[which])

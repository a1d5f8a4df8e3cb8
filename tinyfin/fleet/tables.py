# SPDX-License-Identifier: Apache-2.0
"""The tables of a lake: their columns, and how rows merge. docs/formats/lake.md is the norm.

Both merges are unions that keep one row for each key, so rows may come in any order, and twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tinyfin.errors import InputError
from tinyfin.field.report import COUNTERS, Report
from tinyfin.fleet.secrets import LakeKey, letters
from tinyfin.wire.slot_frames import Phase, Place, Reason

__all__ = ["LABEL", "REPORT", "SCHEMAS", "day_of", "merged", "report_row", "table_of"]

HOUR_S, DAY_HOURS = 3600, 24
REPORT, LABEL = "report", "label"
_CAUSES = ("power", "fault", "other")

_U8, _U16, _U32, _TEXT = pa.uint8(), pa.uint16(), pa.uint32(), pa.string()
SCHEMAS = {
    REPORT: pa.schema(
        [
            pa.field("terminal", _TEXT, False),
            pa.field("boot", _U32, False),
            pa.field("number", _U32, False),
            pa.field("hour", _U32, False),
            pa.field("digest", _TEXT, False),
            pa.field("conflict", pa.bool_(), False),
            ("pack", _TEXT),
            ("reset_cause", _TEXT),
            *((name, _U32) for name in COUNTERS),
            ("running", _TEXT),
            ("phase", _TEXT),
            ("reason", _TEXT),
            ("active_tag", _TEXT),
            ("other_tag", _TEXT),
            ("floor", _U32),
            ("commands", _U32),
            ("notice_page", _U16),
            ("keys_version", _U16),
            ("audit_sequence", _U32),
            ("audit_mac", _TEXT),
            ("audit_lost", _U8),
            ("probation_pack", _TEXT),
            ("probation_phase", _TEXT),
            ("probation_result", _TEXT),
            ("probation_events", _U32),
            ("probation_alerts", _U32),
            ("probation_parent_alerts", _U32),
            ("probation_saturated", _U32),
            ("probation_looks", _U8),
            ("probation_table", pa.list_(_U16)),
            ("monitor_halvings", _U8),
            ("monitor_level", _U8),
            ("monitor_events", _U32),
            ("monitor_counts", pa.list_(_U16)),
        ]
    ),
    LABEL: pa.schema(
        [
            pa.field("terminal", _TEXT, False),
            pa.field("transaction", _TEXT, False),
            pa.field("hour", _U32, False),
            pa.field("known_hour", _U32, False),
            pa.field("fraud", pa.bool_(), False),
            ("card", _TEXT),
            ("alerted", pa.bool_()),
        ]
    ),
}
_ORDER = {
    REPORT: (["terminal", "boot"], ["number", "digest"]),
    LABEL: (["terminal", "transaction", "known_hour", "fraud"], ["hour", "card", "alerted"]),
}
"""By table: the key, and what decides between rows of one key: the greatest counts."""


def day_of(hour: int) -> int:
    """The day of an hour; both are counted from 2000-01-01."""
    return hour // DAY_HOURS


def _named(names: Sequence[str] | dict[int, str], number: int) -> str:
    try:
        return names[number]
    except (IndexError, KeyError):
        return f"unknown {number}"


_PLACES, _PHASES, _REASONS = ({int(x): x.name.lower() for x in e} for e in (Place, Phase, Reason))
_REASON_BITS = 0x1F


def report_row(report: Report, key: LakeKey) -> tuple[object, ...]:
    """The row of a report. Raises InputError for a section that is shorter than it should be."""
    counters, slots, head = report.counters or {}, report.slots, report.audit_head
    cause, probation, monitor = report.reset_cause, report.probation, report.monitor
    for value in (*counters.values(), *((monitor.events,) if monitor else ())):
        if value >= 1 << 32:
            raise InputError(f"report: a counter of {value} does not fit 32 bits; update tinyfin")
    if monitor is not None and max(monitor.counts, default=0) >= 1 << 16:
        raise InputError("report: a count of a histogram does not fit 16 bits; update tinyfin")
    return (
        key.terminal(report.terminal),
        report.boot_nonce,
        report.number,
        report.t_s // HOUR_S,
        letters(report.data[-16:-8]),
        False,
        report.pack.hex() if any(report.pack) else None,
        None if cause is None else _named(_CAUSES, cause),
        *(counters.get(name) for name in COUNTERS),
        *(
            (None,) * 9
            if slots is None
            else (
                _named(_PLACES, slots.running),
                _named(_PHASES, slots.phase),
                _named(_REASONS, slots.reason & _REASON_BITS),
                slots.active_tag.hex(),
                slots.other_tag.hex(),
                slots.floor,
                slots.commands,
                slots.notices,
                slots.keys_version,
            )
        ),
        *((None, None) if head is None else (head.sequence, letters(head.mac))),
        report.audit_lost,
        *(
            (None,) * 9
            if probation is None
            else (
                probation.pack.hex(),
                probation.phase,
                probation.result,
                probation.events,
                probation.alerts,
                probation.parent_alerts,
                probation.saturated,
                probation.looks,
                [n for row in probation.table for n in row],
            )
        ),
        *(
            (None,) * 4
            if monitor is None
            else (monitor.halvings, monitor.level, monitor.events, monitor.counts)
        ),
    )


def table_of(schema: pa.Schema, rows: Iterable[tuple[object, ...]]) -> pa.Table:
    """Rows, such as those of :func:`report_row`, as a table."""
    columns = list(zip(*rows, strict=True)) or [()] * len(schema)
    arrays = [pa.array(c, field.type) for c, field in zip(columns, schema, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)


def merged(name: str, tables: Sequence[pa.Table]) -> pa.Table:
    """One row for each key of these rows, in the order of the keys.

    A report with a higher number of the same boot and day replaces another one: its counters
    include it. Two different ones of one number (they cannot both be the terminal's word) are a
    conflict, in which the greater digest counts.
    """
    whole = pa.concat_tables(tables).combine_chunks()
    key, rest = _ORDER[name]
    order = [(c, "ascending") for c in key] + [(c, "descending") for c in rest]
    table = whole.take(pc.sort_indices(whole, sort_keys=order)).combine_chunks()
    if not len(table):
        return table
    same = _repeats(table, key)
    if name == REPORT:
        rank = _repeats(table, [*key, "number"])
        other = rank & ~_repeats(table, [*key, "number", "digest"])
        flagged = other | table["conflict"].to_numpy()
        group = np.cumsum(~same) - 1
        level = np.cumsum(~rank)  # rows of one key and number are neighbours
        first = level == level[np.flatnonzero(~same)][group]
        conflict = np.bincount(group, weights=flagged & first) > 0
        at = table.schema.get_field_index("conflict")
        kept = table.filter(pa.array(~same))
        return kept.set_column(at, table.schema.field(at), pa.array(conflict)).combine_chunks()
    return table.filter(pa.array(~same)).combine_chunks()


def _repeats(table: pa.Table, columns: Sequence[str]) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """bool[rows]: a row has in these columns what the row before it has."""
    found = np.zeros(len(table), bool)
    found[1:] = True
    for name in columns:
        column = table[name]
        equal = pc.equal(column.slice(1), column.slice(0, len(table) - 1))
        found[1:] &= pc.fill_null(equal, False).to_numpy(zero_copy_only=False)
    return found

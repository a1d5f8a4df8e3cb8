# SPDX-License-Identifier: Apache-2.0
"""The tables of a lake: their columns, and how rows merge. docs/formats/lake.md is the norm.

Both merges are unions that keep one row for each key, so rows may come in any order, and twice.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from tinyfin import optional_packages
from tinyfin.errors import InputError
from tinyfin.field.report import COUNTERS, Report
from tinyfin.fleet.secrets import LakeKey, letters
from tinyfin.wire.slot_frames import Phase, Place, Reason

__all__ = ["LABEL", "REPORT", "SCHEMAS", "day_of", "merged", "report_row"]

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
_PROBATION, _MONITOR = (
    [(c, c.removeprefix(head)) for c in SCHEMAS[REPORT].names if c.startswith(head)]
    for head in ("probation_", "monitor_")
)
_MERGED = {
    REPORT: """
        SELECT * REPLACE (bool_or(conflict) OVER same
            OR min(digest) OVER same <> max(digest) OVER same AS conflict) FROM rows
        WINDOW same AS (PARTITION BY terminal, boot, number)
        QUALIFY row_number() OVER (PARTITION BY terminal, boot
            ORDER BY number DESC, digest DESC) = 1
        ORDER BY terminal, boot""",
    LABEL: """
        SELECT * FROM rows
        QUALIFY row_number() OVER (PARTITION BY terminal, transaction, known_hour, fraud
            ORDER BY hour DESC, card DESC NULLS LAST, alerted DESC NULLS LAST) = 1
        ORDER BY terminal, transaction, known_hour, fraud""",
}


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


def report_row(report: Report, key: LakeKey) -> dict[str, object]:
    """The row of a report. Raises InputError for a section that is shorter than it should be."""
    counters, slots, head = report.counters or {}, report.slots, report.audit_head
    cause, probation, monitor = report.reset_cause, report.probation, report.monitor
    for value in (*counters.values(), *((monitor.events,) if monitor else ())):
        if value >= 1 << 32:
            raise InputError(f"report: a counter of {value} does not fit 32 bits; update tinyfin")
    if monitor is not None and max(monitor.counts, default=0) >= 1 << 16:
        raise InputError("report: a count of a histogram does not fit 16 bits; update tinyfin")
    row: dict[str, object] = {
        "terminal": key.terminal(report.terminal),
        "boot": report.boot_nonce,
        "number": report.number,
        "hour": report.t_s // HOUR_S,
        "digest": letters(report.data[-16:-8]),
        "conflict": False,
        "pack": report.pack.hex() if any(report.pack) else None,
        "reset_cause": None if cause is None else _named(_CAUSES, cause),
        "audit_lost": report.audit_lost,
        **{name: counters[name] for name in COUNTERS if name in counters},
    }
    if slots is not None:
        row |= {
            "running": _named(_PLACES, slots.running),
            "phase": _named(_PHASES, slots.phase),
            "reason": _named(_REASONS, slots.reason & _REASON_BITS),
            "active_tag": slots.active_tag.hex(),
            "other_tag": slots.other_tag.hex(),
            "floor": slots.floor,
            "commands": slots.commands,
            "notice_page": slots.notices,
            "keys_version": slots.keys_version,
        }
    if head is not None:
        row |= {"audit_sequence": head.sequence, "audit_mac": letters(head.mac)}
    if probation is not None:
        row |= {column: getattr(probation, name) for column, name in _PROBATION}
        row["probation_pack"] = probation.pack.hex()
        row["probation_table"] = [n for line in probation.table for n in line]
    if monitor is not None:
        row |= {column: getattr(monitor, name) for column, name in _MONITOR}
    return row


def merged(name: str, tables: Sequence[pa.Table]) -> pa.Table:
    """One row for each key of these rows, in the order of the keys.

    A report with a higher number of the same boot and day replaces another one: its counters
    include it. Two different ones of one number (they cannot both be the terminal's word) are a
    conflict, in which the greater digest counts.
    """
    optional_packages.require(["duckdb"], "to merge rows")
    import duckdb

    with duckdb.connect() as base:
        base.register("rows", pa.concat_tables(tables))
        found = base.sql(_MERGED[name]).to_arrow_table()
    return found.cast(SCHEMAS[name]).combine_chunks()

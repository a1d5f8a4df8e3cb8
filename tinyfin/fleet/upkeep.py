# SPDX-License-Identifier: Apache-2.0
"""What leaves a lake: old days, and all of a terminal or a card that is to be forgotten."""

from __future__ import annotations

import re
from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc

from tinyfin.errors import InputError
from tinyfin.field.report import Report, parse_report
from tinyfin.fleet import archives, durable
from tinyfin.fleet.admission import Refused
from tinyfin.fleet.lake import Lake, Place
from tinyfin.fleet.tables import HOUR_S, LABEL, day_of

__all__ = ["erase", "retain"]


def retain(lake: Lake, first_day: int) -> int:
    """Remove what is of days before ``first_day``, counted from 2000-01-01, and refuse it from now
    on; how many rows are gone. An earlier day than that of the last time changes nothing."""
    with lake.locked():
        first_day = max(first_day, lake.settings.first_day)
        lake.keep_settings(first_day=first_day)
        old = {
            Place.of(name): part.rows
            for name, part in lake.manifest().parts.items()
            if Place.of(name).day < first_day
        }
        lake.commit((place, pa.table({})) for place in old)
        _purge(lake, lambda report: day_of(report.t_s // HOUR_S) < first_day, b"")
    return sum(old.values())


def erase(lake: Lake, *, terminal: bytes | None = None, alias: str = "", card: str = "") -> int:
    """Remove every row and every report of a terminal (id of 8 bytes, or alias), or every row of a
    card (alias), and refuse them from now on; how many rows are gone.

    What remains is a tombstone under the lake's key, which says neither id nor alias. Killed before
    it has ended, it has to be called again. Raises InputError for what is no alias.
    """
    alias = lake.key.terminal(terminal) if terminal is not None else alias
    gone, column = alias or card, "terminal" if alias else "card"
    if not re.fullmatch("[a-p]{16}", gone):
        raise InputError(f"{gone!r}: is no alias, which has 16 letters from a to p")
    with lake.locked():
        erased = {*lake.settings.erased, lake.key.tombstone(gone)}
        lake.keep_settings(erased=sorted(erased))
        count = 0
        changes = []
        for name, part in lake.manifest().parts.items():
            place = Place.of(name)
            if column == "card" and place.table != LABEL:
                continue
            if column == "terminal" and place.bucket != lake.bucket(alias):
                continue
            table = lake.read(part)
            kept = table.filter(pc.fill_null(pc.not_equal(table[column], gone), True))
            if len(kept) < len(table):
                count += len(table) - len(kept)
                changes.append((place, kept))
        lake.commit(changes)
        if alias:
            _purge(lake, lambda r: lake.key.terminal(r.terminal) == alias, terminal or b"")
    return count


def _purge(lake: Lake, unwanted: Callable[[Report], bool], id: bytes) -> None:
    """Remove reports that are unwanted from the files of the lake's folders, and with ``id`` what
    is no report and holds these bytes. What the HTTP server takes meanwhile is looked at when it is
    merged."""

    def is_bad(data: bytes) -> bool:
        try:
            return unwanted(parse_report(data))
        except InputError:
            return bool(id) and id in data

    folders = [lake.inbox, lake.path / "claimed", lake.path / "processed"]
    folders += [place for place in (lake.path / "rejected").glob("*") if place.is_dir()]
    for path in (path for folder in folders for path in durable.entries(folder)):
        if not archives.is_archive(path):
            if is_bad(path.read_bytes()):
                durable.remove([path])
            continue
        try:
            held = list(archives.members(path))
        except Refused:
            durable.remove([path])  # nobody can say what is in the rest of it
            continue
        kept = [(name, data) for name, data in held if not is_bad(data)]
        if not kept:
            durable.remove([path])
        elif len(kept) < len(held):
            durable.write(path, archives.packed(kept))

# SPDX-License-Identifier: Apache-2.0
"""The report's section on the line: what it carried, what was done to it, what was repaired."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tinyfin.documents import Count
from tinyfin.hil.replay.facts import ReplayFacts
from tinyfin.pages.blocks import Block, count, number, table, text

__all__ = ["wire_blocks"]

Counters = Mapping[str, Count]


def _figures(r: ReplayFacts) -> dict[str, float | None]:
    return {
        "bytes up per transaction": r.bytes_up_per_transaction,
        "bytes down per transaction": r.bytes_down_per_transaction,
        "seconds": r.seconds,
        "transactions per second": r.transactions_per_second,
        "terminals": r.terminals,
        "events": r.events,
    }


def wire_blocks(given: Sequence[ReplayFacts]) -> list[Block]:
    """Tables with a column per replay. Counters that stayed 0 everywhere are named, not shown."""
    replays = [r for r in given if any(value is not None for value in _figures(r).values())]
    if not replays:
        return []
    columns = ["", *(r.target for r in replays)]
    figures = [_figures(r) for r in replays]
    rows = [
        [name, *(number(one[name], 4) for one in figures)]
        for name in figures[0]
        if any(one[name] is not None for one in figures)
    ]
    out: list[Block] = [table("The line", columns, rows)]
    repaired, device = [r.repaired for r in replays], [r.device_stats for r in replays]
    for caption, found in (
        (
            "Damage done on purpose, and what was repaired",
            _counters([r.faults for r in replays], "done: ") + _counters(repaired, "repaired: "),
        ),
        ("The terminal's own counters, since its last restart or state", _counters(device)),
    ):
        if found:
            out.append(table(caption, columns, found))
    still = [
        name.replace("_", " ")
        for counters in (repaired, device)
        for name in _names(counters)
        if not any(one.get(name) for one in counters)
    ]
    if still:
        out.append(text(f"0 everywhere: {', '.join(still)}."))
    return out


def _names(counters: Sequence[Counters]) -> list[str]:
    return list(dict.fromkeys(name for one in counters for name in one))


def _counters(counters: Sequence[Counters], head: str = "") -> list[list[str]]:
    """A row per counter that any replay has above 0."""
    return [
        [head + name.replace("_", " "), *(count(one.get(name, 0)) for one in counters)]
        for name in _names(counters)
        if any(one.get(name) for one in counters)
    ]

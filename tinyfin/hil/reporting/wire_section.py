# SPDX-License-Identifier: Apache-2.0
"""The report's section on the line: what it carried, what was done to it, what was repaired."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tinyfin.pages.blocks import Block, count, number, table, text

__all__ = ["wire_blocks"]

_KEYS = (
    ("bytes up per transaction", "bytes_up_per_transaction"),
    ("bytes down per transaction", "bytes_down_per_transaction"),
    ("seconds", "seconds"),
    ("transactions per second", "transactions_per_second"),
    ("terminals", "terminals"),
    ("events", "events"),
)


def wire_blocks(facts: Mapping[str, Any]) -> list[Block]:
    """Tables with a column per replay. Counters that stayed 0 everywhere are named, not shown."""
    replays = [r for r in facts["replays"] if any(r.get(key) is not None for _, key in _KEYS)]
    if not replays:
        return []
    columns = ["", *(str(r.get("target", "")) for r in replays)]
    rows = [
        [name, *(number(r.get(key), 4) for r in replays)]
        for name, key in _KEYS
        if any(r.get(key) is not None for r in replays)
    ]
    out = [table("The line", columns, rows)]
    faults = _counters(replays, "faults", "done: ")
    repaired = _counters(replays, "repaired", "repaired: ")
    if faults or repaired:
        out.append(
            table("Damage done on purpose, and what was repaired", columns, [*faults, *repaired])
        )
    device = _counters(replays, "device_stats")
    if device:
        out.append(
            table("The terminal's own counters, since its last restart or state", columns, device)
        )
    still = [
        name.replace("_", " ")
        for key in ("repaired", "device_stats")
        for name in dict.fromkeys(n for r in replays for n in r.get(key) or ())
        if not any((r.get(key) or {}).get(name) for r in replays)
    ]
    if still:
        out.append(text(f"0 everywhere: {', '.join(still)}."))
    return out


def _counters(replays: Sequence[Mapping[str, Any]], key: str, head: str = "") -> list[list[str]]:
    """A row per counter that any replay has above 0."""
    given = [r.get(key) or {} for r in replays]
    return [
        [head + name.replace("_", " "), *(count(one.get(name, 0)) for one in given)]
        for name in dict.fromkeys(n for one in given for n in one)
        if any(one.get(name) for one in given)
    ]

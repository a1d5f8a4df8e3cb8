# SPDX-License-Identifier: Apache-2.0
"""What ``tinyfin registry`` prints for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinyfin.cli.output import aligned
from tinyfin.text import one_line

if TYPE_CHECKING:
    from tinyfin.registry.events import Event
    from tinyfin.registry.state import State

__all__ = ["event_lines", "pending_text", "state_text", "words"]

_DIGITS = 12
"""Of a pack id in a table."""


def pending_text(state: State, event: Event) -> str:
    """Whether a policy or a revocation counts already."""
    if event.kind not in ("policy", "revoked"):
        return ""
    waiting = event.number not in state.policies
    if event.kind == "revoked":
        waiting = event.detail["key"] not in state.revoked
    return ": signed, counts when others have signed it, too" if waiting else ": counts from now on"


def event_lines(events: list[Event]) -> list[str]:
    """A table of events."""
    rows = [
        (
            str(event.number),
            event.time,
            event.kind,
            "" if event.subject is None else event.subject.pack[:_DIGITS],
            f"{event.actor.name} ({event.actor.key})",
            _detail_text(event),
        )
        for event in events
    ]
    return aligned([("event", "time", "kind", "pack", "signed by", "detail"), *rows])


def _detail_text(event: Event) -> str:
    if event.kind in ("opened", "policy"):
        persons = [person["name"] for person in event.detail["policy"]["persons"]]
        return one_line(f"persons: {', '.join(persons)}")
    shown = {k: v for k, v in event.detail.items() if v not in ("", None, [], {}, False)}
    return one_line(", ".join(f"{key} {words(value)}" for key, value in shown.items()))


def words(value: object) -> str:
    """Of a list or an object the entries or keys."""
    return " ".join(map(str, value)) if isinstance(value, (list, dict)) else str(value)


def state_text(state: State, until: str | None) -> str:
    """What is in which stage, and every pack, at a time or now."""
    when = "now" if until is None else f"at {until}"
    if not state.number:
        return f"{when}: no event yet"
    places = [
        (
            place.stage,
            place.fleet or "all",
            "" if place.wave is None else str(place.wave),
            place.pack[:_DIGITS],
            state.entries[place.pack].standing,
            place.since.time,
        )
        for place in state.places.values()
    ]
    packs = [
        (
            entry.pack[:_DIGITS],
            entry.standing,
            entry.added.name,
            ", ".join(mark.name for mark in entry.approvals),
        )
        for entry in state.entries.values()
    ]
    lines = [f"{when}: event {state.number} of {state.time}"]
    if places:
        lines += aligned([("stage", "fleet", "wave", "pack", "standing", "since"), *places])
    lines += aligned([("pack", "standing", "added by", "approved by"), *packs]) if packs else []
    return "\n".join(lines)

# SPDX-License-Identifier: Apache-2.0
"""A campaign and the registry of its pack: who has approved it, how far it came, when it halted."""

from __future__ import annotations

from tinyfin.documents import Facts
from tinyfin.errors import InputError
from tinyfin.pack.signing import Key
from tinyfin.registry.events import Event, declare
from tinyfin.registry.policy import Policy
from tinyfin.registry.registry import Registry
from tinyfin.rollout.controller import STOPPED, Progress, State
from tinyfin.rollout.definition import Definition

__all__ = ["APPROVED", "approve", "approvers", "enough", "objection", "record"]

APPROVED = "campaign.approved"


class Approved(Facts):
    """The detail of the event."""

    campaign: str
    definition: str
    """SHA-256 of it, policy and terminals included."""


declare(APPROVED, Approved)


def objection(registry: Registry, definition: Definition) -> str:
    """Why terminals must not get the pack, by the registry; empty when they may."""
    registry.state()
    entry = registry.find(definition.pack)
    return "" if entry.standing == "released" else f"the registry has the pack as {entry.standing}"


def approve(registry: Registry, definition: Definition, key: Key) -> Event:
    """Record that the owner of the key approves the campaign. Raises InputError unless its pack is
    released, and when they have approved it already."""
    if why := objection(registry, definition):
        raise InputError(f"campaign {definition.name}: {why}; release it first")
    person = _policy(registry).person(f"{key.key_id:08x}")
    if person is not None and person.name in approvers(registry, definition):
        raise InputError(f"{person.name} has approved campaign {definition.name} already")
    detail = Approved(campaign=definition.name, definition=definition.digest)
    return registry.record(APPROVED, definition.pack, detail.as_dict(), key)


def approvers(registry: Registry, definition: Definition) -> list[str]:
    """The persons who have approved exactly this campaign, by keys that still count."""
    state = registry.state()
    names = [
        event.actor.name
        for event in registry.events()
        if event.kind == APPROVED
        and event.detail["definition"] == definition.digest
        and event.actor.key not in state.revoked
        and (person := _policy(registry).person(event.actor.key)) is not None
        and person.may_sign(APPROVED)
    ]
    return list(dict.fromkeys(names))


def enough(registry: Registry, definition: Definition) -> bool:
    """Whether as many persons have approved it as the registry asks for."""
    return len(approvers(registry, definition)) >= _policy(registry).approvals


def record(
    registry: Registry, definition: Definition, now: Progress, stage: str, key: Key
) -> Event | None:
    """Record what the registry does not have yet: that terminals of the wave get the pack, or that
    it is halted. After a kill between database and registry the next call does it."""
    places = registry.state().places
    entry = registry.find(definition.pack)
    if now.state in STOPPED:
        if entry.halted is not None or entry.retired is not None:
            return None
        detail: dict[str, object] = {"why": f"campaign {definition.name}: {now.why}"}
        return registry.record("halted", definition.pack, detail, key)
    place = places.get((stage, definition.name))
    there = place is not None and (place.pack, place.wave) == (entry.pack, now.wave)
    if now.state in (State.DRAFT, State.APPROVED) or there or entry.standing != "released":
        return None
    detail = {"stage": stage, "fleet": definition.name, "wave": now.wave, "note": now.why}
    return registry.record("promoted", definition.pack, detail, key)


def _policy(registry: Registry) -> Policy:
    policy = registry.log.state.policy
    assert policy is not None
    return policy

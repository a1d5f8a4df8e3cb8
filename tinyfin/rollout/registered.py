# SPDX-License-Identifier: Apache-2.0
"""A campaign and the registry of its pack: who has approved it, how far it came, when it halted."""

from __future__ import annotations

from collections.abc import Sequence

from tinyfin.documents import Facts
from tinyfin.errors import InputError, MismatchError
from tinyfin.pack.container import Pack, parse_pack
from tinyfin.pack.signing import Key
from tinyfin.registry.events import Event, declare
from tinyfin.registry.policy import Policy
from tinyfin.registry.registry import Registry
from tinyfin.rollout.controller import STOPPED, Progress, State
from tinyfin.rollout.definition import Definition, Terminal, digest_of

__all__ = [
    "APPROVED",
    "approve",
    "approvers",
    "enough",
    "objection",
    "pack_of",
    "record",
    "require_approved",
    "retired",
    "wanted",
]

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


def retired(registry: Registry, definition: Definition) -> bool:
    """Whether the pack has reached its end, and nothing is wrong with it."""
    return registry.find(definition.pack).standing == "retired"


def require_approved(
    registry: Registry, definition: Definition, terminals: Sequence[Terminal]
) -> None:
    """Raises MismatchError unless what the database has is what enough persons have approved."""
    names = _signers(registry, definition)
    if len(names) < _policy(registry).approvals or digest_of(terminals) != definition.terminals:
        raise MismatchError(
            f"campaign {definition.name}: its packs, policy or terminals are not those that enough "
            "persons have approved in this registry; restore the database, or make a new campaign"
        )


def pack_of(registry: Registry, definition: Definition) -> Pack:
    """The campaign's pack, as the registry keeps it. Raises InputError, PackError."""
    layers = registry.store.layers(registry.find(definition.pack).manifest)
    return parse_pack(registry.store.read(layers["model.tfpack"]["digest"]))


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
    signed = _signers(registry, definition)
    may = {person.key_id for person in _policy(registry).signers(APPROVED)}
    return [name for name, keys in signed.items() if keys & may]


def _signers(registry: Registry, definition: Definition) -> dict[str, set[str]]:
    """By name the keys that have approved exactly this campaign and are not revoked, of whoever was
    a person of the policy then."""
    revoked, found = registry.state().revoked, dict[str, set[str]]()
    for event in registry.events():
        meant = event.kind == APPROVED and event.detail["definition"] == definition.digest
        if meant and event.actor.key not in revoked:
            found.setdefault(event.actor.name, set()).add(event.actor.key)
    return found


def enough(registry: Registry, definition: Definition) -> bool:
    """Whether as many persons have approved it as the registry asks for."""
    return len(approvers(registry, definition)) >= wanted(registry)


def wanted(registry: Registry) -> int:
    """Persons who must approve a campaign."""
    return _policy(registry).approvals


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
    if (
        now.state in (State.DRAFT, State.APPROVED, State.ENDED)
        or there
        or entry.standing != "released"
    ):
        return None
    detail = {"stage": stage, "fleet": definition.name, "wave": now.wave, "note": now.why}
    return registry.record("promoted", definition.pack, detail, key)


def _policy(registry: Registry) -> Policy:
    policy = registry.log.state.policy
    assert policy is not None
    return policy

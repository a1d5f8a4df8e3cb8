# SPDX-License-Identifier: Apache-2.0
"""A campaign and the registry of its pack: who has approved it, how far it came, when it halted."""

from __future__ import annotations

from tinyfin.documents import Facts
from tinyfin.errors import InputError, MismatchError
from tinyfin.fleet.secrets import LakeKey
from tinyfin.pack.container import Pack, parse_pack
from tinyfin.pack.signing import Key
from tinyfin.registry.events import Event, declare
from tinyfin.registry.policy import Policy
from tinyfin.registry.registry import Registry
from tinyfin.rollout.controller import STOPPED, Progress, State
from tinyfin.rollout.definition import Definition, digest_of, mark_of
from tinyfin.rollout.store import Campaign

__all__ = [
    "APPROVED",
    "SIGNED",
    "approvers",
    "name_of",
    "objection",
    "pack_of",
    "record",
    "retired",
    "sign",
    "wanted",
]

APPROVED = "campaign.approved"
SIGNED = {"resume": "campaign.resumed", "pass": "campaign.passed"}
"""What persons do under their signature, but for approvals: the kinds of their events."""


class Approved(Facts):
    """The detail of the event."""

    campaign: str
    definition: str
    """SHA-256 of it, policy and terminals included."""


class Signed(Approved):
    """The detail of the other ones."""

    entry: int
    """Of the campaign's log."""
    why: str


declare(APPROVED, Approved)
for _kind in SIGNED.values():
    declare(_kind, Signed)


def objection(registry: Registry, found: Campaign, key: LakeKey) -> str:
    """Why terminals must not get the pack any more, by the registry; empty when they may.

    Approvals count as the policy of their time asks for, but for those of keys that were revoked.
    Raises MismatchError when the database has other packs, terminals or a policy than were
    approved, or a resume or pass that nobody has signed."""
    definition, revoked = found.definition, registry.state().revoked
    signed = [one for one in registry.events() if _is_of(one, definition)]
    approvals = [one for one in signed if one.kind == APPROVED]
    policy = registry.log.state.policy_at(approvals[-1].number) if approvals else None
    deeds = {(number, SIGNED[kind]) for number, kind in enumerate(found.kinds) if kind in SIGNED}
    marks = (mark_of(key, one.terminal) == one.mark for one in found.members if one.terminal)
    if (
        policy is None
        or len({one.actor.name for one in approvals}) < policy.approvals
        or digest_of(found.members) != definition.terminals
        or not all(marks)
        or deeds - {(one.detail.get("entry"), one.kind) for one in signed}
    ):
        raise MismatchError(
            f"campaign {definition.name}: its packs, policy or terminals are not those that enough "
            "persons have approved in this registry, or nobody has signed that it goes on; restore "
            "the database, or make a new campaign"
        )
    good = [one for one in signed if one.actor.key not in revoked]
    if len({one.actor.name for one in good if one.kind == APPROVED}) < policy.approvals or deeds - {
        (one.detail.get("entry"), one.kind) for one in good
    }:
        return "the key of a person who has signed for it was revoked"
    standing = registry.find(definition.pack).standing
    return "" if standing == "released" else f"the registry has the pack as {standing}"


def _is_of(event: Event, definition: Definition) -> bool:
    kinds = (APPROVED, *SIGNED.values())
    return event.kind in kinds and event.detail.get("definition") == definition.digest


def retired(registry: Registry, definition: Definition) -> bool:
    """Whether the pack has reached its end, and nothing is wrong with it."""
    return registry.find(definition.pack).standing == "retired"


def pack_of(registry: Registry, definition: Definition) -> Pack:
    """The campaign's pack, as the registry keeps it. Raises InputError, PackError."""
    layers = registry.store.layers(registry.find(definition.pack).manifest)
    return parse_pack(registry.store.read(layers["model.tfpack"]["digest"]))


def sign(registry: Registry, definition: Definition, kind: str, key: Key, **more: object) -> None:
    """Record that the owner of the key approves the campaign, or lets it go on. Raises InputError
    unless its pack is released, and when they have approved it already."""
    registry.state()
    standing = registry.find(definition.pack).standing
    if standing != "released":
        raise InputError(
            f"campaign {definition.name}: the registry has the pack as {standing}; release it first"
        )
    name = name_of(registry, key)
    if kind == APPROVED and name in approvers(registry, definition):
        raise InputError(f"{name} has approved campaign {definition.name} already")
    detail = {"campaign": definition.name, "definition": definition.digest, **more}
    registry.record(kind, definition.pack, detail, key)


def name_of(registry: Registry, key: Key) -> str:
    """Of the person whose key it is; empty when the policy does not name them."""
    person = _policy(registry).person(f"{key.key_id:08x}")
    return person.name if person else ""


def approvers(registry: Registry, definition: Definition) -> list[str]:
    """The persons who have approved exactly this campaign, by keys that still count."""
    state = registry.state()
    may = {person.key_id for person in _policy(registry).signers(APPROVED)} - {*state.revoked}
    signed = (one for one in registry.events() if _is_of(one, definition))
    return [*{one.actor.name: 0 for one in signed if one.kind == APPROVED and one.actor.key in may}]


def wanted(registry: Registry) -> int:
    """Persons who must approve a campaign."""
    return _policy(registry).approvals


def record(registry: Registry, definition: Definition, now: Progress, stage: str, key: Key) -> None:
    """Record what the registry does not have yet: that terminals of the wave get the pack, or that
    it is halted. After a kill between database and registry the next call does it."""
    place = registry.state().places.get((stage, definition.name))
    entry = registry.find(definition.pack)
    if now.state in STOPPED:
        if entry.halted is None and entry.retired is None:
            why = f"campaign {definition.name}: {now.why}"
            registry.record("halted", definition.pack, {"why": why}, key)
        return
    there = place is not None and (place.pack, place.wave) == (entry.pack, now.wave)
    idle = now.state in (State.DRAFT, State.APPROVED, State.ENDED)
    if not (idle or there or entry.standing != "released"):
        detail = {"stage": stage, "fleet": definition.name, "wave": now.wave, "note": now.why}
        registry.record("promoted", definition.pack, detail, key)


def _policy(registry: Registry) -> Policy:
    policy = registry.state().policy
    assert policy is not None
    return policy

# SPDX-License-Identifier: Apache-2.0
"""The state of a registry: what follows from its events, one after another, and the rules that an
event must keep. The same code judges an event before it is appended and when a log is verified."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, NoReturn

from pydantic import ConfigDict, Field, computed_field

from tinyfin.documents import Facts
from tinyfin.errors import InputError
from tinyfin.registry.events import (
    FIRST_BEFORE,
    Added,
    Event,
    Opened,
    Promoted,
    Proposed,
    Revoked,
    Subject,
    check_detail,
)
from tinyfin.registry.policy import Person, Policy

__all__ = ["Entry", "Fault", "Mark", "Place", "Standing", "State", "Verdict", "replay"]

Standing = Literal["added", "validated", "approved", "released", "halted", "retired"]


class Verdict(StrEnum):
    """What a log is worth."""

    VALID = "VALID"
    TORN = "TORN"
    """Its last line has no end, as a power cut leaves it."""
    TRUNCATED = "TRUNCATED"
    """It ends before an event that was there."""
    FORKED = "FORKED"
    """An event goes on from another one than the one that is there, or is another one itself."""
    CORRUPT = "CORRUPT"
    """An event was changed, removed or exchanged, or who signed it is not known."""
    UNRULY = "UNRULY"
    """An event is genuine and breaks a rule."""


class Fault(Exception):
    """Why an event does not go into a log."""

    def __init__(self, verdict: Verdict, why: str) -> None:
        super().__init__(why)
        self.verdict = verdict


class Mark(Facts):
    """Who did something, and when."""

    number: int
    """Of the event."""
    time: str
    name: str
    key: str


class Entry(Facts):
    """A pack of the registry."""

    model_config = ConfigDict(extra="ignore")

    pack: str
    manifest: str
    added: Mark
    facts: Added
    validations: list[Mark] = Field(default_factory=list)
    approvals: list[Mark] = Field(default_factory=list)
    """Of keys that are not revoked, by persons of the policy."""
    needed: int
    """Approvals that the policy asks for."""
    validation_needed: bool
    """Whether the policy asks for a validation, too."""
    released: Mark | None = None
    halted: Mark | None = None
    """Until it is released again, which takes new approvals."""
    retired: Mark | None = None

    @computed_field  # type: ignore[prop-decorator]  # mypy knows no decorated property
    @property
    def standing(self) -> Standing:
        """How far it has come."""
        for name in ("retired", "halted", "released"):
            if getattr(self, name) is not None:
                return name
        if len(self.approvals) >= self.needed and not self.lacks_validation:
            return "approved"
        return "validated" if self.validations else "added"

    @property
    def lacks_validation(self) -> bool:
        """Whether the policy asks for one and there is none that counts."""
        return self.validation_needed and not self.validations


class Place(Facts):
    """Where a pack is in service."""

    stage: str
    fleet: str
    """Empty: all."""
    wave: int | None
    pack: str
    since: Mark


@dataclass
class State:
    """What follows from the events up to ``number``."""

    number: int = 0
    head: str = FIRST_BEFORE
    """Hash of the newest event."""
    time: str = ""
    policies: dict[int, Policy] = field(default_factory=dict)
    """By the number of the event that put them into force, in this order."""
    entries: dict[str, Entry] = field(default_factory=dict)
    """By pack id."""
    named: dict[str, str] = field(default_factory=dict)
    """Every id of a pack, those of its layouts too: the pack id that it is added by."""
    places: dict[tuple[str, str], Place] = field(default_factory=dict)
    """By stage and fleet: the pack that was promoted there last."""
    revoked: dict[str, Mark] = field(default_factory=dict)
    """By key id."""
    proposals: list[tuple[Policy, list[Mark]]] = field(default_factory=list)
    """Policies that are not signed by enough persons yet."""
    revocations: dict[str, list[Mark]] = field(default_factory=dict)
    """By key id, those that are not signed by enough persons yet."""

    @property
    def policy(self) -> Policy | None:
        """The one in force; None before the first event."""
        return self.policy_at(self.number)

    def policy_at(self, number: int) -> Policy | None:
        """The one in force behind an event."""
        return next((of for at, of in reversed(self.policies.items()) if at <= number), None)

    def take(self, event: Event, *, genuine: bool = False) -> None:
        """Go on by an event. Raises Fault, and then nothing has changed.

        genuine: signature and chain were checked before.
        """
        try:
            detail = check_detail(event)
        except InputError as error:
            raise Fault(Verdict.CORRUPT, str(error)) from error
        policy = detail.policy if self.policy is None and isinstance(detail, Opened) else None
        policy = policy or self.policy
        if policy is None or (event.kind == "opened") != (self.number == 0):
            _corrupt("the first event, and no other, is of the kind 'opened'")
        person = policy.person(event.actor.key)
        if not genuine:
            self._require_genuine(event, person)
        if person is None or person.name != event.actor.name:
            _unruly(f"key {event.actor.key} is not the one of {event.actor.name!r} in the policy")
        if event.actor.key in self.revoked:
            revoked = self.revoked[event.actor.key]
            _unruly(f"key {event.actor.key} was revoked by event {revoked.number}")
        if not person.may_sign(event.kind):
            _unruly(f"{person.name} may not sign events of the kind {event.kind!r}")
        if event.time < self.time and event.kind not in ("halted", "revoked"):
            _unruly(f"its time {event.time} is before that of event {self.number}, {self.time}")
        mark = Mark(number=event.number, time=event.time, name=person.name, key=event.actor.key)
        self._apply(event, detail, mark, policy)
        self.number, self.head, self.time = event.number, event.digest, event.time

    def _require_genuine(self, event: Event, person: Person | None) -> None:
        if event.number != self.number + 1:
            _corrupt(f"event {event.number} stands in its place: events were removed or exchanged")
        if person is None:
            _corrupt(f"it names key {event.actor.key}, which the policy does not have")
        if not event.is_signed_by(person.public):
            _corrupt(f"its signature is not that of key {event.actor.key}")
        if event.before != self.head:
            raise Fault(
                Verdict.FORKED,
                f"it goes on from another event {self.number} than the one that is there",
            )

    def _apply(self, event: Event, detail: Facts | None, mark: Mark, policy: Policy) -> None:
        if event.kind in ("opened", "policy", "revoked") and event.subject is not None:
            _unruly("it is about no pack, and names one")
        match detail:
            case Opened():
                self.policies[mark.number] = policy
            case Proposed():
                self._propose(detail.policy, mark, policy)
            case Revoked():
                self._revoke(detail.key, mark, policy)
            case Added():
                self._add(event.subject, detail, mark, policy)
            case _ if "." in event.kind:
                if event.subject is not None:
                    self._entry(event.subject)
            case _:
                self._change(self._entry(event.subject), event.kind, detail, mark, policy)

    def _propose(self, policy: Policy, mark: Mark, now: Policy) -> None:
        bad = [person.name for person in policy.persons if person.key_id in self.revoked]
        if bad:
            _unruly(f"the key of {bad[0]} is revoked; give them a new one")
        if policy == now:
            _unruly("this policy is the one that counts already")
        marks = next((marks for known, marks in self.proposals if known == policy), [])
        _require_other(marks, mark, "has signed this policy already")
        if len(marks) + 1 < now.approvals:
            if not marks:
                self.proposals.append((policy, marks))
            marks.append(mark)
            return
        self.policies[mark.number] = policy
        self.proposals, self.revocations = [], {}
        for entry in self.entries.values():
            entry.needed, entry.validation_needed = policy.approvals, policy.validation
            if entry.released is None:
                _recount(entry, policy)

    def _revoke(self, key: str, mark: Mark, policy: Policy) -> None:
        if key in self.revoked:
            _unruly(f"key {key} is revoked already, by event {self.revoked[key].number}")
        marks = self.revocations.get(key, [])
        _require_other(marks, mark, "has signed this revocation already")
        good = {one.key_id for one in policy.signers("policy")} - {*self.revoked}
        if key in good and len(good) <= policy.approvals > len(marks) + 1:
            self.revocations[key] = [*marks, mark]
            return
        self.revoked[key] = mark
        self.revocations.pop(key, None)
        lists = [*self.revocations.values(), *(marks for _, marks in self.proposals)]
        for entry in self.entries.values():
            if entry.released is None:
                lists += [entry.approvals, entry.validations]
        for marks in lists:
            marks[:] = [one for one in marks if one.key != key]
        self.proposals = [(policy, marks) for policy, marks in self.proposals if marks]
        self.revocations = {key: marks for key, marks in self.revocations.items() if marks}

    def _add(self, subject: Subject | None, detail: Added, mark: Mark, policy: Policy) -> None:
        if subject is None:
            _unruly("it names no pack")
        ids = [subject.pack, *detail.layouts.values()]
        for i, one in enumerate(ids):
            if one in self.named:
                number = self.entries[self.named[one]].added.number
                _unruly(f"pack {one} was added by event {number}")
            if one in ids[:i]:
                _unruly(f"it names pack {one} twice")
        _require_trusted(detail, subject.pack, policy)
        self.named.update(dict.fromkeys(ids, subject.pack))
        self.entries[subject.pack] = Entry(
            pack=subject.pack,
            manifest=subject.manifest,
            added=mark,
            facts=detail,
            needed=policy.approvals,
            validation_needed=policy.validation,
        )

    def _entry(self, subject: Subject | None) -> Entry:
        entry = None if subject is None else self.entries.get(subject.pack)
        if subject is None or entry is None or entry.manifest != subject.manifest:
            _unruly("it names no pack that was added")
        return entry

    def _change(
        self, entry: Entry, kind: str, detail: Facts | None, mark: Mark, policy: Policy
    ) -> None:
        name = f"pack {entry.pack}"
        if entry.retired is not None:
            _unruly(f"{name} is retired, by event {entry.retired.number}")
        match kind:
            case "validated":
                entry.validations.append(mark)
            case "approved":
                if entry.released is not None:
                    _unruly(f"{name} is released already")
                _require_validated(entry)
                _require_trusted(entry.facts, entry.pack, policy)
                _require_other(entry.approvals, mark, f"has approved {name} already")
                if not policy.own_approval:
                    _require_other([entry.added], mark, f"has added {name}; others approve it")
                entry.approvals.append(mark)
            case "released":
                self._require_approved(entry, policy)
                entry.released, entry.halted = mark, None
            case "promoted":
                assert isinstance(detail, Promoted)
                self._promote(entry, detail, mark, policy)
            case "halted":
                if entry.halted is not None:
                    _unruly(f"{name} is halted already, by event {entry.halted.number}")
                entry.halted, entry.released = mark, None
                entry.validations, entry.approvals = [], []
            case "retired":
                entry.retired = mark
                self.places = {k: v for k, v in self.places.items() if v.pack != entry.pack}

    def _require_approved(self, entry: Entry, policy: Policy) -> None:
        name = f"pack {entry.pack}"
        if entry.released is not None:
            _unruly(f"{name} is released already, by event {entry.released.number}")
        if len(entry.approvals) < policy.approvals:
            _unruly(f"{name} has {len(entry.approvals)} of {policy.approvals} approvals")
        _require_validated(entry)
        _require_trusted(entry.facts, entry.pack, policy)

    def _promote(self, entry: Entry, detail: Promoted, mark: Mark, policy: Policy) -> None:
        name = f"pack {entry.pack}"
        if entry.halted is not None:
            _unruly(f"{name} is halted, by event {entry.halted.number}; release it again first")
        if entry.released is None:
            _unruly(f"{name} is not released")
        _require_trusted(entry.facts, entry.pack, policy)
        if detail.stage not in policy.stages:
            _unruly(f"{detail.stage!r} is no stage; there are {', '.join(policy.stages)}")
        there = self.places.get((detail.stage, detail.fleet))
        if there is not None and (there.pack, there.wave) == (entry.pack, detail.wave):
            _unruly(f"{name} is there already, by event {there.since.number}")
        self.places[detail.stage, detail.fleet] = Place(
            stage=detail.stage, fleet=detail.fleet, wave=detail.wave, pack=entry.pack, since=mark
        )


def replay(events: Iterable[Event], until: str, latest: str) -> State:
    """The state after events that were verified, up to a time as events write it.

    latest: an event of a time behind it has a wrong one; its place in the chain counts.
    """
    state = State()
    for event in events:
        if until < event.time <= latest:
            break
        state.take(event, genuine=True)
    return state


def _recount(entry: Entry, policy: Policy) -> None:
    """Keep the validations and approvals of those who may give them by this policy."""
    validators = {person.name for person in policy.signers("validated")}
    approvers = {person.name for person in policy.signers("approved")}
    if not policy.own_approval:
        approvers.discard(entry.added.name)
    entry.validations = [one for one in entry.validations if one.name in validators]
    entry.approvals = [one for one in entry.approvals if one.name in approvers]


def _require_validated(entry: Entry) -> None:
    if entry.lacks_validation:
        _unruly(f"pack {entry.pack} is not validated; the policy asks for it")


def _require_trusted(facts: Added, pack: str, policy: Policy) -> None:
    """Refuse a pack by who signed it; that the signature is theirs is checked with the content."""
    if facts.development and not policy.development:
        _unruly(f"pack {pack} is signed by the development key, with which anybody can sign")
    if not facts.development and facts.signed_by not in policy.pack_key_ids:
        _unruly(f"pack {pack} is signed by key {facts.signed_by}, none of the policy's pack_keys")


def _require_other(marks: list[Mark], mark: Mark, why: str) -> None:
    """Refuse who is one of them, by name or by key."""
    if any(mark.name == one.name or mark.key == one.key for one in marks):
        _unruly(f"{mark.name} {why}")


def _corrupt(why: str) -> NoReturn:
    raise Fault(Verdict.CORRUPT, why)


def _unruly(why: str) -> NoReturn:
    raise Fault(Verdict.UNRULY, why)

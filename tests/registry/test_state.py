# SPDX-License-Identifier: Apache-2.0
"""The state that follows from a log, against a model in plain Python that looks at whole histories:
written from docs/registry.md, without steps and without a state."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.registries import ADDED, START_S, key, key_id, policy, subject
from tinyfin.registry import state as state_module
from tinyfin.registry.events import Event, Subject, time_text
from tinyfin.registry.log import next_event
from tinyfin.registry.policy import Policy
from tinyfin.registry.state import Entry, Fault, Mark, State, replay

NAMES = ("a", "b", "c", "d")
POLICY = policy(*NAMES)
LATEST = "9999-12-31T23:59:59Z"
CHANGED = policy(*NAMES, approvals=3, stages=["pilot", "production"])


class Deed(NamedTuple):
    """What somebody tries to do, some hours after the last thing that was done."""

    kind: str
    by: str
    pack: int = 0
    stage: str = "pilot"
    key: str = "a"
    hours: int = 1


# ------------------------------------------------------------------------------------ the model


class History(list[tuple[Deed, int]]):
    """What was done, and when (hours)."""

    def of(self, pack: int, *kinds: str) -> list[int]:
        """Where deeds of these kinds stand."""
        return [i for i, (deed, _) in enumerate(self) if deed.pack == pack and deed.kind in kinds]

    def passed(self) -> tuple[set[str], bool, dict[str, set[str]]]:
        """Keys that are revoked, whether the other policy is in force, and who has signed each
        revocation that waits: where one leaves too few, as many persons sign it as a policy."""
        signed: set[str] = set()
        gone: set[str] = set()
        waiting: dict[str, set[str]] = {}
        changed = False
        for deed, _ in self:
            needed = 3 if changed else 2
            if deed.kind == "revoked":
                by = waiting.setdefault(deed.key, set())
                by.add(deed.by)
                if len(by) >= needed or len({*NAMES} - gone - {deed.key}) >= needed:
                    gone.add(deed.key)
                    signed.discard(deed.key)
                    del waiting[deed.key]
                    waiting = {key: by - gone for key, by in waiting.items()}
            elif deed.kind == "policy":
                signed.add(deed.by)
                if len(signed) >= 2 and not changed:
                    changed, waiting = True, {}
        return gone, changed, waiting

    def revoked(self) -> set[str]:
        return self.passed()[0]

    def changed(self) -> bool:
        return self.passed()[1]

    def since_halt(self, pack: int, kind: str) -> list[str]:
        """Who did it, after the pack was halted last."""
        halt = max(self.of(pack, "halted"), default=-1)
        return [self[i][0].by for i in self.of(pack, kind) if i > halt]

    def approvers(self, pack: int) -> list[str]:
        return self.that_count(pack, "approved")

    def that_count(self, pack: int, kind: str) -> list[str]:
        """Those whose key was not revoked before the release, or is not by now."""
        release = self.of(pack, "released")
        until = release[-1] if release and self.since_halt(pack, "released") else len(self)
        revoked = History(self[:until]).revoked()
        return [by for by in self.since_halt(pack, kind) if by not in revoked]

    def standing(self, pack: int) -> str:
        if self.of(pack, "retired"):
            return "retired"
        if self.since_halt(pack, "released"):
            return "released"
        if self.of(pack, "halted"):
            return "halted"
        validated = bool(self.that_count(pack, "validated"))
        if validated and len(self.approvers(pack)) >= (3 if self.changed() else 2):
            return "approved"
        return "validated" if validated else "added"

    def places(self) -> dict[str, int]:
        found = {}
        for stage in {deed.stage for deed, _ in self if deed.kind == "promoted"}:
            here = [i for i, (d, _) in enumerate(self) if (d.kind, d.stage) == ("promoted", stage)]
            # a pack that is retired leaves, and nobody takes its place
            pack = self[here[-1]][0].pack
            if not self.of(pack, "retired"):
                found[stage] = pack
        return found

    def allows(self, deed: Deed, policy_changed: bool) -> bool:
        pack, standing = deed.pack, self.standing(deed.pack)
        if deed.by in self.revoked() or (deed.hours < 0 and deed.kind not in ("halted", "revoked")):
            return False
        if deed.kind == "policy":
            signed = [d.by for d, _ in self if d.kind == "policy"]
            return not policy_changed and deed.by not in signed and not self.revoked()
        if deed.kind == "revoked":
            gone, _, waiting = self.passed()
            return deed.key not in gone and deed.by not in waiting.get(deed.key, ())
        if deed.kind == "added":
            return not self.of(pack, "added")
        if not self.of(pack, "added") or standing == "retired":
            return False
        match deed.kind:
            case "approved":
                return (
                    standing != "released"
                    and bool(self.that_count(pack, "validated"))
                    and deed.by not in self.approvers(pack)
                    and deed.by != self[self.of(pack, "added")[0]][0].by
                )
            case "released":
                needed = 3 if policy_changed else 2
                return (
                    standing != "released"
                    and len(self.approvers(pack)) >= needed
                    and bool(self.that_count(pack, "validated"))
                )
            case "promoted":
                stages = ("pilot", "production") if policy_changed else POLICY.stages
                there = self.places().get(deed.stage) == pack
                return standing == "released" and deed.stage in stages and not there
            case "halted":
                return standing != "halted" and not (
                    self.of(pack, "halted") and not self.since_halt(pack, "released")
                )
        return True


# ------------------------------------------------------------------------------------ the same


def detail_of(deed: Deed) -> dict[str, Any]:
    match deed.kind:
        case "added":
            return {**ADDED, "layouts": {"rows": f"{deed.pack:031x}f"}}
        case "validated":
            return {"evidence": None}
        case "promoted":
            return {"stage": deed.stage, "fleet": "", "wave": None}
        case "halted" | "retired":
            return {"why": "so"}
        case "revoked":
            return {"key": key_id(deed.key), "why": "so"}
        case "policy":
            return {"policy": CHANGED.as_dict()}
    return {}


def differs(deeds: list[Deed]) -> str:
    """Where state and model differ; empty where they do not."""
    now, history, hour = State(), History(), 0
    events: list[Event] = []

    def take(kind: str, about: Subject | None, by: str, at: int, **detail: Any) -> None:
        event = next_event(now, kind, about, detail, key(by), START_S + 3600 * at)
        now.take(event, genuine=True)
        events.append(event)

    take("opened", None, "a", 0, policy=POLICY.as_dict())
    snapshots: list[tuple[int, History]] = []
    for deed in deeds:
        about = None if deed.kind in ("revoked", "policy") else subject(deed.pack)
        try:
            take(deed.kind, about, deed.by, hour + deed.hours, **detail_of(deed))
            taken = True
        except Fault:
            taken = False
        if taken != history.allows(deed, history.changed()):
            return f"{deed} after {history}: taken {taken}"
        if taken:
            hour += deed.hours
            history.append((deed, hour))
            snapshots.append((hour, History(history)))
    for hour, _ in [(-1, None), *snapshots]:
        late = next((i for i, (at, _) in enumerate(snapshots) if at > hour), len(snapshots))
        past = snapshots[late - 1][1] if late and hour >= 0 else History()
        state = replay(events, time_text(START_S + 3600 * hour), LATEST)
        found = {entry.pack: entry.standing for entry in state.entries.values()}
        packs = {deed.pack for deed, _ in past if deed.kind == "added"}
        if found != {subject(pack).pack: past.standing(pack) for pack in packs}:
            return f"standing at {hour} of {past}: {found}"
        for pack in packs:
            approvals = [mark.name for mark in state.entries[subject(pack).pack].approvals]
            if approvals != past.approvers(pack):
                return f"approvals of {pack} at {hour} of {past}: {approvals}"
        places = {place.stage: place.pack for place in state.places.values()}
        if places != {stage: subject(pack).pack for stage, pack in past.places().items()}:
            return f"places at {hour} of {past}: {places}"
    return ""


KINDS = ("validated", "approved", "approved", "released", "promoted", "halted", "retired")
deeds = st.builds(
    Deed,
    kind=st.sampled_from((*KINDS, "added", "approved", "promoted", "policy", "revoked")),
    by=st.sampled_from(NAMES),
    pack=st.integers(1, 2),
    stage=st.sampled_from(("pilot", "laboratory")),
    key=st.sampled_from(NAMES),
    hours=st.sampled_from((0, 1, 1, 1, -1)),
)
# a beginning that gets far, and what may happen then
begun = [Deed("added", "a", 1), Deed("validated", "a", 1), Deed("approved", "b", 1)]
far = [*begun, Deed("approved", "c", 1), Deed("released", "d", 1), Deed("promoted", "d", 1)]
histories = st.builds(
    lambda first, rest: [*first, *rest],
    st.sampled_from(([], begun, far, [Deed("added", "b", 2), *far])),
    st.lists(deeds, max_size=14),
)


@settings(max_examples=100)
@given(histories)
def test_the_state_at_any_time_is_the_model_s(history: list[Deed]) -> None:
    assert differs(history) == ""


def other_always(marks: list[Mark], mark: Mark, why: str) -> None:
    """Anybody may."""


def revoke_alone(self: State, revoked: str, mark: Mark, policy: Policy) -> None:
    """The approvals of the key stay."""
    self.revoked[revoked] = mark


def halt_nothing(self: State, entry: Entry, kind: str, *rest: Any) -> None:
    if kind != "halted":
        change(self, entry, kind, *rest)


change = State._change
FAR = [*begun, Deed("approved", "c", 1), Deed("released", "d", 1)]


@pytest.mark.parametrize(
    ("where", "name", "sabotage", "history"),
    [
        (state_module, "_require_other", other_always, [*begun, Deed("approved", "b", 1)]),
        (state_module, "_require_other", other_always, [*begun, Deed("approved", "a", 1)]),
        (State, "_revoke", revoke_alone, [*FAR[:-1], Deed("revoked", "d", key="b"), FAR[-1]]),
        (State, "_change", halt_nothing, [*FAR, Deed("halted", "c", 1), Deed("promoted", "d", 1)]),
        (State, "_require_approved", lambda *_: None, [*begun, Deed("released", "d", 1)]),
    ],
)
def test_a_rule_that_is_left_out_is_found(
    where: object, name: str, sabotage: object, history: list[Deed], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert differs(history) == ""
    monkeypatch.setattr(where, name, sabotage)
    assert differs(history) != ""

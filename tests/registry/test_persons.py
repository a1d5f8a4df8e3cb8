# SPDX-License-Identifier: Apache-2.0
"""Whose signature counts after a key was revoked or a policy changed, and what a wrong clock does:
neither one leaked key nor one wrong time stops those who are left."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.support.registries import (
    ADDED,
    START_S,
    Written,
    contents,
    key,
    key_id,
    policy,
    registry,
    subject,
)
from tinyfin.errors import InputError
from tinyfin.registry import state as state_module
from tinyfin.registry.log import follow
from tinyfin.registry.policy import Person, Policy
from tinyfin.registry.registry import Registry
from tinyfin.registry.state import Entry, Fault, Verdict

PACK = subject(7)
NOW = START_S + 3600
YEAR_9999 = 253402300799


def approved(of: Policy | None = None) -> Written:
    """A pack that a has added, b has validated, and b has approved."""
    log = Written(of)
    log.event("added", "a", PACK, **ADDED)
    log.event("validated", "b", PACK, evidence=None)
    log.event("approved", "b", PACK)
    return log


def entry(log: Written) -> Entry:
    return log.state.entries[PACK.pack]


def with_persons(*persons: Person) -> Policy:
    return policy("a", "b").model_copy(update={"persons": [*persons]})


def into_force(log: Written, of: Policy, *by: str) -> None:
    for name in by:
        log.event("policy", name, policy=of.as_dict())
    assert log.state.policy == of


def revoke(log: Written, name: str, by: str) -> bool:
    """Whether it is revoked by this signature."""
    log.event("revoked", by, key=key_id(name), why="leaked")
    return key_id(name) in log.state.revoked


def test_a_validation_of_a_revoked_key_does_not_count() -> None:
    log = Written(policy("a", "b", "c", "d", "v"))
    log.event("added", "a", PACK, **ADDED)
    log.event("validated", "v", PACK, evidence=None)
    log.event("approved", "b", PACK)
    log.event("approved", "c", PACK)
    assert entry(log).standing == "approved"
    assert revoke(log, "v", by="b")
    assert entry(log).standing == "added"
    with pytest.raises(Fault, match="is not validated"):
        log.event("released", "b", PACK)
    log.event("validated", "d", PACK, evidence=None)
    log.event("released", "b", PACK)
    assert revoke(log, "d", by="b")
    assert entry(log).standing == "released", "it was released before"
    assert follow(log.data).verdict == Verdict.VALID


def test_one_leaked_key_does_not_shut_everybody_out() -> None:
    log = Written(policy("a", "b", "c", "d"))
    assert revoke(log, "a", by="d")
    assert revoke(log, "b", by="d")
    assert not revoke(log, "c", by="d"), "two must be left"
    with pytest.raises(Fault, match="has signed this revocation already"):
        revoke(log, "c", by="d")
    assert not revoke(log, "d", by="c")
    into_force(log, policy("c", "d", "e"), "c", "d")
    assert log.state.revocations == {}
    assert revoke(log, "d", by="c")
    assert follow(log.data).verdict == Verdict.VALID


def test_who_may_sign_no_policy_is_revoked_by_one_person() -> None:
    machine = Person(name="m", key=key("m").public.hex(), signs=["added"])
    log = Written(with_persons(*policy("a", "b").persons, machine))
    assert revoke(log, "m", by="a")


def test_as_many_as_sign_a_policy_revoke_a_key_that_is_needed() -> None:
    log = Written(policy("a", "b"))
    assert not revoke(log, "b", by="a")
    assert revoke(log, "b", by="b")
    assert follow(log.data).verdict == Verdict.VALID


def test_approvals_of_persons_whom_the_policy_drops_do_not_count() -> None:
    log = approved(policy("a", "b", "c", "d"))
    log.event("approved", "d", PACK)
    into_force(log, policy("a", "c", "d"), "a", "b")
    assert [mark.name for mark in entry(log).approvals] == ["d"]
    assert entry(log).validations == []
    with pytest.raises(Fault, match="1 of 2 approvals"):
        log.event("released", "a", PACK)
    log.event("validated", "a", PACK, evidence=None)
    log.event("approved", "c", PACK)
    log.event("released", "a", PACK)
    into_force(log, policy("a", "b"), "a", "c")
    assert len(entry(log).approvals) == 2, "it was released by those"
    assert follow(log.data).verdict == Verdict.VALID


def test_who_may_approve_no_more_and_who_added_it_do_not_count() -> None:
    log = Written(policy("a", "b", "c", own_approval=True))
    log.event("added", "a", PACK, **ADDED)
    log.event("validated", "b", PACK, evidence=None)
    log.event("approved", "a", PACK)
    log.event("approved", "b", PACK)
    into_force(log, policy("a", "b", "c"), "a", "b")
    assert [mark.name for mark in entry(log).approvals] == ["b"]
    halts = Person(name="b", key=key("b").public.hex(), signs=["halted"])
    into_force(log, with_persons(*policy("a", "c", "d").persons, halts), "a", "c")
    assert entry(log).approvals == entry(log).validations == []


def test_a_person_with_a_new_key_counts_once() -> None:
    log = approved()
    new = Person(name="b", key=key("b, again").public.hex())
    into_force(log, with_persons(*policy("a", "c").persons, new), "a", "c")
    assert [mark.name for mark in entry(log).approvals] == ["b"]
    with pytest.raises(Fault, match="b has approved"):
        log.event("approved", "b, again", PACK)
    log.event("approved", "c", PACK)
    assert entry(log).standing == "approved"
    # under another name it is another person, and what the old name has approved is gone
    renamed = Person(name="beth", key=new.key)
    into_force(log, with_persons(*policy("a", "c").persons, renamed), "a", "c")
    assert [mark.name for mark in entry(log).approvals] == ["c"]


def test_a_count_that_is_left_out_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control."""
    monkeypatch.setattr(state_module, "_recount", lambda *_: None)
    log = approved(policy("a", "b", "c", "d"))
    into_force(log, policy("a", "c", "d"), "a", "b")
    assert [mark.name for mark in entry(log).approvals] == ["b"]


# ----------------------------------------------------------------------------------------- clocks


def late(made: Registry, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Add a pack in the year 9999; its id."""
    held = contents(folder)
    with monkeypatch.context() as patched:
        patched.setattr("tinyfin.registry.log.time", SimpleNamespace(time=lambda: YEAR_9999))
        made.add(held.files, key("a"))
    return held.facts.pack_id


@pytest.mark.parametrize("ahead_s", [600, 601])
def test_a_time_that_the_clock_has_not_reached_is_refused(
    ahead_s: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, held = registry(tmp_path / "r"), contents(tmp_path / "run")
    clock = SimpleNamespace(time=lambda: NOW)
    monkeypatch.setattr("tinyfin.registry.log.time", clock)
    if ahead_s == 600:
        made.add(held.files, key("a"), now_s=NOW + ahead_s)
        assert made.verify()[1] == []
        return
    with pytest.raises(InputError, match=r"'added': its time .* is later than the clock"):
        made.add(held.files, key("a"), now_s=NOW + ahead_s)
    with pytest.raises(InputError, match="later than the clock"):
        Registry.create(tmp_path / "other", policy("a", "b"), key("a"), now_s=NOW + ahead_s)
    assert len(made.events()) == 1
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("kind", ["halted", "revoked"])
def test_an_event_of_the_far_future_stops_nobody(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = registry(tmp_path / "r")
    pack = late(made, tmp_path / "run", monkeypatch)
    (finding,) = made.verify()[1]
    assert (finding.verdict, finding.number) == ("UNRULY", 2)
    assert "later than the clock" in finding.why
    again = Registry(tmp_path / "r")
    again.events()
    with pytest.raises(InputError, match="is before that of event 2"):
        again.validate(pack, {}, key("b"), now_s=NOW)
    if kind == "halted":
        again.record("halted", pack, {"why": "so"}, key("b"), now_s=NOW)
    else:
        again.record("revoked", None, {"key": key_id("a"), "why": "so"}, key("b"), now_s=NOW)
    again.validate(pack, {}, key("b"), now_s=NOW + 60)
    assert again.verify()[1] == [finding]
    # what happened when follows from the others
    assert again.state("2026-10-26T08:00:00Z").number == 2
    assert again.state("2026-10-26T08:34:20Z").number == 4
    assert Registry(tmp_path / "r").state("2026-10-26T08:34:20Z").number == 4


def test_a_halt_that_is_dated_back_changes_no_past(tmp_path: Path) -> None:
    made, held = registry(tmp_path / "r"), contents(tmp_path / "run")
    made.add(held.files, key("a"), now_s=NOW)
    made.record("halted", held.facts.pack_id, {"why": "so"}, key("b"), now_s=START_S - 9999)
    assert made.verify()[1] == []
    before = "2026-10-26T08:00:00Z"
    assert made.state(before).number == 1
    assert made.state().entries[held.facts.pack_id].standing == "halted"

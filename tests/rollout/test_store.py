# SPDX-License-Identifier: Apache-2.0
"""Campaigns in SQLite and in PostgreSQL: kept, killed at every statement, and replayed."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from tests.support.campaigns import Fleet, short_policy, terminal
from tinyfin.errors import InputError, MismatchError
from tinyfin.rollout.controller import Rollout, State
from tinyfin.rollout.definition import Definition, Member
from tinyfin.rollout.gates import Promise
from tinyfin.rollout.members import NEVER, Seen
from tinyfin.rollout.membership import digests
from tinyfin.rollout.policy import Window
from tinyfin.rollout.store import Campaign, Store, _packed, _unpacked

MEMBERS = 400


def draft(name: str = "north", **limits: Any) -> Campaign:
    policy = short_policy(0.2)
    policy.limits.windows = limits.pop("windows", [])
    members = [Member(terminal(n).hex(), "ab"[n % 2], f"mark {n}") for n in range(MEMBERS)]
    definition = Definition(
        name=name,
        pack="ab" * 16,
        layouts=["ab" * 16],
        parent="cd" * 16,
        parent_layouts=["cd" * 16],
        policy=policy,
        promise=Promise(),
        score_bins=16,
        terminals="0" * 64,
    )
    return Campaign.begun(definition, members)


def begun(url: str) -> Store:
    store = Store(url)
    store.add(draft())
    with store.changing("north") as found:
        found.do("approve", 1, "ann, bob", "")
    return store


def day(store: Store, fleet: Fleet, **what: Any) -> Campaign:
    seen = fleet.day(**what)
    with store.changing("north") as found:
        tick = found.tick(fleet.hour, seen)
    fleet.take(tick.offers)
    return found


def rows(url: str) -> dict[str, Sequence[sa.Row[Any]]]:
    engine = sa.create_engine(url)
    with engine.connect() as base:
        found = {}
        for name in ("campaign", "tick"):
            found[name] = base.execute(sa.text(f"SELECT * FROM {name} ORDER BY 1, 2")).all()
    engine.dispose()
    return found


def test_a_campaign_to_its_end(url: str) -> None:
    store, fleet = begun(url), Fleet(MEMBERS, 1)
    marks = (f"mark {n}".encode() for n in range(MEMBERS))
    order = digests(draft().definition.campaign, marks)
    plain = Rollout(draft().definition.policy, order, np.arange(MEMBERS) % 2, promise=Promise())
    plain.do("approve")
    for _ in range(45):
        seen = fleet.day()
        want = plain.tick(fleet.hour, seen)
        with store.changing("north") as found:
            tick = found.tick(fleet.hour, seen)
        assert tick.gates == want.gates
        fleet.take(tick.offers)
        if tick.state == State.DONE:
            break
    assert tick.state == State.DONE
    kept = Store(url).campaign("north").rollout
    assert kept.progress == plain.progress
    assert kept.stage.tobytes() == plain.stage.tobytes()
    assert kept.offered_h.tobytes() == plain.offered_h.tobytes()
    assert store.replay("north") == len(store.log("north")) > 20
    assert [one.number for one in store.log("north")] == list(range(store.replay("north")))


def test_the_same_tick_again_changes_nothing(url: str) -> None:
    store, fleet = begun(url), Fleet(MEMBERS, 2)
    for _ in range(5):
        found = day(store, fleet)
        before = rows(url)
        with store.changing("north") as again:
            tick = again.tick(fleet.hour, fleet.seen)
        assert not len(tick.offers)
        assert rows(url) == before
    assert found.rollout.progress.hour == fleet.hour
    with pytest.raises(InputError, match="ticks go forward"), store.changing("north") as again:
        again.tick(fleet.hour - 1, fleet.seen)


def test_what_was_seen_comes_back() -> None:
    draw, seen = np.random.default_rng(1), Seen.nothing(50)
    for one in fields(Seen):
        getattr(seen, one.name)[:] = draw.integers(0, 9, getattr(seen, one.name).shape)
    again = Seen(**_unpacked(_packed(vars(seen))))
    for one in fields(Seen):
        found, wanted = getattr(again, one.name), getattr(seen, one.name)
        assert found.dtype == wanted.dtype
        assert (found == wanted).all(), one.name


def killed(what: Callable[[], object], at: int) -> bool:
    """Do it in a process that is gone before its statement number ``at``; whether it was."""
    child = os.fork()
    if child == 0:
        count = 0

        def step(*_: object) -> None:
            nonlocal count
            count += 1
            if count == at:
                os._exit(77)

        try:
            sa.event.listen(sa.Engine, "before_cursor_execute", step)
            sa.event.listen(sa.Engine, "commit", step)
            what()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 77


def test_killed_at_every_statement_nothing_is_half_done(url: str) -> None:
    begun(url)
    fleet = Fleet(MEMBERS, 3)
    day(Store(url), fleet)
    seen, hour = fleet.day(), fleet.hour

    def tick() -> None:
        with Store(url).changing("north") as found:
            found.tick(hour, seen)

    before, at = rows(url), 1
    while killed(tick, at):
        assert rows(url) == before, at
        at += 1
    assert at > 8, "statements, and the commit"
    after = rows(url)
    assert after != before
    tick()
    assert rows(url) == after
    assert Store(url).replay("north") == 3


def test_without_a_transaction_something_is_half_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control."""
    url = f"sqlite:///{tmp_path / 'loose.sqlite'}"
    loose = "PRAGMA synchronous = OFF"
    monkeypatch.setattr(
        "tinyfin.rollout.store._begin_alone", lambda base: base.exec_driver_sql(loose)
    )
    begun(url)
    fleet = Fleet(MEMBERS, 3)
    day(Store(url), fleet)
    seen, hour, before = fleet.day(), fleet.hour, rows(url)

    def tick() -> None:
        with Store(url).changing("north") as found:
            found.tick(hour, seen)

    halves = 0
    for at in range(1, 40):
        if not killed(tick, at) or halves:
            break
        halves += rows(url) != before
    assert halves


def test_two_ticks_at_once_offer_nothing_twice(url: str) -> None:
    begun(url)
    fleet = Fleet(MEMBERS, 4)
    seen, hour = fleet.day(), fleet.hour
    found: list[int] = []
    failed: list[BaseException] = []

    def tick() -> None:
        try:
            with Store(url).changing("north") as campaign:
                found.extend(campaign.tick(hour, seen).offers.tolist())
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=tick) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(90)
    assert not failed
    assert len(found) == len(set(found)) == 20
    assert (Store(url).campaign("north").rollout.offered_h != NEVER).sum() == 20


@pytest.mark.parametrize(
    "change",
    [
        "stage",
        "offered_h",
        "UPDATE campaign SET progress = replace(progress, 'running', 'paused')",
        "UPDATE tick SET result = replace(result, 'holds', 'waits') WHERE number = 5",
        "UPDATE tick SET seen = (SELECT seen FROM tick WHERE number = 3) WHERE number = 4",
        "DELETE FROM tick WHERE number = (SELECT max(number) FROM tick)",
    ],
)
def test_a_replay_finds_what_was_changed(change: str, tmp_path: Path) -> None:
    """Also a stage, or the hour of an offer."""
    url = f"sqlite:///{tmp_path / 'c.sqlite'}"
    store, fleet = begun(url), Fleet(MEMBERS, 5)
    for _ in range(8):
        day(store, fleet)
    assert store.replay("north") >= 8
    kept, given = vars(store.campaign("north").rollout), {}
    if change in kept:
        places = {name: kept[name].copy() for name in ("stage", "offered_h")}
        places[change][int(np.argmax(places["offered_h"]))] += 1
        change, given = "UPDATE campaign SET places = :places", {"places": _packed(places)}
    engine = sa.create_engine(url)
    with engine.begin() as base:
        assert base.execute(sa.text(change), given).rowcount == 1
    with pytest.raises(MismatchError):
        store.replay("north")


def test_an_erased_member_is_forgotten(tmp_path: Path) -> None:
    """Its id is nowhere in the file; the campaign goes on without it."""
    place = tmp_path / "c.sqlite"
    store, fleet = begun(f"sqlite:///{place}"), Fleet(MEMBERS, 9)
    for _ in range(3):
        found = day(store, fleet)
    number = int(np.flatnonzero(found.rollout.offered_h != NEVER)[0])
    gone = found.members[number]
    before = found.rollout.place.copy()
    assert gone.terminal.encode() in place.read_bytes()
    assert store.erase("another mark") == 0
    assert store.erase(gone.mark) == 1
    assert store.erase(gone.mark) == 0
    assert gone.terminal.encode() not in place.read_bytes()
    left = store.campaign("north")
    assert left.members[number] == ("", gone.stratum, gone.mark)
    assert left.rollout.offered_h[number] == NEVER
    assert (left.rollout.place == before).all(), "the others keep their places"
    assert not any(entry.seen for entry in store.log("north"))
    fleet.seen.heard_h[number], fleet.seen.stage[number] = NEVER, 0
    fleet.rate[number] = 0
    assert number not in day(store, fleet).rollout.actions()["offer"]
    with pytest.raises(InputError, match="since a member was erased"):
        store.replay("north")


def test_what_persons_do_is_replayed(url: str) -> None:
    store, fleet = begun(url), Fleet(MEMBERS, 6)
    day(store, fleet)
    for kind in ("pause", "resume", "pause", "pass", "halt"):
        with store.changing("north") as found:
            found.do(kind, fleet.hour, "ann", f"{kind} it")
        day(store, fleet)
    assert store.campaign("north").rollout.progress.state in (State.ROLLING_BACK, State.ROLLED_BACK)
    assert store.replay("north") == len(store.log("north"))
    with (
        pytest.raises(InputError, match="it can be paused only when"),
        store.changing("north") as c,
    ):
        c.do("pause", fleet.hour, "ann", "late")


def test_no_terminal_is_in_two_campaigns_at_once(url: str) -> None:
    store = begun(url)
    store.add(draft("south"))
    for kind in ("pause", "end"):
        with (
            pytest.raises(
                InputError, match=f"{MEMBERS} terminals of campaign south are in .*north"
            ),
            store.changing("south") as found,
        ):
            found.do("approve", 2, "ann, bob", "")
        assert store.campaign("south").rollout.progress.state == State.DRAFT
        if kind == "pause":
            day(store, Fleet(MEMBERS, 8))
        with store.changing("north") as found:
            found.do(kind, 3, "ann", "the next one")
    with store.changing("south") as found:
        found.do("approve", 4, "ann, bob", "")
    assert store.replay("north") == len(store.log("north"))


def test_offers_aborts_and_reverts(tmp_path: Path) -> None:
    store, fleet = begun(f"sqlite:///{tmp_path / 'c.sqlite'}"), Fleet(MEMBERS, 7)
    found = day(store, fleet)
    assert len(found.rollout.actions()["offer"]) == 20
    for _ in range(4):
        found = day(store, fleet)
    assert not len(found.rollout.actions()["offer"])
    found.rollout.do("halt", "by hand")
    actions = found.rollout.actions()
    assert len(actions["revert"]) + len(actions["abort"]) == 20
    found.rollout.policy.limits.revert = False
    assert not len(found.rollout.actions()["revert"])


def test_the_file_is_its_owner_s_alone(tmp_path: Path) -> None:
    place = tmp_path / "c.sqlite"
    begun(f"sqlite:///{place}")
    assert stat.S_IMODE(place.stat().st_mode) == 0o600


def test_what_cannot_be_used(tmp_path: Path) -> None:
    store = begun(f"sqlite:///{tmp_path / 'c.sqlite'}")
    with pytest.raises(InputError, match="there are: north"):
        store.campaign("south")
    with pytest.raises(InputError, match="is there already"):
        store.add(draft())
    for url in ("sqlite:////no/such/folder/x.sqlite", "nonsense", "oracle://x"):
        with pytest.raises(InputError, match="store"):
            Store(url)
    (tmp_path / "text.sqlite").write_text("no database, " * 200)
    with pytest.raises(InputError, match="not a database"):
        Store(f"sqlite:///{tmp_path / 'text.sqlite'}")
    with pytest.raises(InputError, match="no terminal is in stratum 'c'"):
        draft(windows=[Window(stratum="c", hours=[1])])
    found = draft(windows=[Window(stratum="b", hours=[1])])
    assert (found.rollout.offered_h == NEVER).all()

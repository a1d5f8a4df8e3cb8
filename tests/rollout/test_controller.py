# SPDX-License-Identifier: Apache-2.0
"""Campaigns from the first tick to the last, and the traps that others have met."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.campaigns import HOUR0, Fleet, ranks, run, short_policy
from tinyfin.errors import InputError
from tinyfin.rollout import controller, gates
from tinyfin.rollout.controller import Rollout, State, Tick
from tinyfin.rollout.gates import Promise
from tinyfin.rollout.members import NEVER, Seen, Stage
from tinyfin.rollout.policy import Policy

POLICY = short_policy(0.1)
STOPPED = (State.ROLLING_BACK, State.ROLLED_BACK)


def campaign(members: int = 100, policy: Policy = POLICY, **more: Any) -> Rollout:
    made = Rollout(policy, ranks(members), np.arange(members) % 2, **more)
    made.do("approve")
    return made


def heard(members: int, hour: int) -> Seen:
    seen = Seen.nothing(members)
    seen.heard_h[:] = hour
    return seen


def test_a_good_pack_reaches_every_terminal_wave_by_wave() -> None:
    offered: list[int] = []
    reached: dict[int, int] = {}

    def watch(rollout: Rollout, fleet: Fleet, tick: Tick) -> None:
        offered.extend(tick.offers.tolist())
        reached[tick.wave] = len(offered)
        assert (rollout.wave_of[rollout.offered_h != NEVER] <= tick.wave).all()

    rollout, ticks = run(POLICY, 3000, 1, watch=watch)
    assert ticks[-1].state == State.DONE
    assert reached == {0: 20, 1: 300, 2: 3000}
    assert len(set(offered)) == len(offered), "nobody twice"
    assert (rollout.stage == Stage.CONFIRMED).mean() > 0.95


def test_good_packs_are_not_halted() -> None:
    """Some terminals are off for a while, as in real fleets."""
    for seed in range(12):
        _, ticks = run(short_policy(0.2), 1500, seed, off=0.1)
        assert ticks[-1].state not in STOPPED, ticks[-1].why


@pytest.mark.parametrize(
    ("what", "gate"),
    [
        ({"falls": 0.5}, "failures"),
        ({"takes": 0.5}, "failures"),
        ({"silent": 0.2}, "silence"),
        ({"alerts": 3.0}, "alerts"),
        ({"faults": 0.02}, "faults"),
        ({"saturated": 0.02}, "saturations"),
        ({"shift_after_days": 3}, "self_difference"),
    ],
)
def test_bad_packs_are_halted(
    what: dict[str, Any], gate: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = short_policy(0.2, first=60, soak_days=4, shows_from_terminals=100)
    rollout, ticks = run(policy, 2000, 3, **what)
    assert ticks[-1].state in STOPPED
    assert gate in ticks[-1].why
    assert ticks[-1].wave <= 1
    assert (rollout.offered_h != NEVER).sum() <= 400
    # the control: without this gate the pack goes on
    real = gates.gates_of
    monkeypatch.setattr(
        "tinyfin.rollout.controller.gates_of",
        lambda *a: tuple(g for g in real(*a) if not g.name.endswith(gate)),
    )
    _, without = run(policy, 2000, 3, **what)
    assert len(without) > len(ticks)
    assert gate not in without[-1].why


# ------------------------------------------------------------------------------- traps


def test_a_fleet_that_has_the_pack_already_is_not_done_at_once() -> None:
    """hawkBit 735: assigned already, so every group had succeeded."""
    rollout = campaign()
    for day in range(40):
        seen = heard(100, HOUR0 + 24 * day)
        seen.stage[:] = Stage.CONFIRMED
        tick = rollout.tick(HOUR0 + 24 * day, seen)
        assert tick.wave == 0
        assert not len(tick.offers)
    assert tick.state == State.INCONCLUSIVE


def test_two_bad_waves_do_not_undo_a_halt() -> None:
    """hawkBit 2161: two groups that failed together let the campaign go on."""
    rollout, _ = run(short_policy(0.2), 2000, 3, falls=0.5)
    hour, why = rollout.progress.hour, rollout.progress.why
    for day in range(1, 60):
        fine = heard(2000, hour + 24 * day)
        fine.stage[:] = Stage.CONFIRMED
        tick = rollout.tick(hour + 24 * day, fine)
        assert tick.state in STOPPED
        assert not len(tick.offers)
    assert tick.why == why
    with pytest.raises(InputError, match="only when it is paused, inconclusive"):
        rollout.do("resume", "please")


def test_an_analysis_that_fails_offers_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Argo 1411: the failed analysis did not stop the rollout."""
    rollout = campaign()
    before = rollout.progress, rollout.stage.copy()
    bad = heard(100, HOUR0)
    bad.alerts[3] = -1
    with pytest.raises(InputError, match="alerts: a member has a negative count"):
        rollout.tick(HOUR0, bad)
    with pytest.raises(InputError, match="99 members in place of 100"):
        rollout.tick(HOUR0, heard(99, HOUR0))

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("tinyfin.rollout.controller.gates_of", broken)
    with pytest.raises(ZeroDivisionError):
        rollout.tick(HOUR0, heard(100, HOUR0))
    assert rollout.progress == before[0]
    assert (rollout.stage == before[1]).all()
    assert (rollout.offered_h == NEVER).all()


def test_values_that_never_come_end_the_wait_and_promote_nothing() -> None:
    rollout = campaign()
    states = []
    for day in range(60):
        seen = heard(100, HOUR0 + 24 * day)
        seen.stage[rollout.offered_h != NEVER] = Stage.CONFIRMED
        states.append(rollout.tick(HOUR0 + 24 * day, seen).state)
    assert states[27] == State.RUNNING
    assert states[28:] == [State.INCONCLUSIVE] * 32
    assert (rollout.offered_h != NEVER).sum() == 20
    assert "far" in rollout.progress.why


def test_an_abort_does_not_reach_who_runs_the_pack() -> None:
    """mender-mcu 115: abort after the install. Such members go back, or the campaign says so."""
    rollout = campaign(100, short_policy(0.2))
    seen = heard(100, HOUR0)
    members = rollout.tick(HOUR0, seen).offers
    seen.stage[members] = [Stage.SHADOW] * 10 + [Stage.CONFIRMED] * 10
    seen.heard_h[:] = HOUR0 + 24
    rollout.tick(HOUR0 + 24, seen)
    rollout.do("halt", "by hand")
    seen.heard_h[:] = HOUR0 + 48
    seen.stage[members[:10]] = Stage.FELL_BACK
    assert rollout.tick(HOUR0 + 48, seen).state == State.ROLLING_BACK
    seen.heard_h[:], seen.heard_h[members[15:]] = HOUR0 + 150, HOUR0 + 48
    seen.stage[members[10:15]] = Stage.TARGETED
    tick = rollout.tick(HOUR0 + 150, seen)
    assert tick.state == State.ROLLED_BACK, "the rest is silent"


def test_success_is_no_word_of_a_member_that_was_not_offered_the_pack() -> None:
    rollout = campaign()
    seen = heard(100, HOUR0)
    other = np.flatnonzero(rollout.wave_of == 2)
    seen.stage[other] = Stage.CONFIRMED
    tick = rollout.tick(HOUR0, seen)
    assert not set(tick.offers) & set(other)
    [confirmed] = [gate for gate in tick.gates if gate.name == "confirmed"]
    assert confirmed.found == 0


def test_silent_members_are_not_offered_and_count_when_they_vanish() -> None:
    rollout = campaign()
    seen = heard(100, HOUR0)
    seen.heard_h[::2] = HOUR0 - 100
    seen.heard_h[1] = NEVER
    offers = rollout.tick(HOUR0, seen).offers
    assert set(offers) <= set(range(3, 100, 2))
    seen.heard_h[:] = HOUR0 + 96
    seen.heard_h[offers] = HOUR0
    tick = rollout.tick(HOUR0 + 96, seen)
    assert tick.state in STOPPED
    assert "silence" in tick.why


def test_a_member_that_fell_back_stays_a_failure() -> None:
    rollout = campaign()
    seen = heard(100, HOUR0)
    member = rollout.tick(HOUR0, seen).offers[0]
    for day, stage in enumerate((Stage.FELL_BACK, Stage.CONFIRMED), 1):
        seen.heard_h[:], seen.stage[member] = HOUR0 + 24 * day, stage
        rollout.tick(HOUR0 + 24 * day, seen)
        assert rollout.stage[member] == Stage.FELL_BACK


def open_gates(*shares: float, first: int = 20) -> Policy:
    """Failures, silence and confirmation decide alone."""
    names = ["paired", "alerts", "self_difference", "faults", "saturations"]
    return short_policy(*shares, first=first, without=names)


def test_a_wave_of_which_few_report_does_not_pass() -> None:
    """A third reports and is fine. The other two thirds would be offered the pack in the end."""
    rollout, seen, few = campaign(3000, open_gates(0.2)), Seen.nothing(3000), np.arange(0, 3000, 3)
    for hour in range(HOUR0, HOUR0 + 24 * 40, 24):
        seen.heard_h[few] = hour
        seen.stage[rollout.offered_h != NEVER] = Stage.CONFIRMED
        state = rollout.tick(hour, seen).state
    assert state == State.INCONCLUSIVE
    assert rollout.progress.wave == 0
    assert "confirmed" in rollout.progress.why


def test_members_on_the_way_do_not_dilute_failures() -> None:
    """1.4 % of those that have ended fell back, and as many have not begun."""
    rollout = campaign(40_000, open_gates(0.2, first=4000))
    seen = heard(40_000, HOUR0)
    members = rollout.tick(HOUR0, seen).offers
    tried = members[:2080]
    seen.stage[tried], seen.stage[tried[:29]] = Stage.CONFIRMED, Stage.FELL_BACK
    for day in range(1, 5):
        seen.heard_h[:] = HOUR0 + 24 * day
        assert rollout.tick(HOUR0 + 24 * day, seen).wave == 0
    seen.stage[members[2080:]] = Stage.CONFIRMED
    seen.heard_h[:] = HOUR0 + 24 * 5
    assert rollout.tick(HOUR0 + 24 * 5, seen).wave == 1, "the control: 29 of 4,000 are fine"


def test_a_rollback_is_over_when_the_pack_is_gone_and_not_before() -> None:
    """Whatever members were before: fallen back, silent, or of a database that was restored."""
    rollout = campaign(100, short_policy(0.2))
    seen = heard(100, HOUR0)
    again, gone, *_ = rollout.tick(HOUR0, seen).offers
    forgotten = int(np.flatnonzero(rollout.wave_of > 0)[0])
    seen.stage[again], seen.stage[gone] = Stage.FELL_BACK, Stage.CONFIRMED
    seen.heard_h[:] = HOUR0 + 24
    rollout.tick(HOUR0 + 24, seen)
    rollout.do("halt", "by hand")
    seen.stage[[again, forgotten]] = Stage.CONFIRMED
    seen.heard_h[:], seen.heard_h[gone] = HOUR0 + 120, HOUR0 + 24
    assert rollout.tick(HOUR0 + 120, seen).state == State.ROLLING_BACK
    assert set(rollout.actions()["revert"]) == {again, forgotten}
    seen.stage[[again, forgotten]] = Stage.TARGETED
    assert rollout.tick(HOUR0 + 121, seen).state == State.ROLLED_BACK
    seen.heard_h[gone] = HOUR0 + 122
    assert rollout.tick(HOUR0 + 122, seen).state == State.ROLLING_BACK
    assert rollout.actions()["revert"].tolist() == [gone]


@pytest.mark.parametrize(("wave", "later_h"), [(2, 24 * 5), (1, 24 * 365 * 70)])
def test_when_nobody_reports_nothing_is_decided(wave: int, later_h: int) -> None:
    """The carriers stand still for days, or the clock of this machine is in 2096."""

    def watch(rollout: Rollout, fleet: Fleet, tick: Tick) -> None:
        before = rollout.progress
        if tick.wave < wave or tick.state != State.RUNNING or fleet.hour - before.began_h < 96:
            return
        tried.append(fleet.hour)
        with pytest.raises(InputError, match="no terminal has reported for 3 days"):
            rollout.tick(fleet.hour + later_h, fleet.seen)
        assert rollout.progress == before

    tried: list[int] = []
    _, ticks = run(short_policy(0.2), 1500, 1, watch=watch)
    assert ticks[-1].state == State.DONE
    assert tried


def test_holidays_in_the_last_wave_halt_nobody() -> None:
    """Half of all terminals, with the pack and without, are off; and the control: of the last wave
    alone, after the installation."""
    for which, wanted in ((lambda w: w >= 0, (State.RUNNING,)), (lambda w: w == 2, STOPPED)):
        rollout = campaign(3000, short_policy(0.2))
        seen = heard(3000, HOUR0)
        rollout.progress = rollout.progress.__class__(State.RUNNING, 2, HOUR0, HOUR0, HOUR0)
        rollout.offered_h[:], rollout.stage[:] = HOUR0, Stage.OFFERED
        seen.stage[:], seen.heard_h[:] = Stage.CONFIRMED, HOUR0 + 120
        off = np.flatnonzero(which(rollout.wave_of))
        seen.heard_h[off[::2]] = HOUR0 + 24
        assert rollout.tick(HOUR0 + 120, seen).state in wanted


@pytest.mark.parametrize("silent_first", [False, True])
def test_a_member_that_moved_on_is_offered_nothing(silent_first: bool) -> None:
    """To another campaign's pack, after this campaign was done; before, it has failed."""
    fleets: list[Fleet] = []
    rollout, ticks = run(
        short_policy(0.2), 300, 1, watch=lambda _r, fleet, _t: fleets.append(fleet)
    )
    assert ticks[-1].state == State.DONE
    seen, hour = fleets[-1].seen, rollout.progress.hour
    one = int(np.flatnonzero(rollout.stage == Stage.CONFIRMED)[0])
    for _ in range(5 if silent_first else 0):
        hour += 24
        seen.heard_h[np.arange(300) != one] = hour
        rollout.tick(hour, seen)
    if silent_first:
        assert rollout.stage[one] == Stage.GONE
    hour += 24
    seen.heard_h[:], seen.stage[one] = hour, Stage.TARGETED
    assert rollout.tick(hour, seen).state == State.DONE
    assert rollout.stage[one] == Stage.FELL_BACK
    assert one not in rollout.actions()["offer"]
    rollout.do("end", "the next one begins")
    before = rollout.progress
    assert not rollout.tick(before.hour + 24, seen).changed
    with pytest.raises(InputError, match="the campaign is ended"):
        rollout.do("halt", "too late")


def test_what_turns_bad_when_the_last_wave_has_passed_is_halted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Late members are still offered the pack. The control: where nobody looks any more."""
    for watched in (True, False):
        if not watched:
            others = tuple(one for one in controller.WATCHED if one != State.DONE)
            monkeypatch.setattr(controller, "WATCHED", others)
        rollout, seen = campaign(300, open_gates(0.2)), heard(300, HOUR0)
        late = int(np.flatnonzero(rollout.wave_of == 2)[0])
        hour = HOUR0
        while rollout.progress.state != State.DONE:
            seen.heard_h[:], seen.heard_h[late] = hour, NEVER
            seen.stage[rollout.tick(hour, seen).offers] = Stage.CONFIRMED
            hour += 24
        seen.stage[seen.stage == Stage.CONFIRMED] = Stage.FELL_BACK
        seen.heard_h[:] = hour
        tick = rollout.tick(hour, seen)
        assert (late in tick.offers) != watched
        assert (tick.state in STOPPED) == watched
        assert ("failures" in tick.why) == watched


def test_where_the_delivery_is_down_nobody_has_failed() -> None:
    """Nobody of the wave has taken the pack in four weeks; and as soon as one has, the others have
    not_taken_days more."""
    rollout, ticks = run(open_gates(0.2), 300, 1, takes=0)
    assert ticks[-1].state == State.INCONCLUSIVE
    assert not (rollout.stage == Stage.NOT_TAKEN).any()
    rollout.do("resume", "the line is there again")
    hour, seen = rollout.progress.hour, heard(300, rollout.progress.hour)
    seen.stage[np.flatnonzero(rollout.offered_h != NEVER)[0]] = Stage.CONFIRMED
    for day in range(1, 17):
        seen.heard_h[:] = hour + 24 * day
        state = rollout.tick(hour + 24 * day, seen).state
        assert (state in STOPPED) == (day == 16), day


def test_after_a_resume_the_days_begin_with_the_next_tick() -> None:
    """Whatever a clock says: the wave waits as long as it did before."""
    rollout = campaign(100, open_gates(0.2))
    for days in (28, 28):
        began = rollout.progress.hour + 24 if rollout.progress.hour != NEVER else HOUR0
        states = []
        for day in range(days + 1):
            hour = began + 24 * day
            states.append(rollout.tick(hour, heard(100, hour)).state)
        assert states == [State.RUNNING] * days + [State.INCONCLUSIVE]
        rollout.do("resume", "look again")


def test_a_failure_between_two_ticks_counts() -> None:
    rollout = campaign(100, open_gates(0.2))
    seen = heard(100, HOUR0)
    members = rollout.tick(HOUR0, seen).offers
    seen.stage[members] = Stage.SHADOW  # installed once more since
    seen.falls[members[:9]] = 1
    seen.heard_h[:] = HOUR0 + 240
    assert "failures: 9 of 20" in rollout.tick(HOUR0 + 240, seen).why


# ------------------------------------------------------------------- limits and persons


def test_offers_keep_hours_and_limits() -> None:
    policy = POLICY.model_copy(
        update={
            "limits": POLICY.limits.model_copy(update={"offer_hours": [2, 3], "offers_per_hour": 3})
        }
    )
    rollout = campaign(policy=policy, windows={1: [5]})
    found: dict[int, list[int]] = {}
    for hour in range(HOUR0, HOUR0 + 24):
        for member in rollout.tick(hour, heard(100, hour)).offers.tolist():
            found.setdefault(hour % 24, []).append(member % 2)
    assert found == {2: [0] * 3, 3: [0] * 3, 5: [1] * 3}


def test_only_persons_let_an_inconclusive_campaign_go_on() -> None:
    rollout = campaign()
    rollout.tick(HOUR0 - 1, Seen.nothing(100))
    rollout.do("pause", "holiday")
    assert not len(rollout.tick(HOUR0, heard(100, HOUR0)).offers)
    rollout.do("resume", "over")
    assert len(rollout.tick(HOUR0 + 1, heard(100, HOUR0)).offers) == 20
    rollout.do("pause", "again")
    rollout.do("pass", "seen in the laboratory")
    assert rollout.policy.waves[rollout.progress.wave].name == "1", "wave 0.1 has no members"
    draft = Rollout(POLICY, ranks(1), np.zeros(1, np.int64))
    assert draft.tick(HOUR0, heard(1, HOUR0)).state == State.DRAFT
    with pytest.raises(InputError, match="the campaign is draft"):
        draft.do("pause", "why")


def test_low_precision_halts() -> None:
    rollout = campaign()
    tick = rollout.tick(HOUR0, heard(100, HOUR0), precision=(0.1, 0.2, 0.5))
    assert tick.state in STOPPED
    assert "precision" in tick.why


# ------------------------------------------------------------------------------ restore


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 34), st.booleans(), st.sampled_from([0.0, 0.03]))
def test_restored_and_continued_is_never_stopped(
    seed: int, at: int, again: bool, falls: float
) -> None:
    fleets = [Fleet(600, seed) for _ in range(2)]
    order, strata = ranks(600), np.arange(600) % 5
    one, two = (Rollout(POLICY, order, strata, promise=Promise()) for _ in range(2))
    for rollout in (one, two):
        rollout.do("approve")
    for day in range(35):
        if day == at:
            fresh = Rollout(POLICY, order, strata, promise=Promise())
            two = fresh.restore(two.progress, two.stage, two.offered_h)
        for rollout, fleet in zip((one, two), fleets, strict=True):
            seen = fleet.day(falls=0.001 + falls)
            tick = rollout.tick(fleet.hour, seen)
            fleet.take(tick.offers)
            if again and rollout is two:
                same = rollout.tick(fleet.hour, seen)
                assert not same.changed
                assert not len(same.offers)
        assert one.progress == two.progress
        assert one.stage.tobytes() == two.stage.tobytes()
        assert one.offered_h.tobytes() == two.offered_h.tobytes()
    with pytest.raises(InputError, match="ticks go forward"):
        one.tick(HOUR0, heard(600, HOUR0))

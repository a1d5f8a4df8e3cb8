# SPDX-License-Identifier: Apache-2.0
"""Campaigns of good and bad packs in a simulated fleet, and what they look like without a gate."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from tests.fleet_simulator.conftest import PLAN
from tests.support.cli import tinyfin, tinyfin_json
from tests.support.process import ROOT
from tinyfin.errors import InputError
from tinyfin.fleet_simulator.bank import Bank, build
from tinyfin.fleet_simulator.campaign import Campaign, simulate
from tinyfin.fleet_simulator.fleet import DAY_H, Conditions, Fleet
from tinyfin.fleet_simulator.packs import FAULTY, SCORES
from tinyfin.fleet_simulator.probations import PASSED
from tinyfin.rollout import controller
from tinyfin.rollout.members import Seen, Stage
from tinyfin.rollout.policy import Gates, Policy

pytestmark = pytest.mark.xdist_group("bank")
FLEET, DAYS = 2_000, 80
CALM = Conditions(off_per_day=0, lost_per_day=0, late=0, faults_per_day=0)


def run(bank: Bank, name: str, policy: Policy | None = None) -> Campaign:
    return simulate(bank, name, terminals=FLEET, days=DAYS, policy=policy)


def test_equal_plans_make_equal_bytes(bank: Bank, tmp_path: Path) -> None:
    again = build(tmp_path / "again", PLAN)
    files = sorted(path.name for path in bank.path.iterdir())
    assert "lower.npz" in files
    for name in files:
        assert (again.path / name).read_bytes() == (bank.path / name).read_bytes(), name


def test_a_bank_says_what_it_holds(bank: Bank, tmp_path: Path) -> None:
    facts = bank.facts
    assert [pack.name for pack in facts.packs] == ["parent", "good-1", *SCORES, *FAULTY]
    assert facts.events == int(bank.events.sum()) > 20_000
    days = bank.days_of("good-1")
    assert np.array_equal(days.scores.sum(axis=2), bank.events)
    assert np.array_equal(days.table.sum(axis=2), bank.events)
    assert (days.shadow_table.sum(axis=2) <= facts.looks[-1]).all()
    with pytest.raises(InputError, match="has no pack 'best'; it has good-1, constant"):
        bank.days_of("best")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_text("")
    with pytest.raises(InputError, match="neither a bank nor empty"):
        build(tmp_path / "other", PLAN)
    with pytest.raises(InputError, match=re.escape("fleet_bank.json: cannot be read")):
        Bank(tmp_path)


@pytest.fixture(scope="module")
def good(bank: Bank) -> Campaign:
    return run(bank, "good-1")


def test_a_good_pack_comes_into_service_everywhere(good: Campaign) -> None:
    assert (good.state, good.wave, good.right) == ("done", "100 %", True)
    assert good.rows[-1].members["confirmed"] > 0.7 * FLEET
    assert [row.day for row in good.rows] == list(range(len(good.rows)))
    assert all(sum(row.members.values()) == FLEET for row in good.rows)


@pytest.mark.parametrize("kind", ["constant", "higher", "crashing", "silent", "turns-bad"])
def test_a_bad_pack_is_halted_early(bank: Bank, kind: str) -> None:
    found = run(bank, kind)
    assert found.right
    subtle = ("5 %",) if kind == "turns-bad" else ()
    assert found.wave in ("laboratory", "1 %", *subtle)


@pytest.mark.parametrize(
    ("kind", "gate"),
    [("turns-bad", "self_difference"), ("silent", "silence"), ("slow", "failures")],
)
def test_without_its_gate_a_bad_pack_is_not_halted(
    bank: Bank, monkeypatch: pytest.MonkeyPatch, kind: str, gate: str
) -> None:
    if gate == "self_difference":
        found = run(bank, kind, Policy(gates=Gates(without=["self_difference"])))
        assert (found.state, found.right) == ("done", False)
        return
    real = controller.gates_of

    def without(*given: object) -> tuple[object, ...]:
        gates = real(*given)  # type: ignore[arg-type]
        return tuple(one for one in gates if gate not in one.name and "faults" not in one.name)

    monkeypatch.setattr(controller, "gates_of", without)
    found = run(bank, kind)
    assert not found.right, found.why
    assert found.state == "inconclusive", "hardly a member confirms it"


def test_the_same_seed_gives_the_same_campaign(bank: Bank, good: Campaign) -> None:
    assert run(bank, "good-1") == good
    other = simulate(bank, "good-1", terminals=FLEET, days=9, seed=2)
    assert other.rows != good.rows[:9]


def of_one(bank: Bank, place: int, clock: int, days: int) -> list[tuple[int, int, int, int]]:
    """What one terminal does that is offered good-1 before its day ``clock``: stage, events of the
    shadow, events under the pack, scores since confirmation; a plain loop over its days."""
    found, period = bank.days_of("good-1"), bank.facts.days
    stage, began, shadow, after, confirmed = Stage.OFFERED, 0, 0, 0, 0
    rows = []
    for now in range(clock, clock + days):
        events = int(bank.events[place, now % period])
        if stage == Stage.STAGED:
            stage, began = Stage.SHADOW, now
        elif stage == Stage.OFFERED:
            stage = Stage.STAGED
        if stage == Stage.SHADOW:
            shadow += events
            if now - began == found.shadow_days[place, began % period]:
                assert found.shadow_result[place, began % period] == PASSED
                shadow = int(found.shadow_table[place, began % period].sum())
                stage, began = Stage.TRIAL, now + 1
        elif stage == Stage.TRIAL:
            after += events
            if now - began == found.trial_days[place, began % period]:
                stage = Stage.CONFIRMED
        elif stage == Stage.CONFIRMED:
            after += events
            confirmed += events
        rows.append((int(stage), shadow, after, confirmed))
    return rows


def test_terminals_of_a_fleet_do_what_each_would_do_alone(bank: Bank) -> None:
    fleet = Fleet(bank, "good-1", 60, 3, CALM)
    members = np.arange(60)
    fleet.offer(members)
    clocks = fleet._clock.copy()
    alone = [of_one(bank, p, c, 12) for p, c in zip(fleet.place, clocks.tolist(), strict=True)]
    for day in range(12):
        fleet.live()
        seen: Seen = fleet.seen
        controller._require_sound(seen, 60)
        assert (seen.heard_h // DAY_H == day).all()
        for number in members.tolist():
            stage, shadow, after, confirmed = alone[number][day]
            assert seen.stage[number] == stage
            assert seen.table[number].sum() == shadow
            assert seen.events_after[number] == after
            if day < 8:
                assert seen.scores_after[number].sum() == confirmed
                total = confirmed + seen.scores_first[number].sum()
                assert total == (after if stage == Stage.CONFIRMED else 0)
    assert (seen.stage == Stage.CONFIRMED).sum() > 10


def test_conditions_are_those_that_are_given(bank: Bank) -> None:
    given = Conditions(off_per_day=0.02, off_days=5, lost_per_day=0.01, late=0.3, faults_per_day=0)
    fleet = Fleet(bank, "good-1", 5_000, 1, given)
    for _ in range(40):
        fleet.live()
    lost = (fleet._off_until > 1 << 20).mean()
    on_days = 40 / 1.1  # of a terminal that is on, or off for five days of every 55
    assert lost == pytest.approx(1 - 0.99**on_days, abs=0.03)
    quiet_h = 40 * DAY_H - fleet.seen.heard_h
    on = fleet._off_until <= 39
    assert (quiet_h[on] > 24).mean() == pytest.approx(0.3, abs=0.05)
    off = ~on & (fleet._off_until < 1 << 20)
    assert off.mean() / (1 - lost) == pytest.approx(0.02 * 5 / (1 + 0.02 * 5), abs=0.03)


def test_the_verb(bank: Bank, tmp_path: Path) -> None:
    fleet = f"fleet simulate --bank {bank.path} --terminals 500"
    said = tinyfin(f"{fleet} --pack crashing --out {tmp_path / 'out'}").stdout
    assert re.search(r"^crashing +bad +rolled_back +laboratory", said, re.MULTILINE)
    assert "day  state" in said
    facts = json.loads((tmp_path / "out" / "fleet_simulation.json").read_text())
    assert (facts["terminals"], facts["campaigns"][0]["right"]) == (500, True)
    early = tinyfin(f"{fleet} --days 4 --pack good-1 --pack constant", code=4)
    assert "error: ended wrongly: good-1" in early.stderr
    assert "good-7" in tinyfin(f"{fleet} --pack good-7", code=3).stderr
    tinyfin(f"{fleet} --pack good-1 --every-kind", code=2)
    again = tinyfin_json(f"{fleet} --pack silent --seed 3")
    assert again == tinyfin_json(f"{fleet} --pack silent --seed 3")


def test_what_the_page_says_can_be_typed(bank: Bank) -> None:
    page = (ROOT / "docs" / "fleet_simulation.md").read_text("utf-8")
    commands = re.findall(r"^(?: {4})?tinyfin (fleet simulate .*)$", page, re.MULTILINE)
    assert commands
    for command in commands:
        typed = re.sub(r"--bank \S+", f"--bank {bank.path}", command)
        typed = re.sub(r"--(terminals|days) \S+|--out \S+|--policy \S+", "", typed)
        tinyfin(f"{typed} --terminals 200 --days 2", code=4)

# SPDX-License-Identifier: Apache-2.0
"""What a lake says of members, against rows that are read one by one."""

from __future__ import annotations

import os
import random
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from tests.support import campaign_reports as reports
from tests.support import fleet as bench
from tests.support.campaign_reports import NEW, OTHER, PARENT, Life, by_hand, report
from tinyfin.fleet.lake import Lake
from tinyfin.formats import ENGINE_COUNTERS
from tinyfin.rollout.definition import Definition
from tinyfin.rollout.gates import Promise
from tinyfin.rollout.members import NEVER, Seen, Stage
from tinyfin.rollout.observed import observed
from tinyfin.rollout.policy import Policy

START = 24 * bench.FIRST_DAY
DEFINITION = Definition(
    name="north",
    pack=NEW.hex(),
    layouts=[NEW.hex(), "77" * 16],
    parent=PARENT.hex(),
    parent_layouts=[PARENT.hex()],
    policy=Policy(),
    promise=Promise(),
    score_bins=reports.BINS,
    parent_score_bins=reports.PARENT_BINS,
    terminals="0" * 64,
)


@pytest.fixture(autouse=True)
def _no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)


def look(lake: Lake, offered: list[int], hour: int) -> Seen:
    aliases = [lake.key.terminal(bench.terminal(i)) for i in range(len(offered))]
    return observed(lake, DEFINITION, aliases, np.array(offered), hour)


def same(one: Seen, other: Seen) -> list[str]:
    """The columns that differ."""
    pairs = [(f.name, getattr(one, f.name), getattr(other, f.name)) for f in fields(Seen)]
    return [f"{name}: {a.tolist()} {b.tolist()}" for name, a, b in pairs if not (a == b).all()]


@pytest.mark.parametrize("seed", [1, 2])
def test_against_rows_one_by_one(tmp_path: Path, seed: int) -> None:
    assert reports._ENGINE == ENGINE_COUNTERS
    draw, members, days = random.Random(seed), 24, 40
    offered = [NEVER if i % 4 == 0 else START + 24 * draw.randrange(8, 20) for i in range(members)]
    lives = [Life(i, random.Random(100 * seed + i), offered[i]) for i in range(members)]
    made = [data for day in range(days) for life in lives for data in life.day(START + 24 * day)]
    draw.shuffle(made)
    lake = bench.new_lake(tmp_path / "lake")
    bench.take(lake, *made)
    for day in (5, 24, 40):
        hour = START + 24 * day
        found, wanted = look(lake, offered, hour), by_hand(lake, members, offered, hour)
        assert not same(found, wanted)
    # the comparison is worth something: every column has values, every stage came
    assert all(getattr(wanted, one.name).any() for one in fields(Seen))
    around = np.flatnonzero(wanted.pair != NEVER)
    assert len(around) == 6
    assert all(getattr(wanted, f"scores_{when}")[around].any() for when in ("first", "after"))
    stages = {stage for d in (18, 24, 40) for stage in look(lake, offered, START + 24 * d).stage}
    assert stages >= {Stage.SHADOW, Stage.TRIAL, Stage.CONFIRMED, Stage.FELL_BACK}


def test_success_is_of_the_campaigns_pack_alone(tmp_path: Path) -> None:
    """Nor is one of a report that its terminal did not make."""
    lake = bench.new_lake(tmp_path / "lake")
    good = {"active": NEW, "other": PARENT, "reason": "confirmed"}
    claims = [
        report(0, 1, 1, START, NEW, **good),
        report(1, 1, 1, START, OTHER, **{**good, "active": OTHER}),
        report(2, 1, 1, START, PARENT, **good),
        report(3, 1, 1, START, NEW, active=PARENT, other=NEW, phase="trial"),
        bench.forged(report(4, 1, 1, START, NEW, **good)),
        report(5, 1, 1, START, NEW, **{**good, "active": PARENT}),
        report(6, 1, 1, START, bytes.fromhex("77" * 16), **{**good, "active": b"\x77" * 4}),
        report(7, 1, 1, START, PARENT, other=OTHER, reason="trial"),
    ]
    done = bench.take(lake, *claims)
    assert sum(done.refused.values()) == 1
    found = look(lake, [START - 1] * 9, START + 1)
    confirmed, trial = Stage.CONFIRMED, Stage.TRIAL
    assert found.stage.tolist() == [confirmed, 0, 0, trial, 0, 0, confirmed, 0, 0]
    assert (found.heard_h[[4, 8]] == NEVER).all()


def test_a_fall_back_is_seen_behind_what_came_later(tmp_path: Path) -> None:
    lake = bench.new_lake(tmp_path / "lake")
    for which, hour in ((0, START + 24), (1, START - 24)):  # since the offer, and before it
        bench.take(lake, report(which, 1, 1, hour, PARENT, other=NEW, reason="trial"))
        bench.take(lake, report(which, 1, 2, START + 60, PARENT, other=NEW, phase="shadow"))
    found = look(lake, [START, START], START + 70)
    assert found.stage.tolist() == [Stage.SHADOW] * 2
    assert found.falls.tolist() == [1, 0]


def test_a_pack_is_confirmed_while_the_next_one_watches(tmp_path: Path) -> None:
    lake = bench.new_lake(tmp_path / "lake")
    for i, phase in enumerate(("loading", "staged", "shadow")):
        bench.take(lake, report(i, 1, 1, START + 9, NEW, active=NEW, other=OTHER, phase=phase))
    assert look(lake, [START] * 3, START + 10).stage.tolist() == [Stage.CONFIRMED] * 3


def test_late_reports_and_those_of_later_hours(tmp_path: Path) -> None:
    lake = bench.new_lake(tmp_path / "lake")
    bench.take(lake, report(0, 1, 9, START + 30, PARENT))
    bench.take(lake, report(0, 1, 3, START, PARENT, phase="shadow", other=NEW))
    assert look(lake, [START], START + 40).stage.tolist() == [Stage.TARGETED]
    assert look(lake, [START], START + 10).stage.tolist() == [Stage.SHADOW]
    assert look(lake, [START], START - 1).heard_h.tolist() == [NEVER]

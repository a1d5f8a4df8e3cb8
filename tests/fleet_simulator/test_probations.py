# SPDX-License-Identifier: Apache-2.0
"""How probations end from every day on: against the oracle, and against the terminal's own C."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyfin import config, simulator
from tinyfin.config import Simulate
from tinyfin.data.events import OUTCOME, SCORE, event_stream
from tinyfin.data.readers import read
from tinyfin.fleet_simulator import probations as module
from tinyfin.fleet_simulator.packs import Scorer
from tinyfin.fleet_simulator.probations import Probations, Repeated, Town, probations
from tinyfin.formats import PROBATION_RESULTS
from tinyfin.oracle.probation import GOES_ON, Bounds, Counts
from tinyfin.pack.calibration import Calibration
from tinyfin.pack.container import sign_again
from tinyfin.pack.probation import Look, Probation
from tinyfin.paths import project_dir
from tinyfin.release.paired import bins_of, cuts_of
from tinyfin.twin import Twin
from tinyfin.twin.probation import Probation as Counted

PACK = project_dir() / "models" / "payment" / "model.tfpack"
DAYS = 7
RESULTS = {name: number for number, name in enumerate(PROBATION_RESULTS)}


@given(
    st.lists(st.lists(st.integers(0, 9), min_size=4, max_size=4), min_size=1, max_size=3),
    st.integers(0, 11),
    st.integers(0, 11),
)
def test_sums_are_those_of_days_that_come_again(
    counts: list[list[int]], begin: int, length: int
) -> None:
    places = np.arange(len(counts))
    found = Repeated(np.array(counts)).sums(
        places, np.full(len(counts), begin), np.full(len(counts), begin + length)
    )
    for row, total in zip(counts, found.tolist(), strict=True):
        assert total == sum((row * 7)[begin : begin + length])


@dataclass
class Case:
    """A pack in the place of the reference pack, at the terminals of a small town."""

    twin_of: bytes
    candidate: bytes
    bounds: Probation
    town: Town
    own: npt.NDArray[np.uint32]
    parent_alert: npt.NDArray[np.bool_]
    own_alert: npt.NDArray[np.bool_]
    path: Path

    def ends(self) -> Probations:
        cell = 4 * bins_of(self.town.parent, self.bounds.parent_cuts).astype(np.int64)
        cell += bins_of(self.own, self.bounds.own_cuts)
        return probations(self.town, self.bounds, cell, self.parent_alert, self.own_alert)


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    folder = tmp_path_factory.mktemp("town")
    path = folder / "town.parquet"
    settings = Simulate(terminals=8, days=DAYS, seed=5)
    simulator.write(simulator.simulate(settings), path)
    tx = read(path, config.load(None))
    parent = Scorer(PACK)
    found = Twin(parent.pack.data, terminals=8, restarts=False).run(tx, event_stream(tx, "none"))
    order = np.argsort(tx.terminal, kind="stable")
    calibration = parent.pack.calibration
    assert calibration is not None
    rise = (calibration.raw[-1] - calibration.raw[0]) // 60
    moved = Calibration(tuple(raw - rise for raw in calibration.raw), calibration.p_q32)
    own = moved.evaluate(found.raw[order])
    parents = found.score_q32[order]
    looks = (Look(20, 1, 9, 900), Look(45, 2, 12, 300))
    bounds = Probation(
        parent.pack.model_id,
        cuts_of(parents, "parent"),
        cuts_of(parents, "own"),
        looks,
        auto_trial=True,
        auto_confirm=True,
        alerts_factor_q8=300,
        alerts_more=1,
        trial_events=30,
        trial_alerts=1,
    )
    sections = {**parent.pack.sections, "CALI": moved.encode(), "PROB": bounds.encode()}
    day = tx.t_local_s[order].astype(np.int64) // 86_400
    town = Town(
        terminal=tx.terminal[order].astype(np.int64),
        day=day - day.min(),
        days=DAYS,
        t_s=tx.t_mono_s[order].astype(np.int64),
        features=found.features[order],
        label=tx.label[order],
        saturated=np.zeros(len(order), bool),
        parent=parents,
        merchant=np.zeros(8, np.int64),
    )
    return Case(
        parent.pack.data,
        sign_again(parent.pack, None, sections=sections),
        bounds,
        town,
        own,
        parent.advice(parents) > 0,
        parent.advice(own) > 0,
        path,
    )


def counted(case: Case, terminal: int, first_day: int, phase: int) -> tuple[Counts, int]:
    """By the oracle, event by event, the days again and again; and days until the end."""
    counts = Counts(Bounds.of(case.bounds.encode()), bytes(16), phase)
    town = case.town
    for days in range(100):
        day = (first_day + days) % DAYS
        for row in np.flatnonzero((town.terminal == terminal) & (town.day == day)).tolist():
            alert = bool(case.own_alert[row])
            if phase == 1:
                scores = int(town.parent[row]), bool(case.parent_alert[row])
                counts.shadow(*scores, 0, int(case.own[row]), int(alert))
            else:
                counts.trial(int(alert), saturated=bool(town.saturated[row]))
            if counts.result != GOES_ON:
                return counts, days
    raise AssertionError("it does not end")


def differing(case: Case, ends: Probations) -> int:
    """Begins of a probation that end otherwise than the oracle says."""
    found = 0
    for terminal in range(case.town.terminals):
        for day in range(DAYS):
            at = terminal, day
            shadow, days = counted(case, terminal, day, 1)
            same = (int(ends.shadow_result[at]), int(ends.shadow_days[at])) == (shadow.result, days)
            same &= ends.shadow_table[at].reshape(4, 4).tolist() == shadow.table
            same &= int(ends.shadow_alerts[at]) == shadow.alerts
            same &= int(ends.shadow_parent_alerts[at]) == shadow.parent_alerts
            trial, days = counted(case, terminal, day, 2)
            same &= (int(ends.trial_result[at]), int(ends.trial_days[at])) == (trial.result, days)
            found += not same
    return found


def test_every_begin_ends_as_the_oracle_says(case: Case) -> None:
    ends = case.ends()
    assert differing(case, ends) == 0
    for result in (ends.shadow_result, ends.trial_result):
        assert len(np.unique(result)) > 1, "some pass, some fail"


def test_a_look_one_event_late_is_noticed(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    real = module._Counts.until
    monkeypatch.setattr(module._Counts, "until", lambda self, events: real(self, events + 1))
    assert differing(case, case.ends()) > 0


def test_the_terminals_own_c_ends_the_shadow_so(case: Case) -> None:
    tx = read(case.path, config.load(None))
    ends, town, checked = case.ends(), case.town, set()
    for terminal in range(4):
        begin = int(np.flatnonzero(town.day[town.terminal == terminal] >= 1)[0])
        twin = Twin(case.twin_of, terminals=8, restarts=False)
        stream = event_stream(tx, "none")
        counts, scored, days = None, 0, np.sort(town.day[town.terminal == terminal])
        for kind, row in zip(stream.kind.tolist(), stream.index.tolist(), strict=True):
            if tx.terminal[row] != terminal:
                continue
            if kind == OUTCOME:
                action = int(tx.action[row])
                end = (int(tx.result[row]), int(tx.response[row]), action)
                twin.outcome(terminal, int(tx.id[row]), int(tx.outcome_t_mono_s[row]), *end)
            elif kind == SCORE:
                if scored == begin:
                    counts = Counted(twin, terminal, case.candidate)
                at = int(tx.t_mono_s[row]), int(tx.t_local_s[row])
                values, present = tx.values[row], int(tx.present[row])
                verdict = twin.score(terminal, int(tx.id[row]), *at, values, present)
                if counts is not None and counts.count(verdict):
                    break
                scored += 1
        assert counts is not None
        first = int(days[begin])
        assert RESULTS[counts.result] == ends.shadow_result[terminal, first]
        assert days[scored] - first == ends.shadow_days[terminal, first]
        checked.add(counts.result)
    assert checked

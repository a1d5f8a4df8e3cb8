# SPDX-License-Identifier: Apache-2.0
"""Gates against scipy, against resampling, and against packs that keep or break a bound."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from tinyfin.rollout.gates import Gate, Group, Promise, _ratio, _stability, gates_of, precision_gate
from tinyfin.rollout.members import Seen, Stage
from tinyfin.rollout.policy import Policy, Wave

POLICY = Policy()


def group(n: int, seen: Seen | None = None, **around: Any) -> Group:
    members = np.arange(n)
    stage = np.full(n, Stage.CONFIRMED, np.uint8)
    return Group(POLICY, Promise(), seen or Seen.nothing(n), members, stage, members, **around)


def gate(name: str, of: Group, policy: Policy = POLICY, promise: Promise | None = None) -> Gate:
    asked = replace(of, policy=policy, promise=promise or Promise())
    found = {gate.name: gate for gate in gates_of(asked)}
    return found[name]


def failing(n: int, failed: int, stage: Stage = Stage.FELL_BACK, **around: Any) -> Group:
    made = group(n, **around)
    made.stage[:failed] = stage
    return made


# --------------------------------------------------------------------------- failures


@pytest.mark.parametrize("n", [5, 10, 298, 299, 1000, 9990])
def test_failures_pass_and_halt_by_clopper_and_pearson(n: int) -> None:
    most, halts = POLICY.passes_with(n), POLICY.halts_at(n)
    for x in sorted({0, 1, most, most + 1, halts - 1, halts} & set(range(n + 1))):
        upper = stats.binomtest(x, n).proportion_ci(0.90, "exact").high
        lower = stats.binomtest(x, n).proportion_ci(1 - 2 * POLICY.look_risk(), "exact").low
        healthy = stats.binom.cdf(x - 1, n, 0.002) < 0.95
        wanted = "broken" if lower > 0.01 else "holds" if upper < 0.01 or healthy else "waits"
        assert gate("failures", failing(n, x)).state == wanted, (n, x)


def test_no_failure_shows_a_share_below_one_per_cent_from_299_terminals_on() -> None:
    no_excuse = Policy.model_validate({"gates": {"healthy_failure_share": 0}})
    assert [stats.binomtest(0, n).proportion_ci(0.90).high < 0.01 for n in (298, 299)] == [
        False,
        True,
    ]
    assert no_excuse.passes_with(298) == 0, "and a smaller wave passes without a failure"
    assert POLICY.passes_with(10) == 0


def test_what_counts_as_a_failure() -> None:
    for stage in (Stage.FELL_BACK, Stage.NOT_TAKEN):
        assert gate("failures", failing(20, 9, stage)).state == "broken"
    assert gate("failures", failing(20, 9, Stage.SILENT)).state == "holds"
    assert gate("silence", failing(20, 9, Stage.SILENT)).state == "broken"
    loops = group(20)
    loops.seen.faults_after[:9], loops.seen.hours_after[:9] = 12, 48
    assert gate("failures", loops).state == "broken"
    loops.seen.hours_after[:9] = 480
    assert gate("failures", loops).state == "holds"


def test_silence_is_what_the_rest_of_the_fleet_has_not() -> None:
    usual = {"silent_elsewhere": 500, "known_elsewhere": 10_000}
    assert gate("silence", failing(1000, 60, Stage.SILENT)).state == "broken"
    assert gate("silence", failing(1000, 60, Stage.SILENT, **usual)).state == "holds"
    assert gate("silence", failing(1000, 120, Stage.SILENT, **usual)).state == "broken"
    assert gate("silence", failing(1000, 70, Stage.SILENT, **usual)).state == "waits"


def test_the_risk_of_all_looks_is_bounded() -> None:
    """However long a wave, or what follows the last one, is looked at."""
    per_wave = 22 * sum(POLICY.look_risk(day) for day in range(1, 30_000))
    assert (len(POLICY.waves) + 1) * per_wave == pytest.approx(0.01, rel=1e-3)
    assert POLICY.look_risk(29) == POLICY.look_risk(1) > POLICY.look_risk(30)


def test_looking_every_day_does_not_halt_what_keeps_the_bound() -> None:
    """A pack that fails at 1 % exactly, in 2,000 campaigns of two waves of 29 looks each."""
    policy = Policy(waves=[Wave(name="a", terminals=300), Wave(name="b", share=1)])
    draw = np.random.default_rng(1)
    halted, naive = 0, 0
    for _ in range(2000):
        done, loose = False, False
        for n in (300, 3000):
            when = np.where(draw.random(n) < 0.01, draw.integers(1, 29, n), 99)
            seen = (when[:, None] <= np.arange(1, 30)).sum(axis=0)
            done |= bool((seen >= policy.halts_at(n)).any())
            loose |= bool((stats.beta.ppf(0.05, seen, n - seen + 1) > 0.01).any())
        halted, naive = halted + done, naive + loose
    assert halted <= 20, "1 % of 2,000, at most"
    assert naive > 60, "the control: the usual interval at every look"


def test_the_power_is_what_simulation_finds() -> None:
    draw = np.random.default_rng(2)
    for row in POLICY.power([10, 100, 300, 2000, 20_000, 100_000]):
        failed = draw.binomial(row.terminals, row.finds_share, 4000)
        assert np.mean(failed >= row.halts_at) == pytest.approx(0.95, abs=0.015)
        assert f"{row.halts_at} of {row.terminals} halt" in row.text
    [few, *_] = POLICY.power([1] + 5 * [0])
    assert few.text == "laboratory: 1 are too few to halt for failures; 0 pass"


# ----------------------------------------------------------- intervals over terminals


def clustered(draw: np.random.Generator, n: int, bins: int = 8, like: float = 20.0) -> np.ndarray:
    """int[n, bins]: each terminal has a mix and a number of events of its own."""
    sizes = draw.integers(5, 200, n)
    return draw.multinomial(sizes, draw.dirichlet(np.full(bins, like), n))


def test_intervals_are_those_of_resampled_terminals() -> None:
    draw = np.random.default_rng(3)
    table = clustered(draw, 400, like=3.0)
    top, below = table[:, :2].sum(axis=1), table.sum(axis=1)
    found = _ratio(top, below)
    assert found is not None
    again = draw.integers(0, 400, (3000, 400))
    resampled = top[again].sum(axis=1) / below[again].sum(axis=1)
    assert found.value == top.sum() / below.sum()
    assert found.error == pytest.approx(resampled.std(), rel=0.1)
    naive = np.sqrt(found.value * (1 - found.value) / below.sum())
    assert found.error > 1.5 * naive, "the control: events of a terminal are alike"


def test_the_stability_index_of_equal_weeks_is_centred_on_nothing() -> None:
    draw = np.random.default_rng(4)
    found, plain, over = [], [], 0
    for _ in range(300):
        mix = draw.dirichlet(np.full(8, 20.0), 40)
        weeks = [draw.multinomial(60, [draw.dirichlet(200 * one) for one in mix]) for _ in range(2)]
        estimate = _stability(*weeks)
        assert estimate is not None
        p, q = (week.sum(axis=0) / week.sum() for week in weeks)
        plain.append(float(((q - p) * np.log(q / p)).sum()))
        found.append(estimate.value)
        over += estimate.value > estimate.margin(0.01)
    assert abs(np.mean(found)) < 0.1 * np.mean(plain)
    assert over <= 12, "1 % of 300, and the tail of chi-square"


def test_the_error_of_a_stability_index_is_that_of_resampled_terminals() -> None:
    draw = np.random.default_rng(5)
    before = clustered(draw, 300)
    after = draw.multinomial(before.sum(axis=1), np.array([1, 1, 1, 1, 2, 2, 3, 4]) / 15)
    estimate = _stability(before, after)
    assert estimate is not None
    values = []
    for _ in range(1500):
        again = draw.integers(0, 300, 300)
        p, q = (t[again].sum(axis=0) / t[again].sum() for t in (before, after))
        values.append(float(((q - p) * np.log(q / p)).sum()))
    assert estimate.value == pytest.approx(np.mean(values), rel=0.03)
    assert estimate.error == pytest.approx(np.std(values), rel=0.12)


# --------------------------------------------------------------------- the other gates


def shadow(n: int, apart: float, alerts: float, seed: int = 6) -> Seen:
    """Of n terminals with 500 events in shadow each; ``alerts``: for one of the parent's."""
    draw, seen = np.random.default_rng(seed), Seen.nothing(n)
    cells = np.zeros((4, 4))
    cells[np.arange(4), np.arange(4)] = np.array([0.5, 0.3, 0.15, 0.05]) * (1 - apart)
    cells[0, 3] += apart
    seen.table[:] = draw.multinomial(500, cells.ravel(), n)
    rate = draw.gamma(0.5, 0.02, n)
    seen.parent_alerts[:] = draw.poisson(500 * rate)
    seen.alerts[:] = draw.poisson(500 * rate * alerts)
    return seen


@pytest.mark.parametrize(
    ("name", "seen", "state"),
    [
        ("far", shadow(400, 0.02, 1), "holds"),
        ("far", shadow(400, 0.20, 1), "broken"),
        ("differ", shadow(400, 0.70, 1), "broken"),
        ("paired_psi", shadow(400, 0.02, 1), "holds"),
        ("paired_psi", shadow(400, 0.40, 1), "broken"),
        ("alerts", shadow(400, 0.02, 1), "holds"),
        ("alerts", shadow(400, 0.02, 2), "broken"),
        ("alerts", shadow(400, 0.02, 0.3), "broken"),
        ("alerts", shadow(400, 0.02, 1.25), "waits"),
        ("alerts", shadow(10, 0.02, 1), "holds"),
    ],
)
def test_shadow(name: str, seen: Seen, state: str) -> None:
    assert gate(name, group(len(seen), seen)).state == state


def test_alerts_are_compared_with_what_was_promised() -> None:
    twice = group(400, shadow(400, 0.02, 2))
    assert gate("alerts", twice, promise=Promise(alerts_ratio=2)).state == "holds"


def test_few_events_of_many_or_many_of_few_show_nothing() -> None:
    seen = shadow(400, 0.02, 1)
    seen.table //= 20
    assert gate("far", group(400, seen)).state == "waits"
    seen = shadow(400, 0.02, 1)
    seen.table[40:] = 0
    assert gate("far", group(400, seen)).state == "waits", "40 terminals, 50 wanted"


def test_no_values_neither_pass_nor_halt() -> None:
    """Flagger's halts for ever on them, others pass."""
    for n in (0, 10, 1000):
        states = {g.name: g.state for g in gates_of(group(n))}
        wanted = dict.fromkeys(states, "waits")
        if n:
            wanted |= {"failures": "holds", "silence": "holds"}
        assert states == wanted


def test_a_pack_that_turns_bad_after_it_was_confirmed() -> None:
    draw, seen = np.random.default_rng(7), Seen.nothing(400)
    mix = draw.dirichlet(np.full(16, 20.0), 400)
    seen.scores_first[:] = draw.multinomial(200, mix)
    seen.scores_after[:] = draw.multinomial(200, mix)
    assert gate("self_difference", group(400, seen)).state == "holds"
    seen.scores_after[:] = draw.multinomial(200, np.roll(mix * np.linspace(0.1, 1, 16), 3) / 16)
    seen.scores_before[:] = seen.scores_after
    comparable = Promise(scores_comparable=True)
    assert gate("self_difference", group(400, seen)).state == "broken"
    assert gate("against_parent", group(400, seen), promise=comparable).state == "holds"
    seen.scores_before[:] = seen.scores_first
    assert gate("against_parent", group(400, seen), promise=comparable).state == "broken"


@pytest.mark.parametrize(("world", "pack", "state"), [(1, 0, "waits"), (0, 1, "broken"),
                                                      (0, 0, "holds")])  # fmt: skip
def test_what_moves_everybody_halts_nobody(world: int, pack: int, state: str) -> None:
    """The mix of all terminals moves while the pack soaks, or that of its members alone."""
    draw, seen = np.random.default_rng(11), Seen.nothing(800)
    mix = draw.dirichlet(np.full(16, 20.0), 800)
    moved = mix * np.linspace(0.2, 1.8, 16)
    moved /= moved.sum(axis=1, keepdims=True)
    changed = np.repeat([world or pack, world], 400).astype(bool)
    seen.scores_first[:] = draw.multinomial(200, mix)
    seen.scores_after[:] = draw.multinomial(200, np.where(changed[:, None], moved, mix))
    members = np.arange(400)
    seen.pair[400:] = members
    group_ = replace(group(400, seen), members=members)
    assert gate("self_difference", group_).state == state
    seen.pair[:] = -1
    alone = "broken" if world or pack else "holds"
    assert gate("self_difference", group_).state == alone, "the control: without the others"


def test_one_terminal_shows_no_small_wave_anything() -> None:
    """The interval of one is infinite: nothing contradicts it."""
    seen = Seen.nothing(10)
    seen.table[0, 3] = seen.alerts[0] = 200
    found = {g.name: g.state for g in gates_of(group(10, seen))}
    assert {found[name] for name in ("far", "differ", "paired_psi", "alerts")} == {"waits"}
    seen.table[0], seen.alerts[0] = np.eye(4).ravel() * 50, 0
    assert gate("far", group(10, seen)).state == "holds"


@pytest.mark.parametrize(
    ("before", "after", "state"),
    [(0.0, 1e-4, "holds"), (0.0, 0.005, "broken"), (0.01, 0.0101, "holds"), (0.01, 0.02, "broken")],
)
def test_faults_are_compared_with_those_before(before: float, after: float, state: str) -> None:
    draw, seen = np.random.default_rng(8), Seen.nothing(2000)
    seen.hours_before[:], seen.hours_after[:] = 168, 240
    seen.faults_before[:] = draw.poisson(168 * before, 2000)
    seen.faults_after[:] = draw.poisson(240 * after, 2000)
    assert gate("faults", group(2000, seen)).state == state


def test_one_broken_terminal_halts_nobody() -> None:
    seen = Seen.nothing(1000)
    seen.hours_before[:] = seen.hours_after[:] = 240
    seen.faults_after[7], seen.events_after[:], seen.saturated_after[7] = 700, 100, 90_000
    assert gate("faults", group(1000, seen)).state != "broken"
    assert gate("saturations", group(1000, seen)).state != "broken"


@pytest.mark.parametrize(("after", "state"), [(20, "holds"), (60, "broken")])
def test_saturations(after: int, state: str) -> None:
    draw, seen = np.random.default_rng(9), Seen.nothing(400)
    seen.events_before[:] = seen.events_after[:] = 1000
    seen.saturated_before[:], seen.saturated_after[:] = (
        draw.poisson(15, 400),
        draw.poisson(after, 400),
    )
    assert gate("saturations", group(400, seen)).state == state


def test_precision_halts_and_lets_nothing_through() -> None:
    assert precision_gate((0.30, 0.35, 0.50), POLICY).state == "broken"
    assert precision_gate((0.30, 0.45, 0.50), POLICY).state == "holds"


def test_gates_can_be_left_out_by_the_policy_alone() -> None:
    policy = Policy.model_validate({"gates": {"without": ["paired", "alerts", "saturations"]}})
    names = {g.name for g in gates_of(replace(group(10), policy=policy))}
    assert names == {"failures", "silence", "self_difference", "faults"}

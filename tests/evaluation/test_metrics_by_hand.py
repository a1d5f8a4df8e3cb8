# SPDX-License-Identifier: Apache-2.0
"""Figures against hand tables and against implementations that are slow and obvious."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.transactions import labelled
from tinyfin.config import DecisionSection as Section
from tinyfin.errors import ConfigError, InputError
from tinyfin.evaluation.attacks import attacks_of, by_scenario
from tinyfin.evaluation.data_quality import population_stability
from tinyfin.evaluation.fold_metrics import row_weights
from tinyfin.evaluation.gates import check, load_gate, look_up
from tinyfin.evaluation.subgroups import by_slice
from tinyfin.features.catalogue import BY_NAME
from tinyfin.pack.calibration import Calibration
from tinyfin.training.alert_metrics import (
    alert_figures,
    card_precision,
    expected_and_observed,
    precision_at,
    savings,
)
from tinyfin.training.bootstrap import draw_groups, interval, replicated_ap
from tinyfin.training.metrics import average_precision, brier, calibration_error, roc_auc
from tinyfin.training.thresholds import (
    Held,
    decide,
    false_alerts_allowed,
    threshold_cost,
    threshold_raw,
)

SCORED = st.lists(
    st.tuples(st.integers(0, 6), st.booleans(), st.integers(1, 3)), min_size=2, max_size=30
)


def exact_ap(rows: list[tuple[int, bool, int]]) -> Fraction | None:
    """Average precision as the textbook has it, in fractions: threshold by threshold."""
    bad = sum(w for _, fraud, w in rows if fraud)
    if not bad:
        return None
    total, before = Fraction(0), Fraction(0)
    for cut in sorted({s for s, _, _ in rows}, reverse=True):
        tp = sum(w for s, fraud, w in rows if s >= cut and fraud)
        alerts = sum(w for s, _, w in rows if s >= cut)
        recall = Fraction(tp, bad)
        total += (recall - before) * Fraction(tp, alerts)
        before = recall
    return total


@settings(max_examples=80, deadline=None)
@given(rows=SCORED)
def test_ranking_figures_equal_their_definitions(rows: list[tuple[int, bool, int]]) -> None:
    score, fraud, weight = (np.array(c) for c in zip(*rows, strict=True))
    label = fraud.astype(np.int8)
    exact = None if fraud.all() else exact_ap(rows)
    found = average_precision(score, label, weight)
    assert math.isnan(found) if exact is None else found == pytest.approx(float(exact))
    pairs = [
        (a, b)
        for a, f in zip(score, fraud, strict=True)
        if f
        for b, g in zip(score, fraud, strict=True)
        if not g
    ]
    auc = roc_auc(score, label)
    if pairs:
        assert auc == pytest.approx(
            np.mean([1.0 if a > b else 0.5 if a == b else 0.0 for a, b in pairs])
        )
    else:
        assert math.isnan(auc)


@settings(max_examples=50, deadline=None)
@given(rows=SCORED, seed=st.integers(0, 99))
def test_a_drawn_group_counts_as_often_as_it_was_drawn(
    rows: list[tuple[int, bool, int]], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    group = rng.integers(0, 4, len(rows))
    drawn = draw_groups(4, seed, 5)
    assert np.all(drawn.sum(axis=1) == 4)
    score, fraud, _ = (np.array(c) for c in zip(*rows, strict=True))
    found = replicated_ap(score, fraud, group, drawn)
    for times, value in zip(drawn, found, strict=True):
        copies = [
            (s, f, 1)
            for (s, f, _), g in zip(rows, group, strict=True)
            for _ in range(int(times[g]))
        ]
        exact = exact_ap(copies)
        if all(f for _, f, _ in copies):
            exact = None  # frauds alone have no precision
        assert math.isnan(value) if exact is None else value == pytest.approx(float(exact))


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    inside = 0
    for trial in range(60):
        values = rng.normal(3.0, 1.0, 80)
        means = draw_groups(80, trial, 200) @ values / 80
        low, high = interval(means)
        inside += low <= 3.0 <= high
    assert 50 <= inside <= 60


def test_card_precision_by_hand() -> None:
    day = 86_400
    #        day 0: cards 1 2 3; day 1: cards 1 2 3 4
    t = np.array([0, 1, 2, 3, day, day + 1, day + 2, day + 3])
    card = np.array([1, 1, 2, 3, 1, 2, 3, 4])
    score = np.array([0.1, 0.9, 0.8, 0.2, 0.95, 0.7, 0.6, 0.1])
    fraud = np.array([0, 1, 0, 1, 1, 0, 1, 1], bool)
    # day 0, two cards: 1 (fraud) and 2 -> 1 of 2. Day 1: 1 is blocked; 2 and 3 (fraud) -> 1 of 2.
    # ceiling: day 0 cards 1 and 3 -> 2 of 2; day 1: 1 and 3 are blocked, 4 is left -> 1 of 2
    assert card_precision(score, fraud, card, t, k=2, start_s=0) == (0.5, 0.75)
    assert precision_at(score, fraud, 3) == pytest.approx(2 / 3)


def test_money_and_workload_by_hand() -> None:
    alert = np.array([1, 1, 0, 0, 0], bool)
    fraud = np.array([1, 0, 1, 0, 0], bool)
    amount = np.array([6000.0, 50.0, 2000.0, 70.0, 90.0])
    # lost 8000; with alerts: 2000 missed and two alerts at 500
    assert savings(alert, fraud, amount, 500) == pytest.approx(1 - 3000 / 8000)
    found = alert_figures(alert, fraud, amount, terminals=2, seconds=7 * 86_400, alert_minor=500)
    assert found.alerts_per_terminal_day == pytest.approx(2 / 14)
    assert found.false_alerts_per_terminal_week == pytest.approx(0.5)
    assert found.false_alerts_per_1000 == pytest.approx(1000 / 3)
    assert found.value_detected == pytest.approx(0.75)
    assert (found.precision, found.recall) == (0.5, 0.5)


def test_expected_frauds_and_their_interval() -> None:
    p = np.full(100, 0.1)
    found = expected_and_observed(p, np.arange(100) < 12)
    assert found.expected == pytest.approx(10)
    assert found.independent_high == pytest.approx(10 + 1.96 * 3)
    assert found.within_independent
    assert not expected_and_observed(p, np.arange(100) < 17).within_independent


def test_calibration_error_and_brier_by_hand() -> None:
    p = np.array([0.0] * 5 + [0.4] * 5)
    label = np.array([0] * 5 + [1, 1, 1, 0, 0])
    assert calibration_error(p, label, bins=2) == pytest.approx(0.5 * 0.2)
    assert brier(p, label) == pytest.approx((3 * 0.36 + 2 * 0.16) / 10)


def test_weights_bring_the_share_of_fraud_to_the_prevalence() -> None:
    fraud = np.arange(1000) < 40
    weight = row_weights(fraud, 0.002)
    assert weight is not None
    assert weight[fraud].sum() / weight.sum() == pytest.approx(0.002)
    assert row_weights(fraud, None) is None


def test_stability_index_of_nothing_new_is_small_and_of_another_world_large() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(0, 100, 5000).astype(np.int16), rng.normal(0, 100, 5000).astype(np.int16)
    assert population_stability(a, b) < 0.02
    assert population_stability(a, b + 150) > 0.25
    # two bins, 0.5 and 0.5 before, 0.25 and 0.75 after
    two = np.array([0, 1] * 50), np.array([0, 1, 1, 1] * 25)
    assert population_stability(*two, bins=2) == pytest.approx(0.25 * math.log(3))


def test_attacks_end_when_the_terminal_was_quiet_for_three_days() -> None:
    t = np.array([0, 10, 20, 10 + 72 * 3600, 11 + 144 * 3600])
    terminal = np.array([0, 0, 1, 0, 0], np.int32)
    alert = np.array([0, 1, 0, 0, 1], bool)
    assert attacks_of(terminal, t, alert) == [2, 1, None]


def test_hard_negatives_are_false_alerts() -> None:
    tx = labelled(np.arange(6), np.array([0, 0, 0, 1, 1, 0]), np.arange(6))
    tx = type(tx)(
        **{
            **{k: getattr(tx, k) for k in tx.__dataclass_fields__},
            "scenario": ("genuine", "rush", "x"),
            "scenario_code": np.array([0, 1, 1, 2, 2, 2], np.int16),
        }
    )
    found = {r.scenario: r for r in by_scenario(tx, np.arange(6), np.array([0, 1, 0, 0, 2, 1]))}
    assert found["rush"].false_alerts == 1
    assert "attacks" not in found["rush"].as_json()
    assert (found["x"].attacks, found["x"].attacks_detected) == (1, 1)
    assert found["x"].transactions_until_detected_median == 2


def test_a_slice_that_falls_behind_is_named_and_why() -> None:
    n = 4000
    tx = labelled(np.arange(n) * 60, np.arange(n) % 10 == 0, np.arange(n) * 60)
    high = np.arange(n) >= n // 2
    tx.values[:, tx.schema.index("amount_minor")] = np.where(high, 50_000, 500)
    fraud = tx.label == 1
    alert = fraud & ~(high & (np.arange(n) % 20 == 0))
    p = np.where(high, 0.1, 0.3)
    slices = by_slice(tx, np.arange(n), alert, p, lambda mask: False)
    found = {s.slice: s.behind for s in slices if s.kind.startswith("amount")}
    assert found == {"up to 1,000": ["calibration"], "over 30,000": ["recall"]}


def held(seed: int, n: int = 3000) -> Held:
    rng = np.random.default_rng(seed)
    raw = rng.integers(-50, 50, n).astype(np.int32)
    label = (rng.random(n) < 0.02 + 0.2 * (raw > 40)).astype(np.int8)
    return Held(
        raw,
        label,
        rng.integers(0, 6, n).astype(np.int32),
        np.sort(rng.integers(0, 14 * 86_400, n)).astype(np.uint32),
        rng.integers(100, 50_000, n),
    )


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 999), per_1000=st.floats(0.5, 60), per_week=st.floats(0.1, 9))
def test_budgets_are_kept_and_used_up(seed: int, per_1000: float, per_week: float) -> None:
    rows = held(seed)
    allowed = false_alerts_allowed(rows, per_1000, per_week)
    genuine = rows.label == 0
    weeks = 6 * (int(rows.t_s.max()) - int(rows.t_s.min())) / (7 * 86_400)
    assert allowed == min(math.floor(per_1000 * genuine.sum() / 1000), math.floor(per_week * weeks))
    at = threshold_raw(rows.raw, rows.label, allowed)
    assert np.count_nonzero(genuine & (rows.raw >= at)) <= allowed
    below = rows.raw[rows.raw < at].max(initial=-51)
    assert below == -51 or np.count_nonzero(genuine & (rows.raw >= below)) > allowed


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999), cost=st.floats(10, 60_000))
def test_the_threshold_by_cost_is_the_cheapest(seed: int, cost: float) -> None:
    rows = held(seed, 400)

    def price(cut: float) -> float:
        alert = rows.raw >= cut
        missed = rows.amount[(rows.label == 1) & ~alert].sum()
        return float(missed) + cost * np.count_nonzero(alert)

    found = threshold_cost(rows, cost)
    best = min(price(cut) for cut in [*np.unique(rows.raw), math.inf])
    assert price(math.inf if found is None else found) == pytest.approx(best)


def test_what_was_chosen_goes_before_costs_and_costs_before_the_default_budget() -> None:
    rows = held(1)
    table = Calibration.strict([-60, 60], [1000, 2**31])
    features = [BY_NAME[name] for name in ("amt_log", "gap_s", "tok_known", "hour_of_day")]
    some = {"features": features, "references": [0, 0, 0, 0]}

    def online(**section: object) -> int:
        return decide(Section.model_validate(section), table, rows, **some).go_online_q32

    default, week = online(), online(go_online_per_terminal_week=2.0)
    assert week != default
    assert online(go_online_per_terminal_week=2.0, go_online_per_1000=1.0) == max(default, week)
    cost = online(costs={"go_online_minor": 900})
    assert cost not in (default, week)
    assert online(costs={"go_online_minor": 900}, go_online=0.25) == 2**30
    plain = decide(Section(), table, rows, **some)
    assert (plain.reasons, plain.below) == ((1, 0, 7, 0), (1, 4, 9, 0))
    chosen = {"gap_s": 5, "tok_known": 40, "hour_of_day": 6}
    named = decide(Section(reasons=chosen), table, rows, **some)
    # on the sides that the feature has; on both when it has none
    assert (named.reasons, named.below) == ((1, 0, 40, 6), (1, 5, 40, 6))
    none = decide(Section(reasons={"gap_s": 0, "amt_log": 0}), table, rows, **some)
    assert (none.reasons, none.below) == ((0, 0, 7, 0), (0, 0, 9, 0))
    with pytest.raises(ConfigError, match="no feature of that name"):
        decide(Section(reasons={"c": 9}), table, rows, **some)
    with pytest.raises(ConfigError, match=r"gap_s = 300: .* at most 254"):
        decide(Section(reasons={"gap_s": 300}), table, rows, **some)


def test_gates_fail_closed(tmp_path: Path) -> None:
    facts = {"means": {"all": {"model_int8": {"recall_at_0.1%": 0.5, "ap": float("nan")}}}}
    assert look_up(facts, ["means", "all", "model_int8", "recall_at_0", "1%"]) == 0.5
    gate = tmp_path / "gate.toml"
    gate.write_text(
        '[gate]\n"means.all.model_int8.recall_at_0.1%" = {min = 0.4, max = 0.6}\n'
        '"means.all.model_int8.ap" = {min = 0.1}\n"means.nobody" = {max = 9}\n'
    )
    assert [row.ok for row in check(facts, load_gate(gate))] == [True, False, False]
    for text in ("", "[gate]\n", "[gate]\na = 3\n", '[gate]\n"a" = {least = 3}\n', "gate"):
        gate.write_text(text)
        with pytest.raises(InputError, match=r"gate\.toml"):
            load_gate(gate)

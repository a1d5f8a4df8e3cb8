# SPDX-License-Identifier: Apache-2.0
"""Thresholds that save most within a budget, what the calibration rows guarantee of them, and the
savings that are shown: against plain Python, and against the true rates of known distributions."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.stats import norm

from tests.support.cli import tinyfin, tinyfin_json
from tinyfin.config import DecisionSection as Section
from tinyfin.config import Evaluate
from tinyfin.errors import ConfigError
from tinyfin.evaluation.data_remarks import money
from tinyfin.evaluation.model_card import model_card
from tinyfin.evaluation.page import render
from tinyfin.pack.calibration import Calibration
from tinyfin.quantization.repack import other_decision
from tinyfin.results.evaluation import Evaluation
from tinyfin.results.metrics import Budget, Metrics
from tinyfin.training.alert_guarantee import highest_rate, promise_lines
from tinyfin.training.run_folder import open_run
from tinyfin.training.run_metrics import float_alerts
from tinyfin.training.savings import Period, compare_savings
from tinyfin.training.thresholds import (
    Held,
    decide,
    levels,
    promises,
    threshold_cost,
    threshold_raw,
)

ROWS = st.lists(
    st.tuples(st.integers(-9, 9), st.booleans(), st.integers(1, 900)), min_size=1, max_size=40
)
TABLE = Calibration.strict([-50, 50], [1000, 2**31])


def held(rows: list[tuple[int, bool, int]]) -> Held:
    raw, fraud, amount = (np.array(column) for column in zip(*rows, strict=True))
    n = len(rows)
    return Held(
        raw.astype(np.int32),
        fraud.astype(np.int8),
        np.zeros(n, np.int32),
        np.arange(n, dtype=np.uint32),
        amount.astype(np.int64),
    )


def saved(rows: list[tuple[int, bool, int]], cut: float, cost: int) -> int:
    """Minor units that alerts from ``cut`` on save: amounts of frauds stopped, less all alerts."""
    return sum((amount if fraud else 0) - cost for raw, fraud, amount in rows if raw >= cut)


def false(rows: list[tuple[int, bool, int]], cut: float) -> int:
    return sum(raw >= cut and not fraud for raw, fraud, _ in rows)


# ---------------------------------------------------------------------------- the threshold


@settings(max_examples=200, deadline=None)
@given(rows=ROWS, cost=st.integers(1, 400), per_1000=st.integers(1, 1000))
def test_the_threshold_saves_most_of_all_that_keep_the_budget(
    rows: list[tuple[int, bool, int]], cost: int, per_1000: int
) -> None:
    """All thresholds are tried, "never" included; metrics.json and the pack follow the winner."""
    cuts = [*{raw for raw, _, _ in rows}, math.inf]
    genuine = sum(not fraud for _, fraud, _ in rows)
    allowed = per_1000 * genuine // 1000
    inside = max(saved(rows, cut, cost) for cut in cuts if false(rows, cut) <= allowed)
    anywhere = max(saved(rows, cut, cost) for cut in cuts)
    these = held(rows)
    found = threshold_cost(these, cost, allowed)
    cut = math.inf if found is None else found
    assert false(rows, cut) <= allowed
    assert saved(rows, cut, cost) == inside

    section = Section.model_validate(
        {"go_online_per_1000": per_1000, "costs": {"go_online_minor": cost}}
    )
    online, _, decline = levels(section, TABLE, these)
    assert decline is None
    alert = np.zeros(len(rows), bool) if online is None else TABLE.evaluate(these.raw) >= online
    assert np.array_equal(alert, these.raw >= cut)
    if genuine:
        none = np.zeros(len(rows), bool)
        promise = promises(section, these, {"go_online": alert, "decline": none})["go_online"]
        assert promise.bound_by == ("budget" if anywhere > inside else "costs")
        assert (promise.alerts, promise.alerts_allowed) == (false(rows, cut), allowed)


def test_by_hand_the_budget_bounds_and_then_the_costs_do() -> None:
    rows = [(9, True, 900), (8, False, 50), (7, True, 800), (6, False, 50), (5, True, 700)]
    rows += [(0, False, 50)] * 8
    these = held(rows)  # ten are genuine: 100 per 1,000 is one of them
    one = {"go_online_per_1000": 100, "costs": {"go_online_minor": 100}}
    online = levels(Section.model_validate(one), TABLE, these).go_online
    # 5 would save 700 more and cost 200; but two genuine rows would alert
    assert online == TABLE.evaluate(np.array([7]))[0]
    budget_alone, *_ = levels(Section(go_online_per_1000=100), TABLE, these)
    assert budget_alone == TABLE.evaluate(np.array([7]))[0]
    dear = {"go_online_per_1000": 100, "costs": {"go_online_minor": 450}}
    online = levels(Section.model_validate(dear), TABLE, these).go_online
    assert online == TABLE.evaluate(np.array([9]))[0]  # 800 more for 900
    half = {"go_online_per_1000": 100, "costs": {"go_online_minor": 225, "missed": 0.5}}
    assert levels(Section.model_validate(half), TABLE, these)[0] == online
    dearest = {"go_online_per_1000": 100, "costs": {"go_online_minor": 900}}
    assert levels(Section.model_validate(dearest), TABLE, these)[0] is None


def test_by_hand_verify_lies_between_the_others() -> None:
    rows = [(9, True, 900), (8, False, 50), (7, True, 800), (6, False, 50), (5, True, 700)]
    rows += [(0, False, 50)] * 8
    these = held(rows)  # ten are genuine
    at = {raw: int(TABLE.evaluate(np.array([raw]))[0]) for raw in (1, 7, 9)}

    def found(**table: object) -> tuple[int | None, ...]:
        section = Section.model_validate(table)
        chosen = levels(section, TABLE, these)
        made = decide(section, TABLE, these, features=(), references=())
        assert made.verify_q32 == chosen.verify
        return tuple(chosen)

    # two may go online for nothing, one may be verified for nothing
    assert found(go_online_per_1000=200, verify_per_1000=100) == (at[1], at[7], None)
    # a probability; one below going online is that of going online
    assert found(go_online_per_1000=200, verify=0.4) == (at[1], round(0.4 * 2**32), None)
    assert found(go_online_per_1000=200, verify=0.0) == (at[1], at[1], None)
    # its own cost: 7 would save 800 more for 950
    costs = {"go_online_minor": 100, "verify_minor": 475}
    assert found(costs=costs)[1] == at[9]
    # alone, it is the threshold of going online too; and it gives way to declining
    assert found(go_online_per_1000=0, verify=0.4)[:2] == (round(0.4 * 2**32),) * 2
    assert found(go_online_per_1000=0, costs={"verify_minor": 475}, decline=0.1) == (
        (round(0.1 * 2**32),) * 3
    )
    assert found(go_online_per_1000=200)[1] is None
    both = Section(go_online_per_1000=200, verify_per_1000=100)
    promise = promises(both, these)
    assert {name: p.alerts for name, p in promise.items()} == {"go_online": 2, "verify": 1}
    budget = Budget.model_validate(both.model_dump(include={*Budget.model_fields}))
    assert budget.text("verify") == ["verify 100 per 1,000"]


def test_a_default_budget_steps_back_and_one_that_is_given_does_not() -> None:
    costs = {"costs": {"go_online_minor": 100}}
    alone = Section.model_validate(costs)
    assert alone.go_online_per_1000 is None
    assert "go_online_per_1000" not in alone.model_dump(exclude_unset=True)
    assert Section.model_validate(alone.model_dump(exclude_unset=True)) == alone
    assert Section.model_validate({**costs, "go_online_per_1000": 1.0}).go_online_per_1000 == 1.0
    assert Section(go_online_per_terminal_week=0.5).go_online_per_1000 is None
    assert (Section().go_online_per_1000, Section().decline_per_1000) == (1.0, 0.0)
    declining = Section.model_validate({"costs": {"decline_minor": 5}})
    assert declining.decline_per_1000 is None
    rows = held([(1, True, 900), (0, False, 10)])
    never = Section.model_validate({**costs, "go_online_per_1000": 0.0})
    assert levels(never, TABLE, rows) == (None, None, None)
    assert promises(never, rows) == {}
    assert levels(alone, TABLE, rows)[0] is not None
    with pytest.raises(ValidationError, match="give a budget beside costs"):
        Section.model_validate({**costs, "confidence": 0.9})
    both = Section.model_validate({**costs, "confidence": 0.9, "go_online_per_1000": 1.0})
    # two rows cannot promise one alert in a thousand
    assert levels(both, TABLE, rows)[0] is None
    assert promises(both, rows)["go_online"].alerts_allowed == 0


def test_before_the_pack_no_row_alerts_that_the_pack_would_accept() -> None:
    """The threshold of declining is raised to that of going online, for the float model, too."""
    rng = np.random.default_rng(6)
    n = 2000
    slices: dict[str, np.ndarray] = {}
    for part in ("calibration", "test"):
        label = (rng.random(n) < 0.05).astype(np.int8)
        slices[f"{part}_float"] = (rng.normal(0, 1, n) + 2 * label).astype(np.float32)
        slices[f"{part}_label"] = label
        for name in ("terminal", "t_s", "amount"):
            slices[f"{part}_{name}"] = np.zeros(n, np.int64)
    online = float_alerts(Section(go_online_per_1000=10), slices)
    assert 0 < np.count_nonzero(online) < 0.1 * n
    for decline in (0.0001, 0.9999):
        both = float_alerts(Section(go_online_per_1000=10, decline=decline), slices)
        assert np.array_equal(both, online)
    assert np.count_nonzero(float_alerts(Section(go_online_per_1000=0, decline=0.0001), slices)) > (
        np.count_nonzero(online)
    ), "without a threshold of going online that of declining counts"


def test_repack_takes_a_budget_and_a_cost_together() -> None:
    given = Section(go_online_per_1000=3.0, confidence=0.95)
    alone = other_decision(given, false_alert_cost=200)
    assert (alone.go_online_per_1000, alone.confidence) == (None, None)
    both = other_decision(given, false_alert_cost=200, per_1000=2.0)
    assert (both.go_online_per_1000, both.costs.go_online_minor) == (2.0, 200)
    assert both.confidence == 0.95
    week = other_decision(both, per_terminal_week=0.5)
    assert (week.go_online_per_1000, week.costs.go_online_minor) == (None, None)
    with pytest.raises(ConfigError, match="confidence keeps a budget"):
        other_decision(Section(), false_alert_cost=200, confidence=0.9)


def test_an_alert_has_one_price() -> None:
    costs = Section.model_validate({"costs": {"go_online_minor": 300, "missed": 0.5}})
    assert Evaluate().alert_minor(Section()) == 500
    assert Evaluate().alert_minor(costs) == 600
    assert Evaluate(false_alert_minor=7).alert_minor(costs) == 7


# ------------------------------------------------------------------------------ the guarantee


def test_the_limit_of_the_budgets_rank_holds_when_costs_choose() -> None:
    """Against the true rate of a known distribution. The frauds are spread so that every threshold
    is worth the same, but for where genuine rows happen to be few: that is where costs choose. The
    negative control is the limit of the count at the threshold that was chosen."""
    rng = np.random.default_rng(3)
    draws, n, allowed, confidence = 1500, 1000, 12, 0.9
    limit = highest_rate(allowed, n, confidence)
    section = Section.model_validate({"go_online_per_1000": 12, "costs": {"go_online_minor": 1000}})
    # a fraud saves 100 net, for each 0.1 genuine rows to be expected, which cost 1,000 each
    fraud = np.rint(1e6 * norm.isf((np.arange(200) + 0.5) / 10 / n))
    held_limit = counted = 0
    for draw in range(draws):
        genuine = np.rint(rng.normal(0, 1e6, n))
        raw = np.concatenate([genuine, fraud]).astype(np.int32)
        label = np.repeat(np.array([0, 1], np.int8), [n, len(fraud)])
        zeros = np.zeros(len(raw), np.int32)
        these = Held(raw, label, zeros, zeros.astype(np.uint32), np.full(len(raw), 1100))
        cut = threshold_cost(these, 1000, allowed)
        lowest = threshold_raw(raw, label, allowed)
        assert cut is None or cut >= lowest
        rate = 0.0 if cut is None else float(norm.sf((cut - 0.5) / 1e6))
        alerts = 0 if cut is None else int(np.count_nonzero(genuine >= cut))
        held_limit += rate <= limit
        counted += rate <= highest_rate(alerts, n, confidence)
        if not draw % 500:
            alert = np.zeros(len(raw), bool) if cut is None else raw >= cut
            both = {"go_online": alert, "decline": np.zeros(len(raw), bool)}
            promise = promises(section, these, both)["go_online"]
            assert promise.at_most_per_1000 == pytest.approx(1000 * limit)
    slack = 3 * math.sqrt(confidence * (1 - confidence) / draws)
    assert held_limit / draws >= confidence - slack
    assert counted / draws < confidence - slack, counted / draws


def test_what_is_said_of_a_budget_with_costs() -> None:
    rows = held([(9, True, 900), (8, False, 1), (7, True, 900), *[(0, False, 1)] * 998])
    none = np.zeros(len(rows.raw), bool)

    def said(cost: float, per_1000: float, cut: int) -> str:
        section = Section.model_validate(
            {"go_online_per_1000": per_1000, "costs": {"go_online_minor": cost}}
        )
        alert = {"go_online": rows.raw >= cut, "decline": none}
        (line,) = promise_lines(promises(section, rows, alert))
        return line

    budget = said(100, 1.0, 9)
    assert "the budget bounds the threshold, costs alone would alert on more" in budget
    assert "0 of 999 genuine calibration rows alert (costs could choose 0 to 0): at" in budget
    costs = said(100, 5.0, 7)
    assert "the costs bound the threshold, the budget would allow a lower one" in costs
    assert "1 of 999 genuine calibration rows alert (costs could choose 0 to 4): at" in costs
    section = Section.model_validate({"go_online_per_1000": 5, "costs": {"go_online_minor": 9}})
    (before,) = promise_lines(promises(section, rows))
    assert (
        "; up to 4 of 999 genuine calibration rows alert (costs choose how many): at most" in before
    )


# -------------------------------------------------------------------------------- the savings


def one_period(rng: np.random.Generator, n: int) -> Period:
    fraud = rng.random(n) < 0.2
    fraud[:2] = True, False
    scores = {"model_int8": rng.normal(0, 1, n) + fraud, "amount": rng.normal(0, 1, n)}
    alert = scores["model_int8"] > 1.5
    return Period(alert, scores, fraud, rng.integers(100, 9000, n) * 1.0, rng.integers(0, 9, n))


def test_savings_and_their_intervals_are_those_of_plain_python() -> None:
    rng = np.random.default_rng(4)
    periods = [one_period(rng, 120), one_period(rng, 90)]
    found = compare_savings("model_int8", periods, 9, 5, 250.0)
    drawing = np.random.default_rng(5)
    drawn = [drawing.integers(0, 9, 9).tolist() for _ in range(200)]

    def share(p: Period, alert: set[int], cards: list[int]) -> float:
        lost = cost = 0.0
        for card in cards:
            for row in range(len(p.fraud)):
                if p.group[row] == card:
                    lost += p.amount[row] if p.fraud[row] else 0.0
                    cost += 250.0 if row in alert else p.amount[row] if p.fraud[row] else 0.0
        return 1 - cost / lost

    def mean(name: str, cards: list[int]) -> float:
        out = []
        for p in periods:
            count = int(p.alert.sum())
            order = sorted(range(len(p.fraud)), key=lambda row: -p.scores[name][row])
            alert = {row for row in range(len(p.fraud)) if p.alert[row]}
            out.append(share(p, alert if name == "model_int8" else set(order[:count]), cards))
        return sum(out) / len(out)

    for name, figures in found.items():
        assert figures.savings == pytest.approx(mean(name, list(range(9))))
    own, other = ([mean(name, cards) for cards in drawn] for name in ("model_int8", "amount"))
    assert found["amount"].interval == pytest.approx(np.quantile(other, [0.025, 0.975]))
    lead = np.array(own) - np.array(other)
    assert found["amount"].model_saves_more_by_interval == pytest.approx(
        np.quantile(lead, [0.025, 0.975])
    )
    assert found["model_int8"].model_saves_more_by_interval == (0.0, 0.0)
    nothing = Period(**{**vars(periods[0]), "amount": np.zeros(120)})
    assert compare_savings("model_int8", [nothing], 9, 5, 250.0) == {}
    both = compare_savings("model_int8", [nothing, periods[1]], 9, 5, 250.0)
    assert both == compare_savings("model_int8", periods[1:], 9, 5, 250.0)


def test_before_there_is_a_pack_the_float_model_alerts_as_the_budget_lets_it() -> None:
    rng = np.random.default_rng(6)
    score, label = rng.normal(0, 1, 2000), (rng.random(2000) < 0.05).astype(np.int8)
    score += 2 * label
    zeros = np.zeros(2000, np.int32)
    slices = {"calibration_float": score.astype(np.float32), "calibration_label": label}
    slices |= {f"calibration_{name}": zeros for name in ("terminal", "t_s", "amount")}
    slices["test_float"] = rng.normal(1, 1, 500).astype(np.float32)
    genuine = np.sort(slices["calibration_float"][label == 0])
    allowed = len(genuine) * 20 // 1000
    found = float_alerts(Section(go_online_per_1000=20.0), slices)
    assert np.array_equal(found, slices["test_float"] > genuine[-allowed - 1])
    assert 0 < found.sum() < 500
    assert not float_alerts(Section(go_online_per_1000=0.0), slices).any()
    assert np.array_equal(float_alerts(Section(go_online=0.0), slices), np.ones(500, bool))


def test_the_metrics_hold_the_savings_of_the_packs_alerts(run_copy: Path) -> None:
    run = open_run(run_copy)
    result = tinyfin_json("repack", run_copy, "--per-1000", "500", "--false-alert-cost", "4")
    metrics = run.read(Metrics)
    decision = metrics.decision
    assert decision is not None
    assert decision.budget is not None
    assert decision.budget.text("go_online") == [
        "go online: 4 minor per alert",
        "go online 500 per 1,000",
    ]
    assert decision.promise["go_online"].bound_by in ("budget", "costs")
    assert result["decision"]["promise"]["go_online"]["bound_by"] is not None
    assert metrics.alert_minor == 4
    slices = run.slices()
    fraud, amount = slices["test_label"] == 1, slices["test_amount"]
    for population, found in metrics.savings.items():
        rows = np.ones(len(fraud), bool)
        if population != "all":
            rows = slices["test_without_known_cards"]
        m = decision.thresholds["go_online"][population]
        alerts = m.true_positives + m.false_positives
        rule = slices["test_baseline_amount"][rows]
        top = np.argsort(-rule, kind="stable")[:alerts]
        stopped = np.isin(np.arange(len(rule)), top)
        lost = amount[rows][fraud[rows]].sum()
        cost = amount[rows][fraud[rows] & ~stopped].sum() + 4 * alerts
        assert found["amount"].savings == pytest.approx(1 - cost / lost)
        low, high = found["model_int8"].interval
        assert low <= found["model_int8"].savings <= high
    assert decision.test.savings == pytest.approx(metrics.savings["all"]["model_int8"].savings)
    said = tinyfin("repack", run_copy, "--per-1000", "500", "--false-alert-cost", "4").stdout
    assert "bound" in said
    assert "where an alert costs 4 minor units: model, int8 " in said
    assert "as many alerts by the best rule, " in said


def test_page_card_and_lines_say_what_saves_more(judged: Path, tmp_path: Path) -> None:
    run = open_run(Path(shutil.copytree(judged, tmp_path / "run")))
    facts = Evaluation.parse(json.loads((judged / "evaluation.json").read_text()), "here")
    population = next(iter(facts.judged))
    figures = facts.savings[population]
    for name, m in facts.judged[population].items():
        assert figures[name].savings == pytest.approx(m.alerts.savings), name
    parts = facts.folds
    facts.savings, facts.folds = {population: figures}, parts[-1:]
    pictures = {"fold": "-", "precision_recall": {}, "calibration": None, "scores": None}

    def texts(of: Evaluation) -> list[str]:
        return [" ".join(text.split()) for text in (render(of, pictures, []), model_card(of, run))]

    figures["amount"].savings = figures["model_int8"].savings - 0.001
    for name, scorer in figures.items():
        if not name.startswith("model"):
            scorer.savings = min(scorer.savings, figures["amount"].savings)
            scorer.model_saves_more_by = 0.001
    fixed = f"{figures['model_int8'].savings:.3f}"
    for text in texts(facts):
        assert f"model, int8 {fixed} (" in text
        assert "as many alerts by the best rule, " in text
        assert "is saved by" not in text
    figures["amount"].savings = figures["model_int8"].savings + 0.05
    figures["amount"].model_saves_more_by = -0.05
    for high, words in ((-0.01, "beyond chance"), (0.01, "within chance")):
        figures["amount"].model_saves_more_by_interval = (-0.09, high)
        saves = f"is saved by amount alone ({figures['amount'].savings:.3f}, {words})"
        for text in texts(facts):
            assert (
                f"more than the model&#39;s {fixed} {saves}".replace(
                    "&#39;", "&#39;" if "&#39;" in text else "'"
                )
                in text
            )
    # a part in which a rule saves more is named
    facts.folds = parts
    part = parts[0].populations[population]
    part["rate"].alerts.savings = part["model_int8"].alerts.savings + 1.0
    assert any(
        f"in part {parts[0].name} rate of the terminal saves" in line
        for line in money(facts, population)
    )

# SPDX-License-Identifier: Apache-2.0
"""What few calibration rows can promise of a budget, and a threshold that keeps it."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest, norm

from tests.support.cli import tinyfin, tinyfin_json
from tinyfin.config import DecisionSection as Section
from tinyfin.errors import ConfigError
from tinyfin.quantization.repack import other_decision
from tinyfin.training.alert_guarantee import (
    budget_promise,
    cautious_alerts,
    highest_rate,
    promise_lines,
)
from tinyfin.training.thresholds import Held, false_alerts_allowed, promises, threshold_raw

DRAWS = 800


def world(rng: np.random.Generator, n: int, steps: float) -> Held:
    """Normal raw scores in so many steps of a deviation; few steps make ties. One in 50 is
    fraud."""
    raw = np.rint(rng.normal(0, steps, n)).astype(np.int32)
    label = (rng.random(n) < 0.02).astype(np.int8)
    label[:2] = 0
    raw[label == 1] += round(3 * steps)
    zeros = np.zeros(n, np.int32)
    return Held(raw, label, zeros, np.arange(n, dtype=np.uint32), zeros.astype(np.int64))


def true_rate(threshold: int, steps: float) -> float:
    """The share of all genuine transactions at or above a raw score."""
    return float(norm.sf((threshold - 0.5) / steps))


@pytest.mark.parametrize(
    ("rows", "budget", "steps", "confidence"),
    [
        (2236, 0.001, 1e6, 0.6),
        (2800, 0.001, 1e6, 0.9),
        (6000, 0.001, 40.0, 0.9),
        (3000, 0.01, 5.0, 0.9),
        (1500, 0.02, 1e6, 0.95),
    ],
)
def test_the_cautious_threshold_keeps_the_budget_as_often_as_it_says(
    rows: int, budget: float, steps: float, confidence: float
) -> None:
    """Against the true rate of known distributions. The plain threshold, which uses the budget up
    on the calibration rows, is the negative control: it breaks the budget in about every second
    draw."""
    rng = np.random.default_rng(rows)
    kept = plain = 0
    for _ in range(DRAWS):
        held = world(rng, rows, steps)
        for cautious in (True, False):
            allowed = false_alerts_allowed(
                held, 1000 * budget, None, confidence if cautious else None
            )
            rate = 0.0
            if allowed is not None:
                rate = true_rate(threshold_raw(held.raw, held.label, allowed), steps)
            if cautious:
                kept += rate <= budget
            else:
                plain += rate <= budget
    slack = 3 * math.sqrt(confidence * (1 - confidence) / DRAWS)
    assert kept / DRAWS >= confidence - slack, kept / DRAWS
    if steps > 10:
        assert plain / DRAWS < confidence - 0.03, plain / DRAWS


def test_the_bound_is_the_exact_binomials() -> None:
    for alerts, genuine in ((0, 50), (2, 2236), (11, 11_587), (40, 900)):
        for confidence in (0.5, 0.9, 0.99):
            found = highest_rate(alerts, genuine, confidence)
            # at that rate so few alerts come with probability 1 - confidence
            assert binom.cdf(alerts, genuine, found) == pytest.approx(1 - confidence)
            theirs = binomtest(alerts, genuine, alternative="less").proportion_ci(confidence)
            assert found == pytest.approx(theirs.high)
    assert highest_rate(3, 3, 0.9) == 1.0
    assert highest_rate(0, 0, 0.9) == 1.0


@settings(max_examples=200, deadline=None)
@example(genuine=1, budget=0.847877515376356, confidence=0.847877515376356)
@given(
    genuine=st.integers(1, 20_000), budget=st.floats(1e-5, 1.2), confidence=st.floats(0.5, 0.999)
)
def test_it_is_the_largest_number_of_alerts_that_keeps_the_budget(
    genuine: int, budget: float, confidence: float
) -> None:
    found = cautious_alerts(genuine, budget, confidence)
    if found is None:
        assert highest_rate(0, genuine, confidence) > budget
        return
    assert highest_rate(found, genuine, confidence) <= budget
    assert budget >= 1 or highest_rate(found + 1, genuine, confidence) > budget
    promise = budget_promise(genuine, found, budget, confidence)
    assert promise.kept
    assert genuine >= promise.genuine_rows_needed


def test_the_rows_that_a_budget_takes_are_enough_and_one_less_is_not() -> None:
    for budget in (0.001, 0.0005, 0.02):
        needed = budget_promise(10, 0, budget, 0.9).genuine_rows_needed
        assert cautious_alerts(needed, budget, 0.9) == 0
        assert cautious_alerts(needed - 1, budget, 0.9) is None


def held(genuine: int, weeks: int = 2) -> Held:
    """So many genuine rows of 10 terminals over two weeks."""
    zeros = np.zeros(genuine, np.int32)
    t = np.linspace(0, weeks * 7 * 86_400, genuine).astype(np.uint32)
    return Held(
        np.arange(genuine, dtype=np.int32),
        zeros.astype(np.int8),
        np.arange(genuine, dtype=np.int32) % 10,
        t,
        zeros.astype(np.int64),
    )


def test_both_budgets_are_promised_as_one_share() -> None:
    rows = held(6000)
    one = promises(Section(go_online_per_1000=2.0), rows)["go_online"]
    assert (one.alerts, one.budget_per_1000) == (12, 2.0)
    # half an alert per terminal and week: 10 on these rows
    both = promises(Section(go_online_per_1000=2.0, go_online_per_terminal_week=0.5), rows)
    assert both["go_online"].alerts == 10
    assert both["go_online"].budget_per_1000 == pytest.approx(10 / 6)
    cautious = promises(Section(go_online_per_1000=2.0, confidence=0.9), rows)["go_online"]
    assert cautious.alerts == cautious.cautious_alerts == one.cautious_alerts < 12
    assert cautious.kept
    assert not one.kept
    for without in (
        {"go_online": 0.5},
        {"costs": {"go_online_minor": 5}},
        {"go_online_per_1000": 0.0},
    ):
        assert "go_online" not in promises(Section.model_validate(without), rows)


def test_what_is_said() -> None:
    rows = held(2236)
    (plain,) = promise_lines(promises(Section(go_online_per_1000=1.0), rows))
    assert plain == (
        "go online: budget of false alerts 1 per 1,000 genuine; 2 of 2,236 genuine calibration "
        "rows alert: at most 2.38 per 1,000 future transactions with 90 % confidence; "
        "keeping the budget so needs 2,302 genuine rows"
    )
    (never,) = promise_lines(promises(Section(go_online_per_1000=1.0, confidence=0.9), rows))
    assert "the action is never taken" in never
    assert "needs 2,302 genuine rows" in never
    (offer,) = promise_lines(promises(Section(go_online_per_1000=4.0), rows))
    assert "`--confidence 0.9` keeps it, with 4" in offer
    (kept,) = promise_lines(promises(Section(go_online_per_1000=4.0, confidence=0.9), rows))
    assert "4 of 2,236 genuine calibration rows alert: at most" in kept
    assert "--confidence" not in kept


def test_a_confidence_goes_with_a_budget() -> None:
    with pytest.raises(ConfigError, match="confidence keeps a budget"):
        other_decision(Section(), threshold=0.2, confidence=0.9)
    with pytest.raises(ConfigError, match=r"decision\.confidence"):
        other_decision(Section(), confidence=0.3)
    cautious = other_decision(Section(), confidence=0.95)
    assert cautious.confidence == 0.95
    assert other_decision(cautious, per_1000=2.0).confidence == 0.95
    assert other_decision(cautious, threshold=0.2).confidence is None
    assert other_decision(cautious, false_alert_cost=100).confidence is None


def test_train_quantize_and_repack_say_it_and_repack_keeps_it(
    small: dict[str, Path], run_copy: Path, tmp_path: Path
) -> None:
    config = tmp_path / "tinyfin.toml"
    config.write_text(
        '[features]\nnames = ["amt_log", "gap_s", "rate_60"]\n[model]\n'
        'family = "density"\n[evaluate]\nbaselines = []\n'
    )
    said = tinyfin(
        "train", small["data"], "--config", config, "--name", "d", "--out", tmp_path
    ).stdout
    assert "go online: budget of false alerts 1 per 1,000 genuine; " in said
    assert "where an alert costs 500 minor units: model, float " in said
    said = tinyfin("quantize", tmp_path / "d").stdout
    assert "where an alert costs 500 minor units: model, int8 " in said
    assert "future transactions with 90 % confidence" in said
    assert "test period: " in said
    assert "F1 " in said
    before = json.loads((run_copy / "metrics.json").read_text())["decision"]
    result = tinyfin_json("repack", run_copy, "--per-1000", "4", "--confidence", "0.9")
    now = result["decision"]
    assert now["budget"]["confidence"] == 0.9
    assert now["promise"]["go_online"]["kept"]
    alerts = now["promise"]["go_online"]["alerts"]
    genuine = now["promise"]["go_online"]["genuine_rows"]
    assert (
        now["calibration"]["false_alerts"]
        == alerts
        <= now["promise"]["go_online"]["cautious_alerts"]
    )
    assert 1000 * binomtest(alerts, genuine, alternative="less").proportion_ci(0.9).high <= 4
    assert before["promise"]["go_online"]["confidence"] == 0.9
    assert not before["promise"]["go_online"]["cautious"]

# SPDX-License-Identifier: Apache-2.0
"""Where frauds are reported weeks later, no row counts as genuine before its report can have
come."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest

from tests.support.cli import tinyfin
from tests.support.transactions import labelled
from tinyfin.data.transactions import Transactions
from tinyfin.errors import DataError
from tinyfin.training.fit import constants
from tinyfin.training.label_delays import horizon_s
from tinyfin.training.split import split_by_time, unreported, untested

DAY_S = 86_400
SHARE = 0.05
START = np.datetime64("2026-01-01", "ms")

Reports = npt.NDArray[np.float64]


def make(
    days: int,
    reported_days: Any,
    *,
    written_day: float | None = None,
    rows: int = 40_000,
    seed: int = 0,
) -> Transactions:
    """``rows`` over ``days``: genuine ones have no date of their own, frauds one
    ``reported_days(rng, n)`` later; those reported after ``written_day`` look genuine."""
    rng = np.random.default_rng(seed)
    t = np.sort(rng.integers(0, days * DAY_S, rows))
    fraud = rng.random(rows) < SHARE
    known = t + 7 * DAY_S
    known[fraud] = t[fraud] + (reported_days(rng, fraud.sum()) * DAY_S).astype(np.int64)
    if written_day is not None:
        late = fraud & (known > written_day * DAY_S)
        fraud[late], known[late] = False, t[late] + 7 * DAY_S
    return labelled(t, fraud, known)


def after(days: float) -> Any:
    return lambda _, n: np.full(n, days)


def between(low: float, high: float) -> Any:
    return lambda rng, n: rng.uniform(low, high, n)


@pytest.mark.parametrize("supervised", [True, False])
@pytest.mark.parametrize(
    "reported", [after(3), after(30), after(40), between(20, 40), between(1, 30)]
)
def test_calibration_has_the_true_share_of_fraud(reported: Any, supervised: bool) -> None:
    tx = make(60, reported)
    split = split_by_time(tx, until_s=48 * DAY_S, supervised=supervised)
    share = np.mean(tx.label[split.calibration] == 1)
    # at its young end a tenth of the reports may be missing
    assert share == pytest.approx(SHARE, rel=0.25)
    if supervised:
        learned = np.concatenate([split.fit, split.validation])
        assert np.mean(tx.label[learned] == 1) == pytest.approx(SHARE, rel=0.2)


def test_reports_later_than_all_data_are_an_error_that_names_their_delay() -> None:
    tx = make(60, after(46), rows=4_000)
    with pytest.raises(DataError, match=r"9 of 10 come within 46 days\); at least 5 frauds"):
        split_by_time(tx, until_s=48 * DAY_S)


@pytest.mark.parametrize("rows", [40, 400, 40_000])
@pytest.mark.parametrize(
    ("name", "draw"),
    [
        ("fixed", lambda rng, n: np.full(n, 30.0)),
        ("uniform", lambda rng, n: rng.uniform(20, 40, n)),
        ("gamma", lambda rng, n: rng.gamma(4, 5, n)),
        ("two kinds", lambda rng, n: np.where(rng.random(n) < 0.3, 35.0, 2.0)),
        ("a few very late", lambda rng, n: np.where(rng.random(n) < 0.02, 47.0, 2.0)),
    ],
)
def test_horizon_is_that_of_all_labels(name: str, draw: Any, rows: int) -> None:
    """Over thirty worlds, against the delays of all rows, reported or not."""
    if (name, rows) == ("two kinds", 40):
        rows = 100  # of 40, fewer than ten are reported that late
    rng = np.random.default_rng(3)
    found, naive = [], []
    for _ in range(30):
        age, delay = rng.uniform(0, 48, rows) * DAY_S, draw(rng, rows) * DAY_S
        seen = delay <= age
        found.append(horizon_s(delay[seen].astype(np.int64), age[seen].astype(np.int64) + 1))
        naive.append(np.quantile(delay[seen], 0.9))
    every = draw(rng, 1_000_000)
    true = np.quantile(every[every < 48], 0.9) * DAY_S
    assert np.median(found) == pytest.approx(true, rel=0.12 if rows < 1000 else 0.02)
    # control: of the reports that have come, the quantile is too low
    if name in ("uniform", "gamma") and rows > 1000:
        assert np.mean(naive) < 0.96 * true


def test_horizon_of_nothing_and_of_one() -> None:
    none = np.zeros(0, np.int64)
    assert horizon_s(none, none) == 0
    assert horizon_s(np.array([7]), np.array([7])) == 7
    assert horizon_s(np.array([0, 9]), np.array([3, 9])) in (0, 9)


@pytest.mark.parametrize("reported", [after(14), between(5, 15)])
def test_the_test_ends_where_fraud_reports_do(reported: Any) -> None:
    tx = make(60, reported, written_day=60)
    split = split_by_time(tx, until_s=40 * DAY_S)
    assert 45 * DAY_S < split.test_until_s < 48 * DAY_S
    assert np.mean(tx.label[split.test] == 1) == pytest.approx(SHARE, rel=0.25)
    assert split.untested == np.count_nonzero(tx.t_mono_s >= split.test_until_s)
    summary = split.summary(tx.label)
    assert "are not tested" in (untested(summary) or "")
    assert unreported(summary) is None
    # control: the same world written down a month later
    whole = split_by_time(make(60, reported, written_day=90), until_s=40 * DAY_S)
    assert whole.test_until_s > 59.9 * DAY_S
    assert whole.reports_end_s is None
    assert untested(whole.summary(tx.label)) is None


@pytest.mark.parametrize(("until", "end", "count"), [(40, 60, 1), (50, None, 2)])
def test_rows_tested_on_request_are_named(until: int, end: int | None, count: int) -> None:
    tx = make(60, after(14), written_day=60)
    end_s = None if end is None else end * DAY_S
    split = split_by_time(tx, until_s=until * DAY_S, test_until_s=end_s)
    text = unreported(split.summary(tx.label))
    assert text is not None
    assert f"of {len(split.test)} test rows, those from 2000-02-" in text
    assert ("or set test_until" in text) == (count == 1)
    assert split.untested == 0


def test_no_complete_file_is_said_to_lack_reports() -> None:
    named = [
        split_by_time(make(60, between(1, 20), rows=4_000, seed=seed)).reports_end_s is not None
        for seed in range(100)
    ]
    assert sum(named) <= 5


def test_labels_without_dates_of_their_own_say_nothing_on_the_end() -> None:
    tx = make(60, after(7), rows=4_000)
    tx.label[tx.t_mono_s > 50 * DAY_S] = 0
    assert split_by_time(tx, until_s=40 * DAY_S).reports_end_s is None


def test_train_and_evaluate_say_what_is_too_recent(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    n = 6_000
    t = np.sort(rng.integers(0, 60 * DAY_S, n))
    fraud = (rng.random(n) < SHARE) & (t < 30 * DAY_S)
    time = START + 1000 * t
    data = tmp_path / "month.parquet"
    pl.DataFrame(
        {
            "time": time,
            "terminal": [f"t{k}" for k in rng.integers(0, 8, n)],
            "amount": rng.integers(100, 9_000, n) / 100 + 400 * fraud,
            "card": rng.integers(1, 400, n),
            "label": fraud.astype(np.int8),
            "reported": np.where(fraud, time + 30 * DAY_S * 1000, np.datetime64("NaT", "ms")),
        }
    ).write_parquet(data)
    config = tmp_path / "tinyfin.toml"
    config.write_text(
        '[data]\ntime = "time"\nterminal = "terminal"\ntoken = "card"\nlabel = "label"\n'
        'amount = {column = "amount", unit = "major"}\nlabel_time = "reported"\n'
        '[model]\nfamily = "density"\n[evaluate]\nbaselines = []\n'
    )
    done = tinyfin(f"train {data} --config {config} --name slow --out {tmp_path}/runs")
    assert "rows too recent for fraud reports (9 of 10 labels are known within 30 days)" in (
        done.output
    )
    assert "WARNING: 1200 of 1200 test rows, those from 2026-02-18" in done.output
    assert "none of the 1200 test rows is a known fraud" in done.output
    run = tmp_path / "runs" / "slow"
    weeks = "2026-02-10,2026-02-17"
    judged = tinyfin(f"evaluate {run} {data} --weeks {weeks}")
    page, card = (run / "evaluation.html").read_text(), (run / "MODEL_CARD.md").read_text()
    for text in (judged.output, page, card):
        assert "too recent for fraud reports" in " ".join(text.split())
        # without a known fraud there are no figures
        assert not re.search(r"\bnan\b", text)
    judged = tinyfin(f"evaluate {run} {data} --weeks 1")
    assert "rows from 2026-01-" in judged.output
    assert "on are not tested" in judged.output


def test_features_that_never_move_are_named() -> None:
    table = np.array([[1, 5, 7], [1, 6, 7], [1, 5, 8]], np.int16)
    names = ["a", "b", "c"]
    assert constants(table, np.arange(3), names) == ["a"]
    assert constants(table, np.array([0, 1]), names) == ["a", "c"]
    assert constants(table, np.array([2]), names) == []

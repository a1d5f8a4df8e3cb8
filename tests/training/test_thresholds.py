# SPDX-License-Identifier: Apache-2.0
"""Confusion counts, precision, recall, F1 and accuracy at the thresholds in force are
scikit-learn's, their intervals hold what they should, and file, page and card have them."""

from __future__ import annotations

import csv
import json
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn import metrics

from tests.support.cli import tinyfin
from tinyfin.data.readers import read
from tinyfin.data.transactions import ADVICE
from tinyfin.pack.container import parse_pack
from tinyfin.quantization.repack import other_decision, repack
from tinyfin.training.bootstrap import wilson
from tinyfin.training.confusion import SHARES, at_thresholds, confusion
from tinyfin.training.populations import LOOK_BACK_DAYS, cards_of, known_cards_removed
from tinyfin.training.run_folder import RunFolder, open_run
from tinyfin.training.scoring import score
from tinyfin.twin import Twin

COUNTS = ("true_negatives", "false_positives", "false_negatives", "true_positives")


def judged_by_sklearn(alert: np.ndarray, fraud: np.ndarray, found: dict[str, object]) -> None:
    table = metrics.confusion_matrix(fraud, alert, labels=[False, True])
    assert [found[name] for name in COUNTS] == table.ravel().tolist()
    expected = {
        "precision": metrics.precision_score(fraud, alert, zero_division=np.nan),
        "recall": metrics.recall_score(fraud, alert, zero_division=np.nan),
        "f1": metrics.f1_score(fraud, alert, zero_division=np.nan),
        "accuracy": metrics.accuracy_score(fraud, alert),
    }
    for name in SHARES:
        value = math.nan if found[name] is None else found[name]
        assert value == pytest.approx(expected[name], nan_ok=True), name


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 9999), share=st.floats(0, 1), hit=st.floats(0, 1))
def test_counts_and_shares_are_scikit_learns(seed: int, share: float, hit: float) -> None:
    rng = np.random.default_rng(seed)
    fraud, alert = rng.random(80) < share, rng.random(80) < hit
    found = confusion(alert, fraud, rng.integers(0, 20, 80))
    found = found.model_dump()
    judged_by_sklearn(alert, fraud, found)
    for name in SHARES:
        low, high = found[f"{name}_interval"]
        assert math.isnan(found[name]) or 0 <= low <= found[name] <= high <= 1


def test_wilson_is_scipys() -> None:
    for k, n in ((0, 7), (7, 7), (3, 50), (499, 500)):
        theirs = binomtest(k, n).proportion_ci(0.95, method="wilson")
        assert wilson(k / n, n) == pytest.approx((theirs.low, theirs.high), abs=1e-4)


def test_intervals_hold_the_true_share_when_cards_come_together() -> None:
    """200 worlds; a card's transactions are alerted together, so rows say less than they seem to.
    The negative control is Wilson alone."""
    rng = np.random.default_rng(5)
    held = alone = 0
    for _ in range(200):
        cards, per_card = 120, 8
        of_card = rng.random(cards) < 0.7
        fraud = np.ones(cards * per_card, bool)
        alert = np.repeat(of_card, per_card)
        found = confusion(alert, fraud, np.repeat(np.arange(cards), per_card), seed=1)
        low, high = found.recall_interval
        held += low <= 0.7 <= high
        low, high = wilson(found.recall, len(fraud))
        alone += low <= 0.7 <= high
    assert held >= 0.9 * 200
    assert alone < 0.7 * 200


def test_a_stronger_action_is_an_alert_of_the_weaker_too() -> None:
    advice = np.array([0, 1, 3, 3, 0], np.uint8)
    fraud = np.array([0, 0, 1, 1, 1], bool)
    masks = {"all": np.ones(5, bool), "some": np.arange(5) < 4}
    found = at_thresholds({"go_online": True, "decline": True}, advice, fraud, np.arange(5), masks)
    assert found["go_online"]["all"].false_positives == 1
    assert found["decline"]["all"].false_positives == 0
    assert found["decline"]["some"].false_negatives == 0
    assert at_thresholds({"go_online": False}, advice, fraud, np.arange(5), masks) == {}
    every = {"go_online": True, "verify": True, "decline": True}
    all_four = at_thresholds(
        every, np.array([0, 1, 2, 3], np.uint8), *[np.ones(4, bool)] * 2, {"all": np.ones(4, bool)}
    )
    assert [all_four[name]["all"].true_positives for name in every] == [3, 2, 1]


# ------------------------------------------------------------------------------ in metrics.json


def judged_again(run: RunFolder, data: Path) -> None:
    """Everything in ``metrics.json``, from the pack and the file alone."""
    decision = run.read_json("metrics.json")["decision"]
    facts = run.read_json("run.json")
    tx = read([data], run.config())
    slices = run.slices()
    pack = parse_pack(run.pack_bytes())
    score = Twin(pack.data).infer(slices["test"])[1]
    assert pack.calibration is not None
    p = pack.calibration.evaluate(score) / 2**32
    rows = slices["test_row"]
    fraud = tx.label[rows] == 1
    assert facts["data"]["drawn"] == decision["drawn"] == "cards"
    cards = np.unique(cards_of(tx, rows), return_inverse=True)[1]
    np.testing.assert_array_equal(slices["test_group"], cards)
    masks = {
        "all": np.ones(len(rows), bool),
        "known_cards_removed": slices["test_without_known_cards"],
    }
    for action, populations in decision["thresholds"].items():
        assert set(populations) == set(masks)
        for name, found in populations.items():
            alert = p[masks[name]] >= decision[action]
            judged_by_sklearn(alert, fraud[masks[name]], found)


def test_metrics_have_every_threshold_in_force(run_copy: Path, small: dict[str, Path]) -> None:
    run = open_run(run_copy)
    judged_again(run, small["data"])
    assert set(run.read_json("metrics.json")["decision"]["thresholds"]) == {"go_online"}
    pack = parse_pack(run.pack_bytes())
    assert pack.calibration is not None
    p = pack.calibration.evaluate(Twin(pack.data).infer(run.slices()["test"])[1]) / 2**32
    low, high = np.quantile(p, [0.9, 0.99]).tolist()
    middle = float(np.quantile(p, 0.95))
    thresholds = {"threshold": low, "verify_threshold": middle, "decline_threshold": high}
    section = other_decision(run.config().decision, **thresholds)
    repack(run, section)
    judged_again(run, small["data"])
    found = run.read_json("metrics.json")["decision"]["thresholds"]
    assert set(found) == {"go_online", "verify", "decline"}
    counts = [found[name]["all"] for name in ("go_online", "verify", "decline")]
    for kind in ("true_positives", "false_positives"):
        first, second, third = (m[kind] for m in counts)
        assert first > second > third > 0
    out = run_copy.parent / "scores.csv"
    counted = score(run, [small["data"]], out)["actions"]
    named = Counter(row["action"] for row in csv.DictReader(out.read_text().splitlines()))
    assert list(counted) == list(ADVICE)
    assert {**named} == {name: n for name, n in counted.items() if n}
    assert min(counted.values()) > 0
    repack(run, other_decision(section, per_1000=0.0))
    alone = run.read_json("metrics.json")["decision"]
    assert alone["go_online"] == alone["verify"], "to verify is to go online"
    assert "every alert from" in tinyfin("repack --verify-threshold 1e-6", run.path).stderr
    without = section.model_copy(update={"verify": None})
    repack(run, other_decision(without, per_1000=0.0))
    assert set(run.read_json("metrics.json")["decision"]["thresholds"]) == {"decline"}


def test_page_card_and_evaluation_have_them(judged: Path) -> None:
    facts = json.loads((judged / "evaluation.json").read_text())
    found = facts["pooled"]["thresholds"]["go_online"]
    rows = sum(p["populations"]["all"]["model_int8"]["rows"] for p in facts["parts"])
    assert sum(found["all"][name] for name in COUNTS) == rows
    alerts = [p["populations"]["all"]["model_int8"]["alerts"] for p in facts["parts"]]
    assert found["all"]["false_positives"] == sum(a["false_alerts"] for a in alerts)
    page, card = (judged / name for name in ("evaluation.html", "MODEL_CARD.md"))
    for text in (" ".join(path.read_text().split()) for path in (page, card)):
        assert "At the thresholds in force" in text
        assert "never narrower than Wilson" in text
        for word in (
            "frauds alerted",
            "frauds missed",
            "genuine alerted",
            "genuine accepted",
            "precision",
            "recall",
            "F1",
            "accuracy",
        ):
            assert word in text, word
        low, high = found["all"]["f1_interval"]
        assert f"{found['all']['f1']:.4f} ({low:.4f} to {high:.4f})" in text
        assert f"looking back {LOOK_BACK_DAYS} days" in text
    assert "ask for more" not in card.read_text()
    assert facts["known_cards_look_back_days"] == LOOK_BACK_DAYS


def test_known_cards_are_looked_for_in_the_last_days_only(small: dict[str, Path]) -> None:
    run = open_run(small["run"])
    tx = read([small["data"]], run.config())
    until = int(tx.t_mono_s.max()) - 86_400
    rows = np.flatnonzero(tx.t_mono_s >= until)
    card = tx.column("token")[rows[0]]
    earlier = np.flatnonzero((tx.column("token") != card) & (tx.t_mono_s < until))
    for days, stays in ((LOOK_BACK_DAYS - 1, False), (LOOK_BACK_DAYS + 1, True)):
        one = tx.take(np.arange(len(tx)))
        one.label[:] = 0
        at = earlier[np.argmin(np.abs(one.t_mono_s[earlier].astype(int) - until + days * 86_400))]
        one.values[at, tx.schema.index("token")] = one.values[rows[0], tx.schema.index("token")]
        one.label[at], one.label_known_s[at] = 1, one.t_mono_s[at] + 3600
        found = known_cards_removed(one, rows, until)
        assert found is not None
        assert found[0] == stays, days

# SPDX-License-Identifier: Apache-2.0
"""The attacks of docs/security.md find what is there, on models whose holes are known, and nothing
where there is nothing."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from benchmarks.attacks import evasion, extraction, inversion, membership, poisoning
from benchmarks.attacks.__main__ import PACK, main
from benchmarks.attacks.evasion import Shape, Tried
from benchmarks.attacks.figures import best_threshold, leak
from benchmarks.attacks.town import Answers, Town, labelled, learned
from tinyfin import simulator
from tinyfin.twin import Twin

HOLE_MINOR = 20_000
"""The toy model knows one thing: amounts from here on are fraud."""
TOY = """[features]
names = ["amt_log"]
[model]
family = "boosted"
options = {trees = 20}
[decision]
go_online = 0.5
[evaluate]
baselines = []
"""


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    town = Town(b"", terminals=8, warm_days=0, open_days=24, seed=3)
    table = simulator.as_table(town.world, town.business)
    amount = table.column("amount_minor").to_numpy()
    data = labelled(table, (amount >= HOLE_MINOR).astype(np.int8))
    return learned(data, TOY, tmp_path_factory.mktemp("toy"), "toy").pack_bytes()


@pytest.fixture(scope="module")
def shop(toy: bytes) -> Town:
    return Town(toy, terminals=8, warm_days=1, open_days=4, seed=5)


SHAPES = [
    Shape(amount, time)
    for amount in ("unchanged", "a tenth", "usual")
    for time in ("unchanged", "2 h apart")
]


def test_a_thief_finds_the_hole(shop: Town) -> None:
    found = evasion.scenario(shop, "takeover", 0.0, 1, SHAPES)
    amounts = np.concatenate([one.rows["amount_minor"] for one in shop.crimes("takeover")])
    assert found.unchanged.detected == pytest.approx(np.mean(amounts >= HOLE_MINOR), abs=0.1)
    assert found.unchanged.detected > 0.3
    assert found.passes
    assert found.with_pack.detected <= evasion.LIMIT
    # small amounts pass at any time, so he does not wait, and takes what lies below the hole
    assert "times unchanged" in found.best
    assert found.with_pack.passed >= 0.05


def test_where_everything_alerts_no_shape_passes(
    shop: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Answers, "alert", property(lambda self: np.ones(len(self.tx), bool)))
    found = evasion.scenario(shop, "takeover", 0.0, 1, SHAPES)
    assert not found.passes
    assert found.with_pack.passed == found.by_actions.passed == 0
    assert found.least_detected == 1


def tried(name: str, alerts: int, face: float) -> Tried:
    one = np.ones(4)
    passed = face * (1 - alerts / 10) * one
    odds = (alerts - 5.0) * one
    made = np.full(4, 10)
    return Tried(
        Shape(name, "unchanged"), made, made * alerts // 10, face * one, passed, one, odds, one
    )


def test_each_thief_chooses_the_dearest_shape_that_passes() -> None:
    names = zip(evasion.AMOUNTS, (9, 6, 1, 0, 0, 10), (1.0, 0.9, 0.7, 0.5, 0.2, 1.0), strict=True)
    grid = [tried(*one) for one in names]
    everywhere, rng = np.arange(4), np.random.default_rng(0)
    best = grid[2]
    assert evasion.with_pack(grid, everywhere) is best
    chosen, attempts = evasion.by_actions(grid, everywhere, rng)
    assert (chosen, attempts) == (best, 6 + 3 + 2)
    assert evasion.by_scores(grid, everywhere, 0.0, rng)[0].alerts[0] <= 1


def test_shapes_keep_their_promises(shop: Town) -> None:
    crime = shop.crimes("takeover")[0]
    rng = np.random.default_rng(0)
    parts = evasion.shaped(shop, crime, Shape("in 3 parts", "unchanged"), rng)
    rows = crime.rows["amount_minor"]
    assert parts["amount_minor"].sum() == pytest.approx(rows.sum(), abs=3 * len(rows))
    slow = evasion.shaped(shop, crime, Shape("unchanged", "2 h apart"), rng)
    hours = shop.world.terminals[crime.terminal].hours
    assert np.all(hours[slow["time_s"] // 3600 % 24] > 0)
    assert all(later - earlier >= 7200 for earlier, later in pairwise(slow["time_s"].tolist()))
    same = evasion.shaped(shop, crime, evasion.SHAPES[0], rng)
    assert all(np.array_equal(same[key], crime.rows[key]) for key in same)


@pytest.mark.parametrize("kind", list(poisoning.KINDS))
def test_genuine_sales_come_before_the_fraud(shop: Town, kind: str) -> None:
    shop = Town(shop.pack, terminals=8, warm_days=12, open_days=2, seed=5)
    crime = shop.crimes("takeover")[1]
    sales = poisoning.KINDS[kind](crime, 100, np.random.default_rng(1))
    rows = poisoning.before(shop, crime, sales)
    assert len(rows["time_s"]) == 100
    assert rows["time_s"].max() < crime.rows["time_s"][0]
    assert set(rows["terminal"]) == {crime.terminal}
    assert not rows["label"].any()
    assert (set(rows["card"]) <= set(crime.rows["card"])) == (kind == "same card")


def test_asking_without_an_outcome_teaches_the_terminal_nothing(shop: Town) -> None:
    tx = shop.transactions([one.rows for one in shop.crimes("takeover")])
    probes = np.flatnonzero(tx.label == 1)[:7]  # one more may be waiting for its outcome

    def last_features(probed: bool, ended: bool) -> bytes:
        twin = Twin(PACK.read_bytes())
        when = int(tx.t_mono_s[probes[-1]])
        for row in probes if probed else []:
            event = int(tx.id[row]), when, when, tx.values[row], int(tx.present[row])
            twin.score(0, *event)
            if ended:
                twin.outcome(0, int(tx.id[row]), when, 0, 0, 0)
        row = probes[0]
        twin.score(0, 10**6, when + 1, when + 1, tx.values[row], int(tx.present[row]))
        return twin.features(0).tobytes()

    assert last_features(True, False) == last_features(False, False)
    assert last_features(True, True) != last_features(False, False)


def test_false_notices_hide_a_compromise_and_make_one_up(tmp_path: Path) -> None:
    pack = poisoning.notices_pack(tmp_path, 4, terminals=16, days=60)
    town = Town(pack, terminals=8, warm_days=8, open_days=16, seed=6)
    found = poisoning.by_notices(town, 1)
    hidden, false = found["hidden"], found["false"]
    assert hidden[0]["detected"] > 0.15
    assert hidden[-1]["detected"] < 0.02
    assert false[0]["false_alerts_per_1000"] < 5
    assert false[-1]["false_alerts_per_1000"] > 50


def test_a_leak_by_hand() -> None:
    score = np.array([0.9, 0.8, 0.4, 0.4, 0.3, 0.2, 0.1])
    truth = np.array([True, True, False, False, True, False, False])
    # at 0.8 two of three and none of the false; at 0.3 all of three, but half of the false
    assert best_threshold(score, truth) == 0.8
    pairs = [(s > t) for s in score[truth] for t in score[~truth]]
    many = np.arange(7).repeat(50)
    found = leak(score[many], truth[many], np.arange(350), 0)
    assert found.auc == pytest.approx(np.mean(pairs))
    assert found.advantage == pytest.approx(2 / 3, abs=0.12)
    assert leak(truth.astype(float), truth, np.arange(7), 0).auc == 1
    assert leak(np.zeros(7), truth, np.arange(7), 0).auc == 0.5


def test_nothing_leaks_from_random_scores_and_a_threshold_judged_where_it_was_chosen_lies() -> None:
    rng = np.random.default_rng(2)
    truth = rng.random(400) < 0.5
    score = rng.random(400)
    found = leak(score, truth, np.arange(400), 0)
    assert found.advantage_interval[0] < 0 < found.advantage_interval[1]
    assert found.auc_interval[0] < 0.5 < found.auc_interval[1]
    guess = score >= best_threshold(score, truth)
    assert guess[truth].mean() - guess[~truth].mean() > max(0.04, found.advantage)


def test_who_memorises_gives_his_members_away() -> None:
    rng = np.random.default_rng(3)
    card = np.arange(600).repeat(4)
    member = card % 2 == 0
    codes = rng.integers(-128, 128, (len(card), 5)).astype(np.int8)
    fraud = rng.random(len(card)) < 0.2
    found = membership.control(codes, fraud, card, member, 0)
    assert all(one.advantage_interval[0] > 0.3 for one in found.values())
    # the same attack on a model that knows nothing of anybody
    for one in membership.attack(rng.random(len(card)), fraud, card, member, 0).values():
        assert one.advantage_interval[0] < 0 < one.advantage_interval[1]


def test_a_substitute_of_a_toy_is_the_toy(shop: Town) -> None:
    answers = shop.answers(shop.transactions([one.rows for one in shop.crimes("takeover")]))
    all_of_it = extraction.Queries.of(answers)
    asked = all_of_it.some(1000, np.random.default_rng(0))
    copies = extraction.measure(asked, all_of_it, 0, (1000,))
    assert [one.sees for one in copies] == ["score", "action"]
    assert min(one.agreement for one in copies) > 0.99
    assert min(one.alerts_found for one in copies) > 0.9
    assert copies[0].rank_correlation > 0.95
    mixed = replace(asked, log_odds=np.random.default_rng(1).permutation(asked.log_odds))
    (wrong, _) = extraction.measure(mixed, all_of_it, 0, (1000,))
    assert abs(wrong.rank_correlation) < 0.3


def test_verdicts_tell_what_was_put_into_them_and_nothing_else(shop: Town) -> None:
    answers = shop.answers(shop.transactions())
    amount, alerted = "amount above the town's median", answers.replay.action > 0

    def advantage(raw: np.ndarray) -> float:
        replay = replace(answers.replay, raw=raw, score_q32=np.zeros_like(answers.replay.score_q32))
        found = inversion.measure(replace(answers, replay=replay), 0, 0)
        assert set(found[amount]) <= {"accepted", "alerted"}
        return found[amount]["accepted"].leak.advantage

    assert alerted.any()
    assert advantage(np.asarray(answers.tx.column("amount_minor"))) > 0.9
    assert abs(advantage(np.random.default_rng(5).permutation(len(alerted)))) < 0.1


def test_what_was_seen_within_a_week() -> None:
    rng = np.random.default_rng(4)
    n, week = 200, 7 * 86400
    token, place = rng.integers(0, 12, n), rng.integers(0, 3, n)
    time = np.sort(rng.integers(10**6, 10**6 + 4 * week, n))
    mark = np.where(rng.random(n) < 0.5, time + rng.integers(0, week, n), -week)
    wanted = [
        any(
            (token[j], place[j]) == (token[i], place[i]) and time[i] - week <= mark[j] < time[i]
            for j in range(n)
        )
        for i in range(n)
    ]
    assert inversion._seen(token, place, time, mark).tolist() == wanted
    assert 0.1 < np.mean(wanted) < 0.9


def test_an_unknown_attack_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["bribery"])
    assert "no attack bribery; there are evasion" in capsys.readouterr().err

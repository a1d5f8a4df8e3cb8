# SPDX-License-Identifier: Apache-2.0
"""What training learns of compromised terminals, on worlds whose truth is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from tests.support.transactions import transactions
from tinyfin.config import Config, from_table
from tinyfin.config.sections import Pair
from tinyfin.data.transactions import Transactions
from tinyfin.errors import ConfigError
from tinyfin.features.compiler import compile_program
from tinyfin.features.selection import select
from tinyfin.schema import PAYMENT
from tinyfin.training.compromise import fit_durations, learn_compromise
from tinyfin.training.dataset import compute_features
from tinyfin.training.event_odds import EventOdds, fit_event_odds
from tinyfin.training.run_folder import RunFolder

DAY_S = 86_400

Rows = npt.NDArray[np.int64]


def world(
    share: float, days: int, rate: float, seed: int = 1
) -> tuple[Rows, Rows, npt.NDArray[np.bool_], npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Terminal, day, fraud, q and whether a compromise lasted: 1,500 terminals, 120 days, two
    transactions a day."""
    rng = np.random.default_rng(seed)
    terminals, span, each = 1500, 120, 2
    lasting = np.zeros((terminals, span), np.bool_)
    for terminal, day in zip(*np.nonzero(rng.random((terminals, span)) < rate), strict=True):
        lasting[terminal, day : day + days] = True
    terminal, day, _ = np.meshgrid(
        np.arange(terminals), np.arange(span), range(each), indexing="ij"
    )
    terminal, day = terminal.ravel(), day.ravel()
    q = np.where(rng.random(len(day)) < 0.01, 0.3, 0.001)
    inside = lasting[terminal, day]
    fraud = rng.random(len(day)) < np.where(inside, share + (1 - share) * q, q)
    return terminal, day, fraud, q, inside


@pytest.mark.parametrize(("share", "days", "rate"), [(0.95, 21, 3e-4), (0.35, 7, 6e-4)])
def test_share_duration_and_rate_are_found(share: float, days: int, rate: float) -> None:
    terminal, day, fraud, q, inside = world(share, days, rate)
    found, belongs = fit_durations(terminal, day, fraud, q)
    assert found.share == pytest.approx(share, rel=0.5)
    assert 0.5 * rate < sum(found.rates.values()) < 1.6 * rate
    mean = sum(n * r for n, r in found.rates.items()) / sum(found.rates.values())
    assert mean == pytest.approx(days, rel=0.35)
    assert found.gain > 100
    assert belongs[fraud & inside].mean() > 0.9
    assert belongs[fraud & ~inside].mean() < 0.15


def busy(
    compromised: int, days: int, share: float, each: int, terminals: int = 50
) -> tuple[Rows, Rows, npt.NDArray[np.bool_], npt.NDArray[np.float64]]:
    """A few terminals with so many transactions a day, over 90 days; q is one in a thousand."""
    rng = np.random.default_rng(3)
    terminal, day, _ = (
        x.ravel()
        for x in np.meshgrid(np.arange(terminals), np.arange(90), range(each), indexing="ij")
    )
    inside = (terminal < compromised) & (day >= 30) & (day < 30 + days)
    q = np.full(len(day), 0.001)
    fraud = rng.random(len(day)) < np.where(inside, share, q)
    return terminal, day, fraud, q


@pytest.mark.parametrize("each", [2, 20])
def test_thousands_of_nats_do_not_blur_a_compromise(each: int) -> None:
    terminal, day, fraud, q = busy(10, 28, 0.9, each)
    found, belongs = fit_durations(terminal, day, fraud, q)
    inside = (terminal < 10) & (day >= 30) & (day < 58)
    assert found.share == pytest.approx(0.9, abs=0.1)
    assert set(found.rates) <= {21, 28}
    assert max(found.rates, key=lambda n: found.rates[n]) == 28
    assert belongs[fraud & inside].min() > 0.99
    assert belongs[fraud & ~inside].max(initial=0.0) < 0.5


def test_one_compromise_is_enough() -> None:
    terminal, day, fraud, q = busy(1, 10, 0.5, 20)
    found, belongs = fit_durations(terminal, day, fraud, q)
    assert set(found.rates) == {10}
    assert belongs[fraud & (terminal == 0) & (day >= 30) & (day < 40)].min() > 0.99


def test_blocks_of_terminals_give_what_all_together_give(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal, day, fraud, q, _ = world(0.5, 7, 6e-4)
    whole, belongs = fit_durations(terminal, day, fraud, q)
    monkeypatch.setattr("tinyfin.training.compromise._BLOCK_CELLS", 120 * 7)
    parts, again = fit_durations(terminal, day, fraud, q)
    assert parts.share == whole.share
    assert parts.rates == pytest.approx(dict(whole.rates))
    assert np.allclose(belongs, again)


def test_where_there_are_none_none_are_found() -> None:
    terminal, day, fraud, q, _ = world(0.5, 7, 0.0)
    found, belongs = fit_durations(terminal, day, fraud, q)
    assert not found.rates
    assert belongs[fraud].mean() < 0.1


def test_tables_give_the_odds_of_events_and_leave_out_what_is_set_aside() -> None:
    """Two features and one pair of them decide; the third is noise."""
    rng = np.random.default_rng(2)
    names = ["a", "b", "noise"]
    x = rng.integers(0, 100, (60_000, 3)).astype(np.int16)
    corner = (x[:, 0] > 70) & (x[:, 1] <= 40)
    log_odds = -5.0 + 2.0 * (x[:, 0] > 70) + 1.0 * (x[:, 1] > 40) + 2.5 * corner
    truth = 1 / (1 + np.exp(-log_odds))
    fraud = rng.random(len(x)) < truth
    every = np.ones(len(x), np.bool_)
    found = fit_event_odds(x, fraud, every, names)
    q = 1 / (1 + np.exp2(-found.of(x, names) / 64))
    assert {"a", "b"} <= set(found.tables)
    assert [pair.features for pair in found.pairs] == [("a", "b")]
    for high in (False, True):
        for low in (False, True):
            rows = ((x[:, 0] > 70) == high) & ((x[:, 1] > 40) == low)
            assert q[rows].mean() == pytest.approx(truth[rows].mean(), rel=0.2)
    aside = corner & fraud & (rng.random(len(x)) < 0.5)
    fewer = fit_event_odds(x, fraud, ~aside, names).of(x, names)
    assert 1 / (1 + np.exp2(-fewer[corner] / 64)).mean() < 0.8 * q[corner].mean()


@pytest.mark.parametrize("kind", ["no own fraud", "few rows", "one value"])
def test_labels_that_nothing_parts_give_one_number(kind: str) -> None:
    rng = np.random.default_rng(4)
    n = 70 if kind == "few rows" else 3000
    x = rng.integers(0, 1 if kind == "one value" else 100, (n, 2)).astype(np.int16)
    fraud = np.arange(n) % 12 == 0
    own = ~fraud if kind == "no own fraud" else np.ones(n, np.bool_)
    found = fit_event_odds(x, fraud, own, ["a", "b"])
    assert not found.tables
    assert not found.pairs
    q = 1 / (1 + 2 ** (-found.base / 64))
    assert q < 0.001 if kind == "no own fraud" else q == pytest.approx(1 / 12, rel=0.3)


def test_a_compromise_explains_all_frauds_of_a_small_file() -> None:
    """Every step of the way goes on where one terminal is all there is."""
    config, tx = town()
    alone = np.flatnonzero(tx.terminal == int(tx.terminal[tx.label == 1][0]))
    learned, found = learn_compromise(config, tx, alone, tx.label)
    assert found is not None
    compile_program(learned.features, learned.schema, **learned.features.capacities)


def test_frauds_alone_say_what_frauds_and_genuine_ones_say_but_for_the_genuine_ones() -> None:
    config, tx = town()
    both = learn_compromise(config, tx, np.arange(10_000), tx.label)[1]
    data = config.data.model_copy(update={"notices": "fraud_only"})
    alone = learn_compromise(replace(config, data=data), tx, np.arange(10_000), tx.label)[1]
    assert both is not None
    assert both.genuine < 0
    assert alone == both.model_copy(update={"genuine": 0})


def test_odds_need_a_feature_that_needs_no_notices() -> None:
    _, tx = town()
    config = from_table({"features": {"names": ["known_last", "compromised_odds"]}})
    with pytest.raises(ConfigError, match="need a feature that needs no notices"):
        learn_compromise(config, tx, np.arange(10_000), tx.label)


def test_the_engine_adds_up_the_tables_as_training_does() -> None:
    config, tx = town()
    learned, found = learn_compromise(config, tx, np.arange(10_000), tx.label)
    assert found is not None
    odds = EventOdds(found.base, found.odds, found.pairs)
    program = compile_program(learned.features, learned.schema, **learned.features.capacities)
    x = compute_features(tx, learned, program)
    names = list(program.feature_names)
    assert np.array_equal(x[:, names.index("event_odds")], odds.of(x, names))


NAMES = [
    "amt_log",
    "gap_s",
    "known_last",
    "event_odds",
    "compromised_odds",
    "compromised_ever_odds",
]


def town() -> tuple[Config, Transactions]:
    """Sixty terminals, ninety days; what is large is often fraud, and so is all of a compromise."""
    rng = np.random.default_rng(5)
    n = 60 * 90 * 3
    t = np.sort(rng.integers(0, 90 * DAY_S, n)) + 500 * DAY_S
    terminal = rng.integers(0, 60, n)
    amount = np.where(rng.random(n) < 0.02, 40_000, rng.integers(500, 9_000, n))
    start = np.where(rng.random(60) < 0.3, rng.integers(10, 70, 60), 999) + 500
    inside = (t // DAY_S >= start[terminal]) & (t // DAY_S < start[terminal] + 10)
    fraud = np.where(amount == 40_000, rng.random(n) < 0.6, inside & (rng.random(n) < 0.9))
    values = np.zeros((n, len(PAYMENT.fields)), np.int64)
    values[:, PAYMENT.index("amount_minor")] = amount
    tx = transactions(
        t,
        terminal=terminal,
        terminals=tuple(str(i) for i in range(60)),
        values=values,
        present=np.full(n, 1 << PAYMENT.index("amount_minor")),
        label=fraud,
        label_known_s=t + 7 * DAY_S,
    )
    return from_table({"features": {"names": NAMES}}), tx


def test_it_is_learned_from_the_rows_asked_and_from_no_other() -> None:
    config, tx = town()
    fit = np.arange(10_000)
    said: list[str] = []
    learned, found = learn_compromise(config, tx, fit, tx.label, note=said.append)
    assert found is not None
    assert learned.features.compromise == found
    assert set(found.odds) <= {"amt_log", "gap_s"}, "no feature that needs notices"
    assert "amt_log" in found.odds
    assert found.genuine < -16
    assert any(5 <= days <= 14 for days, _ in found.durations)
    assert "compromised terminals: one begins in" in said[-1]
    others = tx.label.copy()
    others[10_000:] = 1 - others[10_000:]
    assert learn_compromise(config, tx, fit, others)[1] == found
    assert learn_compromise(learned, tx, fit, tx.label) == (learned, None), "once"
    others[:10_000] = 1 - others[:10_000]
    assert learn_compromise(config, tx, fit, others)[1] != found


def test_the_odds_tell_compromised_terminals_from_large_amounts() -> None:
    config, tx = town()
    learned, _ = learn_compromise(config, tx, np.arange(10_000), tx.label)
    program = compile_program(learned.features, learned.schema, **learned.features.capacities)
    x = compute_features(tx, learned, program)
    odds = x[:, program.feature_names.index("compromised_odds")]
    amount = tx.values[:, PAYMENT.index("amount_minor")]
    later = np.arange(len(tx)) >= 10_000
    compromised = later & (tx.label == 1) & (amount < 40_000)
    explained = later & (tx.label == 1) & (amount == 40_000)
    genuine = later & (tx.label == 0)
    assert np.quantile(odds[genuine], 0.95) < 0
    # a compromise lasts ten days, and its first label comes after seven
    assert np.quantile(odds[compromised], 0.85) > np.quantile(odds[genuine], 0.99)
    assert np.median(odds[explained]) < 0
    event = x[:, program.feature_names.index("event_odds")]
    assert event[explained].min() > event[compromised].max()


def test_both_odds_together_are_those_of_either() -> None:
    """1 - (1 - q)(1 - r P), in floating point from the features that it is made of."""
    config, tx = town()
    learned, found = learn_compromise(config, tx, np.arange(10_000), tx.label)
    assert found is not None
    both = learned.features.model_copy(update={"names": [*NAMES, "fraud_odds"]})
    program = compile_program(both, learned.schema, **learned.features.capacities)
    x = compute_features(tx, learned, program)[2000::17].astype(np.float64)
    column = dict(zip(program.feature_names, x.T, strict=True))
    q = 1 / (1 + np.exp2(-column["event_odds"] / 64))
    p = 1 / (1 + np.exp2(-column["compromised_odds"] / 256))
    exact = 1 - (1 - q) * (1 - 2 ** (found.share / 64) * p)
    log_odds = np.log2(exact) - np.log2(1 - exact)
    # odds are added, not probabilities: up to one bit apart where both are likely
    off = np.abs(column["fraud_odds"] / 256 - log_odds)
    assert off[np.minimum(q, p) < 0.05].max() < 0.15
    assert off.max() < 1.1


def test_without_labels_of_both_kinds_the_usual_is_taken() -> None:
    config, tx = town()
    said: list[str] = []
    same, found = learn_compromise(
        config, tx, np.arange(10_000), np.zeros_like(tx.label), note=said.append
    )
    assert found is None
    assert same is config
    assert "no labels of both kinds" in said[-1]
    assert compile_program(config.features, config.schema).operators.count("COMPROMISED") == 1


def test_a_table_of_a_feature_that_is_not_there_is_an_error() -> None:
    config, tx = town()
    learned, _ = learn_compromise(config, tx, np.arange(10_000), tx.label)
    with pytest.raises(ConfigError, match=r"features\.compromise\.odds\.amt_log"):
        select(learned.features.model_copy(update={"names": ["gap_s", "event_odds"]}))


def test_what_was_learned_is_read_again_from_the_run(tmp_path: Path) -> None:
    config, tx = town()
    _, found = learn_compromise(config, tx, np.arange(10_000), tx.label)
    assert found is not None
    sizes = [len(found.odds[name].values) for name in ("amt_log", "gap_s")]
    pair = Pair(features=("amt_log", "gap_s"), values=list(range(sizes[0] * sizes[1])))
    found = found.model_copy(update={"pairs": [pair]})
    path = tmp_path / "tinyfin.toml"
    path.write_text(f"[features]\nnames = {NAMES!r}\n")
    run = RunFolder(tmp_path)
    run.path.joinpath("config.toml").write_text(path.read_text())
    run.add_learned({}, {}, found)
    assert run.config().features.compromise == found
    assert run.asked().features.compromise is None

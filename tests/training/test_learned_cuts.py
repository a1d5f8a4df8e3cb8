# SPDX-License-Identifier: Apache-2.0
"""Cuts that training learns."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tinyfin.config import Config, from_table, load
from tinyfin.data.readers import read
from tinyfin.data.transactions import Transactions
from tinyfin.errors import ConfigError
from tinyfin.features.compiler import compile_program
from tinyfin.features.selection import select
from tinyfin.training.learned_cuts import best_cut, learn_cuts, roundest
from tinyfin.training.run_folder import new_run

CUT = 22_000


def test_the_roundest_number() -> None:
    assert roundest(21_873, 22_104) == 22_000
    assert roundest(21_873, 21_873) == 21_873
    assert roundest(-7, 5) == 0
    assert roundest(-1999, -950) == -1000
    assert roundest(1, 9) == 1


def test_the_best_cut_is_that_of_a_decision_tree() -> None:
    from sklearn.tree import DecisionTreeClassifier

    for seed in range(8):
        rng = np.random.default_rng(seed)
        x = rng.integers(-500, 3000, 900)
        label = (rng.random(900) < np.where(x > 1234 + 50 * seed, 0.4, 0.03)).astype(np.int8)
        tree = DecisionTreeClassifier(max_depth=1, criterion="entropy", min_samples_leaf=10)
        tree.fit(x[:, None], label)
        found, strict = best_cut(x, label), best_cut(x, label, strict=True)
        assert found is not None
        assert strict is not None
        assert np.array_equal(x > found, x > tree.tree_.threshold[0])
        assert np.array_equal(x >= strict, x > found)


def test_nothing_to_tell_apart() -> None:
    x = np.arange(100)
    assert best_cut(x, np.zeros(100, np.int8)) is None
    assert best_cut(np.full(100, 3), (x % 2).astype(np.int8)) is None
    assert best_cut(x[:12], np.array([0, 1] * 6, np.int8)) is None


def settings(text: str) -> Config:
    return from_table(tomllib.loads(text))


def data(folder: Path) -> Transactions:
    """Fraud is what exceeds 220.00; of refunds what exceeds 40.00."""
    rng = np.random.default_rng(5)
    lines = ["time,terminal,token,amount_minor,transaction_type,label"]
    for i in range(1500):
        amount = int(np.exp(rng.normal(8, 1.5)))
        refund = i % 5 == 0
        fraud = amount > (4000 if refund else CUT) and rng.random() < 0.9
        kind = "refund" if refund else "purchase"
        lines.append(f"{1_700_000_000 + 60 * i},t{i % 3},{i},{amount},{kind},{int(fraud)}")
    (folder / "data.csv").write_text("\n".join(lines))
    return read([folder / "data.csv"], load(None))


OWN = """
[features]
names = ["amt_log", "amt_over_learned", "big_refund"]
[features.big_refund]
expression = "transaction_type == 'refund' and cut <= amount_minor"
cut = "learn"
"""


def test_cuts_are_learned_kept_and_travel(tmp_path: Path) -> None:
    config, tx = settings(OWN), data(tmp_path)
    (tmp_path / "tinyfin.toml").write_text(OWN)
    learned, cuts = learn_cuts(config, tx, np.arange(1000))
    assert abs(cuts["amt_over_learned"] - CUT) < 2500
    assert abs(cuts["big_refund"] - 4000) < 400
    chosen = select(learned.features)
    assert chosen[1].name == "amt_over_learned"
    assert str(cuts["amt_over_learned"]) in chosen[1].definition
    run = new_run(tmp_path / "runs", "one", load(tmp_path / "tinyfin.toml"))
    run.add_learned(cuts, {})
    again = run.config()
    program = compile_program(again.features, again.schema)
    assert program.payload == compile_program(learned.features, learned.schema).payload
    assert program.payload != compile_program(config.features, config.schema).payload
    assert learn_cuts(again, tx, np.arange(1000)) == (again, {})
    # what judges the configuration another time has to learn its own
    assert run.asked().features == config.features
    earlier = learn_cuts(run.asked(), replace(tx, label=1 - tx.label), np.arange(300))[1]
    assert set(earlier) == set(cuts)


def test_labels_of_other_rows_take_no_part(tmp_path: Path) -> None:
    config, tx = settings(OWN), data(tmp_path)
    fit = np.arange(800)
    later = replace(tx, label=np.where(np.arange(len(tx)) < 800, tx.label, 1 - tx.label))
    assert learn_cuts(config, tx, fit)[1] == learn_cuts(config, later, fit)[1]
    assert learn_cuts(config, later, np.arange(1200))[1] != learn_cuts(config, tx, fit)[1]


def test_without_labels_the_cut_is_what_is_unusual(tmp_path: Path) -> None:
    tx = data(tmp_path)
    blank = replace(tx, label=np.full(len(tx), -1, np.int8))
    said: list[str] = []
    _, cuts = learn_cuts(
        settings('features.names = ["amt_over_learned"]'),
        blank,
        np.arange(len(tx)),
        note=said.append,
    )
    amounts = np.sort(tx.column("amount_minor"))
    assert 1 <= np.count_nonzero(amounts > cuts["amt_over_learned"]) <= 3
    assert "one row in 1000" in said[0]


def test_the_stream_set_learns_its_cut() -> None:
    names = [feature.name for feature in select("stream")]
    assert "amt_over_learned" in names


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('features.names = ["amt_small_16_learned"]', "inside LAST_N"),
        ('features.f = {expression = "amount_minor + cut", cut = "learn"}', "compare one number"),
        ('features.f = {expression = "amount_minor == cut", cut = "learn"}', "compare one number"),
        ('features.f = {expression = "amount_minor > 3", cut = "learn"}', "compare one number"),
        ('features.names = ["amt_log"]\nfeatures.cuts = {x = 3}', r"features\.cuts\.x"),
        (
            'features.names = ["amt_over_learned", "f"]\nfeatures.cuts = {f = 3}\n'
            'features.f = {expression = "amount_minor > cut", cut = "learn"}',
            "has no 'amt_over_learned'",
        ),
        ('features.f = {expression = "amount_minor > cut", cut = "guess"}', 'must be "learn"'),
    ],
)
def test_refusals_name_the_feature(tmp_path: Path, text: str, message: str) -> None:
    tx = data(tmp_path)
    with pytest.raises(ConfigError, match=message):
        learn_cuts(settings(text), tx, np.arange(100))

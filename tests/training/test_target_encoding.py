# SPDX-License-Identifier: Apache-2.0
"""Tables of risk that training learns."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from tinyfin.config import Config, from_table, load
from tinyfin.config.sections import Risk
from tinyfin.data.readers import read
from tinyfin.data.tokens import hash_of
from tinyfin.data.transactions import Transactions
from tinyfin.errors import ConfigError
from tinyfin.features.compiler import compile_program
from tinyfin.training.dataset import compute_features
from tinyfin.training.run_folder import new_run
from tinyfin.training.target_encoding import learn_risks, risk_table

TEXT = """
[features]
names = ["amt_log", "mine"]
[features.mine]
expression = "mcc"
risk = "learn"
"""


def looked_up(risk: Risk, x: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """What docs/features.md says: the entry at the number of cuts not above x."""
    return np.array(risk.values)[(np.array(risk.cuts)[None, :] <= x[:, None]).sum(axis=1)]


def drawn(seed: int, n: int = 20_000) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int8]]:
    """Codes without an order, the last of them rare, and labels: one code in two is risky."""
    rng = np.random.default_rng(seed)
    codes = rng.permutation(10_000)[:12]
    code = rng.choice(12, n, p=[0.09] * 11 + [0.01])
    label = rng.random(n) < np.where(code % 2, 0.08, 0.004)
    return codes[code].astype(np.int64), label.astype(np.int8)


def test_ranges_hold_the_odds_of_their_rows() -> None:
    x, label = drawn(1)
    risk = risk_table(x, label)
    found = looked_up(risk, x)
    base = np.mean(label)
    where = np.searchsorted(risk.cuts, x, side="right")
    for i, value in enumerate(risk.values):
        at = where == i
        p = (np.sum(label[at]) + 2) / (np.sum(at) + 2 / base)
        odds = p / (1 - p) / (base / (1 - base))
        assert value == pytest.approx(64 * np.log2(odds), abs=0.51)
    for code in np.unique(x):
        assert (found[x == code][0] > 0) == (np.mean(label[x == code]) > base)


def test_noise_is_not_separated() -> None:
    rng = np.random.default_rng(2)
    x = rng.integers(0, 500, 30_000)
    label = (rng.random(30_000) < 0.01).astype(np.int8)
    assert np.ptp(risk_table(x, label).values) < 200
    assert len(risk_table(x, label).cuts) <= 32


@pytest.mark.parametrize("label", [np.zeros(9, np.int8), np.ones(9, np.int8), np.zeros(0, np.int8)])
def test_one_class_tells_nothing(label: npt.NDArray[np.int8]) -> None:
    assert set(risk_table(np.arange(len(label)), label).values) == {0}


def test_more_codes_than_ranges_and_more_numbers_than_codes() -> None:
    rng = np.random.default_rng(3)
    x = rng.integers(0, 2**30, 60_000)
    label = (rng.random(60_000) < np.where((x >> 25) % 2, 0.1, 0.001)).astype(np.int8)
    risk = risk_table(x, label)
    assert 20 <= len(risk.cuts) <= 32
    found = looked_up(risk, x)
    assert np.mean(found[label == 1]) > np.mean(found[label == 0]) + 60


def transactions(folder: Path, n: int = 4000) -> Transactions:
    x, label = drawn(4, n)
    path = folder / "some.csv"
    rows = [f"{1_600_000_000 + 60 * i},{100 + i},{x[i]},{label[i]}" for i in range(n)]
    path.write_text("time,amount_minor,mcc,label\n" + "\n".join(rows) + "\n")
    return read([path], from_table({}))


def test_the_engine_looks_up_what_was_learned(tmp_path: Path) -> None:
    tx = transactions(tmp_path)
    fit = np.arange(3000)
    written = tmp_path / "tinyfin.toml"
    written.write_text(TEXT)
    config, risks = learn_risks(load(written), tx, fit)
    program = compile_program(config.features, config.schema, **config.features.capacities)
    found = compute_features(tx, config, program)
    assert np.array_equal(found[:, 1], looked_up(risks["mine"], tx.column("mcc").astype(np.int64)))
    run = new_run(tmp_path, "run", load(written))
    run.add_learned({}, risks)
    assert run.config().features.risks == risks
    assert learn_risks(run.config(), tx, fit) == (run.config(), {})
    assert run.asked() == replace(load(written), path=run.path / "asked.toml")


def test_labels_of_other_rows_take_no_part(tmp_path: Path) -> None:
    tx = transactions(tmp_path)
    fit = np.arange(2000)
    turned = np.where(np.arange(len(tx)) >= 2000, 1 - tx.label, tx.label).astype(np.int8)
    later = replace(tx, label=turned)
    config = settings(TEXT)
    assert learn_risks(config, tx, fit)[1] == learn_risks(config, later, fit)[1]
    assert learn_risks(config, later, np.arange(4000))[1] != learn_risks(config, tx, fit)[1]
    assert learn_risks(config, tx, fit, turned)[1] == learn_risks(config, tx, fit)[1]
    blank = np.full(len(tx), -1, np.int8)
    assert set(learn_risks(config, tx, fit, blank)[1]["mine"].values) == {0}


def settings(text: str) -> Config:
    return from_table(tomllib.loads(text))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (TEXT.replace('"learn"', '"guess"'), 'must be "learn"'),
        (TEXT + "[features.risks]\nother = {cuts = [1], values = [0, 1]}", "no feature learns"),
        (TEXT + "[features.risks]\nmine = {cuts = [1], values = [0]}", "one entry more"),
        (TEXT + "[features.risks]\nmine = {cuts = [2, 1], values = [0, 1, 2]}", "must ascend"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        learn_risks(settings(text), transactions(tmp_path, 50), np.arange(50))


def test_hashes_are_for_ever() -> None:
    """Two bytes of keyed BLAKE2b, little-endian, as hashlib makes them."""
    assert [hash_of(text) for text in ("grocery_pos", "travel", "")] == [40729, 56624, 30585]

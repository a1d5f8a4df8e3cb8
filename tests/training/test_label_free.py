# SPDX-License-Identifier: Apache-2.0
"""What models without labels are worth where rhythm is what an attack changes, and families next to
one another."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.cli import tinyfin
from tinyfin.config import from_table, load
from tinyfin.data.events import event_stream
from tinyfin.data.readers import read
from tinyfin.data.transactions import Transactions
from tinyfin.errors import InputError
from tinyfin.evaluation.family_comparison import family_names, with_family
from tinyfin.training.metrics import evaluate
from tinyfin.training.rules import rule_scores
from tinyfin.twin import Twin

LABEL_FREE = Path(__file__).parents[2] / "models" / "label_free"
RHYTHM = ("card_testing", "takeover", "distraction_refund", "offline_burst")
"""Attacks that change how a terminal is used."""

Scores = npt.NDArray[Any]


@pytest.fixture(scope="module")
def town(unseen_town: Path) -> Transactions:
    return read([unseen_town], load(LABEL_FREE / "tinyfin.toml"))


@pytest.fixture(scope="module")
def scores(town: Transactions) -> dict[str, Scores]:
    """The committed pack, which saw no fraud, and the rules, on the same rows."""
    twin = Twin((LABEL_FREE / "model.tfpack").read_bytes(), terminals=len(town.terminals))
    raw = twin.run(town, event_stream(town, "none")).raw
    return {"pack": raw, **{name: rule_scores(town)[name] for name in ("amount", "rate")}}


def caught(town: Transactions, score: Scores) -> dict[str, float]:
    """Share of each attack's frauds found at 0.1% false alerts, the state ten days old."""
    rows = town.t_mono_s >= town.t_mono_s.min() + 10 * 86_400
    found = evaluate(
        score[rows],
        town.label[rows],
        scenario=town.scenario_code[rows],
        scenario_names=town.scenario or (),
    ).scenario_recall
    return {name: found[name].recall for name in RHYTHM}


def beaten(town: Transactions, scores: dict[str, Scores], score: Scores) -> dict[str, bool]:
    """By attack: does ``score`` find more than the amount and than the rate?"""
    mine, amount, rate = (caught(town, s) for s in (score, scores["amount"], scores["rate"]))
    return {name: mine[name] > max(amount[name], rate[name]) for name in RHYTHM}


def test_a_model_without_labels_finds_more_than_amount_and_rate(
    town: Transactions, scores: dict[str, Scores]
) -> None:
    assert all(beaten(town, scores, scores["pack"]).values())


def test_what_is_no_better_is_seen_to_be(town: Transactions, scores: dict[str, Scores]) -> None:
    shuffled = np.random.default_rng(0).permutation(scores["pack"])
    assert not any(beaten(town, scores, shuffled).values())
    assert not any(beaten(town, scores, scores["amount"]).values())
    both = np.argsort(np.argsort(scores["amount"])) + np.argsort(np.argsort(scores["rate"]))
    assert not all(beaten(town, scores, both).values())


def test_families_are_named_and_take_what_suits_them() -> None:
    free = ["density", "forest", "whitening", "autoencoder"]
    assert family_names(["all"], "forest") == free
    assert family_names(["forest", "all"], "density")[0] == "forest"
    assert family_names(["all"], "mlp") == ["mlp", "distilled", "boosted"]
    with pytest.raises(InputError, match="known are all, mlp"):
        family_names(["trees"], "mlp")
    config = from_table({"model": {"family": "forest", "seed": 3, "options": {"trees": 9}}})
    assert with_family(config, "forest") is config
    other = with_family(config, "autoencoder").model
    assert (other.seed, other.options, other.hidden) == (3, {}, [])


def test_halves_of_every_family_asked_for(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(0, 1, (700, 3))
    x[600:] += rng.choice([-5, 5], (100, 3))
    table = {f"x{i}": pa.array(x[:, i]) for i in range(3)}
    pq.write_table(
        pa.table({**table, "y": pa.array((np.arange(700) >= 600).astype(int))}),
        tmp_path / "t.parquet",
    )
    fields = ", ".join(f'{{name = "x{i}", type = "i32"}}' for i in range(3))
    scales = "".join(f'x{i} = {{column = "x{i}", scale = 1000}}\n' for i in range(3))
    (tmp_path / "tinyfin.toml").write_text(
        f'[schema]\nname = "plain"\nfields = [{fields}]\n'
        f'[data]\nplain = true\nlabel = "y"\n{scales}[features]\nnames = "fields"\n'
        '[model]\nfamily = "density"\n'
        '[evaluate]\nprotocol = "halves"\nhalves = 2\nbaselines = []\nprevalence = 0.01\n'
    )
    (tmp_path / "gate.toml").write_text('[gate]\n"means.all.model_int8.roc_auc" = {min = 0.9}\n')

    tinyfin(
        f"train {tmp_path}/t.parquet --config {tmp_path}/tinyfin.toml --name t --out {tmp_path}"
    )
    told = tinyfin(
        f"evaluate {tmp_path}/t --families density,forest --gate {tmp_path}/gate.toml"
    ).stdout
    assert "* density" in told
    facts = json.loads((tmp_path / "t" / "evaluation.json").read_text())
    own, forest = facts["families"]
    assert (own["own"], own["family"], forest["family"]) == (True, "density", "forest")
    means = facts["means"]["all"]["model_int8"]
    assert own["populations"]["all"]["model_int8"] == means
    assert forest["parts"] == means["parts"] == 2
    assert forest["populations"]["all"]["model_int8"]["roc_auc"] > 0.9
    assert "Families on the same rows" in (tmp_path / "t" / "evaluation.html").read_text()
    (tmp_path / "gate.toml").write_text('[gate]\n"means.all.model_int8.roc_auc" = {min = 1.01}\n')
    tinyfin("evaluate", tmp_path / "t", "--gate", tmp_path / "gate.toml", code=4)

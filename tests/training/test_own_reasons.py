# SPDX-License-Identifier: Apache-2.0
"""A verdict on fields of the user's own says what they are, wherever people read it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.cli import tinyfin
from tinyfin import simulator
from tinyfin.codegen.emit import emit
from tinyfin.config import load
from tinyfin.evaluation.data_sections import scenarios
from tinyfin.features.catalogue import REASONS
from tinyfin.features.catalogue.reasons import OWN_REASONS, own_texts
from tinyfin.features.selection import select
from tinyfin.pack.container import parse_pack
from tinyfin.results.evaluation import Evaluation
from tinyfin.training.run_folder import open_run

CONFIG = """
[schema]
extends = "payment"
fields = [
  {name = "credit_limit_minor", type = "i64", missing = -1, unit = "minor"},
  {name = "account_age_s", type = "i64", missing = -1, unit = "s", doc = "age of the account"},
  {name = "bonus_points", type = "i32", missing = -1},
]

[data]
time = "time"
terminal = "terminal"
amount = {column = "amount_minor", unit = "minor"}
label = "label"
scenario = "scenario"
credit_limit_minor = "limit"
account_age_s = "age"
bonus_points = "points"

[features]
names = "auto"

[model]
family = "density"

[decision]
go_online_per_1000 = 100

[evaluate]
baselines = []
"""
LIMIT, AGE, POINTS = "credit limit minor", "age of the account", "bonus points"
TEXTS = {
    f"unusual or missing: {LIMIT}",
    f"unusual amount against: {LIMIT}",
    f"unusual or missing: {AGE}",
    f"unusual or missing: {POINTS}",
}


@pytest.fixture(scope="module")
def town(small: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run of "auto", and its data: a few fields of each kind are rare, and a few are missing."""
    folder = tmp_path_factory.mktemp("own")
    table = pq.read_table(small["data"])
    rng = np.random.default_rng(1)
    for name, usual in (("limit", 50_000), ("age", 10**8), ("points", 400)):
        values = np.round(usual * np.exp(rng.normal(0, 0.2, len(table)))).astype(np.int64)
        values[rng.random(len(table)) < 0.02] //= 30
        missing = rng.random(len(table)) < 0.02
        table = table.append_column(name, pa.array(values, mask=missing))
    data, config = folder / "own.parquet", folder / "tinyfin.toml"
    simulator.write(table, data)
    config.write_text(CONFIG)
    tinyfin("train", data, "--config", config, "--out", folder, "--name", "own")
    tinyfin("quantize", folder / "own")
    return folder / "own", data


def test_the_texts_travel_in_the_pack(town: tuple[Path, Path], tmp_path: Path) -> None:
    pack = open_run(town[0]).pack_bytes()
    assert set(own_texts(parse_pack(pack).meta).values()) == TEXTS
    shown = json.loads(tinyfin("inspect", town[0], "--json").output)["decision"]["reasons"]
    assert set(shown.values()) >= TEXTS
    assert REASONS[38] not in shown.values()
    emit(pack, tmp_path)
    header = (tmp_path / "tinyfin_pack.h").read_text()
    assert all(f'"{text}")' in header for text in TEXTS)
    assert REASONS[38] not in header


def test_scores_say_them_and_they_are_true(town: tuple[Path, Path], tmp_path: Path) -> None:
    run, data = town
    out = tmp_path / "scores.parquet"
    extras = "credit_limit_minor,account_age_s,bonus_points"
    tinyfin("score", run, data, "--out", out, "--with", extras)
    table = pq.read_table(out)
    fields = {name: table[name].to_numpy(zero_copy_only=False) for name in extras.split(",")}
    usual = {name: np.nanmedian(values) for name, values in fields.items()}
    about = {LIMIT: "credit_limit_minor", AGE: "account_age_s", POINTS: "bonus_points"}
    given = dict.fromkeys(TEXTS, 0)
    for row, texts in enumerate(table["reasons"].to_pylist()):
        assert REASONS[38] not in texts
        for text in TEXTS & set(texts):
            given[text] += 1
            kind, _, words = text.partition(": ")
            value = fields[about[words]][row]
            if kind == "unusual amount against":
                assert not np.isnan(value)
            else:
                assert np.isnan(value) or value != usual[about[words]]
    assert min(given.values()) > 5, given


def test_the_evaluation_says_them(town: tuple[Path, Path]) -> None:
    run, data = town
    tinyfin("evaluate", run, data, "--protocol", "holdout")
    facts = open_run(run).read(Evaluation)
    said = {r.text for s in facts.pooled.reasons for r in s.reasons if r.reason in OWN_REASONS}
    assert said
    assert said <= TEXTS
    shown = json.dumps([str(block) for block in scenarios(facts)])
    assert any(text in shown for text in said)
    assert "of the user" not in shown


def test_a_feature_without_a_text_would_say_that_the_user_made_it(town: tuple[Path, Path]) -> None:
    """The negative control: what "auto" wrote, less its reasons."""
    features = load(town[0] / "config.toml").features
    bare = {k: {x: y for x, y in t.items() if x != "reason"} for k, t in features.define.items()}
    assert 38 not in {f.reason for f in select(features)}
    assert 38 in {f.reason for f in select(features.model_copy(update={"define": bare}))}

# SPDX-License-Identifier: Apache-2.0
"""Events that are not payments: terminal health, and plain tables without history, end to end."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.cli import tinyfin
from tinyfin import simulator
from tinyfin.config import Simulate, load
from tinyfin.data.readers import read
from tinyfin.errors import ConfigError
from tinyfin.pack.container import parse_pack
from tinyfin.simulator.health import HORIZON_H, SCENARIOS, simulate_health

HEALTH = Path(__file__).parents[2] / "models" / "terminal_health" / "tinyfin.toml"
SMALL = Simulate(terminals=12, days=60, seed=4)


@pytest.fixture(scope="module")
def health() -> pa.Table:
    return simulate_health(SMALL)


def test_the_generator_repeats_and_announces_failures(health: pa.Table) -> None:
    assert health.equals(simulate_health(SMALL))
    assert not health.equals(simulate_health(SMALL.model_copy(update={"seed": 5})))
    label = health["label"].to_numpy() == 1
    hours = (health["label_time"].to_numpy() - health["time"].to_numpy()) / np.timedelta64(1, "h")
    assert hours.max() <= HORIZON_H
    assert (hours[~label] == HORIZON_H).all()
    kinds = np.array(health["scenario"].to_pylist())
    assert set(kinds) == set(SCENARIOS)
    assert set(kinds[label]) == set(SCENARIOS[2:])
    supply = health["supply_mv"].to_numpy()
    assert supply[kinds == "failing_supply"].mean() < supply[kinds == "healthy"].mean() - 50
    rate = health["reader_errors"].to_numpy() / np.maximum(health["card_reads"].to_numpy(), 1)
    assert rate[kinds == "failing_reader"].mean() > 3 * rate[kinds == "healthy"].mean()


def test_terminal_health_end_to_end(health: pa.Table, tmp_path: Path) -> None:
    data, config = tmp_path / "health.parquet", tmp_path / "tinyfin.toml"
    simulator.write(health, data)
    config.write_text(
        HEALTH.read_text()
        .replace("epochs = 12", "epochs = 2")
        .replace("learning_rate = 3e-3", "learning_rate = 2e-2")
        + "\n[evaluate]\nbaselines = []\n"
    )
    matrix, scores, run = tmp_path / "f.parquet", tmp_path / "s.parquet", tmp_path / "runs/health"
    tinyfin("features", data, "--config", config, "--out", matrix)
    assert pq.read_schema(matrix).names[4:] == load(config).features.names
    tinyfin("train", data, "--config", config, "--name", "health", "--out", tmp_path / "runs")
    tinyfin("quantize", run)
    report = json.loads((run / "parity.json").read_text())
    assert report["plan"]["differing_bytes"] == 0
    tinyfin("score", run, data, "--out", scores)
    pack = parse_pack((run / "model.tfpack").read_bytes())
    assert len(pack.fields) == 7

    facts = json.loads((run / "run.json").read_text())
    live = np.datetime64(facts["split"]["until"])
    alert = np.array(pq.read_table(scores)["action"].to_pylist()) != "accept"
    time, known = health["time"].to_numpy(), health["label_time"].to_numpy()
    label = (health["label"].to_numpy() == 1) & (time >= live)
    terminal = np.array(health["terminal"].to_pylist())
    failures = {(t, k) for t, k in zip(terminal[label], known[label], strict=True)}
    caught = {(t, k) for t, k in zip(terminal[label & alert], known[label & alert], strict=True)}
    assert len(failures) >= 4
    assert len(caught) > len(failures) / 2
    metrics = json.loads((run / "metrics.json").read_text())["populations"]["all"]
    chance = label.mean() / (time >= live).mean()
    assert metrics["model_int8"]["average_precision"] > 3 * chance


PLAIN = """
[schema]
name = "chips"
fields = [{name = "a", type = "i32"}, {name = "b", type = "i32"}, {name = "c", type = "i32"}]

[data]
plain = true

[features]
names = ["fa", "fb", "fc"]
fa = {op = "field", name = "a"}
fb = {op = "field", name = "b"}
fc = {op = "field", name = "c"}

[evaluate]
baselines = ["logistic_regression", "random_forest", "xgboost", "isolation_forest"]

[model]
hidden = [8]
epochs = 2
batch_size = 32
learning_rate = 3e-2
"""


def test_a_plain_table_end_to_end(tmp_path: Path) -> None:
    data, config = tmp_path / "chips.csv", tmp_path / "tinyfin.toml"
    config.write_text(PLAIN)
    rng = np.random.default_rng(1)
    rows = rng.integers(-1000, 1000, (3000, 3))
    label = (rows[:, 0] + rows[:, 1] > 900).astype(int)
    table = np.column_stack([rows, label])
    np.savetxt(data, table, "%d", ",", header="a,b,c,label", comments="")
    tx = read([data], load(config))
    assert np.array_equal(tx.t_mono_s, np.arange(3000))
    assert np.array_equal(tx.label_known_s, tx.t_mono_s)
    out = tmp_path / "f.parquet"
    tinyfin("features", data, "--config", config, "--out", out)
    features = pq.read_table(out)
    assert np.array_equal(np.column_stack([features[n] for n in ("fa", "fb", "fc")]), rows)
    tinyfin("train", data, "--config", config, "--name", "chips", "--out", tmp_path)
    tinyfin("quantize", tmp_path / "chips")
    metrics = json.loads((tmp_path / "chips" / "metrics.json").read_text())
    assert {"logistic_regression", "random_forest", "xgboost", "isolation_forest"} <= set(
        metrics["populations"]["all"]
    )
    assert metrics["populations"]["all"]["model_int8"]["average_precision"] > 0.9
    facts = json.loads((tmp_path / "chips" / "run.json").read_text())
    assert facts["split"]["immature_refused"] == 0


def test_a_plain_table_has_no_time(tmp_path: Path) -> None:
    config = tmp_path / "tinyfin.toml"
    config.write_text('[data]\nplain = true\ntime = "t"\n')
    with pytest.raises(ConfigError, match=r"plain = true .* time"):
        load(config)

# SPDX-License-Identifier: Apache-2.0
"""`tinyfin features DATA --out FILE`: the matrix that training sees."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from tests.support.cli import tinyfin
from tinyfin import simulator
from tinyfin.config import Config, Simulate, load
from tinyfin.data.readers import read
from tinyfin.errors import DataError
from tinyfin.features.compiler import compile_program
from tinyfin.training.dataset import compute_features
from tinyfin.training.export_features import write_matrix

CONFIG = """
[data]
label_delay = "2d"

[features]
names = ["amt_log", "tok_seen_cnt", "decl_ratio_16", "card_known_last", "known_rate_28d", "mine"]

[features.mine]
expression = "log2(amount_minor) // 2"
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    path = tmp_path_factory.mktemp("matrix") / "tinyfin.toml"
    path.write_text(CONFIG)
    return load(path)


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    return simulator.simulate(Simulate(terminals=4, days=9, seed=3))


def wanted(path: Path, config: Config) -> np.ndarray:
    tx = read([path], config)
    return compute_features(
        tx, config, compile_program(config.features, config.schema, **config.features.capacities)
    )


def matrix(table: pa.Table, config: Config) -> np.ndarray:
    return np.stack([table.column(name).to_numpy() for name in config.features.names], axis=1)


@pytest.mark.parametrize("order", ["time", "terminal"])
def test_chunks_give_what_one_run_gives(
    town: pa.Table, config: Config, order: str, tmp_path: Path
) -> None:
    keys = ["time"] if order == "time" else ["terminal", "time"]
    data, out = tmp_path / "town.parquet", tmp_path / "features.parquet"
    simulator.write(town.sort_by([(key, "ascending") for key in keys]), data)
    notes: list[str] = []
    result = write_matrix([data], config, out, chunk_rows=257, with_label=True, note=notes.append)
    table = pq.read_table(out)
    assert table.column_names == [
        "input_row",
        "terminal",
        "id",
        "time",
        *result["features"],
        "label",
    ]
    assert np.array_equal(matrix(table, config), wanted(data, config))
    assert result["transactions"] == table.num_rows == town.num_rows
    tx = read([data], config)
    assert np.array_equal(table["input_row"].to_numpy(), tx.row)
    assert table["terminal"].to_pylist() == [tx.terminals[i] for i in tx.terminal]
    assert np.array_equal(table["id"].to_numpy(), tx.id)
    assert np.array_equal(pc.fill_null(table["label"], -1).to_numpy(), tx.label)
    assert any("not in order" in text for text in notes) == (order == "terminal")


def test_a_notice_that_is_not_carried_over_would_be_seen(
    town: pa.Table, config: Config, tmp_path: Path
) -> None:
    """The negative control: the data differs between chunks with notices and without."""
    data = tmp_path / "town.parquet"
    simulator.write(town.sort_by("time"), data)
    deaf = replace(config, data=config.data.model_copy(update={"notices": "none"}))
    assert not np.array_equal(wanted(data, config), wanted(data, deaf))


def test_same_second_across_chunks(config: Config, tmp_path: Path) -> None:
    n = 60
    data = tmp_path / "busy.csv"
    rows = [f"{1_700_000_000 + i // 7},{i % 3},{100 + i},{i % 5 + 1},{i % 2}" for i in range(n)]
    data.write_text("\n".join(["time,terminal,amount_minor,token,label", *rows]) + "\n")
    quick = replace(config, data=config.data.model_copy(update={"label_delay": 1}))
    out = tmp_path / "features.parquet"
    for chunk_rows in (1, 2, 5, 13):
        write_matrix([data], quick, out, chunk_rows=chunk_rows)
        assert np.array_equal(matrix(pq.read_table(out), quick), wanted(data, quick))


def test_a_bad_row_leaves_no_file(config: Config, tmp_path: Path) -> None:
    data, out = tmp_path / "bad.csv", tmp_path / "features.parquet"
    data.write_text("time,amount_minor\n1700000000,5\n1700000001,abc\n")
    with pytest.raises(DataError, match=r"row 2 \(line 3\), column amount_minor"):
        write_matrix([data], config, out)
    assert not list(tmp_path.glob("features*"))
    aside = tmp_path / "aside.csv"
    assert write_matrix([data], config, out, skip_bad_rows=aside)["transactions"] == 1
    assert "abc" in aside.read_text()


def test_the_command(town: pa.Table, config: Config, tmp_path: Path) -> None:
    data, out = tmp_path / "town.parquet", tmp_path / "features.parquet"
    simulator.write(town, data)
    tinyfin(f"features {data} --config {config.path} --out {out}")
    assert "label" not in pq.read_schema(out).names
    forgot = tinyfin(f"features {data}", code=2)
    assert "--out" in forgot.output

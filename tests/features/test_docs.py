# SPDX-License-Identifier: Apache-2.0
"""docs/features.md says what is so: its tables are the catalogue's, its example runs."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.support.cli import tinyfin
from tests.support.process import call
from tinyfin import simulator
from tinyfin.config import Simulate, from_table
from tinyfin.features.compiler import compile_program

PAGE = Path(__file__).parents[2] / "docs" / "features.md"


def block(name: str) -> str:
    """What stands between <!-- name --> and <!-- /name -->."""
    found = re.search(rf"<!-- {name} -->\n(.*?)<!-- /{name} -->", PAGE.read_text(), re.DOTALL)
    assert found, f"{PAGE.name} has no block {name}"
    return found.group(1).strip()


@pytest.mark.parametrize("table", ["catalogue", "reasons", "functions"])
def test_tables_are_what_the_script_prints(table: str) -> None:
    done = call(sys.executable, "-m", "tinyfin.features.describe", table)
    hint = f"bring the page up to date: python -m tinyfin.features.describe {table}"
    assert block(table) == done.stdout.strip(), hint


def test_the_example_runs_and_counts(tmp_path: Path) -> None:
    """The example as it stands on the page, on simulated data, against plain counting."""
    config, data, out = tmp_path / "tinyfin.toml", tmp_path / "t.parquet", tmp_path / "f.parquet"
    config.write_text(block("example").removeprefix("```toml").removesuffix("```"))
    simulator.write(simulator.simulate(Simulate(terminals=6, days=10, seed=5)), data)
    listed = tinyfin(f"features --config {config}")
    assert "keyed sales of at most 5.00" in listed.output
    tinyfin(f"features {data} --config {config} --out {out}")
    table, rows = pq.read_table(out), pq.read_table(data)
    night = table["night_amount"].to_numpy()
    amount = rows["amount_minor"].to_numpy()
    times = rows["local_time" if "local_time" in rows.column_names else "time"].to_numpy()
    if times.dtype.kind == "M":
        times = times.astype("datetime64[s]").astype(np.int64)
    hours = times // 3600 % 24
    assert np.array_equal(night, np.where(hours < 6, np.rint(256 * np.log2(1 + amount)), 0))
    assert (night > 0).any()
    assert table["small_keyed_10m"].to_numpy().max() >= 1


def fenced(name: str) -> str:
    """The content of the one fence in a block."""
    found = re.fullmatch(r"```\w+\n(.*?)```", block(name), re.DOTALL)
    assert found
    return found.group(1)


def test_the_rows_give_the_answer(tmp_path: Path) -> None:
    config, data, out = (tmp_path / x for x in ("tinyfin.toml", "three.csv", "out.csv"))
    config.write_text(fenced("example"))
    data.write_text(fenced("rows"))
    tinyfin(f"features {data} --config {config} --out {out}")
    assert out.read_text() == fenced("answer")


def test_every_pattern_is_a_feature() -> None:
    text = fenced("patterns")
    config = from_table(tomllib.loads(text))
    assert text.count("[features.") == len(config.features.define) >= 9
    for name in config.features.define:
        one = config.features.model_copy(update={"names": [name]})
        program = compile_program(one, config.schema, **one.capacities)
        assert program.feature_names == (name,)


def test_a_plain_field(tmp_path: Path) -> None:
    fields = re.findall(r"```toml\n(\[features\.supply\].*?)```", PAGE.read_text(), re.DOTALL)
    config, data, out = tmp_path / "tinyfin.toml", tmp_path / "t.csv", tmp_path / "f.parquet"
    config.write_text(
        '[schema]\nname = "health"\nfields = [{name = "supply_mv", type = "i32"}]\n'
        f'[features]\nnames = ["supply"]\n{fields[0]}'
    )
    data.write_text("time,supply_mv\n1700000000,4990\n1700000060,70000\n1700000120,\n")
    tinyfin(f"features {data} --config {config} --out {out}")
    assert pq.read_table(out)["supply"].to_pylist() == [4990, 32767, 0]

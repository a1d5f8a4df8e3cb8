# SPDX-License-Identifier: Apache-2.0
"""Tables in memory are read as the same rows in a file are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from tinyfin.config import from_table
from tinyfin.data.readers import read
from tinyfin.data.transactions import Transactions
from tinyfin.errors import DataError

CONFIG = from_table(
    {
        "data": {
            "time": {"column": "when", "zone": "Europe/Zurich"},
            "terminal": "till",
            "token": "card",
            "amount": {"column": "paid", "unit": "major"},
            "label": "fraud",
        }
    }
)
ROWS = {
    "when": pd.date_range("2026-03-28", periods=60, freq="47min"),
    "till": [f"t{i % 3}" for i in range(60)],
    "card": [f"customer {i % 7}" for i in range(60)],
    "paid": [f"{i}.50" for i in range(60)],
    "fraud": [0, 0, 1, None] * 15,
}
FRAME = pd.DataFrame(ROWS)
TABLES = {
    "pandas": FRAME,
    "pandas with a gap in its index": FRAME.set_index(np.arange(60) * 3),
    "pandas with times as its index": FRAME.set_index("when"),
    "Polars": pl.from_pandas(FRAME),
    "Arrow": pa.Table.from_pandas(FRAME),
    "pandas with Arrow's types": FRAME.convert_dtypes(dtype_backend="pyarrow"),
    "categories": FRAME.astype({"till": "category", "card": "category"}),
}


def arrays(tx: Transactions) -> list[Any]:
    return [
        tx.id.tolist(),
        tx.t_mono_s.tolist(),
        tx.t_local_s.tolist(),
        tx.label.tolist(),
        tx.column("token").tolist(),
        tx.column("amount_minor").tolist(),
        [tx.terminals[i] for i in tx.terminal],
    ]


@pytest.mark.parametrize("kind", TABLES)
def test_a_table_is_read_as_its_file_is(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.parquet"
    FRAME.to_parquet(path, index=False)
    assert arrays(read(TABLES[kind], CONFIG)) == arrays(read(path, CONFIG))


def test_errors_speak_of_the_table() -> None:
    bad = FRAME.assign(paid=[*ROWS["paid"][:-1], "twelve"])
    with pytest.raises(DataError, match=r"table.*row 60.*paid.*'twelve'") as caught:
        read(bad, CONFIG)
    assert "/tmp" not in str(caught.value)
    with pytest.raises(DataError, match="table"):
        read(FRAME.drop(columns="card"), CONFIG)


def test_columns_of_mixed_types_are_named() -> None:
    mixed = FRAME.assign(card=[1, "a"] * 30)
    with pytest.raises(DataError, match=r"table: .*card.*give every column one type"):
        read(mixed, CONFIG)


def test_a_table_without_labels() -> None:
    tx = read(FRAME.drop(columns="fraud"), CONFIG, labels=False)
    assert set(tx.label.tolist()) == {-1}

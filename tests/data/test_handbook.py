# SPDX-License-Identifier: Apache-2.0
"""The Fraud Detection Handbook's transactions, made by others, through our mapping of them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from tinyfin.config import load
from tinyfin.data.events import NOTICE, event_stream
from tinyfin.data.readers import read
from tinyfin.data.transactions import format_time

ROOT = Path(__file__).parents[2]
SHARED = Path(os.environ.get("TINYFIN_SHARED", ROOT.parent / "shared"))
FILE = SHARED / "data" / "handbook_2018-04-01_2018-08-14.parquet"
ROWS = 60_000


def test_a_slice(tmp_path: Path) -> None:
    if not FILE.exists():
        pytest.skip(f"{FILE} is not there; TINYFIN_SHARED names the folder that holds data/")
    source = pq.ParquetFile(FILE).read_row_group(0).slice(0, ROWS)
    pq.write_table(source, tmp_path / "slice.parquet")
    tx = read(tmp_path / "slice.parquet", load(ROOT / "models" / "handbook" / "tinyfin.toml"))
    assert len(tx) == ROWS
    assert tx.column("amount_minor").tolist() == source["AMOUNT_MINOR"].to_pylist()
    assert format_time(tx.t_mono_s[0]) == "2018-04-01T00:00:31"
    assert tx.label.tolist() == source["TX_FRAUD"].to_pylist()
    assert tx.id.tolist() == source["TRANSACTION_ID"].to_pylist()
    customers = np.array(source["CUSTOMER_ID"])
    assert len(np.unique(tx.column("token"))) == len(np.unique(customers))
    assert set(tx.scenario or ()) <= {
        "genuine", "large_amount", "compromised_terminal", "compromised_card",
    }  # fmt: skip
    stream = event_stream(tx, "fraud_only")
    noticed = stream.kind == NOTICE
    assert noticed.sum() == tx.label.sum()
    late = stream.t_mono_s[noticed] - tx.t_mono_s[stream.index[noticed]]
    assert set(late.tolist()) == {7 * 86400}

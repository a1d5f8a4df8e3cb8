# SPDX-License-Identifier: Apache-2.0
"""The columns of the Fraud Detection Handbook's files through our mapping of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.support.handbook import CONFIG, PUBLISHED, write_world
from tinyfin.config import load
from tinyfin.data.events import NOTICE, event_stream
from tinyfin.data.readers import read
from tinyfin.data.transactions import format_time

ROWS = 60_000


@pytest.fixture(params=["own world", "published"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param == "own world":
        return write_world(tmp_path / "world.parquet")
    if not PUBLISHED.is_file():
        pytest.skip(f"{PUBLISHED} is not part of the repository: its licence is share-alike")
    pq.write_table(
        pq.ParquetFile(PUBLISHED).read_row_group(0).slice(0, ROWS), tmp_path / "slice.parquet"
    )
    return tmp_path / "slice.parquet"


def test_every_column_is_read_as_it_is_meant(path: Path) -> None:
    source = pq.read_table(path)
    tx = read(path, load(CONFIG))
    assert len(tx) == source.num_rows >= ROWS
    assert tx.column("amount_minor").tolist() == source["AMOUNT_MINOR"].to_pylist()
    first = np.datetime64("2018-04-01") + np.timedelta64(source["TX_TIME_SECONDS"][0].as_py(), "s")
    assert format_time(tx.t_mono_s[0]) == str(first)
    assert tx.label.tolist() == source["TX_FRAUD"].to_pylist()
    assert tx.id.tolist() == source["TRANSACTION_ID"].to_pylist()
    customers = np.array(source["CUSTOMER_ID"])
    assert len(np.unique(tx.column("token"))) == len(np.unique(customers))
    assert set(tx.scenario or ()) <= {
        "genuine",
        "large_amount",
        "compromised_terminal",
        "compromised_card",
    }
    stream = event_stream(tx, "fraud_only")
    noticed = stream.kind == NOTICE
    assert noticed.sum() == tx.label.sum() > 0
    late = stream.t_mono_s[noticed] - tx.t_mono_s[stream.index[noticed]]
    assert set(late.tolist()) == {7 * 86400}

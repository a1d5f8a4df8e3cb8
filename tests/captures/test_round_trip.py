# SPDX-License-Identifier: Apache-2.0
"""Simulated transactions, written as messages of every dialect and converted, are the same
transactions, and give the same features, without a [data] section."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import captures
from tests.support.cli import tinyfin, tinyfin_json
from tinyfin.captures import convert
from tinyfin.captures.iso8583 import DIALECTS, load_dialect
from tinyfin.config import load
from tinyfin.data.readers import read
from tinyfin.data.transactions import Transactions
from tinyfin.training.export_features import write_matrix

SPLIT = {"ascii": captures.framed, "ascii-hex": captures.lines, "bcd": captures.framed}


def same(found: Transactions, expected: Transactions) -> None:
    assert found.terminals == expected.terminals
    for name, values in expected._arrays().items():
        assert np.array_equal(getattr(found, name), values), name


@pytest.mark.parametrize("dialect", DIALECTS)
def test_converted_transactions_are_those_that_were_captured(dialect: str, tmp_path: Path) -> None:
    rows = captures.rows(1)
    ends = {"approved", "declined", "timed_out", "reversed", None}
    assert ends <= {row["result"] for row in rows}
    assert any(row["transaction_type"] == "forced_post" for row in rows)
    (tmp_path / "a.cap").write_bytes(SPLIT[dialect](captures.capture(rows, dialect)))
    pq.write_table(captures.table(rows), tmp_path / "said.parquet")
    (tmp_path / "token.key").write_text(captures.KEY.hex())
    facts = tinyfin_json(
        f"convert {tmp_path}/a.cap --out {tmp_path}/a.parquet --dialect {dialect} --year 2025 "
        f"--token-key {tmp_path}/token.key"
    )
    assert (facts["transactions"], facts["bad"], facts["passed_over"]) == (len(rows), 0, {})
    assert "expiry_hash" not in facts["columns"]
    assert "bin_hash" not in facts["columns"]
    said, found = (read([tmp_path / name], load()) for name in ("said.parquet", "a.parquet"))
    same(found, said)
    for name in ("said", "a"):
        write_matrix([tmp_path / f"{name}.parquet"], load(), tmp_path / f"{name}-f.parquet")
    features = pq.read_table(tmp_path / "a-f.parquet")
    assert features.num_columns > 30
    assert features.equals(pq.read_table(tmp_path / "said-f.parquet"))


@settings(max_examples=8, deadline=None)
@given(
    rows=st.lists(st.sampled_from(captures.rows(2)), min_size=1, max_size=40, unique_by=id),
    dialect=st.sampled_from(DIALECTS),
)
def test_any_part_of_the_traffic(
    rows: list[dict[str, Any]], dialect: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    tmp_path = tmp_path_factory.mktemp("part")
    rows.sort(key=lambda row: row["id"])
    path = tmp_path / "part.cap"
    path.write_bytes(SPLIT[dialect](captures.capture(rows, dialect)))
    out = tmp_path / "part.parquet"
    convert([path], out, token_key=captures.KEY, dialect=load_dialect(dialect), year=2025)
    pq.write_table(captures.table(rows), tmp_path / "said.parquet")
    same(read([out], load()), read([tmp_path / "said.parquet"], load()))


def test_tlv_data_are_transactions(tmp_path: Path) -> None:
    answered = [row for row in captures.rows(1) if row["response"] is not None]
    rows = [row for row in answered if row["result"] != "reversed"]
    expected = captures.table(rows).drop_columns(["stan", "approval_hash"])
    at = expected.column_names.index("outcome_time")  # nobody says it
    pq.write_table(expected.set_column(at, "outcome_time", expected["time"]), tmp_path / "said.pq")
    (tmp_path / "a.hex").write_bytes(captures.lines(map(captures.tlv_of, rows)))
    (tmp_path / "token.key").write_text(captures.KEY.hex())
    out = tmp_path / "a.parquet"
    tinyfin(f"convert {tmp_path}/a.hex --tlv --out {out} --token-key {tmp_path}/token.key")
    same(read([out], load()), read([tmp_path / "said.pq"], load()))

# SPDX-License-Identifier: Apache-2.0
"""A Parquet file in chunks takes the memory of a chunk, not of the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tinyfin.data import tables

ROWS = 400_000


def peak_bytes(path: Path) -> int:
    start = pa.total_allocated_bytes()
    return max(
        pa.total_allocated_bytes() - start
        for _ in tables.read_table_chunks(path, {"a": "a", "b": "b"}, False, 10_000)
    )


def test_memory_does_not_grow_with_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "large.parquet"
    noise = np.random.default_rng(1).integers(0, 2**62, (2, ROWS))
    pq.write_table(pa.table({"a": noise[0], "b": noise[1]}), path, row_group_size=20_000)
    size = path.stat().st_size
    assert size > 6_000_000
    assert peak_bytes(path) < size / 4
    honest = pq.ParquetFile
    monkeypatch.setattr(pq, "ParquetFile", lambda path, **_: honest(path, pre_buffer=True))
    assert peak_bytes(path) > size / 2, "the measure sees a file that is kept"

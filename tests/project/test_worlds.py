# SPDX-License-Identifier: Apache-2.0
"""The worlds that the usual recipe is judged in: the same each time, each with fraud of its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from benchmarks.worlds import CONFIG, WORLDS, draw, main
from tinyfin.config import load
from tinyfin.data.readers import read


@pytest.mark.parametrize("name", list(WORLDS))
def test_a_world_is_the_same_each_time_and_can_be_read(name: str, tmp_path: Path) -> None:
    draw(name, tmp_path / "one.parquet")
    draw(name, tmp_path / "two.parquet")
    assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "two.parquet").read_bytes()
    table = pq.read_table(tmp_path / "one.parquet")
    assert np.all(np.diff(table.column("t").to_numpy()) >= 0)
    assert 0.001 < np.mean(table.column("fraud").to_numpy()) < 0.01
    pq.write_table(table.slice(0, 2000), tmp_path / "few.parquet")
    (tmp_path / "tinyfin.toml").write_text(CONFIG)
    tx = read([tmp_path / "few.parquet"], load(tmp_path / "tinyfin.toml"))
    assert len(tx) == 2000
    assert np.all(tx.label >= 0)


def test_an_unknown_world_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["atlantis"])
    assert "no world atlantis; there are short_compromises" in capsys.readouterr().err

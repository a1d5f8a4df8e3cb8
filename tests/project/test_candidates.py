# SPDX-License-Identifier: Apache-2.0
"""The candidates that the bounds of a release are tried on: what their labels and damages are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.candidates import (
    DAMAGES,
    ROOT,
    Candidate,
    Found,
    Recipe,
    _prepared,
    damaged,
    report,
)
from tinyfin.config import load


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_labels_are_swapped_and_removed(town: pa.Table, tmp_path: Path, share: float) -> None:
    recipe = Recipe(weeks=(0, 1), unlabelled=share, swapped=share)
    words = ('""', '"default"')
    ((name, data, config),) = _prepared(tmp_path, "a b", recipe, town, "label", words)
    assert (name, data.name) == ("a b", "a_b.parquet")
    label = np.array(pq.read_table(data)["label"].fill_null(-1).to_pylist())
    before = np.array(town["label"].to_pylist())
    kept = label >= 0
    assert kept.mean() == pytest.approx(1 - share, abs=0.03)
    found = np.mean(label[kept & (before == 1)] == 1)
    assert found == pytest.approx(1 - share, abs=0.12)
    assert load(config).train.until is not None


def test_damages_change_what_they_say() -> None:
    pack = Candidate(ROOT / "models" / "payment" / "model.tfpack")
    rng = np.random.default_rng(1)
    features = rng.integers(0, 3000, (500, len(pack.pack.maps or ()))).astype(np.int16)
    own = pack.raw(pack.inputs(features)).astype(np.int64)
    found = {name: damaged(name, pack, features) for name in DAMAGES}
    assert set(found["constant"]) == {own.min()}
    assert sorted(found["scores of other events"]) == sorted(own)
    assert (found["1 sd higher"] - own).tolist() == [round(float(own.std()))] * len(own)
    assert (found["1 sd lower"] < own).all()
    for name in DAMAGES[4:]:
        assert np.mean(found[name] != own) > 0.3, name


def test_the_bound_of_false_refusals_is_that_of_the_rule_of_three() -> None:
    good = Found("seed 2", 0.95, 0.001, "released", (0, 0), 2995)
    bad = Found("swapped", 0.5, -0.4, "not-better", (2000, 2900), 2995)
    lines = report([good, bad], [], (50, 100))
    assert "0 of 2,995 (0.00 in 1,000; with 95 % confidence at most 1.00)" in "\n".join(lines)
    assert "| swapped | 0.500 | -0.400 | not-better | 66.78 | 96.83 |" in lines

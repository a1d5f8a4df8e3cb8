# SPDX-License-Identifier: Apache-2.0
"""Rows without a label are counted, and a perfect score that means nothing is not shown."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from tinyfin.cli.train import table_text
from tinyfin.config import from_table
from tinyfin.results.metrics import Metrics
from tinyfin.training.dataset import prepare
from tinyfin.training.metrics import average_precision, evaluate


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        (["1", "", "", ""], "3 of 4 rows have no label, and all others are frauds"),
        (["1", "0", "", "", ""], "3 of 5 rows have no label: a model that trains on labels"),
        (["1", "0", "", ""], None),
        (["1", "0", "0", "0"], None),
        (["", "", "", ""], None),
    ],
)
def test_rows_without_a_label_are_counted(
    tmp_path: Path, labels: list[str], told: str | None
) -> None:
    path = tmp_path / "a.csv"
    rows = "".join(f"2024-01-01T10:00:{i:02},{label}\n" for i, label in enumerate(labels))
    path.write_text("t,l\n" + rows)
    for values, expected in (({}, told), ({"": 0}, None)):
        notes: list[str] = []
        how = {"column": "l", "values": values}
        config = from_table({"data": {"time": "t", "label": how}})
        prepare([path], config, note=notes.append)
        found = [x for x in notes if "have no label" in x]
        assert len(found) == (expected is not None)
        assert expected is None or expected in found[0]


def test_frauds_alone_have_no_precision() -> None:
    score, label = np.array([0.2, 0.9]), np.array([1, 1], np.int8)
    assert math.isnan(average_precision(score, label))
    figures = evaluate(score, label, probability=score)
    assert math.isnan(figures.brier_skill)
    text = table_text(Metrics(populations={"all": {"model": figures}}))
    assert "all 2 test rows are frauds" in text
    assert "1.000" not in text
    mixed = evaluate(score, np.array([0, 1], np.int8), probability=score)
    assert "1.000" in table_text(Metrics(populations={"all": {"model": mixed}}))

# SPDX-License-Identifier: Apache-2.0
"""XGBoost as a baseline: its shape is chosen on the validation rows, and it learns from all."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from tinyfin.training import baselines
from tinyfin.training.baselines import Sample, Shape, learned_scores

ROWS = {"fit": 6000, "validation": 1500, "calibration": 1500, "test": 3000}


def scores(features: NDArray[np.int16], label: NDArray[np.int8]) -> NDArray[np.float32]:
    ends = np.cumsum(list(ROWS.values()))
    rows = {
        part: np.arange(end - n, end) for (part, n), end in zip(ROWS.items(), ends, strict=True)
    }
    inputs = {part: features[at].astype(np.int8) for part, at in rows.items()}
    return learned_scores(["xgboost"], inputs, features, rows, label, 1, [])["xgboost"]


def world(deep: bool) -> tuple[NDArray[np.int16], NDArray[np.int8]]:
    """Fraud where six inputs agree, which takes six splits; or where one is high."""
    rng = np.random.default_rng(1)
    x = rng.integers(0, 2, (sum(ROWS.values()), 8)).astype(np.int16)
    odd = x[:, :6].sum(axis=1) % 2 if deep else x[:, 0]
    noise = rng.random(len(x)) < 0.02
    return x, ((odd == 1) ^ noise).astype(np.int8)


@pytest.fixture
def grown(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, Shape]]:
    """Rows and shape of each model that XGBoost is asked for."""
    asked: list[tuple[int, Shape]] = []
    honest = baselines._grown

    def seen(rows: Sample, shape: Shape) -> baselines.Trees:
        asked.append((len(rows.x), shape))
        return honest(rows, shape)

    monkeypatch.setattr(baselines, "_grown", seen)
    return asked


@pytest.mark.parametrize("deep", [True, False])
def test_the_validation_rows_choose_the_depth(deep: bool, grown: list[tuple[int, Shape]]) -> None:
    features, label = world(deep)
    scores(features, label)
    trials, (rows, chosen) = grown[:-1], grown[-1]
    assert {shape for _, shape in trials} == {
        Shape(narrow, depth, 400) for narrow in (True, False) for depth in (4, 5, 6)
    }
    assert {count for count, _ in trials} == {ROWS["fit"]}
    assert rows == ROWS["fit"] + ROWS["validation"] + ROWS["calibration"]
    assert chosen.trees in (100, 200, 300, 400)
    if deep:
        assert chosen.depth == 6
        turned = label.copy()
        at = slice(ROWS["fit"], ROWS["fit"] + ROWS["validation"])
        turned[at] = features[at, 0]  # the negative control: there one split says all
        grown.clear()
        scores(features, turned)
        assert grown[-1][1] != chosen


@pytest.mark.parametrize("frauds", [0, 19])
def test_with_too_few_validation_frauds_the_usual_shape_is_taken(
    frauds: int, grown: list[tuple[int, Shape]]
) -> None:
    features, label = world(False)
    later = np.arange(ROWS["fit"], ROWS["fit"] + ROWS["validation"])
    label[later] = np.arange(len(later)) < frauds
    scores(features, label)
    assert [shape for _, shape in grown] == [Shape(True, 5, 200)]

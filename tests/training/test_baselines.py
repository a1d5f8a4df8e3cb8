# SPDX-License-Identifier: Apache-2.0
"""XGBoost as a baseline: its shape is chosen on the validation rows, and it learns from all."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from tinyfin.training import baselines
from tinyfin.training.baselines import learned_scores

PARTS = ("fit", "validation", "calibration", "test")
ROWS = {"fit": 6000, "validation": 1500, "calibration": 1500, "test": 3000}


def scores(
    features: NDArray[np.int16], label: NDArray[np.int8], skip: str = ""
) -> NDArray[np.float32]:
    ends = np.cumsum(list(ROWS.values()))
    rows = {
        part: np.arange(end - n, end) for (part, n), end in zip(ROWS.items(), ends, strict=True)
    }
    if skip:
        rows[skip] = rows[skip][:0]
    inputs = {part: features[at].astype(np.int8) for part, at in rows.items()}
    return learned_scores(["xgboost"], inputs, features, rows, label, 1, [])["xgboost"]


def world(deep: bool) -> tuple[NDArray[np.int16], NDArray[np.int8]]:
    """Fraud where six inputs agree, which takes six splits; or where one is high."""
    rng = np.random.default_rng(1)
    x = rng.integers(0, 2, (sum(ROWS.values()), 8)).astype(np.int16)
    odd = x[:, :6].sum(axis=1) % 2 if deep else x[:, 0]
    noise = rng.random(len(x)) < 0.02
    return x, ((odd == 1) ^ noise).astype(np.int8)


@pytest.mark.parametrize("deep", [True, False])
def test_the_validation_rows_choose_the_depth(deep: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    grown: list[tuple[int, int, int]] = []
    honest = baselines._grown

    def seen(x: NDArray[np.int16], *args: int) -> baselines.Trees:
        grown.append((len(x), args[-2], args[-1]))
        return honest(x, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(baselines, "_grown", seen)
    features, label = world(deep)
    scores(features, label)
    trials, (rows, depth, trees) = grown[:-1], grown[-1]
    assert [shape[1:] for shape in trials] == [(4, 400), (5, 400), (6, 400)]
    assert {shape[0] for shape in trials} == {ROWS["fit"]}
    assert rows == ROWS["fit"] + ROWS["validation"] + ROWS["calibration"]
    assert trees in (100, 200, 300, 400)
    if deep:
        assert depth == 6
        turned = label.copy()
        at = slice(ROWS["fit"], ROWS["fit"] + ROWS["validation"])
        turned[at] = features[at, 0]  # the negative control: there one split says all
        grown.clear()
        scores(features, turned)
        assert grown[-1][1:] != (depth, trees)


def test_without_validation_rows_the_usual_shape_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    grown: list[tuple[int, ...]] = []
    honest = baselines._grown

    def seen(x: NDArray[np.int16], *args: int) -> baselines.Trees:
        grown.append(args[-2:])
        return honest(x, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(baselines, "_grown", seen)
    scores(*world(False), skip="validation")
    assert grown == [(5, 200)]

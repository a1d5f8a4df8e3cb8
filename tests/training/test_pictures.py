# SPDX-License-Identifier: Apache-2.0
"""The pictures of a run: SVG files that need nothing else."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt

from tinyfin.training.run_folder import RunFolder
from tinyfin.training.run_metrics import draw_run

NAMES = ("calibration", "precision_recall", "scores")


def slices(label: npt.NDArray[np.int8]) -> dict[str, npt.NDArray[np.generic]]:
    score = (np.random.default_rng(3).normal(size=len(label)) + 3 * label).astype(np.float32)
    return {
        "test_label": label,
        "test_float": score,
        "calibration_label": label,
        "calibration_float": score,
        "test_baseline_rule_a": score[::-1],
    }


def words(path: Path) -> str:
    root = ElementTree.parse(path).getroot()
    return " ".join(" ".join(root.itertext()).split())


def test_a_run_is_drawn(tmp_path: Path) -> None:
    label = (np.arange(3000) % 50 == 0).astype(np.int8)
    draw_run(RunFolder(tmp_path), slices(label))
    paths = sorted((tmp_path / "plots").iterdir())
    assert [path.name for path in paths] == [f"{name}.svg" for name in NAMES]
    calibration, curve, scores = map(words, paths)
    assert "perfect" in calibration
    assert "model, float (AP " in curve
    assert "rule A (terminal only) (AP " in curve
    assert "genuine (2,940)" in scores
    assert "fraud (60)" in scores
    for path in paths:
        text = path.read_text(encoding="utf-8")
        assert "http" not in text.replace("http://www.w3.org/2000/svg", "")
        assert "{{" not in text


def test_the_int8_model_comes_first_once_there_is_one(tmp_path: Path) -> None:
    label = (np.arange(3000) % 50 == 0).astype(np.int8)
    p = np.where(label == 1, 0.9, 0.01)
    draw_run(RunFolder(tmp_path), slices(label), ((p * 1000).astype(np.int32), p))
    assert "Scores in the test period, model, int8." in words(tmp_path / "plots" / "scores.svg")
    assert "model, int8 (AP 1.000)" in words(tmp_path / "plots" / "precision_recall.svg")


def test_without_fraud_nothing_is_drawn(tmp_path: Path) -> None:
    draw_run(RunFolder(tmp_path), slices(np.zeros(300, np.int8)))
    assert not (tmp_path / "plots").exists()

# SPDX-License-Identifier: Apache-2.0
"""A run's test period: models, rules and learned baselines on the same rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tinyfin import files
from tinyfin.config import DecisionSection
from tinyfin.pack.calibration import Calibration
from tinyfin.pages import detection
from tinyfin.pages.render import picture
from tinyfin.pages.scorers import scorer_name
from tinyfin.results.metrics import Population, Savings, ScorerFigures
from tinyfin.training.calibration import fit_scores, has_frauds, probability
from tinyfin.training.curves import curves, score_histogram
from tinyfin.training.metrics import evaluate
from tinyfin.training.populations import populations_of
from tinyfin.training.run_folder import RunFolder, Slices
from tinyfin.training.savings import Period, compare_savings
from tinyfin.training.thresholds import Held, levels

__all__ = [
    "BASELINE",
    "FloatScale",
    "baselines_of",
    "draw_run",
    "float_alerts",
    "float_probability",
    "savings_of",
    "table_of",
]

Int8 = tuple[npt.NDArray[np.int32], npt.NDArray[np.float64]]

BASELINE = "test_baseline_"
"""Prefix of the baselines' scores among a run's slices."""
_HALF = 1 << 16


@dataclass(frozen=True)
class FloatScale:
    """Float scores as whole numbers, so that they are calibrated as the integer model's are.

    The scale is that of the calibration rows: their scores take the middle half of 2^17 steps, and
    what is beyond all steps counts as the last of them.
    """

    middle: float
    steps: float

    @classmethod
    def of(cls, score: npt.NDArray[np.number]) -> FloatScale:
        """The scale of the calibration rows' scores."""
        low, high = float(np.min(score)), float(np.max(score))
        return cls((low + high) / 2, _HALF / max(high - low, 1e-6))

    @property
    def bounds(self) -> tuple[int, int]:
        """Smallest and largest whole number."""
        return -_HALF, _HALF

    def __call__(self, score: npt.NDArray[np.number]) -> npt.NDArray[np.int32]:
        """int32, one per score."""
        steps = np.rint((score.astype(np.float64) - self.middle) * self.steps)
        return np.clip(steps, -_HALF, _HALF).astype(np.int32)


def float_probability(slices: Slices) -> npt.NDArray[np.float64]:
    """Calibrated probabilities of the float model on the test rows."""
    scale, _, table = _calibrated(slices)
    return probability(table, scale(slices["test_float"]))


def _calibrated(slices: Slices) -> tuple[FloatScale, npt.NDArray[np.int32], Calibration]:
    """Scale of the float scores, the calibration rows' whole numbers, and their table."""
    scale = FloatScale.of(slices["calibration_float"])
    raw = scale(slices["calibration_float"])
    return scale, raw, fit_scores(raw, slices["calibration_label"], scale.bounds)


def baselines_of(slices: Slices) -> dict[str, npt.NDArray[np.number]]:
    """Scores of rules and learned baselines on the test rows, by name."""
    return {key.removeprefix(BASELINE): slices[key] for key in slices if key.startswith(BASELINE)}


def table_of(
    slices: Slices, scenario_names: Sequence[str], int8: Int8 | None = None
) -> dict[Population, dict[str, ScorerFigures]]:
    """Models and baselines side by side: same test rows, same populations.

    ``int8``: raw scores and probabilities of the quantized model on the test rows. Without a fraud
    among the calibration rows there are no probabilities, and no figures that judge them.
    """
    label = slices["test_label"]
    calibrated = has_frauds(slices["calibration_label"])
    scorers: dict[str, tuple[npt.NDArray[np.number], npt.NDArray[np.float64] | None]] = {}
    if len(label):
        p = float_probability(slices) if calibrated else None
        scorers["model_float"] = (slices["test_float"], p)
        if int8 is not None:
            scorers["model_int8"] = (int8[0], int8[1] if calibrated else None)
        scorers |= {name: (score, None) for name, score in baselines_of(slices).items()}
    return {
        population: {
            scorer: evaluate(
                score[rows],
                label[rows],
                probability=None if p is None else p[rows],
                scenario=slices["test_scenario"][rows],
                scenario_names=scenario_names,
            )
            for scorer, (score, p) in scorers.items()
        }
        for population, rows in populations_of(slices).items()
    }


def float_alerts(section: DecisionSection, slices: Slices) -> npt.NDArray[np.bool_]:
    """The test rows that the float model would alert, by thresholds set as the pack's will be."""
    if not len(slices["test_float"]) or not len(slices["calibration_float"]):
        return np.zeros(len(slices["test_float"]), bool)
    scale, raw, table = _calibrated(slices)
    found = [q32 for q32 in levels(section, table, Held.of(raw, slices)) if q32 is not None]
    score = table.evaluate(scale(slices["test_float"]))
    return score >= min(found) if found else np.zeros(len(score), bool)


def savings_of(
    slices: Slices,
    model: str,
    score: npt.NDArray[np.number],
    alert: npt.NDArray[np.bool_],
    alert_minor: float,
) -> dict[Population, dict[str, Savings]]:
    """What ``model``'s alerts on the test rows save, and as many of every rule and baseline."""
    label = slices["test_label"]
    out: dict[Population, dict[str, Savings]] = {}
    for population, rows in populations_of(slices).items():
        groups, group = np.unique(
            slices.get("test_group", slices["test_terminal"])[rows], return_inverse=True
        )
        scores = {"model_float": slices["test_float"], model: score, **baselines_of(slices)}
        found = compare_savings(
            model,
            [
                Period(
                    alert[rows],
                    {name: values[rows] for name, values in scores.items()},
                    label[rows] == 1,
                    slices["test_amount"][rows].astype(np.float64),
                    group,
                )
            ],
            len(groups),
            0,
            alert_minor,
        )
        if found:
            out[population] = found
    return out


def draw_run(run: RunFolder, slices: Slices, int8: Int8 | None = None) -> None:
    """Draw the test period; nothing when it, or the calibration, holds no fraud."""
    label = slices["test_label"]
    if not has_frauds(slices["calibration_label"]):
        return
    scores: dict[str, npt.NDArray[np.number]] = {"model_float": slices["test_float"]}
    probabilities = {"model_float": float_probability(slices)}
    if int8 is not None:
        scores = {"model_int8": int8[0], **scores}
        probabilities = {"model_int8": int8[1], **probabilities}
    found = curves(label, scores | baselines_of(slices), probabilities)
    name, p = next(iter(probabilities.items()))
    histogram = score_histogram(p, label)
    if found is None or histogram is None:
        return
    where = "in the test period"
    pictures = {
        "scores": detection.scores(histogram, f"Scores {where}, {scorer_name(name)}."),
        "precision_recall": detection.precision_recall(
            found.precision_recall,
            f"Precision and recall {where}, best average precision (AP) first.",
        ),
        "calibration": detection.calibration(found.calibration, where),
    }
    for stem, figure in pictures.items():
        files.write(run.path / "plots" / f"{stem}.svg", picture(figure), make_folder=True)

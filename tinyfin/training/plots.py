# SPDX-License-Identifier: Apache-2.0
"""Pictures of a run: scores, precision and recall, calibration. PNG, without a display.

Figures are made without pyplot: the backend that a notebook has chosen stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tinyfin import files
from tinyfin.training.metrics import average_precision, calibration_bins, precision_recall_curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw"]

_SIZE = (6.4, 4.0)
_DPI = 110
_POINTS = 20_000
"""Of a curve at most: more take long to draw and are not seen."""


def draw(
    folder: Path,
    label: npt.NDArray[np.int8],
    scores: Mapping[str, npt.NDArray[np.number]],
    probability: Mapping[str, npt.NDArray[np.float64]],
) -> list[Path]:
    """Draw the test period: ``scores`` of models and rules, ``probability`` of models."""
    folder.mkdir(parents=True, exist_ok=True)
    return [
        _scores(folder / "scores.png", label, probability),
        _precision_recall(folder / "precision_recall.png", label, scores),
        _calibration(folder / "calibration.png", label, probability),
    ]


def _figure(title: str, x: str, y: str) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=_SIZE, dpi=_DPI, layout="constrained")
    axes = figure.add_subplot()
    axes.set(title=title, xlabel=x, ylabel=y)
    axes.grid(alpha=0.3)
    return figure, axes


def _save(figure: Figure, path: Path) -> Path:
    with files.whole(path) as unfinished:
        figure.savefig(unfinished, format="png", metadata={"Software": None})
    return path


def _scores(
    path: Path, label: npt.NDArray[np.int8], probability: Mapping[str, npt.NDArray[np.float64]]
) -> Path:
    figure, axes = _figure("Scores in the test period", "calibrated probability of fraud", "rows")
    p = list(probability.values())[-1]
    logit = np.log10(np.clip(p, 1e-7, 1.0))
    edges = np.linspace(float(logit.min()), 0.0, 50).tolist()
    for name, mask, colour in (
        ("genuine", label != 1, "tab:blue"),
        ("fraud", label == 1, "tab:red"),
    ):
        axes.hist(logit[mask], edges, label=name, color=colour, alpha=0.6)
    ticks = range(int(np.floor(edges[0])), 1)
    axes.set_xticks(list(ticks), [f"$10^{{{t}}}$" for t in ticks])
    axes.set_yscale("log")
    axes.legend(loc="upper right")
    return _save(figure, path)


def _precision_recall(
    path: Path, label: npt.NDArray[np.int8], scores: Mapping[str, npt.NDArray[np.number]]
) -> Path:
    figure, axes = _figure("Precision and recall in the test period", "recall", "precision")
    for name, score in scores.items():
        recall, precision = precision_recall_curve(score, label)
        if len(recall) > _POINTS:
            at = np.searchsorted(recall, np.linspace(0, 1, _POINTS))
            at = np.unique(np.r_[0, np.minimum(at, len(recall) - 1)])
            recall, precision = recall[at], precision[at]
        value = average_precision(score, label)
        style = "-" if name.startswith("model") else "--"
        axes.step(recall, precision, style, where="post", label=f"{name} (AP {value:.3f})")
    axes.set(xlim=(0, 1), ylim=(0, 1.02))
    axes.legend(loc="upper right")
    return _save(figure, path)


def _calibration(
    path: Path, label: npt.NDArray[np.int8], probability: Mapping[str, npt.NDArray[np.float64]]
) -> Path:
    figure, axes = _figure("Calibration in the test period", "mean probability", "share of fraud")
    lowest = 1e-5
    for name, p in probability.items():
        mean, share, _ = calibration_bins(p, label)
        axes.plot(np.maximum(mean, lowest), np.maximum(share, lowest), "o-", label=name)
    axes.plot([lowest, 1], [lowest, 1], color="grey", linewidth=1)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.legend(loc="upper right")
    return _save(figure, path)

# SPDX-License-Identifier: Apache-2.0
"""Figures on detection: scores, precision and recall, calibration. On pages and as files."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from tinyfin.pages import charts
from tinyfin.pages.blocks import Figure, count, figure, number, table
from tinyfin.pages.charts import CalibrationBin, PrecisionRecall, ScoreHistogram
from tinyfin.pages.scorers import in_order, scorer_name

__all__ = ["calibration", "precision_recall", "scores", "thresholds"]

_FEWEST = 50
"""A bin of fewer transactions says too little to be drawn."""


def thresholds(go_online: object, verify: object, decline: object) -> list[tuple[str, float]]:
    """The thresholds in force, probabilities above 0, as names and log10 for :func:`scores`."""
    given = (("go online", go_online), ("verify", verify), ("decline", decline))
    return [(name, math.log10(p)) for name, p in given if isinstance(p, float) and p > 0]


def scores(
    found: ScoreHistogram,
    caption: str,
    marks: Sequence[tuple[str, float]] = (),
    *,
    ident: str = "scores",
) -> Figure:
    """Scores of genuine and fraudulent transactions; ``marks`` are lines through both."""
    edges = found.edges
    rows = [
        [f"{10 ** edges[i]:.2e} to {10 ** edges[i + 1]:.2e}", count(g), count(f)]
        for i, (g, f) in enumerate(zip(found.genuine, found.fraud, strict=True))
        if g or f
    ]
    return figure(
        charts.scores(ident, found, [mark for mark in marks if mark[1] >= edges[0]]),
        caption,
        numbers=table("Transactions per bin", ["probability", "genuine", "fraud"], rows),
    )


def precision_recall(curves: Mapping[str, PrecisionRecall], caption: str) -> Figure:
    """One line per scorer, the legend as ``curves`` are."""
    styles = {name: i for i, name in enumerate(in_order(curves))}
    return figure(
        charts.precision_recall(curves, styles),
        caption,
        legend=[
            (f"{scorer_name(name)} (AP {curve.average_precision:.3f})", styles[name])
            for name, curve in curves.items()
        ],
    )


def calibration(bins: Mapping[str, Sequence[CalibrationBin]], where: str) -> Figure:
    """Observed against predicted shares of fraud; ``where``: "in the test period"."""
    return figure(
        charts.calibration(
            {name: [p for p in rows if p.rows >= _FEWEST] for name, rows in bins.items()}
        ),
        f"Calibration {where}: three bins per power of ten, 95 % intervals; bins of fewer than "
        f"{_FEWEST} transactions are left to the numbers."
        + (" Filled points are the first of the legend." if len(bins) > 1 else ""),
        legend=[(scorer_name(name), i) for i, name in enumerate(bins)],
        numbers=table(
            "Calibration bins",
            ["scorer", "predicted", "observed", "from", "to", "rows"],
            [
                [scorer_name(name), *map(number, (p.mean, p.share, p.low, p.high)), count(p.rows)]
                for name, rows in bins.items()
                for p in rows
            ],
        ),
    )

# SPDX-License-Identifier: Apache-2.0
"""Confusion counts and shares at the thresholds in force, as a table."""

from __future__ import annotations

from tinyfin.pages.blocks import Block, count, table
from tinyfin.pages.scorers import population_name
from tinyfin.results.facts import Interval
from tinyfin.results.metrics import Confusion, Thresholds

__all__ = ["interval_words", "shares", "threshold_cells", "threshold_table"]


def _counts(m: Confusion) -> dict[str, int]:
    return {
        "frauds alerted": m.true_positives,
        "frauds missed": m.false_negatives,
        "genuine alerted": m.false_positives,
        "genuine accepted": m.true_negatives,
    }


def shares(m: Confusion) -> dict[str, str]:
    """By name, each with its interval."""
    return {
        "precision": _share(m.precision, m.precision_interval),
        "recall": _share(m.recall, m.recall_interval),
        "F1": _share(m.f1, m.f1_interval),
        "accuracy": _share(m.accuracy, m.accuracy_interval),
    }


def interval_words(drawn: str) -> str:
    """How the intervals are made (:mod:`tinyfin.training.confusion`)."""
    return f"95 % intervals: bootstrap over {drawn}, never narrower than Wilson's"


def threshold_cells(thresholds: Thresholds) -> list[list[str]]:
    """A column per action and population: the head, then a row per count and share. Empty without
    a threshold in force."""
    columns = [
        {
            "": f"{action.replace('_', ' ')}, {population_name(population)}",
            **{name: count(n) for name, n in _counts(m).items()},
            **shares(m),
        }
        for action, populations in thresholds.items()
        for population, m in populations.items()
    ]
    return [[name, *(column[name] for column in columns)] for name in columns[0]] if columns else []


def threshold_table(caption: str, thresholds: Thresholds) -> list[Block]:
    """Nothing without a threshold in force."""
    cells = threshold_cells(thresholds)
    return [table(caption, cells[0], cells[1:])] if cells else []


def _share(value: float, between: Interval) -> str:
    return f"{value:.4f} ({between[0]:.4f} to {between[1]:.4f})" if value == value else "-"

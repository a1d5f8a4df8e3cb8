# SPDX-License-Identifier: Apache-2.0
"""Confusion counts and shares at the thresholds in force, as a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tinyfin.pages.blocks import Block, count, table
from tinyfin.pages.scorers import population_name

__all__ = ["COUNTS", "SHARES", "interval_words", "share_text", "threshold_cells", "threshold_table"]

Thresholds = Mapping[str, Mapping[str, Any]]

COUNTS = {
    "true_positives": "frauds alerted",
    "false_negatives": "frauds missed",
    "false_positives": "genuine alerted",
    "true_negatives": "genuine accepted",
}
SHARES = {"precision": "precision", "recall": "recall", "f1": "F1", "accuracy": "accuracy"}


def interval_words(drawn: str) -> str:
    """How the intervals are made (:mod:`tinyfin.training.confusion`)."""
    return f"95 % intervals: bootstrap over {drawn}, never narrower than Wilson's"


def threshold_cells(thresholds: Thresholds) -> list[list[str]]:
    """A column per action and population: the head, then a row per count and share. Empty without
    a threshold in force."""
    columns = [
        [
            f"{action.replace('_', ' ')}, {population_name(population)}",
            *(count(m[name]) for name in COUNTS),
            *(share_text(m, name) for name in SHARES),
        ]
        for action, populations in thresholds.items()
        for population, m in populations.items()
    ]
    names = ["", *COUNTS.values(), *SHARES.values()]
    return [list(row) for row in zip(names, *columns, strict=True)] if columns else []


def threshold_table(caption: str, thresholds: Thresholds) -> list[Block]:
    """Nothing without a threshold in force."""
    cells = threshold_cells(thresholds)
    return [table(caption, cells[0], cells[1:])] if cells else []


def share_text(m: Mapping[str, Any], name: str) -> str:
    """A share with its interval."""
    value = m[name]
    if value is None or value != value:
        return "-"
    low, high = m[f"{name}_interval"]
    return f"{value:.4f} ({low:.4f} to {high:.4f})"

# SPDX-License-Identifier: Apache-2.0
"""Groups of one's own: figures by the values of columns that no model sees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tinyfin.config import Config
from tinyfin.data.side_columns import SideColumn, read_side_columns, require_side_columns
from tinyfin.data.transactions import Transactions
from tinyfin.errors import DataError
from tinyfin.evaluation.fold_scores import FoldScores
from tinyfin.evaluation.ratios import Counts, risk_ratio, worst_ratios
from tinyfin.evaluation.summary import promised
from tinyfin.results.evaluation import GroupFigures, GroupValue, ProxyFigures

__all__ = ["MISSING", "OTHER", "Group", "group_figures", "read_groups", "require_groups"]

MOST_VALUES = 12
MOST_NUMBERS = 50
OTHER, MISSING = "other", "missing"


@dataclass(frozen=True)
class Group:
    """A column of the files as few values, n rows."""

    column: str
    values: tuple[str, ...]
    """At most MOST_VALUES, the most frequent first, then ``other`` and ``missing``, if any."""
    code: npt.NDArray[np.int64]
    """Index into ``values``."""


def require_groups(config: Config, paths: Sequence[str | Path]) -> None:
    """DataError unless every file has the columns of [evaluate] slices."""
    require_side_columns(paths, _wanted(config), config.data)


def read_groups(config: Config, paths: Sequence[str | Path], tx: Transactions) -> dict[str, Group]:
    """The groups of [evaluate] slices by name, a code for each transaction.

    Raises DataError for a column that is not there, holds card numbers, or more than MOST_NUMBERS
    different numbers.
    """
    found = read_side_columns(paths, _wanted(config), config.data, tx.row)
    slices = config.evaluate.slices
    return {
        name: _grouped(slices[name], name, paths[0], column)
        for name, column in zip(slices, found.values(), strict=True)
    }


def _wanted(config: Config) -> dict[str, str]:
    return {f"evaluate.slices.{name}": column for name, column in config.evaluate.slices.items()}


def _grouped(column: str, name: str, path: str | Path, found: SideColumn) -> Group:
    counts = np.bincount(found.code[found.code >= 0], minlength=len(found.words))
    words = [found.words[i] for i in np.flatnonzero(counts)]
    if len(words) > MOST_NUMBERS and all(map(_is_number, words)):
        raise DataError(
            f"{path}: column {column!r}, wanted for evaluate.slices.{name}, holds {len(words)} "
            "different numbers, and a group has few values: write a column of ranges, such as "
            "18-29 and 30-44, and name that one"
        )
    top = np.argsort(-counts, kind="stable")[:MOST_VALUES]
    top = top[counts[top] > 0]
    values = [found.words[i] for i in top.tolist()]
    place = np.empty(len(found.words) + 1, np.int64)
    if len(words) > len(values):
        place[:] = _place(values, OTHER)
    place[top] = np.arange(len(top))
    if np.any(found.code < 0):
        place[-1] = _place(values, MISSING)
    return Group(column, tuple(values), place[found.code])


def _place(values: list[str], name: str) -> int:
    """Where a name stands; it is added when it does not."""
    if name not in values:
        values.append(name)
    return values.index(name)


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def group_figures(
    tx: Transactions,
    scored: Sequence[FoldScores],
    groups: Mapping[str, Group],
    proxies: Mapping[str, ProxyFigures | None],
) -> dict[str, GroupFigures]:
    """Figures of each value against all other rows, by group: alerts of the int8 model over all
    folds, each row as the first fold that tests it has it."""
    rows = np.concatenate([s.rows for s in scored])
    once = np.zeros(len(rows), bool)
    once[np.unique(rows, return_index=True)[1]] = True
    alert = np.concatenate([s.advice for s in scored]) > 0
    fraud = tx.label[rows] == 1
    ends = np.cumsum([len(s.rows) for s in scored])[:-1]
    calibrated = all(s.calibrated for s in scored)
    out = {}
    for name, group in groups.items():
        code = group.code[rows]
        values: dict[str, GroupValue] = {}
        false_alerts: dict[str, Counts] = {}
        detected: dict[str, Counts] = {}
        for i, value in enumerate(group.values):
            own = (code == i) & once
            if not np.any(own):
                continue
            rest = (code != i) & once
            false_alerts[value] = _counts(alert, own & ~fraud, rest & ~fraud)
            detected[value] = _counts(alert, own & fraud, rest & fraud)
            alerts = int(np.count_nonzero(alert & own))
            everything = int(np.count_nonzero(alert & once))
            values[value] = GroupValue(
                rows=int(np.count_nonzero(own)),
                frauds=detected[value].rows,
                alerts=alerts,
                alert_share=_share(alerts, everything),
                recall=_share(detected[value].events, detected[value].rows),
                recall_ratio=risk_ratio(detected[value]),
                false_alerts_per_1000=1000
                * _share(false_alerts[value].events, false_alerts[value].rows),
                false_alert_ratio=risk_ratio(false_alerts[value]),
                calibration=promised(tx, scored, np.split(own, ends)) if calibrated else None,
            )
        out[name] = GroupFigures(
            column=group.column,
            values=values,
            worst=worst_ratios(false_alerts, detected),
            proxies=proxies[name],
        )
    return out


def _counts(
    alert: npt.NDArray[np.bool_], own: npt.NDArray[np.bool_], rest: npt.NDArray[np.bool_]
) -> Counts:
    return Counts(*(int(np.count_nonzero(m)) for m in (alert & own, own, alert & rest, rest)))


def _share(events: int, rows: int) -> float:
    return events / rows if rows else float("nan")

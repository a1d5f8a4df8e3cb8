# SPDX-License-Identifier: Apache-2.0
"""What the data of an evaluation holds: cards, currencies, types, labels and frauds by week."""

from __future__ import annotations

from typing import Literal

import numpy as np

from tinyfin.data.transactions import Transactions, format_time
from tinyfin.results.model_risk import DataContents, WeekShare

__all__ = ["QUANTILES", "contents"]

QUANTILES = {"least": 0.0, "10 %": 0.1, "median": 0.5, "90 %": 0.9, "99 %": 0.99, "most": 1.0}
_WEEK_S = 7 * 86_400


def contents(tx: Transactions) -> DataContents:
    """Counted over all rows; weeks are seven days from the day of the first row on."""
    cards = None
    if "token" in tx.schema.names and bool(np.any(tx.has("token"))):
        cards = len(np.unique(tx.column("token")[tx.has("token")]))
    delay = (tx.label_known_s.astype(np.int64) - tx.t_mono_s.astype(np.int64)) / 86_400
    kinds: tuple[tuple[Literal["fraud", "genuine"], int], ...] = (("fraud", 1), ("genuine", 0))
    types = (
        tx.schema.field("transaction_type").values if "transaction_type" in tx.schema.names else ()
    )
    return DataContents(
        cards=cards,
        currencies={str(code): n for code, n in _counts(tx, "currency").items()},
        transaction_types={
            types[code] if types else str(code): n
            for code, n in _counts(tx, "transaction_type").items()
        },
        label_delay_days={
            kind: dict(
                zip(
                    QUANTILES,
                    np.quantile(delay[tx.label == value], [*QUANTILES.values()]).tolist(),
                    strict=True,
                )
            )
            for kind, value in kinds
            if np.any(tx.label == value)
        },
        weeks=_weeks(tx),
    )


def _counts(tx: Transactions, name: str) -> dict[int, int]:
    """Rows by the value of a field, the most frequent first."""
    if name not in tx.schema.names:
        return {}
    values, counts = np.unique(tx.column(name)[tx.has(name)], return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return {int(values[i]): int(counts[i]) for i in order}


def _weeks(tx: Transactions) -> list[WeekShare]:
    t = tx.t_mono_s.astype(np.int64)
    begin = int(t.min()) // 86_400 * 86_400
    week = (t - begin) // _WEEK_S
    out = []
    for i in np.unique(week).tolist():
        label = tx.label[week == i]
        labelled, frauds = int(np.count_nonzero(label >= 0)), int(np.count_nonzero(label == 1))
        out.append(
            WeekShare(
                begin=format_time(begin + i * _WEEK_S)[:10],
                rows=len(label),
                labelled=labelled,
                frauds=frauds,
                share=frauds / labelled if labelled else float("nan"),
            )
        )
    return out

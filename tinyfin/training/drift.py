# SPDX-License-Identifier: Apache-2.0
"""How far transactions are from those that a model was made from, column by column.

Both statistics compare the shares of the same bins. The population stability index is the sum of
(q - p) ln(q / p): N. Siddiqi, Credit Risk Scorecards (2006), ch. 9, which also has the usual
limits, 0.1 and 0.25; it is the symmetric divergence of H. Jeffreys (1946). The Jensen-Shannon
distance, from 0 to 1, is the square root of the divergence to the mean of both in bits: J. Lin,
Divergence Measures Based on the Shannon Entropy (1991); D. M. Endres and J. E. Schindelin (2003).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tinyfin.data.transactions import Transactions
from tinyfin.pack.maps import InputMap
from tinyfin.results.monitor import ColumnDrift, State
from tinyfin.results.reference import ColumnBins, Reference
from tinyfin.training.notices import FEW
from tinyfin.training.reference import Binning
from tinyfin.twin import Replay

if TYPE_CHECKING:
    from tinyfin.config import Monitor
    from tinyfin.schema import Schema

__all__ = [
    "DriftCount",
    "chance_index",
    "far_warning",
    "jensen_shannon",
    "stability_index",
    "week_of",
]

WEEK_S = 7 * 86_400
_MONDAY_S = 2 * 86_400
"""2000-01-01 was a Saturday."""
_Z_99 = 2.3263
"""Of the normal distribution, one-sided."""
_NAMED = 5

Counts = npt.NDArray[np.int64]


def stability_index(before: Sequence[float] | Counts, after: Sequence[float] | Counts) -> float:
    """Population stability index of rows by bin. A bin that is empty on one side counts as half a
    row there, one that is empty on both not at all; NaN without rows on a side."""
    p, q = np.asarray(before, np.float64), np.asarray(after, np.float64)
    n, m = p.sum(), q.sum()
    if not n or not m:
        return float("nan")
    kept = (p > 0) | (q > 0)
    p, q = np.maximum(p[kept], 0.5) / n, np.maximum(q[kept], 0.5) / m
    return float(np.sum((q - p) * np.log(q / p)))


def jensen_shannon(before: Sequence[float] | Counts, after: Sequence[float] | Counts) -> float:
    """Jensen-Shannon distance of rows by bin, 0 to 1; NaN without rows on a side."""
    p, q = np.asarray(before, np.float64), np.asarray(after, np.float64)
    if not p.sum() or not q.sum():
        return float("nan")
    p, q = p / p.sum(), q / q.sum()
    middle = (p + q) / 2
    bits = [np.sum(x[x > 0] * np.log2(x[x > 0] / middle[x > 0])) for x in (p, q)]
    return float(np.sqrt(max(0.0, sum(bits) / 2)))


def chance_index(bins: int, before: int, after: int) -> float:
    """What the stability index of equal distributions passes once in a hundred times, with so many
    rows: it is near a chi-square of ``bins - 1`` degrees of freedom times 1/before + 1/after
    (B. Yurdakul and J. Naranjo, Statistical Properties of the Population Stability Index, 2020)."""
    if not before or not after:
        return float("inf")
    return _chi_square(max(bins - 1, 1)) * (1 / before + 1 / after)


def _chi_square(degrees: int) -> float:
    """What a chi-square passes once in a hundred times, to 1 %: E. B. Wilson and M. M. Hilferty,
    The Distribution of Chi-Square (1931)."""
    ninth = 2 / (9 * degrees)
    return degrees * (1 - ninth + _Z_99 * math.sqrt(ninth)) ** 3


def week_of(t_s: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    """Number of the week, from Monday, of times in seconds since 2000-01-01."""
    return (t_s.astype(np.int64) - _MONDAY_S) // WEEK_S


def week_begin_s(week: int) -> int:
    """First second of a week."""
    return week * WEEK_S + _MONDAY_S


class DriftCount:
    """Rows by week and bin of every column of a reference, counted chunk by chunk."""

    def __init__(
        self, reference: Reference, maps: Sequence[InputMap], label_fed: Collection[str] = ()
    ) -> None:
        self.columns = reference.columns
        self._maps = {c.name: m for c, m in zip(reference.inputs, maps, strict=True)}
        self._at = {column.name: i for i, column in enumerate(reference.inputs)}
        self._label_fed = frozenset(label_fed)
        self._binning = [Binning(column) for column in self.columns]
        self._codes = np.arange(-128, 128)
        self.weeks: dict[int, list[Counts]] = {}
        self._schema: Schema | None = None
        self._rows = self._lacking = 0

    def add(
        self,
        tx: Transactions,
        replay: Replay | None,
        own: npt.NDArray[np.bool_],
        lacking: npt.NDArray[np.bool_],
    ) -> None:
        """The rows ``own`` of a chunk; ``replay`` may be None where the reference has fields alone.

        Inputs that notices move are not compared where more than
        :data:`~tinyfin.training.notices.FEW` of the rows lacked some: they do not move there."""
        if not own.any():
            return
        self._schema = tx.schema
        self._rows += int(np.count_nonzero(own))
        self._lacking += int(np.count_nonzero(lacking & own))
        weeks, code = np.unique(week_of(tx.t_mono_s[own]), return_inverse=True)
        for week in weeks.tolist():
            self.weeks.setdefault(week, [np.zeros(b.bins, np.int64) for b in self._binning])
        for i, (column, binning) in enumerate(zip(self.columns, self._binning, strict=True)):
            found = code * binning.bins + self._bins(column, binning, tx, replay, own)
            counts = np.bincount(found, minlength=len(weeks) * binning.bins)
            for week, row in zip(weeks.tolist(), counts.reshape(-1, binning.bins), strict=True):
                self.weeks[week][i] += row

    def _bins(
        self,
        column: ColumnBins,
        binning: Binning,
        tx: Transactions,
        replay: Replay | None,
        own: npt.NDArray[np.bool_],
    ) -> npt.NDArray[np.int64]:
        if column.kind == "field":
            return binning.of(tx.column(column.name)[own], tx.has(column.name)[own])
        if replay is None:
            raise ValueError("inputs and scores need what the engine answered")
        if column.kind == "score":
            return binning.of(replay.score_q32[own])
        codes = self._maps[column.name].evaluate(replay.features[own, self._at[column.name]])
        return binning.of(self._codes)[codes.astype(np.int64) + 128]

    def measure(self, limits: Monitor) -> list[ColumnDrift]:
        """Each column against its reference, the one that drifted most first; the score before
        all others."""
        out = [self._measured(i, column, limits) for i, column in enumerate(self.columns)]
        return sorted(
            out, key=lambda c: (c.kind != "score", not c.stability_index >= 0, -c.stability_index)
        )

    def _measured(self, i: int, column: ColumnBins, limits: Monitor) -> ColumnDrift:
        by_week = {week: counts[i] for week, counts in sorted(self.weeks.items())}
        fed = column.kind == "input" and column.name in self._label_fed
        if fed and self._lacking > FEW * self._rows:
            by_week = {week: np.zeros_like(counts) for week, counts in by_week.items()}
        found = sum(by_week.values(), np.zeros(len(column.rows), np.int64))
        trained = np.array(column.rows, np.int64)
        weekly = [
            stability_index(trained, row) if _enough(trained, row, limits) else float("nan")
            for row in by_week.values()
        ]
        n, m = int(trained.sum()), int(found.sum())
        return ColumnDrift(
            name=column.name,
            kind=column.kind,
            state=_state(trained, found, limits),
            rows=m,
            trained_rows=n,
            stability_index=stability_index(trained, found),
            jensen_shannon=jensen_shannon(trained, found),
            by_week=weekly,
            bins=self._names(column),
            trained=(trained / max(n, 1)).tolist(),
            found=(found / max(m, 1)).tolist(),
        )

    def _names(self, column: ColumnBins) -> list[str]:
        """The bins in words."""
        text: Mapping[int, str] = {}
        edges: list[float] = list(column.edges)
        if column.kind == "score":
            edges = [edge / 2.0**32 for edge in column.edges]
        elif column.kind == "input":
            x = np.arange(-32768, 32768)
            codes = self._maps[column.name].evaluate(x).astype(np.int64)
            edges = [int(x[np.searchsorted(codes, e, "right") - 1]) for e in column.edges]
            text = {v: _span(x[codes == v]) for v in column.values}
        elif self._schema is not None:
            text = dict(enumerate(self._schema.field(column.name).values))
        if column.values:
            names = [text.get(v, str(v)) for v in column.values]
            names += ["less usual ones", "not seen in training"]
        elif edges:
            shown = [f"{edge:.3g}" if column.kind == "score" else f"{edge:,}" for edge in edges]
            between = [f"above {a} to {b}" for a, b in pairwise(shown)]
            names = [f"up to {shown[0]}", *between, f"above {shown[-1]}"]
        else:
            names = ["there"]
        return [*names, "missing"] if column.kind == "field" else names


def _span(x: npt.NDArray[np.int64]) -> str:
    """The feature's values of an input code."""
    if not len(x):
        return "none"
    low, high = int(x[0]), int(x[-1])
    if low == high:
        return f"{low:,}"
    if low == -32768:
        return f"up to {high:,}"
    return f"from {low:,}" if high == 32767 else f"{low:,} to {high:,}"


def _enough(before: Counts, after: Counts, limits: Monitor) -> bool:
    bins = int(np.count_nonzero((before > 0) | (after > 0)))
    n, m = int(before.sum()), int(after.sum())
    return m >= limits.min_rows and chance_index(bins, n, m) < limits.psi_warning


def _state(before: Counts, after: Counts, limits: Monitor) -> State:
    if not _enough(before, after, limits):
        return "too_few_rows"
    index = stability_index(before, after)
    if index >= limits.psi_failed:
        return "failed"
    return "warning" if index >= limits.psi_warning else "ok"


def far_warning(drift: DriftCount, limits: Monitor) -> str | None:
    """What to say of transactions that are far from training's; None of others."""
    far = [column for column in drift.measure(limits) if column.state == "failed"]
    if not far:
        return None
    named = ", ".join(f"{c.name} {c.stability_index:.2f}" for c in far[:_NAMED])
    more = f" and {len(far) - _NAMED} more" if len(far) > _NAMED else ""
    return (
        "WARNING: these transactions are far from those that the model was made from "
        f"(population stability index: {named}{more}); `tinyfin monitor` says more"
    )

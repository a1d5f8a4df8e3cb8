# SPDX-License-Identifier: Apache-2.0
"""Figures by kind of transaction, and which kinds fall behind the whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from tinyfin.data.transactions import Transactions
from tinyfin.results.evaluation import SliceFigures
from tinyfin.training.bootstrap import Z, wilson

__all__ = ["FEWEST", "by_slice", "slices_of"]

FEWEST = 20
"""Frauds that a slice must have before it is called behind."""
_MOST = 12

Mask = npt.NDArray[np.bool_]


def slices_of(tx: Transactions, rows: npt.NDArray[np.int64]) -> Iterator[tuple[str, str, Mask]]:
    """Name of the kind, name of the slice, bool over ``rows``: only kinds that split the rows."""
    for kind, code, names in _kinds(tx, rows):
        present = [c for c in range(len(names)) if np.any(code == c)]
        if len(present) > 1:
            for c in present:
                yield kind, names[c], code == c


def by_slice(
    tx: Transactions,
    rows: npt.NDArray[np.int64],
    alert: Mask,
    probability: npt.NDArray[np.float64],
    kept: Callable[[Mask], bool],
) -> list[SliceFigures]:
    """Per slice: rows, frauds, recall, false alerts per 1,000, expected frauds; ``behind`` why.

    A slice with at least FEWEST frauds is behind when its whole 95 % interval of recall (Wilson) is
    below the recall of all rows, or its observed frauds are more than a quarter of them away from
    those that its probabilities promise and the promise is not ``kept``: bool of a mask over
    ``rows``, the 95 % interval of :mod:`tinyfin.evaluation.calibration_interval`.
    """
    fraud = tx.label[rows] == 1
    whole = float(np.mean(alert[fraud])) if np.any(fraud) else float("nan")
    out = []
    for kind, name, mask in slices_of(tx, rows):
        bad, good = mask & fraud, mask & ~fraud
        frauds = int(np.count_nonzero(bad))
        recall = float(np.mean(alert[bad])) if frauds else float("nan")
        expected = float(np.sum(probability[mask]))
        spread = Z * float(np.sqrt(np.sum(probability[mask] * (1 - probability[mask]))))
        why = []
        if frauds >= FEWEST:
            if wilson(recall, frauds)[1] < whole:
                why.append("recall")
            off = abs(frauds - expected)
            # no comparison holds where there is no probability (NaN); rows taken as independent
            # give the narrowest interval: what is within that needs no closer look
            if off > 0.25 * frauds and off > spread and not kept(mask):
                why.append("calibration")
        out.append(
            SliceFigures(
                kind=kind,
                slice=name,
                rows=int(np.count_nonzero(mask)),
                frauds=frauds,
                recall=recall,
                false_alerts_per_1000=1000.0 * float(np.mean(alert[good]))
                if np.any(good)
                else float("nan"),
                expected=expected,
                behind=why,
            )
        )
    return out


def _kinds(
    tx: Transactions, rows: npt.NDArray[np.int64]
) -> Iterator[tuple[str, npt.NDArray[np.int64], Sequence[str]]]:
    names = tx.schema.names
    if "entry_mode" in names:
        i = tx.schema.index("entry_mode")
        values = tuple(tx.schema.fields[i].values)
        code = np.where(tx.has("entry_mode")[rows], tx.column("entry_mode")[rows], len(values))
        yield "entry mode", code.astype(np.int64), (*values, "absent")
    if "mcc" in names and np.any(tx.has("mcc")[rows]):
        yield "MCC", *_frequent(tx.column("mcc")[rows].astype(np.int64))
    if "amount_minor" in names:
        amount = tx.column("amount_minor")[rows].astype(np.int64)
        cuts = [1000, 3000, 10_000, 30_000]
        labels = (
            "up to 1,000",
            "1,000 to 3,000",
            "3,000 to 10,000",
            "10,000 to 30,000",
            "over 30,000",
        )
        yield "amount, minor units", np.searchsorted(cuts, amount, side="left"), labels
    if len(tx.terminals) > 1:
        first = np.full(len(tx.terminals), np.iinfo(np.int64).max)
        np.minimum.at(first, tx.terminal, tx.t_mono_s.astype(np.int64))
        age = (tx.t_mono_s[rows].astype(np.int64) - first[tx.terminal[rows]]) // 86_400
        ages = ("under 7 days", "7 to 30 days", "30 to 90 days", "over 90 days")
        yield "terminal age", np.searchsorted([7, 30, 90], age, side="right"), ages
    if "amount_minor" in names:
        hour = (tx.t_local_s[rows].astype(np.int64) % 86_400) // 21_600
        yield "hour", hour, ("0 to 6", "6 to 12", "12 to 18", "18 to 24")


def _frequent(values: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], Sequence[str]]:
    """The most frequent values by name, the rest together."""
    found, code, counts = np.unique(values, return_inverse=True, return_counts=True)
    top = np.argsort(-counts, kind="stable")[:_MOST]
    place = np.full(len(found), len(top), np.int64)
    place[top] = np.arange(len(top))
    return place[code], [*(str(v) for v in found[top].tolist()), "others"]

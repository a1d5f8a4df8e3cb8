# SPDX-License-Identifier: Apache-2.0
"""Frauds that probabilities promise, and how far from that the number that comes may be.

Were rows independent and the probabilities exact, the number would vary by sum p(1-p). Neither is
so. Rows of one card or of one terminal go the same way: what is left over (fraud - p) multiplied
pair by pair, over all pairs of one card or one terminal, estimates what that adds (Cameron, Gelbach
and Miller, Robust Inference with Multiway Clustering, 2011; Liang and Zeger 1986). And the table of
probabilities was itself fitted to few frauds: each row it was fitted to takes part with the amount
by which its label moves the sum (the delta method), and shares cards and terminals like any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tinyfin.results.evaluation import Promised
from tinyfin.training.alert_metrics import expected_and_observed

__all__ = ["Terms", "joined", "promise"]

Floats = npt.NDArray[np.float64]
_Z = 1.96


@dataclass(frozen=True)
class Terms:
    """Rows whose labels have a part in observed - expected, n of them."""

    row: npt.NDArray[np.int64]
    """Which row of the data; the same one may be here several times."""
    weight: Floats
    """By how much observed - expected rises when the row is fraud."""
    fraud: npt.NDArray[np.bool_]
    probability: Floats


def joined(terms: Sequence[Terms]) -> Terms:
    """All terms as one."""
    return Terms(
        np.concatenate([t.row for t in terms]),
        np.concatenate([t.weight for t in terms]),
        np.concatenate([t.fraud for t in terms]),
        np.concatenate([t.probability for t in terms]),
    )


def promise(
    tested: Terms, learned: Terms | None = None, groups: Sequence[npt.NDArray[np.integer]] = ()
) -> Promised:
    """Expected and observed frauds of the rows ``tested`` (weight 1), with two 95 % intervals.

    ``low``, ``high``, ``within``: for rows that share the ``groups`` (one or two arrays over the
    rows of the data: cards, terminals), the uncertainty of the table included where the rows that
    it was ``learned`` from are given (their weight: minus what a fraud more there adds to what is
    expected). ``independent_low``, ``independent_high``, ``within_independent``: sum p(1-p) alone.
    The first is never narrower than the second.
    """
    out = expected_and_observed(tested.probability, tested.fraud)
    alone = float(np.sum(tested.probability * (1.0 - tested.probability)))
    terms = tested if learned is None else joined([tested, learned])
    own, shared = _variances(terms, groups)
    spread = float(np.sqrt(max(alone, own) + max(0.0, shared)))
    low, high = max(0.0, out.expected - _Z * spread), out.expected + _Z * spread
    return Promised(
        **out.model_dump(),
        low=low,
        high=high,
        within=low <= out.observed <= high,
        standard_deviation=spread,
        independent_standard_deviation=float(np.sqrt(alone)),
    )


def _variances(terms: Terms, groups: Sequence[npt.NDArray[np.integer]]) -> tuple[float, float]:
    """Variance of the sum of weight * (fraud - p), rows taken as independent; and what pairs of
    different rows of one group add."""
    rows, at = np.unique(terms.row, return_inverse=True)
    weight = np.bincount(at, terms.weight)
    p = np.bincount(at, terms.probability) / np.bincount(at)
    own = float(np.sum(weight**2 * p * (1.0 - p)))
    left = np.bincount(at, terms.weight * (terms.fraud - terms.probability)).astype(np.float64)
    codes = [np.unique(g[rows], return_inverse=True)[1] for g in groups]
    squares = float(np.sum(left**2))
    shared = sum((_squares(left, code) - squares for code in codes), 0.0)
    if len(codes) == 2:
        both = codes[0].astype(np.int64) * (int(codes[1].max(initial=0)) + 1) + codes[1]
        shared -= _squares(left, np.unique(both, return_inverse=True)[1]) - squares
    return own, shared


def _squares(left: Floats, group: npt.NDArray[np.integer]) -> float:
    return float(np.sum(np.bincount(group, left) ** 2)) if len(left) else 0.0

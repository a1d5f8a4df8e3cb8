# SPDX-License-Identifier: Apache-2.0
"""The section DRFT of a pack, made of what healthy terminals saw at release."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from tinyfin.errors import InputError
from tinyfin.pack.drift import MAX_BINS, MONITOR_HEAD, DriftSection, FeatureHistogram, Histogram
from tinyfin.pack.two_samples import chi_square, chi_square_quantile

__all__ = ["LARGE_BYTES", "QUANTILE", "SMALL_BYTES", "drift_section", "quantile_edges"]

LARGE_BYTES, SMALL_BYTES = 640, 100
"""Memory that the terminal application keeps for a monitor; the second one in 8 kB of RAM."""

QUANTILE = 0.999
"""Of the differences between windows of healthy terminals, which an inflation brings to that of a
chi-square."""

Counts = NDArray[np.int64]


def drift_section(
    features: NDArray[np.int16],
    scores: NDArray[np.uint32],
    terminal: NDArray[np.integer],
    t_s: NDArray[np.integer],
    *,
    most_bytes: int = LARGE_BYTES,
    score_bins: int = 16,
    feature_bins: int = 8,
    score_edges: Sequence[int] = (),
    importance: Sequence[float] | None = None,
    window: int = 500,
) -> DriftSection:
    """Edges, weights and inflations of ``n`` events that healthy terminals scored.

    features: int16[n, features]; scores: ``score_q32``, uint32[n]; terminal: int[n]; t_s: int[n],
    the order of a terminal's events. A terminal's monitor takes ``most_bytes`` at most: the
    score's bins, then features, the most important first, for which there is space. score_edges: of
    ``score_q32``, that the score's bins have in any case. importance:
    float[features]; if None, the mutual information of feature and score by bins, in bits. A
    feature that has one value alone is left out. Where values repeat there are fewer bins.

    The inflation is measured on windows of ``window`` events, each against all of the same terminal
    before it: the quantile :data:`QUANTILE` of their chi-square, over that of the distribution (the
    largest where there are fewer than a thousand). Raises InputError for no events, scores that are
    all the same, and memory that is too small.
    """
    if not len(scores):
        raise InputError("drift: no events; give the events of a period")
    order = np.lexsort((t_s, terminal))
    features, scores, terminal = features[order], scores[order], terminal[order]
    wanted = {int(edge) for edge in score_edges if scores.min() < edge}
    free = min(score_bins, MAX_BINS) - len(wanted)
    edges = tuple(sorted(wanted.union(quantile_edges(scores, free))))
    space = most_bytes - MONITOR_HEAD - 2 * (len(edges) + 1)
    if not edges or space < 0:
        raise InputError(
            "drift: all scores are the same; give events that differ"
            if not edges
            else f"drift: {most_bytes} bytes are too few for {len(edges) + 1} bins of the score; "
            "give more, or fewer bins"
        )
    bounds = np.flatnonzero(np.diff(terminal, prepend=terminal[0] - 1, append=terminal[-1] + 1))
    code = _bins(scores, edges)
    score = Histogram(edges, *_weights_and_inflation(code, len(edges) + 1, bounds, window))
    found = []
    for index in range(features.shape[1]):
        if own := quantile_edges(features[:, index], min(feature_bins, MAX_BINS)):
            bins = _bins(features[:, index], own)
            worth = importance[index] if importance is not None else _information(code, bins)
            found.append((-float(worth), index, own, bins))
    chosen = []
    for _, index, own, bins in sorted(found, key=lambda row: row[:2]):
        if 2 * (len(own) + 1) <= space:
            space -= 2 * (len(own) + 1)
            what = _weights_and_inflation(bins, len(own) + 1, bounds, window)
            chosen.append(FeatureHistogram(own, *what, index))
    return DriftSection(score, tuple(sorted(chosen, key=lambda h: h.feature)))


def quantile_edges(values: NDArray[np.integer], bins: int) -> tuple[int, ...]:
    """At most ``bins - 1`` edges between bins of like many values, none with less than a quarter of
    an equal share."""
    distinct, counts = np.unique(values, return_counts=True)
    edges: list[int] = []
    left, held, least = len(values), 0, len(values) / (4 * bins)
    for value, count in zip(distinct[1:].tolist(), counts[:-1].tolist(), strict=True):
        held += count
        enough = held * (bins - len(edges)) >= left and min(held, left - held) >= least
        if len(edges) < bins - 1 and enough:
            edges.append(int(value))
            left, held = left - held, 0
    return tuple(edges)


def _bins(values: NDArray[np.integer], edges: tuple[int, ...]) -> Counts:
    found = np.searchsorted(np.asarray(edges, np.int64), values.astype(np.int64), side="right")
    return found.astype(np.int64)


def _information(a: Counts, b: Counts) -> float:
    """Mutual information of two codes in bits."""
    joint = np.zeros((a.max() + 1, b.max() + 1))
    np.add.at(joint, (a, b), 1 / len(a))
    outer = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    there = joint > 0
    return float(np.sum(joint[there] * np.log2(joint[there] / outer[there])))


def _weights_and_inflation(
    code: Counts, bins: int, bounds: Counts, window: int
) -> tuple[tuple[int, ...], int]:
    counts = np.bincount(code, minlength=bins)
    scaled = np.round(counts * (65535 / counts.max()))
    weights = np.where(counts > 0, np.maximum(scaled, 1), 0)
    ratios = sorted(_ratios(code, bins, bounds, window))
    inflation = 1.0
    if ratios:
        inflation = max(1.0, ratios[min(int(QUANTILE * len(ratios)), len(ratios) - 1)])
    return tuple(int(w) for w in weights), min(int(np.ceil(256 * inflation)), 65535)


def _ratios(code: Counts, bins: int, bounds: Counts, window: int) -> Iterator[float]:
    """Of each window against its terminal's past: chi-square over the quantile of chance."""
    for first, last in itertools.pairwise(bounds):
        past = np.zeros(bins, np.int64)
        for at in range(int(first), int(last) - window + 1, window):
            now = np.bincount(code[at : at + window], minlength=bins)
            if past.any():
                statistic, degrees = chi_square(past, now)
                if degrees:
                    yield statistic / chi_square_quantile(QUANTILE, degrees)
            past += now

# SPDX-License-Identifier: Apache-2.0
"""DRFT: what a terminal counts of its model, and how it was at release (formats/probation.md)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinyfin.errors import PackError
from tinyfin.features.compiler import MAX_FEATURES

__all__ = ["MAX_BINS", "MONITOR_HEAD", "DriftSection", "FeatureHistogram", "Histogram"]

MAX_BINS = 16
MONITOR_HEAD = 16
"""Bytes that a terminal's monitor has before its counts."""
_HEAD = struct.Struct("<BBH")
_NO_INFLATION = 256


@dataclass(frozen=True)
class Histogram:
    """Bins and what they held at release. ``inflation_q8``: how much larger than chi-square the
    difference of two windows of a healthy terminal is, times 256."""

    edges: tuple[int, ...]
    weights: tuple[int, ...]
    inflation_q8: int = _NO_INFLATION

    @property
    def bins(self) -> int:
        """One more than edges."""
        return len(self.weights)

    @property
    def shares(self) -> NDArray[np.float64]:
        """float64[bins]: share of each bin at release."""
        weights = np.asarray(self.weights, np.float64)
        return np.asarray(weights / weights.sum())

    def count(self, values: NDArray[np.integer]) -> NDArray[np.int64]:
        """int64[bins]: how many of the values lie in each bin."""
        bins = np.searchsorted(np.asarray(self.edges, np.int64), values, side="right")
        return np.bincount(bins, minlength=self.bins)


@dataclass(frozen=True)
class FeatureHistogram(Histogram):
    """The same of the feature with this index in the pack."""

    feature: int = 0


@dataclass(frozen=True)
class DriftSection:
    """The section. Raises PackError where it breaks a rule."""

    score: Histogram
    features: tuple[FeatureHistogram, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "features", tuple(self.features))
        if len(self.features) > MAX_FEATURES:
            raise PackError(f"DRFT: {len(self.features)} features; at most {MAX_FEATURES}")
        _check("the score", self.score, 0, 2**32 - 1)
        before = -1
        for h in self.features:
            if not before < h.feature < MAX_FEATURES:
                raise PackError(
                    f"DRFT: feature {h.feature} behind feature {before}: indexes ascend, and are "
                    f"less than {MAX_FEATURES}"
                )
            before = h.feature
            _check(f"feature {h.feature}", h, -(2**15), 2**15 - 1)

    @property
    def histograms(self) -> tuple[Histogram, ...]:
        """The score's, then the features', as a terminal counts them."""
        return (self.score, *self.features)

    def count(
        self, features: NDArray[np.int16], scores: NDArray[np.uint32]
    ) -> list[NDArray[np.int64]]:
        """int64[bins] per histogram of the rows ``features`` [n, features] and ``scores`` [n]."""
        columns: list[NDArray[np.integer]] = [scores]
        columns += [features[:, h.feature] for h in self.features]
        return [h.count(column) for h, column in zip(self.histograms, columns, strict=True)]

    @property
    def device_bytes(self) -> int:
        """Memory of a terminal's monitor (TINYFIN_MONITOR_BYTES)."""
        return MONITOR_HEAD + 2 * sum(h.bins for h in self.histograms)

    def encode(self) -> bytes:
        """The payload."""
        out = _entry(len(self.features), self.score, "I")
        return out + b"".join(_entry(h.feature, h, "h") for h in self.features)

    @classmethod
    def decode(cls, payload: bytes) -> DriftSection:
        """Exact inverse of :meth:`encode`. Raises PackError."""
        count, score, at = _read(payload, 0, "I")
        features = []
        for _ in range(count):
            index, h, at = _read(payload, at, "h")
            features.append(FeatureHistogram(h.edges, h.weights, h.inflation_q8, index))
        if at != len(payload):
            raise PackError(f"DRFT: offset {at}: {len(payload) - at} bytes after the last feature")
        return cls(score, tuple(features))


def _check(what: str, h: Histogram, low: int, high: int) -> None:
    if not 2 <= h.bins <= MAX_BINS or len(h.edges) != h.bins - 1:
        raise PackError(
            f"DRFT: {what} has {len(h.edges)} edges and {h.bins} weights; 2 to {MAX_BINS} weights "
            "and one edge less are needed"
        )
    if any(b <= a for a, b in zip(h.edges, h.edges[1:], strict=False)):
        raise PackError(f"DRFT: the edges of {what} must ascend strictly")
    if not all(low <= edge <= high for edge in h.edges):
        raise PackError(f"DRFT: the edges of {what} must be {low} to {high}")
    if not all(0 <= w <= 65535 for w in h.weights) or not any(h.weights):
        raise PackError(f"DRFT: the weights of {what} must be 0 to 65535, and not all 0")
    if not _NO_INFLATION <= h.inflation_q8 <= 65535:
        raise PackError(f"DRFT: the inflation of {what} must be 1 to 255 (256 to 65535 by 256)")


def _entry(first: int, h: Histogram, edge: str) -> bytes:
    n = h.bins
    head = _HEAD.pack(first, n, h.inflation_q8)
    return head + struct.pack(f"<{n - 1}{edge}{n}H", *h.edges, *h.weights)


def _read(payload: bytes, at: int, edge: str) -> tuple[int, Histogram, int]:
    if len(payload) - at < _HEAD.size:
        raise PackError(f"DRFT: offset {at}: the payload ends within an entry's head")
    first, n, inflation = _HEAD.unpack_from(payload, at)
    if not 2 <= n <= MAX_BINS:
        raise PackError(f"DRFT: offset {at + 1}: {n} bins; 2 to {MAX_BINS}")
    rest = struct.Struct(f"<{n - 1}{edge}{n}H")
    at += _HEAD.size
    if len(payload) - at < rest.size:
        raise PackError(f"DRFT: offset {at}: the payload ends within an entry")
    numbers = rest.unpack_from(payload, at)
    return first, Histogram(numbers[: n - 1], numbers[n - 1 :], inflation), at + rest.size

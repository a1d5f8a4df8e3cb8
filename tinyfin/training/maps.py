# SPDX-License-Identifier: Apache-2.0
"""Feature to int8: a monotone piecewise-linear map per feature, fitted on the rows to learn from.

A feature's map spends its 256 codes where they tell frauds from genuine rows: it follows the mean
of three curves, the distribution among genuine rows, that among frauds, and a straight line between
the 0.1% and 99.9% quantiles. The arithmetic is that of the MAPS section of docs/formats/pack.md.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tinyfin.pack.maps import InputMap

__all__ = ["KNOTS", "fit_maps"]

KNOTS = 12
LOW, HIGH = -128, 127
_ENUMERABLE = 8
_GRID = 129


def fit_maps(
    features: npt.NDArray[np.int16], label: npt.NDArray[np.int8], knots: int = KNOTS
) -> tuple[InputMap, ...]:
    """One map per column of ``features`` int16[n, F]; label 1 is fraud; 2 <= knots <= 32."""
    fraud = label == 1
    return tuple(_fit(features[:, i], fraud, knots) for i in range(features.shape[1]))


def _fit(column: npt.NDArray[np.int16], fraud: npt.NDArray[np.bool_], knots: int) -> InputMap:
    values = np.unique(column).astype(np.int64)
    if len(values) == 1:
        # a constant tells nothing: one code, whatever comes
        x = min(int(values[0]), 32766)
        return InputMap((x, x + 1), (0, 0))
    if len(values) > _GRID:
        inner = np.unique(
            np.concatenate(
                [
                    np.quantile(column[mask], np.linspace(0, 1, _GRID), method="lower")
                    for mask in (~fraud, fraud)
                    if np.any(mask)
                ]
                + [values[[0, -1]]]
            ).astype(np.int64)
        )
    else:
        inner = values
    curve = _curve(column, fraud, inner)
    span = curve[-1] - curve[0]
    y = LOW + (HIGH - LOW) * (curve - curve[0]) / span
    kept = np.arange(len(inner)) if len(inner) <= _ENUMERABLE else _thin(inner, y, knots)
    codes = np.maximum.accumulate(np.rint(y[kept]).astype(np.int64))
    return InputMap(tuple(inner[kept].tolist()), tuple(codes.tolist()))


def _curve(
    column: npt.NDArray[np.int16], fraud: npt.NDArray[np.bool_], at: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    low, high = np.quantile(column, [0.001, 0.999])
    if high <= low:
        low, high = float(at[0]), float(at[-1])
    total = np.clip((at - low) / (high - low), 0.0, 1.0) + 1e-3 * np.linspace(0, 1, len(at))
    for mask in (~fraud, fraud):
        if np.any(mask):
            ordered = np.sort(column[mask])
            below = np.searchsorted(ordered, at, side="left")
            upto = np.searchsorted(ordered, at, side="right")
            total = total + (below + upto) / (2.0 * len(ordered))
    return np.asarray(total, np.float64)


def _thin(
    x: npt.NDArray[np.int64], y: npt.NDArray[np.float64], knots: int
) -> npt.NDArray[np.int64]:
    """Indices of at most ``knots`` points; each new one is where the line so far errs most."""
    kept = [0, len(x) - 1]
    while len(kept) < knots:
        error = np.abs(np.interp(x, x[kept], y[kept]) - y)
        worst = int(np.argmax(error))
        if error[worst] < 0.5:
            break
        kept = sorted({*kept, worst})
    return np.asarray(kept, np.int64)

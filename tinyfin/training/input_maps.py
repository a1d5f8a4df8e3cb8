# SPDX-License-Identifier: Apache-2.0
"""Feature to int8: a monotone piecewise-linear map per feature, fitted on the rows to train on.

A feature's map spends its 256 codes where they separate the classes: it follows the mean
of three curves, the distribution among genuine rows, that among frauds, and a straight line between
the 0.1% and 99.9% quantiles. Families that learn without labels get another curve, which knows
clean rows alone and spends its codes far out. The arithmetic is that of the MAPS section of
docs/formats/pack.md.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tinyfin.pack.maps import InputMap

__all__ = ["KNOTS", "deviations", "fit_maps", "fit_tail_maps"]

KNOTS = 12
LOW, HIGH = -128, 127
_ENUMERABLE = 8
FAR = 30.0
"""Standard deviations from the median at which a tail map ends."""
_TAIL_KNOTS = 16
_GRID = 129


def fit_maps(
    features: npt.NDArray[np.int16], label: npt.NDArray[np.int8], knots: int = KNOTS
) -> tuple[InputMap, ...]:
    """One map per column of ``features`` int16[n, F]; label 1 is fraud; 2 <= knots <= 32."""
    fraud = label == 1
    return tuple(_fit(features[:, i], fraud, knots) for i in range(features.shape[1]))


def fit_tail_maps(
    features: npt.NDArray[np.int16], knots: int = _TAIL_KNOTS
) -> tuple[InputMap, ...]:
    """One map per column of clean rows' ``features`` int16[n, F], for families without labels.

    The code of a value z deviations from the median is 127 asinh(z) / asinh(FAR): straight near the
    middle, logarithmic in the tails, and reaching far beyond what the clean rows show. The
    deviation is that of a normal distribution with the column's 5% and 95% quantiles; the plain one
    where those are equal.
    """
    return tuple(
        _fit_tails(features[:, i].astype(np.float64), knots) for i in range(features.shape[1])
    )


def deviations(code: npt.NDArray[np.number]) -> npt.NDArray[np.float64]:
    """What the codes of a tail map mean: deviations from the median, as far as FAR."""
    return np.asarray(np.sinh(code / 127.0 * np.arcsinh(FAR)), np.float64)


def _fit_tails(column: npt.NDArray[np.float64], knots: int) -> InputMap:
    middle = float(np.median(column))
    low, high = np.quantile(column, [0.05, 0.95])
    deviation = float(high - low) / 3.29 or float(np.std(column)) or 1.0
    ends = np.arcsinh(FAR)
    # even steps of the code, so that the lines between knots err alike everywhere
    z = np.sinh(np.linspace(-ends, ends, 8 * knots + 1))
    x = np.clip(np.rint(middle + deviation * z), -32768, 32767).astype(np.int64)
    x = np.unique(np.r_[x, round(middle)])
    if len(x) == 1:
        x = np.array([x[0], x[0] + 1]) if x[0] < 32767 else np.array([x[0] - 1, x[0]])
    y = np.clip(127.0 * np.arcsinh((x - middle) / deviation) / ends, LOW, HIGH)
    kept = _thin(x, y, knots)
    codes = np.maximum.accumulate(np.rint(y[kept]).astype(np.int64))
    return InputMap(tuple(x[kept].tolist()), tuple(codes.tolist()))


def _fit(column: npt.NDArray[np.int16], fraud: npt.NDArray[np.bool_], knots: int) -> InputMap:
    values = np.unique(column).astype(np.int64)
    if len(values) == 1:
        # a constant says nothing: one code, whatever comes
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

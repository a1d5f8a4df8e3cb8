# SPDX-License-Identifier: Apache-2.0
"""Predicates whose cut training learns: ``amt_over_learned``, or ``cut = "learn"``.

The cut is the split of the fit rows that says most about their labels (information gain, the first
split of a decision tree), written as the roundest number between the two values that it splits. The
numbers that are split come from the terminal's own engine, whatever expression they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from tinyfin.config import Config
from tinyfin.data.transactions import Transactions
from tinyfin.errors import ConfigError
from tinyfin.features.compiler import compile_program
from tinyfin.features.definition import OWN_FEATURE_ID, Feature
from tinyfin.features.expressions import Expression
from tinyfin.features.graph import walk
from tinyfin.features.selection import learned_cuts
from tinyfin.training.chunks import computed_features

__all__ = ["best_cut", "computed_numbers", "learn_cuts", "roundest"]

_LOW, _HIGH = -(2**31), 2**31 - 1
_MARK = 1_918_273_645
"""A cut that no one writes: where it turns up in an expression, the cut goes."""
_PART = 1 << 15
_STRICT = (0, 4)
"""p2 of COMPARE for < and >=: the cut itself belongs to the upper side."""
_FEWEST = 10
"""Rows that each side of a cut must have."""
_UNUSUAL = 0.999

Note = Callable[[str], None]
Makers = Mapping[str, Callable[[int], Feature]]


def learn_cuts(
    config: Config,
    tx: Transactions,
    fit: npt.NDArray[np.int64],
    label: npt.NDArray[np.int8] | None = None,
    *,
    note: Note = lambda _: None,
) -> tuple[Config, dict[str, int]]:
    """The configuration with the cuts that its features learn from the rows ``fit``, and the cuts.

    Labels of other rows take no part; ``label`` int8[n] takes the place of the transactions' (as
    they were known). Without labels of both kinds the cut is the value that one
    row in a thousand exceeds. Raises ConfigError when a cut is not compared with a number of the
    event itself.
    """
    makers = learned_cuts(config.features)
    if not makers:
        return config, {}
    label = (tx.label if label is None else label)[fit]
    cuts: dict[str, int] = {}
    for (name, strict), (x, decided) in zip(
        _relations(makers).items(), _numbers(makers, config, tx, fit), strict=True
    ):
        rows = decided & (label >= 0)
        found = best_cut(x[rows], label[rows], strict=strict)
        if found is None:
            found = int(np.quantile(x[decided], _UNUSUAL, method="lower")) if decided.any() else 0
            note(f"{name}: no split separates the labels; the cut is what one row in 1000 exceeds")
        cuts[name] = found
        note(f"{name}: cut {found}")
    features = config.features.model_copy(update={"cuts": {**config.features.cuts, **cuts}})
    return replace(config, features=features), cuts


def best_cut(
    x: npt.NDArray[np.int64], label: npt.NDArray[np.int8], *, strict: bool = False
) -> int | None:
    """The cut of x[n] with the largest information gain on label[n] (0 or 1); the lowest of equals.

    Rows with x > cut are on one side; with ``strict`` those with x >= cut. None when no split with
    ten rows on each side gains anything.
    """
    values, first = np.unique(np.sort(x), return_index=True)
    if len(values) < 2 or len(np.unique(label)) < 2:
        return None
    frauds = np.concatenate([[0], np.cumsum(label[np.argsort(x, kind="stable")] == 1)])
    below = first[1:].astype(np.float64)
    bad_below = frauds[first[1:]].astype(np.float64)
    n, bad = float(len(x)), float(frauds[-1])
    rest = below * _entropy(bad_below, below)
    rest += (n - below) * _entropy(bad - bad_below, n - below)
    rest[(below < _FEWEST) | (n - below < _FEWEST)] = np.inf
    at = int(np.argmin(rest))
    if not rest[at] < n * _entropy(np.array([bad]), np.array([n]))[0] - 1e-9:
        return None
    low, high = int(values[at]), int(values[at + 1])
    return roundest(low + 1, high) if strict else roundest(low, high - 1)


def roundest(low: int, high: int) -> int:
    """The number from low to high with the most zeros at its end; the lowest of those."""
    if low <= 0 <= high:
        return 0
    step = 1
    while -(-low // (10 * step)) * 10 * step <= high:
        step *= 10
    return -(-low // step) * step


def _entropy(bad: npt.NDArray[np.float64], n: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    p = bad / n
    parts = [np.where(q > 0, -q * np.log2(np.where(q > 0, q, 1)), 0) for q in (p, 1 - p)]
    return np.asarray(parts[0] + parts[1])


def _compared(name: str, make: Callable[[int], Feature]) -> Expression:
    """The one comparison with the cut."""
    whole = make(_MARK).expression
    for x in walk(whole):
        if x.operator.stateful and any(_has_cut(y) for part in x.inputs() for y in walk(part)):
            raise ConfigError(
                f"feature {name!r}: its cut is inside {x.operator.name}, which remembers; training "
                "learns cuts of what an event itself says: give this one as a number"
            )
    marked = [x for x in walk(whole) if _has_cut(x)]
    if len(marked) != 1 or marked[0].operator.name != "COMPARE" or marked[0].p2 in (2, 3):
        raise ConfigError(
            f"feature {name!r}: compare one number with the cut, once, by < <= > or >=: "
            "amount_minor > cut"
        )
    return marked[0]


def _has_cut(x: Expression) -> bool:
    return _MARK in (x.p0, *x.pool)


def _relations(makers: Makers) -> dict[str, bool]:
    return {name: _compared(name, make).p2 in _STRICT for name, make in makers.items()}


def _numbers(
    makers: Makers, config: Config, tx: Transactions, fit: npt.NDArray[np.int64]
) -> list[tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]]:
    """Per cut what it is compared with, int64[fit], and whether it decides the feature there."""
    parts: list[Expression] = []
    for name, make in makers.items():
        number = _compared(name, make).a
        assert number is not None
        parts += [*_halves(number), make(_LOW).expression, make(_HIGH).expression]
    found = _computed(parts, config, tx, fit)
    return [
        (found[:, i] * _PART + found[:, i + 1], found[:, i + 2] != found[:, i + 3])
        for i in range(0, len(parts), 4)
    ]


def computed_numbers(
    numbers: Sequence[Expression], config: Config, tx: Transactions, fit: npt.NDArray[np.int64]
) -> list[npt.NDArray[np.int64]]:
    """Numbers as the terminal's engine computes them, int64[fit] each, within 2^30."""
    parts = [part for number in numbers for part in _halves(number)]
    found = _computed(parts, config, tx, fit)
    return [found[:, i] * _PART + found[:, i + 1] for i in range(0, len(parts), 2)]


def _halves(number: Expression) -> list[Expression]:
    """Features are int16, so a number travels in two: what is beyond 2^30 is as good as 2^30."""
    high = number // _PART
    return [high, number - high * _PART]


def _computed(
    parts: list[Expression], config: Config, tx: Transactions, fit: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Expressions as the terminal's engine computes them, int64[fit, parts]."""
    features = [
        Feature(f"part{i}", OWN_FEATURE_ID + i, 0, "", "", "before", part)
        for i, part in enumerate(parts)
    ]
    program = compile_program(features, config.schema, **config.features.capacities)
    found, _ = computed_features(tx, config, program, "numbers to learn from")
    return np.asarray(found[fit], np.int64)

# SPDX-License-Identifier: Apache-2.0
"""``density``: a table of -log density per feature, summed; it trains on clean rows alone.

Two kinds of terms. ``tails``: -log of the share of clean rows at least as far out on the same side,
the rarer side of the two, so that a value beyond all others is as suspicious as any and a value
between others is not. ``mass``: -log of the share of rows with about that value, for features that
take few values (they may be codes without an order). ``both`` adds the two and halves them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from tinyfin.config import Model
from tinyfin.pack.integer_model import DensityTables
from tinyfin.results.run import FitFacts
from tinyfin.training.families import FittedIntegers, Problem, family_options

__all__ = ["FAMILY", "density_terms"]

STEPS = 16
"""Whole-number steps per nat: a byte reaches 15.9 nats, one in eight million."""
FEW_VALUES = 16
"""Features with at most so many values are given ``mass`` terms unless options say otherwise."""


class DensityOptions(BaseModel):
    """[model.options] of this family."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bits: int = Field(default=7, ge=2, le=8)
    """2^bits entries per table."""
    terms: Literal["auto", "tails", "mass", "both"] = "auto"
    """``auto``: ``mass`` for features of few values, ``tails`` for the others."""


class Density:
    """Counts, nothing else: no seed, no epochs."""

    name = "density"
    supervised = False
    needs: tuple[str, ...] = ()
    usual: Mapping[str, object] = MappingProxyType({})

    def takes_validation(self, model: Model) -> bool:
        """No, as all families that learn without labels."""
        return False

    def fit(
        self, problem: Problem, model: Model, progress: Callable[[int, int, str], None]
    ) -> FittedIntegers:
        """See :class:`tinyfin.training.families.Family`."""
        options = family_options(DensityOptions, model)
        terms = np.stack(
            [density_terms(column, options.bits, options.terms) for column in problem.inputs.T]
        )
        progress(1, 1, "counted")
        tables = DensityTables(np.clip(np.rint(terms * STEPS), 0, 255).astype(np.uint8))
        shift = 8 - options.bits

        def score(inputs: npt.NDArray[np.int8]) -> npt.NDArray[np.float32]:
            index = (inputs.astype(np.int64) + 128) >> shift
            return np.asarray(np.take_along_axis(terms, index.T, axis=1).sum(axis=0), np.float32)

        history = FitFacts(
            fit_rows=len(problem.inputs), terms=options.terms, parameters=int(tables.tables.size)
        )
        return FittedIntegers(tables, score, history)


FAMILY = Density()


def density_terms(
    column: npt.NDArray[np.int8], bits: int, terms: str = "auto"
) -> npt.NDArray[np.float64]:
    """-log density in nats of each of the 2^bits entries, from one feature's codes int8[n]."""
    size = 1 << bits
    n = len(column)
    entry = (column.astype(np.int64) + 128) >> (8 - bits)
    count = np.bincount(entry, minlength=size).astype(np.float64)
    if terms == "auto":
        terms = "mass" if np.count_nonzero(count) <= FEW_VALUES else "tails"
    up_to = np.cumsum(count)
    left = (up_to + 0.5) / (n + 1.0)
    right = (n - up_to + count + 0.5) / (n + 1.0)
    tails = -np.log(np.minimum(np.minimum(left, right), 1.0))
    if terms == "tails":
        return np.asarray(tails)
    mass = _mass(count, n, smooth=bool(np.count_nonzero(count) > FEW_VALUES))
    return mass if terms == "mass" else (tails + mass) / 2.0


def _mass(count: npt.NDArray[np.float64], n: int, smooth: bool) -> npt.NDArray[np.float64]:
    """-log of the share of rows in each entry, less the commonest's: 0 for what is commonest.

    ``smooth`` spreads every row over the neighbouring entries, triangular and five wide: features
    of many values leave holes by chance.
    """
    size = len(count)
    if smooth and size >= 16:
        kernel = np.array([1.0, 2.0, 3.0, 2.0, 1.0]) / 9.0
        count = np.convolve(count, kernel, "same")
    share = (count + 0.5) / (n + 0.5 * size)
    return np.asarray(np.log(share.max()) - np.log(share))

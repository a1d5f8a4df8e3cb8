# SPDX-License-Identifier: Apache-2.0
"""Weights of frauds in the loss by their amounts.

A missed fraud costs its amount, so an error on it counts in proportion to what it costs: C. Elkan,
The Foundations of Cost-Sensitive Learning (2001); B. Zadrozny, J. Langford and N. Abe,
Cost-Sensitive Learning by Cost-Proportionate Example Weighting (2003); A. C. Bahnsen, D. Aouada and
B. Ottersten, Example-Dependent Cost-Sensitive Logistic Regression (2014). The weight of a fraud of
amount a is

    clip(a, q05, q95) ** power / mean over the frauds of clip(a, q05, q95) ** power

where q05 and q95 are quantiles of the frauds' amounts, so that a few large frauds do not decide
alone.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tinyfin.errors import ConfigError

__all__ = ["BOUNDS", "amount_weights"]

BOUNDS = (0.05, 0.95)
"""Quantiles of the frauds' amounts to which amounts are clipped."""


def amount_weights(
    fraud: npt.NDArray[np.bool_], amount: npt.NDArray[np.int64] | None, power: float
) -> npt.NDArray[np.float64]:
    """Of n rows: 1 for genuine ones, for frauds by the formula above; their mean is 1.

    ``amount``: minor units, int64[n]. Raises ConfigError where there are none and ``power``
    is not 0.
    """
    out = np.ones(len(fraud))
    if not power or not np.any(fraud):
        return out
    if amount is None:
        raise ConfigError(
            f"model.options.amount_power = {power:g}: the schema has no amount_minor to weigh "
            "frauds by; leave it out"
        )
    own = np.maximum(amount[fraud].astype(np.float64), 1.0)
    low, high = np.quantile(own, BOUNDS)
    raised = np.clip(own, low, high) ** power
    out[fraud] = raised / np.mean(raised)
    return out

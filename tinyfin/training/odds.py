# SPDX-License-Identifier: Apache-2.0
"""Probabilities and their log-odds."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["log_odds", "probability_of"]


def log_odds(p: float) -> float:
    """log(p / (1 - p)) of a number strictly between 0 and 1."""
    return float(np.log(p / (1.0 - p)))


def probability_of(z: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The probabilities whose log-odds are z."""
    return np.asarray(1.0 / (1.0 + np.exp(-z)))

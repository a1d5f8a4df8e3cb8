# SPDX-License-Identifier: Apache-2.0
"""Probabilities and their log-odds."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["log_odds", "probability_of"]


def log_odds(p: Any) -> Any:
    """log(p / (1 - p)), of a number or an array strictly between 0 and 1."""
    return np.log(p / (1.0 - p))


def probability_of(z: Any) -> Any:
    """The probability whose log-odds are z, a number or an array."""
    return 1.0 / (1.0 + np.exp(-z))

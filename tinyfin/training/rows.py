# SPDX-License-Identifier: Apache-2.0
"""Which rows go along with a model, for those who come after training."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["REPRESENTATIVE_ROWS", "representative_rows"]

REPRESENTATIVE_ROWS = 4000
LOW, HIGH = -128, 127


def representative_rows(
    inputs: npt.NDArray[np.int8], label: npt.NDArray[np.int8], rows: int, seed: int
) -> npt.NDArray[np.int8]:
    """Rows that show a converter the range of every tensor: as many frauds as other rows, or,
    where no fraud is known, other rows only.

    The input's scale comes out as 1 / INPUT_STEPS, zero point 0, only if both ends of int8 are
    seen; where the data lacks one, a single input of a single row is moved there.
    """
    rng = np.random.default_rng(seed)
    picked = []
    for mask in (label == 1, label != 1):
        found = np.flatnonzero(mask)
        take = min(len(found), rows // 2 if np.any(label == 1) else rows)
        picked.append(np.sort(rng.choice(found, take, replace=False)))
    chosen: npt.NDArray[np.int8] = inputs[np.concatenate(picked)].copy()
    for row, end in ((0, LOW), (-1, HIGH)):
        if not np.any(chosen == end):
            nearest = int(np.argmin(np.abs(chosen[row].astype(np.int16) - end)))
            chosen[row, nearest] = end
    return chosen

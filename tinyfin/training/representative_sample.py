# SPDX-License-Identifier: Apache-2.0
"""Which rows go along with a model, for those who come after training."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tinyfin.results.metrics import Thinned

__all__ = ["REPRESENTATIVE_ROWS", "representative_rows", "thinned", "thinned_facts", "thinned_text"]

REPRESENTATIVE_ROWS = 4000
LOW, HIGH = -128, 127


def thinned(label: npt.NDArray[np.int8], genuine: int, seed: int) -> npt.NDArray[np.int64]:
    """Rows, ascending: all frauds and at most ``genuine`` others, drawn at random."""
    others = np.flatnonzero(label != 1)
    if len(others) > genuine:
        others = np.random.default_rng(seed).choice(others, genuine, replace=False)
    return np.sort(np.concatenate([np.flatnonzero(label == 1), others]))


def thinned_facts(
    who: str, label: npt.NDArray[np.int8], rows: npt.NDArray[np.int64], limit: str
) -> list[Thinned]:
    """What ``run.json`` says of rows that ``who`` was not trained on; nothing when it took all.

    ``label`` int8[n] of the rows that there are, ``rows`` those that were taken, ``limit`` what
    bounds them.
    """
    frauds = int(np.count_nonzero(label[rows] == 1))
    if len(rows) == len(label):
        return []
    return [
        Thinned(
            who=who,
            rows=len(rows),
            of=len(label),
            frauds=frauds,
            of_frauds=int(np.count_nonzero(label == 1)),
            limit=limit,
        )
    ]


def thinned_text(facts: Thinned) -> str:
    """One of :func:`thinned_facts` for people."""
    genuine, of = facts.rows - facts.frauds, facts.of - facts.of_frauds
    which = ""
    if facts.of_frauds:
        which = f": all {facts.frauds:,} frauds and {genuine:,} of {of:,} others"
    return (
        f"{facts.who} was trained on {facts.rows:,} of {facts.of:,} rows{which}, drawn at "
        f"random; {facts.limit} bounds them"
    )


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

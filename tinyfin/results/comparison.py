# SPDX-License-Identifier: Apache-2.0
"""Two packs on the same transactions: their figures, and decisions that change."""

from __future__ import annotations

from tinyfin.results.facts import Facts, Figure, Interval

__all__ = ["Change", "Pair"]


class Pair(Facts):
    """A figure of both packs."""

    a: Figure
    b: Figure
    difference: Figure
    interval: Interval | None = None
    """95 %, of the average precision's difference."""


class Change(Facts):
    """Transactions whose action changes from that of ``a`` to that of ``b``."""

    a: str
    b: str
    genuine: int
    fraud: int
    unknown: int

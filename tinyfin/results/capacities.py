# SPDX-License-Identifier: Apache-2.0
"""How often the tables of a terminal's memory were full."""

from __future__ import annotations

from tinyfin.results.facts import Facts, Figure

__all__ = ["Capacities", "Capacity"]


class Capacity(Facts):
    """A table or ring of a terminal, over all terminals of the data."""

    now: dict[str, int]
    """The keys of [features] that size it, with their values."""
    overflows: int
    """Times that one was full and lost its oldest entry: the engine's own counter."""
    of: int
    """Labels times the kinds of ring in use (of terminals, of cards), transactions with a card and
    an outcome, or transactions."""
    share: Figure
    enough: dict[str, int] | None = None
    """Keys of [features] with which no terminal loses what its features look back on; a number
    above what [features] takes: none is enough. None where the share is small and it is not
    computed."""
    too_small: bool = False
    """Whether what features look back on was lost."""


class Capacities(Facts):
    """What train, score and evaluate count; None where no feature needs the table."""

    labels: Capacity | None
    """Label rings of terminals and of cards."""
    cards: Capacity | None
    pending: Capacity

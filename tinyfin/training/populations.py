# SPDX-License-Identifier: Apache-2.0
"""Whom the figures are about: all cards, or those that were not blocked yet."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tinyfin.data.transactions import Transactions
from tinyfin.results.metrics import Population
from tinyfin.training.run_folder import Slices

__all__ = ["LOOK_BACK_DAYS", "cards_of", "drawn_anew", "known_cards_removed", "populations_of"]

DAY_S = 86400
LOOK_BACK_DAYS = 14
"""The Handbook's: its week of training and its week of delay."""


def known_cards_removed(
    tx: Transactions, rows: npt.NDArray[np.int64], until_s: int
) -> npt.NDArray[np.bool_] | None:
    """Which of the test ``rows`` stay when cards with a known fraud are taken out.

    The rule of the Fraud Detection Handbook: a card is out from the day after a fraud of its own
    became known, counting frauds since LOOK_BACK_DAYS before ``until_s``; a card whose known frauds
    are older stays. None without tokens.
    """
    if "token" not in tx.schema.names or not np.any(tx.has("token")):
        return None
    token = tx.column("token")
    t = tx.t_mono_s.astype(np.int64)
    recent = t >= until_s - LOOK_BACK_DAYS * DAY_S
    notes = tx.label_notes()
    notes = notes.part((notes.label == 1) & (recent & tx.has("token"))[notes.index])
    cards, code = np.unique(token[notes.index], return_inverse=True)
    first_known = np.full(len(cards), np.iinfo(np.int64).max)
    np.minimum.at(first_known, code, notes.known_s.astype(np.int64))
    if not len(cards):
        return np.ones(len(rows), bool)
    at = np.minimum(np.searchsorted(cards, token[rows]), len(cards) - 1)
    known = np.where(cards[at] == token[rows], first_known[at], np.iinfo(np.int64).max)
    day = until_s + (t[rows] - until_s) // DAY_S * DAY_S
    stay: npt.NDArray[np.bool_] = (known >= day) | ~tx.has("token")[rows]
    return stay


def cards_of(tx: Transactions, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.integer]:
    """What intervals resample: the card; where there is none the terminal, then the row."""
    unit = drawn_anew(tx, rows)
    if unit == "cards":
        return tx.column("token")[rows]
    return tx.terminal[rows] if unit == "terminals" else rows


def drawn_anew(tx: Transactions, rows: npt.NDArray[np.int64]) -> str:
    """The name of what :func:`cards_of` gives: cards, terminals or transactions."""
    if "token" in tx.schema.names and bool(np.all(tx.has("token")[rows])):
        return "cards"
    return "terminals" if len(tx.terminals) > 1 else "transactions"


def populations_of(slices: Slices) -> dict[Population, npt.NDArray[np.bool_]]:
    """Masks of a run's test rows: ``all``, and ``known_cards_removed`` where there are cards."""
    out: dict[Population, npt.NDArray[np.bool_]] = {"all": np.ones(len(slices["test_label"]), bool)}
    if "test_without_known_cards" in slices:
        out["known_cards_removed"] = slices["test_without_known_cards"]
    return out

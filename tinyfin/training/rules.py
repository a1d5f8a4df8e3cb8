# SPDX-License-Identifier: Apache-2.0
"""Rules of one or two lines that every model must beat, from the transactions themselves.

They see what a terminal sees: earlier transactions, and labels once they are known.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from tinyfin.config import Rules
from tinyfin.data.transactions import Transactions
from tinyfin.progress import stage

__all__ = ["known_fraud_run", "mean_before", "rate", "rule_scores"]

Values = npt.NDArray[np.float64]

_RULES = Rules()
_ROWS = 1 << 18
_PLACES = 64
"""Terminals that are taken at a time where there is no quicker way."""


def rule_scores(
    tx: Transactions,
    rules: Rules = _RULES,
    *,
    timeless: bool = False,
    rows: npt.NDArray[np.int64] | None = None,
) -> Mapping[str, Values]:
    """Scores of the rules for ``rows``, all of them if None; higher is more suspicious. Numbers are
    those of [rules].

    * ``amount``
    * ``rate``: transactions at this terminal in the last ``rate`` seconds, this one included
    * ``rule_a``: 3 [amount > cut] + 2 [the two newest known labels of the terminal are fraud, and
      the run of frauds they end is younger than ``run_age``] + 0.6 [only the newest one]
      + min(amount / the terminal's mean so far, 50) / 100
    * ``amount_over_card_mean``: amount / the card's mean so far; 0 where there is no card
    * ``rule_b``: rule_a + min(amount / the card's mean so far, 10) / 10

    The last two are left out when no row has a token, all of them when the schema has no amount.
    Where the rows have no order of time (``timeless``) the amount is all that is left.
    """
    names = tx.schema.names
    if "amount_minor" not in names:
        return {}
    at = slice(None) if rows is None else rows
    amount = tx.column("amount_minor").astype(np.float64)
    own = amount[at]
    if timeless:
        return {"amount": own}
    with stage("rules"):
        run, age = (values[at] for values in known_fraud_run(tx))
        young = (run > 0) & (age < rules.run_age)
        ratio = own / np.maximum(mean_before(tx.terminal, amount, tx.t_mono_s)[at], 1.0)
        rule_a = (
            rules.large_amount * (own > rules.amount_cut_minor)
            + rules.two_known * (young & (run >= 2))
            + rules.one_known * (young & (run == 1))
            + np.minimum(ratio, rules.terminal_ratio_cap) / 100
        )
        scores = {"amount": own, "rate": rate(tx, rules.rate)[at], "rule_a": rule_a}
        if "token" in names and bool(np.any(tx.has("token"))):
            there = tx.has("token")[at]
            mean = mean_before(tx.column("token"), amount, tx.t_mono_s)[at]
            over = own / np.maximum(mean, 1.0)
            scores["amount_over_card_mean"] = np.where(there, over, 0.0)
            scores["rule_b"] = rule_a + np.where(
                there, np.minimum(over, rules.card_ratio_cap) / 10, 0.0
            )
    return scores


def rate(tx: Transactions, seconds: int = _RULES.rate) -> Values:
    """How many transactions the terminal saw in the last ``seconds``, n rows, the row included."""
    t = tx.t_mono_s.astype(np.int64)
    key = tx.terminal.astype(np.int64) << 32 | t
    order = np.argsort(key, kind="stable")
    key = key[order]
    out = np.empty(len(t))
    for start in range(0, len(t), _ROWS):
        some = key[start : start + _ROWS]
        since = np.searchsorted(key, some - seconds, side="right")
        # a terminal's own first row, should the window reach into the terminal before it
        since = np.maximum(since, np.searchsorted(key, some >> 32 << 32, side="left"))
        out[order[start : start + _ROWS]] = np.arange(start + 1, start + len(some) + 1) - since
    return out


def mean_before(
    key: npt.NDArray[np.integer], value: Values, t_s: npt.NDArray[np.integer]
) -> Values:
    """Mean of the same key's earlier values, n rows; the row's own value where it is the first."""
    order = np.lexsort((t_s, key))
    keys, values = key[order], value[order]
    first = np.r_[True, keys[1:] != keys[:-1]] if len(keys) else np.zeros(0, bool)
    start = np.maximum.accumulate(np.where(first, np.arange(len(keys)), 0))
    total = np.cumsum(values) - values
    count = np.arange(len(keys)) - start
    mean = (total - total[start]) / np.maximum(count, 1)
    out = np.empty(len(key))
    out[order] = np.where(first, values, mean)
    return out


def known_fraud_run(tx: Transactions) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The run of frauds that ends the terminal's known labels, as each transaction meets it.

    Labels count where their transaction was, once they are known. Returns the run's length and the
    age of its oldest member in seconds (0 where there is no run).
    """
    notes = tx.label_notes()
    notes = notes.part(np.lexsort((notes.index, notes.known_s, tx.terminal[notes.index])))
    labelled = notes.index
    place, t = tx.terminal[labelled], tx.t_mono_s[labelled].astype(np.int64)
    run = np.zeros(len(tx), np.int64)
    age = np.zeros(len(tx), np.int64)
    if not len(labelled):
        return run, age
    # of each label: how many frauds end there, and when the first of them was
    first = np.r_[True, place[1:] != place[:-1]]
    count = np.arange(len(labelled))
    reset = np.maximum.accumulate(np.where(notes.label == 1, np.where(first, count - 1, -1), count))
    oldest = t[np.minimum(reset + 1, len(labelled) - 1)]
    known = place.astype(np.int64) << 32 | notes.known_s
    for start in range(0, len(tx), _ROWS):
        rows = slice(start, start + _ROWS)
        now = tx.t_mono_s[rows].astype(np.int64)
        at = np.searchsorted(known, tx.terminal[rows].astype(np.int64) << 32 | now, "right") - 1
        length = np.where((at >= 0) & (place[at] == tx.terminal[rows]), at - reset[at], 0)
        run[rows], age[rows] = length, np.where(length > 0, now - oldest[at], 0)
    # where labels come in another order than their transactions, they are put in order one by one
    late = (t[1:] < t[:-1]) | ((t[1:] == t[:-1]) & (labelled[1:] < labelled[:-1]))
    mixed = np.unique(np.r_[place[1:][late & ~first[1:]], place[notes.later > 0]])
    for start in range(0, len(mixed), _PLACES):
        own = np.flatnonzero(np.isin(tx.terminal, mixed[start : start + _PLACES]))
        run[own], age[own] = _run_one_by_one(tx.take(own))
    return run, age


def _run_one_by_one(tx: Transactions) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    n = len(tx)
    run = np.zeros(n, np.int64)
    age = np.zeros(n, np.int64)
    notes = tx.label_notes()
    t = tx.t_mono_s.astype(np.int64)
    # events of one terminal in order of time; what becomes known comes before the scores
    when = np.concatenate([notes.known_s.astype(np.int64), t])
    row = np.concatenate([notes.index, np.arange(n)])
    is_score = np.concatenate([np.zeros(len(notes.index), bool), np.ones(n, bool)])
    is_fraud = np.concatenate([notes.label == 1, np.zeros(n, bool)])
    order = np.lexsort((row, is_score, when, tx.terminal[row]))
    labels: list[tuple[int, int, bool]] = []
    current = -1
    length, oldest = 0, 0
    ordered = row[order]
    events = zip(
        ordered.tolist(),
        is_score[order].tolist(),
        tx.terminal[ordered].tolist(),
        t[ordered].tolist(),
        is_fraud[order].tolist(),
        strict=True,
    )
    for r, scored, terminal, at_s, fraud in events:
        if terminal != current:
            current, labels, length, oldest = terminal, [], 0, 0
        if scored:
            if length:
                run[r] = length
                age[r] = at_s - oldest
            continue
        at = (at_s, r, fraud)
        replaced = (at_s, r, not fraud)
        if labels and (at < labels[-1] or labels[-1] == replaced):
            labels = [label for label in labels if label != replaced]
            labels.append(at)
            labels.sort()
            length, oldest = _run_of(labels)
            continue
        labels.append(at)
        if fraud:
            length, oldest = length + 1, oldest if length else at_s
        else:
            length, oldest = 0, 0
    return run, age


def _run_of(labels: list[tuple[int, int, bool]]) -> tuple[int, int]:
    length, oldest = 0, 0
    for when, _, fraud in reversed(labels):
        if not fraud:
            break
        length, oldest = length + 1, when
    return length, oldest

# SPDX-License-Identifier: Apache-2.0
"""Inversion: what a verdict (score, action, reasons, flags) tells about a card's past, or about the
payment, to someone who sees verdicts and nothing else.

Trees are fitted on the verdicts of the cards of one half, whose truth the attacker knows, and
guess that of the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from benchmarks.attacks.figures import Bools, Floats, Ints, Leak, leak, learned_guess, table
from benchmarks.attacks.town import START_S, Answers, Town
from tinyfin.simulator.world import DAY

_WEEK_S = 7 * DAY
_REASONS = 32
_FEW = 20


@dataclass(frozen=True)
class Told:
    """What verdicts tell of one question."""

    share: float
    """Of rows where the answer is yes: what the attacker would say without verdicts."""
    right: float
    """Share of rows guessed rightly with verdicts."""
    leak: Leak


def verdicts(answers: Answers) -> Floats:
    """What is seen, float64[n, k]."""
    replay = answers.replay
    reasons = np.zeros((len(replay.raw), _REASONS))
    for column in replay.reasons.T:
        reasons[np.arange(len(reasons)), np.minimum(column, _REASONS - 1)] = 1
    return np.column_stack([replay.raw, answers.log_odds, replay.action, replay.flags, reasons])


def questions(answers: Answers) -> Mapping[str, Bools]:
    """The truth, bool[n] each."""
    tx = answers.tx
    time = tx.t_mono_s.astype(np.int64)
    token = tx.column("token").view(np.int64)
    amount = np.asarray(tx.column("amount_minor"), np.float64)
    return {
        "amount above the town's median": amount > np.median(amount),
        "amount among the highest 5 %": amount > np.quantile(amount, 0.95),
        "card seen at the terminal within 7 days": _seen(token, answers.place, time, time),
        "card declined there within 7 days": _seen(
            token, answers.place, time, np.where(tx.result == 1, time, -_WEEK_S)
        ),
        "fraud known at the terminal within 7 days": _seen(
            np.zeros(len(token), np.int64),
            answers.place,
            time,
            np.where(tx.label == 1, tx.label_known_s.astype(np.int64), -_WEEK_S),
        ),
        "number keyed in": np.asarray(tx.column("entry_mode")) == 5,
    }


def _seen(token: Ints, place: Ints, time: Ints, mark: Ints) -> Bools:
    """Whether a row with the same token at the same place has its mark within the week before."""
    group = np.unique(np.column_stack([place, token]), axis=0, return_inverse=True)[1].ravel()
    marked = np.flatnonzero(mark > 0)
    span = np.int64(1) << 33
    keys = np.sort(group[marked] * span + mark[marked])
    first = np.searchsorted(keys, group * span + time - _WEEK_S, "left")
    return np.searchsorted(keys, group * span + time, "left") > first


def measure(answers: Answers, since_s: int, seed: int) -> dict[str, dict[str, Told]]:
    """By question, for verdicts that accept and for those that do not; of rows since ``since_s``,
    when the state is warm."""
    warm = answers.tx.t_mono_s.astype(np.int64) >= since_s
    seen, card = verdicts(answers), answers.tx.column("token").view(np.int64)
    out: dict[str, dict[str, Told]] = {}
    for question, truth in questions(answers).items():
        out[question] = {}
        for name, rows in (("accepted", warm & ~answers.alert), ("alerted", warm & answers.alert)):
            if min(truth[rows].sum(), (~truth[rows]).sum()) < _FEW:
                continue
            guess = learned_guess(seen[rows], truth[rows], card[rows], seed)
            out[question][name] = Told(
                float(truth[rows].mean()),
                float(np.mean((guess > 0) == truth[rows])),
                leak(guess, truth[rows], card[rows], seed),
            )
    return out


def town(pack: bytes, seed: int, *, terminals: int, days: int) -> tuple[Answers, int]:
    """Verdicts in a town with the usual frauds, and when its terminals are warm."""
    place = Town(
        pack, terminals=terminals, warm_days=days // 2, open_days=days - days // 2, seed=seed
    )
    return place.answers(place.transactions(place.usual_frauds())), START_S + days // 2 * DAY


def page(found: Mapping[str, Mapping[str, Told]]) -> str:
    return table(
        [
            "question",
            "verdicts",
            "rows",
            "yes",
            "guessed rightly",
            "advantage",
            "area under the ROC curve",
        ],
        [
            [
                question,
                kind,
                f"{one.leak.rows:,}",
                f"{one.share:.1%}",
                f"{one.right:.1%}",
                *one.leak.cells(),
            ]
            for question, kinds in found.items()
            for kind, one in kinds.items()
        ],
    )

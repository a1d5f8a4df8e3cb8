# SPDX-License-Identifier: Apache-2.0
"""Figures a risk team asks for beyond ranking: cards, money, workload, trust in probabilities.

All take the rows of one test period. ``alert`` is bool[n]: any action but accept.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tinyfin.results.metrics import AlertFigures, ExpectedFrauds

__all__ = ["alert_figures", "card_precision", "expected_and_observed", "precision_at", "savings"]

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

DAY_S = 86_400


def precision_at(score: npt.NDArray[np.number], fraud: Mask, k: int) -> float:
    """Share of frauds among the k highest scores; equal scores in the order of the rows."""
    k = min(k, len(score))
    if not k:
        return float("nan")
    order = np.argsort(-score.astype(np.float64), kind="stable")[:k]
    return float(np.mean(fraud[order]))


def card_precision(
    score: npt.NDArray[np.number],
    fraud: Mask,
    card: npt.NDArray[np.generic],
    t_s: npt.NDArray[np.int64],
    *,
    k: int = 100,
    start_s: int | None = None,
) -> tuple[float, float]:
    """Card precision: of the k cards with the highest score of each day, the share with a fraud on
    that day; a card found is not looked at again. Mean over days, and the ceiling of any ranking.

    The measure of the Fraud Detection Handbook (card precision top-k), whose investigators block a
    card once it is found.
    """
    if not len(score):
        return float("nan"), float("nan")
    day = (t_s - (int(t_s.min()) if start_s is None else start_s)) // DAY_S
    found: set[int] = set()
    reached: list[float] = []
    ceilings: list[float] = []
    known: set[int] = set()
    for number in np.unique(day):
        rows = np.flatnonzero(day == number)
        cards, code = np.unique(card[rows], return_inverse=True)
        highest = np.full(len(cards), -np.inf)
        np.maximum.at(highest, code, score[rows].astype(np.float64))
        bad = np.zeros(len(cards), bool)
        bad[code[fraud[rows]]] = True
        ids = cards.tolist()
        fresh = np.array([c not in found for c in ids], bool)
        order = np.argsort(-np.where(fresh, highest, -np.inf), kind="stable")[:k]
        order = order[fresh[order]]
        hits = order[bad[order]]
        reached.append(len(hits) / k)
        found.update(ids[i] for i in hits.tolist())
        best = [c for c, b in zip(ids, bad.tolist(), strict=True) if b and c not in known][:k]
        ceilings.append(len(best) / k)
        known.update(best)
    return float(np.mean(reached)), float(np.mean(ceilings))


def savings(alert: Mask, fraud: Mask, amount: Floats, alert_minor: float) -> float:
    """1 - cost / cost without any alert: a missed fraud costs its amount, an alert ``alert_minor``.

    Every alert costs that, the fraud it stops costs no more (A. C. Bahnsen et al., Improving Credit
    Card Fraud Detection with Calibrated Probabilities, 2014: cost matrix by example, and savings).
    NaN without any fraudulent amount.
    """
    lost = float(np.sum(amount[fraud]))
    if lost <= 0:
        return float("nan")
    cost = float(np.sum(amount[fraud & ~alert])) + alert_minor * float(np.count_nonzero(alert))
    return 1.0 - cost / lost


def expected_and_observed(probability: Floats, fraud: Mask) -> ExpectedFrauds:
    """Frauds that the probabilities promise, those that came, and the 95 % interval of the promise
    were rows independent and probabilities exact.

    That is mean +- 1.96 standard deviations of sum p(1-p); ``within_independent`` says whether what
    came is in it. :mod:`tinyfin.evaluation.calibration_interval` gives the interval without
    those two assumptions.
    """
    expected = float(np.sum(probability))
    spread = 1.96 * float(np.sqrt(np.sum(probability * (1.0 - probability))))
    observed = int(np.count_nonzero(fraud))
    low, high = max(0.0, expected - spread), expected + spread
    return ExpectedFrauds(
        rows=len(probability),
        expected=expected,
        observed=observed,
        independent_low=low,
        independent_high=high,
        within_independent=low <= observed <= high,
    )


def alert_figures(
    alert: Mask, fraud: Mask, amount: Floats, *, terminals: int, seconds: float, alert_minor: float
) -> AlertFigures:
    """What alerting so costs and brings: per terminal and day, per 1,000 genuine, in money."""
    genuine = ~fraud
    days = max(seconds / DAY_S, 1e-9)
    alerts, false = int(np.count_nonzero(alert)), int(np.count_nonzero(alert & genuine))
    worth = float(np.sum(amount[fraud]))
    return AlertFigures(
        alerts=alerts,
        false_alerts=false,
        alerts_per_day=alerts / days,
        alerts_per_terminal_day=alerts / days / max(terminals, 1),
        false_alerts_per_terminal_week=7.0 * false / days / max(terminals, 1),
        false_alerts_per_1000=1000.0 * false / max(int(np.count_nonzero(genuine)), 1),
        precision=float(np.mean(fraud[alert])) if alerts else float("nan"),
        recall=float(np.mean(alert[fraud])) if np.any(fraud) else float("nan"),
        value_detected=float(np.sum(amount[fraud & alert])) / worth if worth else float("nan"),
        savings=savings(alert, fraud, amount, alert_minor),
    )

# SPDX-License-Identifier: Apache-2.0
"""Extraction: a substitute of the model, made from its answers.

The attacker knows his own transactions, and computes the features of the catalogue from them, as
anyone can. On a rig's image, or one for acceptance tests, he reads scores off the wire; of a
release he sees at the till whether a payment goes online. The substitute is gradient-boosted trees
(Tramer et al., Stealing Machine Learning Models via Prediction APIs, 2016).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.attacks.figures import Bools, Floats, table
from benchmarks.attacks.town import Answers

QUERIES = (1_000, 10_000, 100_000)


@dataclass(frozen=True)
class Copy:
    """A substitute, on transactions of another town."""

    queries: int
    sees: str
    """score, or action."""
    agreement: float
    """Share of transactions with the same action."""
    alerts_found: float
    """Share of the model's alerts that the substitute raises, too."""
    alerts_shared: float
    """Share of the substitute's alerts that are the model's."""
    rank_correlation: float
    """Spearman's, of its score and the model's."""


@dataclass(frozen=True)
class Queries:
    """Transactions and answers: features [n, F], log odds float64[n], alerts bool[n]."""

    features: npt.NDArray[np.int16]
    log_odds: Floats
    alert: Bools

    @classmethod
    def of(cls, answers: Answers) -> Queries:
        return cls(answers.replay.features, answers.log_odds, answers.alert)

    def some(self, n: int, rng: np.random.Generator) -> Queries:
        rows = rng.permutation(len(self.alert))[:n]
        return Queries(self.features[rows], self.log_odds[rows], self.alert[rows])


def substitute(asked: Queries, others: Queries, sees: str, seed: int) -> Copy:
    """Fitted on ``asked``, judged on ``others``."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    how = {"max_iter": 200, "min_samples_leaf": 5, "random_state": seed, "early_stopping": False}
    if sees == "score":
        score = HistGradientBoostingRegressor(**how)
        score.fit(asked.features, asked.log_odds)
        guess = score.predict(others.features)
        # between the highest score that was accepted and the lowest that alerted
        low = asked.log_odds[~asked.alert].max(initial=-np.inf)
        high = asked.log_odds[asked.alert].min(initial=np.inf)
        alert = guess > (low + high) / 2
    else:
        action = HistGradientBoostingClassifier(**how)
        action.fit(asked.features, asked.alert)
        guess = action.decision_function(others.features)
        alert = guess > 0
    both = np.count_nonzero(alert & others.alert)
    return Copy(
        len(asked.alert),
        sees,
        float(np.mean(alert == others.alert)),
        float(both / max(1, others.alert.sum())),
        float(both / max(1, alert.sum())),
        _spearman(guess, others.log_odds),
    )


def _spearman(a: Floats, b: Floats) -> float:
    from scipy.stats import spearmanr

    return float(spearmanr(a, b).statistic)


def measure(
    asked: Queries, others: Queries, seed: int, queries: Sequence[int] = QUERIES
) -> list[Copy]:
    out = []
    for n in queries:
        some = asked.some(n, np.random.default_rng(seed))
        for sees in ("score", "action"):
            if some.alert.any() and not some.alert.all():
                out.append(substitute(some, others, sees, seed))
    return out


def page(found: Sequence[Copy]) -> str:
    return table(
        ["queries", "sees", "same action", "alerts found", "alerts shared", "rank correlation"],
        [
            [
                f"{one.queries:,}",
                one.sees,
                f"{one.agreement:.2%}",
                f"{one.alerts_found:.0%}",
                f"{one.alerts_shared:.0%}",
                f"{one.rank_correlation:.3f}",
            ]
            for one in found
        ],
    )

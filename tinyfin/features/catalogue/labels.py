# SPDX-License-Identifier: Apache-2.0
"""What notices have said so far about this terminal and this card."""

from __future__ import annotations

from tinyfin.features.compromise import UNFITTED
from tinyfin.features.definition import Feature
from tinyfin.features.expressions import DAY_S, HOUR_S, Expression, all_of, equal, known, ratio

__all__ = ["FEATURES"]

_MONTH_S = 28 * DAY_S
_RUN = known("terminal", "run")
_RUN_AGE = known("terminal", "run_age", span_s=_MONTH_S, otherwise=_MONTH_S)


def _rate(seconds: int) -> Expression:
    return ratio(
        known("terminal", "frauds", span_s=seconds),
        known("terminal", "count", span_s=seconds),
        scale=1024,
        plus=1,
    )


FEATURES: tuple[Feature, ...] = (
    Feature(
        "known_last",
        201,
        35,
        "1 when the newest known label of this terminal is fraud",
        "compromised terminal",
        "after",
        known("terminal", "last"),
        side="above",
        neutral=0,
    ),
    Feature(
        "known_run",
        202,
        35,
        "newest known labels of this terminal that are fraud, in a row",
        "compromised terminal",
        "after",
        _RUN,
        side="above",
        neutral=0,
    ),
    Feature(
        "known_run_age_h",
        203,
        35,
        "hours since the oldest fraud of that run, at most 672 and when there is no run",
        "compromised terminal",
        "after",
        _RUN_AGE // HOUR_S,
        side="below",
    ),
    Feature(
        "known_age_h",
        204,
        0,
        "hours since the transaction of the newest known label, at most 672 and when none",
        "how old the knowledge is",
        "after",
        known("terminal", "age", span_s=_MONTH_S, otherwise=_MONTH_S) // HOUR_S,
    ),
    Feature(
        "known_rate_7d",
        205,
        35,
        "1024 * frauds / (labels + 1), of transactions of the last 7 days",
        "compromised terminal",
        "after",
        _rate(7 * DAY_S),
        side="above",
        neutral=0,
    ),
    Feature(
        "known_rate_14d",
        211,
        35,
        "1024 * frauds / (labels + 1), of transactions of the last 14 days",
        "compromised terminal, when labels come a week late",
        "after",
        _rate(14 * DAY_S),
        side="above",
        neutral=0,
    ),
    Feature(
        "known_rate_28d",
        206,
        35,
        "1024 * frauds / (labels + 1), of transactions of the last 28 days",
        "compromised terminal",
        "after",
        _rate(_MONTH_S),
        side="above",
        neutral=0,
    ),
    Feature(
        "known_run2_28d",
        207,
        35,
        "1 when the newest two known labels are fraud and their run began within 28 days",
        "compromised terminal",
        "after",
        all_of(_RUN >= 2, _RUN_AGE < _MONTH_S),
        side="above",
        neutral=0,
    ),
    Feature(
        "known_run1_28d",
        208,
        35,
        "1 when only the newest known label is fraud, and less than 28 days old",
        "compromised terminal",
        "after",
        all_of(equal(_RUN, 1), _RUN_AGE < _MONTH_S),
        side="above",
        neutral=0,
    ),
    Feature(
        "known_frauds_28d",
        209,
        35,
        "known frauds among transactions of the last 28 days",
        "compromised terminal",
        "after",
        known("terminal", "frauds", span_s=_MONTH_S),
        side="above",
        neutral=0,
    ),
    Feature(
        "known_fraud_age_h",
        212,
        35,
        "hours since the transaction of the newest known fraud, at most 672 and when none",
        "compromised terminal",
        "after",
        known("terminal", "fraud_age", span_s=_MONTH_S, otherwise=_MONTH_S) // HOUR_S,
        side="below",
    ),
    Feature(
        "known_labels_28d",
        210,
        0,
        "known labels of transactions of the last 28 days",
        "how much is known",
        "after",
        known("terminal", "count", span_s=_MONTH_S),
    ),
    Feature(
        "event_odds",
        231,
        0,
        "64 * log2 odds of fraud by tables over the features that need no notices; training fits "
        "them",
        "what the transaction itself says",
        "before",
        UNFITTED["event_odds"],
    ),
    Feature(
        "compromised_odds",
        232,
        35,
        "256 * log2 odds that the terminal is compromised now, by its known labels; training fits "
        "how often, how long and how completely terminals are",
        "compromised terminal",
        "after",
        UNFITTED["compromised_odds"],
        side="above",
    ),
    Feature(
        "compromised_ever_odds",
        233,
        0,
        "256 * log2 odds that the terminal was compromised in the days that are read",
        "compromised terminal",
        "after",
        UNFITTED["compromised_ever_odds"],
    ),
    Feature(
        "card_known_last",
        221,
        36,
        "1 when the newest known label of this card is fraud",
        "compromised card",
        "after",
        known("card", "last"),
        side="above",
        neutral=0,
    ),
    Feature(
        "card_known_frauds_28d",
        222,
        36,
        "known frauds of this card among its transactions of the last 28 days",
        "compromised card",
        "after",
        known("card", "frauds", span_s=_MONTH_S),
        side="above",
        neutral=0,
    ),
)

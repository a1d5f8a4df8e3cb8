# SPDX-License-Identifier: Apache-2.0
"""What an authorisation host knows of the card, at all terminals.

A field is -1 where the host does not supply it, odds are -32768. A ratio to a mean that is -1 is
64, and a count of -1 gives no reason. Odds give theirs from even ones on: only a known fraud can
raise them so far.
"""

from __future__ import annotations

from tinyfin.features.catalogue.base import AMOUNT
from tinyfin.features.definition import Feature
from tinyfin.features.expressions import Expression, field, log2, ratio, smaller

__all__ = ["FEATURES"]

_MEAN, _WEEK_MEAN = field("host_card_mean_minor"), field("host_card_mean_7d_minor")
_AMOUNTS_CAP, _COUNT_CAP, _FRAUDS_CAP = 16384, 1000, 100


def _times(x: Expression, mean: Expression) -> Expression:
    return smaller(ratio(x, mean, scale=64, otherwise=64), _AMOUNTS_CAP)


def _count(name: str, id: int, days: int) -> Feature:
    return Feature(
        name,
        id,
        7,
        f"transactions of this card at all terminals in {days} d before this one, at most "
        f"{_COUNT_CAP}; -1 when the host does not say",
        "one card at many terminals",
        "before",
        smaller(field(f"host_card_count_{days}d"), _COUNT_CAP),
        side="above",
        neutral=0,
    )


FEATURES: tuple[Feature, ...] = (
    Feature(
        "amt_to_host_mean",
        301,
        37,
        "64 * amount / this card's mean at all terminals in 128 d, at most 16384; 64 without one",
        "stolen card spent fast",
        "before",
        _times(AMOUNT, _MEAN),
        neutral=64,
    ),
    Feature(
        "host_rise",
        302,
        41,
        "64 * this card's mean at all terminals in 7 d / its mean in 128 d, at most 16384; 64 "
        "without the latter",
        "stolen card spent fast",
        "before",
        _times(_WEEK_MEAN, _MEAN),
        side="above",
        neutral=64,
    ),
    Feature(
        "amt_to_host_week",
        303,
        37,
        "64 * amount / this card's mean at all terminals in 7 d, at most 16384; 64 without one",
        "stolen card spent fast",
        "before",
        _times(AMOUNT, _WEEK_MEAN),
        neutral=64,
    ),
    _count("host_1d", 304, 1),
    _count("host_7d", 305, 7),
    _count("host_30d", 306, 30),
    Feature(
        "host_frauds",
        307,
        36,
        "known frauds of this card at all terminals in 180 d, at most 100; -1 when the host does "
        "not say",
        "compromised card",
        "before",
        smaller(field("host_card_known_frauds"), _FRAUDS_CAP),
        side="above",
        neutral=0,
    ),
    Feature(
        "host_mean_log",
        308,
        0,
        "round(256 * log2(1 + this card's mean at all terminals in 128 d, minor units)); 0 "
        "without one",
        "how much the card usually spends",
        "before",
        log2(_MEAN),
    ),
    Feature(
        "host_compromised_odds",
        309,
        36,
        "256 * log2 odds that this card is compromised now, by its labels known at the host; "
        "training fits how often, how long and how completely cards are",
        "compromised card",
        "before",
        field("host_card_compromised_odds"),
        side="above",
        neutral=0,
    ),
    Feature(
        "host_compromised_ever_odds",
        310,
        36,
        "256 * log2 odds that this card was compromised in the days that are read",
        "compromised card",
        "before",
        field("host_card_compromised_ever_odds"),
        side="above",
        neutral=0,
    ),
)

# SPDX-License-Identifier: Apache-2.0
"""Features that weigh each label by what it says of the terminal.

A fraud says little of the terminal where its amount explains it, and much where nothing does. So
training fits two things on labels that were known, and writes them into ``[features.compromise]``:
tables that give the odds of fraud of an event from features that need no notices, and how often,
how long and how completely terminals were in the wrong hands. COMPROMISED then weighs the labels
(docs/formats/program.md).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Protocol

from tinyfin.features.expressions import (
    DAY_S,
    HOUR_S,
    Expression,
    absolute,
    bucket,
    compromised,
    const,
    field,
    larger,
    log2,
    lookup,
    window,
)

__all__ = ["COMPROMISE_FEATURES", "UNFITTED", "LearnedCompromise", "compromise_expressions"]

COMPROMISE_FEATURES = (
    "event_odds",
    "compromised_odds",
    "compromised_ever_odds",
    "fraud_odds",
    "expected_frauds_1h",
    "expected_frauds_1d",
    "card_expected_frauds_7d",
)
"""Names in the catalogue."""


_LEVELS = 33
_ADDS = [round(256 * (i + 0.5) / _LEVELS) for i in reversed(range(_LEVELS))]
_APART = [round(-256 * math.log2(2 ** (i / _LEVELS) - 1)) for i in reversed(range(1, _LEVELS))]
"""What the smaller of two odds adds, and how far apart they are where it adds the next less."""


class Table(Protocol):
    """``values[i]`` where i of the ascending ``cuts`` are not above the number."""

    @property
    def cuts(self) -> Sequence[int]: ...

    @property
    def values(self) -> Sequence[int]: ...


class PairTable(Protocol):
    """A table over two features: the ranges of the second follow each other."""

    @property
    def features(self) -> tuple[str, str]: ...

    @property
    def values(self) -> Sequence[int]: ...


class LearnedCompromise(Protocol):
    """What training learned; odds are 64 * log2, evidence is 16 * log2 of a likelihood ratio."""

    @property
    def base(self) -> int:
        """Odds of fraud before any table."""

    @property
    def odds(self) -> Mapping[str, Table]:
        """Tables of odds to add up, by feature."""

    @property
    def pairs(self) -> Sequence[PairTable]:
        """Tables over pairs of these features, added too."""

    @property
    def evidence(self) -> Table:
        """From the sum of odds to the evidence of a fraud, 0 to 255."""

    @property
    def probability(self) -> Table:
        """From the sum of odds to 4096 times the probability of fraud."""

    @property
    def share(self) -> int:
        """64 * log2 of the share of a compromised terminal's transactions that is fraud."""

    @property
    def usual(self) -> int:
        """Evidence of a fraud of which nothing is remembered."""

    @property
    def genuine(self) -> int:
        """Evidence of a genuine transaction."""

    @property
    def limit(self) -> int:
        """Events with less evidence are remembered."""

    @property
    def durations(self) -> Sequence[tuple[int, int]]:
        """Pairs of days and evidence, of a compromise that begins on a given day."""

    @property
    def days(self) -> int:
        """Days of labels that are read."""

    @property
    def remembered(self) -> int:
        """Events that are remembered."""


def compromise_expressions(
    learned: LearnedCompromise | None, inputs: Mapping[str, Expression]
) -> dict[str, Expression]:
    """The features' expressions by name; ``inputs`` are the features that the tables name."""
    if learned is None:
        return UNFITTED
    odds = const(learned.base)
    place = {name: bucket(inputs[name], table.cuts) for name, table in learned.odds.items()}
    for name, table in learned.odds.items():
        odds = odds + lookup(place[name], table.values, 0)
    for pair in learned.pairs:
        a, b = pair.features
        both = place[a] * len(learned.odds[b].values) + place[b]
        odds = odds + lookup(both, pair.values, 0)
    found = compromised(
        "terminal",
        _looked_up(odds, learned.evidence),
        usual=learned.usual,
        genuine=learned.genuine,
        limit=learned.limit,
        durations=learned.durations,
        days=learned.days,
        remembered=learned.remembered,
    )
    return _named(odds, found, learned.share, _looked_up(odds, learned.probability))


def _named(
    odds: Expression,
    compromised_odds: tuple[Expression, Expression],
    share: int,
    probability: Expression,
) -> dict[str, Expression]:
    """``probability``: 4096 is 1; the sums over it are round(256 * log2(1 + sum))."""
    # the odds of r P are those of P times r, and never above r / (1 - r)
    r = 2.0 ** (share / 64)
    most = round(256 * math.log2(r / (1 - r)))
    by_compromise = const(0) - _added(const(-4 * share) - compromised_odds[0], const(-most))
    together = _added(odds * 4, by_compromise)
    sums = (
        window("terminal", seconds=HOUR_S, buckets=6, value=probability, width=4),
        window("terminal", seconds=DAY_S, buckets=24, value=probability, width=4),
        window("card", seconds=7 * DAY_S, buckets=7, value=probability),
    )
    found = (odds, *compromised_odds, together, *(log2(x) for x in sums))
    return dict(zip(COMPROMISE_FEATURES, found, strict=True))


def _added(x: Expression, y: Expression) -> Expression:
    """256 * log2(2^(x/256) + 2^(y/256)), within 5: the larger one, and what the other one adds."""
    apart = absolute(x - y)
    return larger(x, y) + lookup(bucket(apart, _APART), _ADDS, 0)


def _looked_up(x: Expression, table: Table) -> Expression:
    return lookup(bucket(x, table.cuts), table.values, 0)


def _unfitted() -> dict[str, Expression]:
    """One transaction in 500 is fraud, one in 250 from 100.00 and one in 125 from 500.00; in a
    compromise it is one of two. One begins in 5,000 days and lasts one week or four."""
    size = bucket(field("amount_minor"), (10_000, 50_000))
    odds = const(-574) + lookup(size, (0, 64, 128), 0)
    found = compromised(
        "terminal",
        lookup(size, (128, 112, 96), 0),
        usual=128,
        genuine=-16,
        limit=128,
        durations=((7, -213), (28, -213)),
        days=42,
        remembered=8,
    )
    return _named(odds, found, -64, lookup(size, (8, 16, 33), 0))


UNFITTED = _unfitted()
"""The features where training has fitted nothing."""

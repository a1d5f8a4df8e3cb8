# SPDX-License-Identifier: Apache-2.0
"""What whoever approves a model asks for, in ``evaluation.json``: stability, effects of features,
challengers, sensitivity, limits to monitor, contents of the data."""

from __future__ import annotations

from typing import Literal

from tinyfin.results.facts import Facts, Figure, Interval
from tinyfin.results.metrics import Population, Promised

__all__ = [
    "Ablation",
    "CardFacts",
    "Challenger",
    "DataContents",
    "Direction",
    "Effects",
    "FeatureEffect",
    "Limit",
    "Measure",
    "PartStability",
    "ReasonAgreement",
    "Stability",
    "Trend",
    "WeekShare",
    "WithoutNotices",
]

Direction = Literal["rises", "falls", "both", "none"]
"""What the mean score does where an input grows."""

Measure = Literal[
    "alerts_per_1000",
    "false_alerts_per_1000",
    "observed_to_expected",
    "average_precision",
    "score_stability_index",
    "feature_stability_index",
    "without_notices_per_1000",
]


class CardFacts(Facts):
    """[card] of the configuration; None where it does not say."""

    owner: str | None = None
    approved_by: str | None = None
    approved_on: str | None = None
    review_by: str | None = None
    intended_use: str | None = None
    data_origin: str | None = None
    data_licence: str | None = None


class PartStability(Facts):
    """The int8 model in one part."""

    name: str
    cold: bool
    frauds: int
    average_precision: Figure
    average_precision_interval: Interval
    false_alerts_per_1000: Figure
    false_alerts_interval: Interval
    budget_per_1000: float | None
    """None where the thresholds were not set by one."""
    promised: Promised | None
    """Frauds of all rows of the part; None where there are no probabilities."""


class Trend(Facts):
    """A figure over the parts, in order of time."""

    lowest: Figure
    highest: Figure
    slope: Figure
    """Per part, least squares."""
    interval: Interval
    """95 %, of the slope; null with fewer than three parts."""


class Stability(Facts):
    """The int8 model over time. False alerts and frauds are those of all cards."""

    population: Population
    """That of the average precision."""
    parts: list[PartStability]
    average_precision: Trend
    false_alerts_per_1000: Trend
    observed_to_expected: Trend
    """Frauds."""


class FeatureEffect(Facts):
    """Average precision that is lost when one input is permuted."""

    feature: str
    effect: Figure
    interval: Interval
    direction: Direction


class Ablation(Facts):
    """Average precision that is lost when inputs are held at their usual values."""

    group: str
    features: list[str]
    average_precision: Figure
    effect: Figure
    interval: Interval


class Effects(Facts):
    """Of features on the int8 model, without training again."""

    parts: list[str]
    """Those with frauds; figures are means over them."""
    population: Population
    rows: int
    """Drawn; weighted so that the share of fraud is that of all."""
    of_rows: int
    frauds: int
    of_frauds: int
    repeats: int
    average_precision: Figure
    features: list[FeatureEffect]
    """The largest first."""
    groups: list[Ablation]
    """By what features need; the largest first."""


class ReasonAgreement(Facts):
    """Reasons of the device and those that Shapley values give, each from the features of which a
    text is true."""

    alerts: int
    """Drawn."""
    of_alerts: int
    first: Figure
    """Share of the alerts whose first reason is the same."""
    first_interval: Interval
    three: Figure
    """Share of the first three reasons by Shapley values that the device gives, too."""
    three_interval: Interval


class Challenger(Facts):
    """The best of a kind that is not in the pack, on the same rows."""

    kind: Literal["rule", "learned"]
    scorer: str
    population: Population
    average_precision: Figure
    int8_leads_by: Figure
    interval: Interval
    """Of the lead, paired."""
    verdict: Literal["int8 is better", "not shown to differ", "int8 is worse"]


class WithoutNotices(Facts):
    """The test rows of a part scored by a terminal that no notice reaches."""

    part: str
    population: Population
    features: list[str]
    """Those that notices move; with none of them nothing changes."""
    average_precision: Figure
    with_notices: Figure
    loses: Figure
    interval: Interval
    """Of what is lost, paired."""
    recall: Figure
    """At the thresholds in force, all cards."""
    recall_with_notices: Figure
    false_alerts_per_1000: Figure
    false_alerts_per_1000_with_notices: Figure


class Limit(Facts):
    """What to expect of a measure in service, and from where on to act; null: no limit there."""

    expected: Figure
    low: Figure
    high: Figure
    acts_at: Figure
    """A second limit, beyond the first."""


class WeekShare(Facts):
    """Seven days of the data."""

    begin: str
    rows: int
    labelled: int
    frauds: int
    share: Figure
    """Of the labelled rows."""


class DataContents(Facts):
    """What is in the data."""

    cards: int | None
    """None without cards."""
    currencies: dict[str, int]
    """Transactions by ISO 4217 number; empty where no row has one."""
    transaction_types: dict[str, int]
    label_delay_days: dict[Literal["fraud", "genuine"], dict[str, float]]
    """By quantile; a label that no row has is left out."""
    weeks: list[WeekShare]

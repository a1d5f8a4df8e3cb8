# SPDX-License-Identifier: Apache-2.0
"""Figures of scorers, alerts and thresholds on the test rows: ``metrics.json``."""

from __future__ import annotations

from typing import ClassVar, Literal

from tinyfin.config.sections import Costs
from tinyfin.results.facts import NAN, Facts, Figure, Interval, ResultFile

__all__ = [
    "Action",
    "AlertFigures",
    "Bound",
    "Budget",
    "BudgetPromise",
    "Confusion",
    "DecisionFacts",
    "ExpectedFrauds",
    "Metrics",
    "Population",
    "Promised",
    "Savings",
    "ScenarioRecall",
    "ScorerFigures",
    "Thinned",
    "Thresholds",
]

Action = Literal["go_online", "verify", "decline"]
"""What a threshold leads to."""

Bound = Literal["budget", "costs"]
"""Which of the two keeps a threshold from being lower."""

Population = Literal["known_cards_removed", "all"]
"""Which test rows: without the cards whose fraud was known, or all of them."""


class Thinned(Facts):
    """Rows that a model was not trained on, because a limit left them out."""

    who: str
    rows: int
    of: int
    frauds: int
    of_frauds: int
    limit: str


class ScenarioRecall(Facts):
    """Of the frauds of one scenario, at a false-positive rate of 0.1 %."""

    frauds: int | float
    recall: Figure


class ExpectedFrauds(Facts):
    """Frauds that probabilities promise, and those that came, rows taken as independent."""

    rows: int | float
    expected: Figure
    observed: int | float
    independent_low: Figure
    independent_high: Figure
    within_independent: bool = False


class Promised(ExpectedFrauds):
    """With the interval that lets frauds of a card or of a terminal come together."""

    low: Figure
    high: Figure
    within: bool
    standard_deviation: Figure
    independent_standard_deviation: Figure


class AlertFigures(Facts):
    """What alerts cost and bring."""

    alerts: int | float
    false_alerts: int | float
    alerts_per_day: Figure
    alerts_per_terminal_day: Figure
    false_alerts_per_terminal_week: Figure
    false_alerts_per_1000: Figure
    precision: Figure
    recall: Figure
    value_detected: Figure
    savings: Figure


class ScorerFigures(Facts):
    """One scorer on one population. What judges probabilities is left out where there are none."""

    rows: int | float
    frauds: int | float
    average_precision: Figure
    roc_auc: Figure
    recall_at_0_1_percent: Figure
    precision_at_0_1_percent: Figure
    recall_at_1_percent: Figure
    precision_at_1_percent: Figure
    scenario_recall: dict[str, ScenarioRecall] = {}
    brier: Figure = NAN
    brier_skill: Figure = NAN
    calibration_error: Figure = NAN
    expected_frauds: Figure = NAN

    @property
    def has_probabilities(self) -> bool:
        """Whether the scorer gives probabilities that could be judged."""
        return self.calibration_error == self.calibration_error


class Confusion(Facts):
    """Counts at a threshold, and shares with their 95 % intervals."""

    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int
    precision: Figure
    precision_interval: Interval
    recall: Figure
    recall_interval: Interval
    f1: Figure
    f1_interval: Interval
    accuracy: Figure
    accuracy_interval: Interval


Thresholds = dict[Action, dict[Population, Confusion]]
"""Of the actions whose threshold is in force."""


class BudgetPromise(Facts):
    """What the calibration rows guarantee of a budget of false alerts."""

    cautious: bool
    confidence: float
    genuine_rows: int
    genuine_rows_needed: int
    alerts: int
    budget_per_1000: float
    at_most_per_1000: float
    kept: bool
    cautious_alerts: int | None
    alerts_allowed: int | None = None
    """Genuine calibration rows that the budget lets alert, where costs chose among the thresholds
    with so many or fewer; ``at_most_per_1000`` is then the limit of so many."""
    bound_by: Bound | None = None
    """Where costs chose within the budget."""


class Budget(Facts):
    """What thresholds were set by."""

    go_online: float | None = None
    verify: float | None = None
    decline: float | None = None
    go_online_per_1000: float | None = None
    verify_per_1000: float | None = None
    decline_per_1000: float | None = None
    go_online_per_terminal_week: float | None = None
    verify_per_terminal_week: float | None = None
    decline_per_terminal_week: float | None = None
    confidence: float | None = None
    costs: Costs = Costs()

    def text(self, action: Action) -> list[str]:
        """What set the threshold of ``action``, in words; empty for one that is never taken."""
        name = action.replace("_", " ")
        share: float | None = getattr(self, action)
        minor: float | None = getattr(self.costs, f"{action}_minor")
        per_1000: float | None = getattr(self, f"{action}_per_1000")
        per_week: float | None = getattr(self, f"{action}_per_terminal_week")
        if share is not None:
            return [f"{name} from {share:g}"]
        told = [] if minor is None else [f"{name}: {minor:g} minor per alert"]
        if per_week is not None:
            told.append(f"{name} {per_week:g} per terminal, week")
        return [*told, f"{name} {per_1000:g} per 1,000"] if per_1000 else told


class Savings(Facts):
    """Share of what the frauds would cost that alerts save, with its 95 % interval.

    The model alerts by its thresholds; every other scorer on as many of its highest scores.
    """

    savings: Figure
    interval: Interval
    model_saves_more_by: Figure
    model_saves_more_by_interval: Interval
    """Paired: the same groups are drawn for both."""


class DecisionFacts(Facts):
    """Thresholds, and what they do: on the rows they were set on, and on the test rows."""

    budget: Budget | None = None
    go_online: float | None = None
    """The probability; None: never."""
    verify: float | None = None
    decline: float | None = None
    promise: dict[Action, BudgetPromise] = {}
    drawn: str = "terminals"
    """What the intervals resample."""
    thresholds: Thresholds = {}
    calibration: AlertFigures
    test: AlertFigures

    def threshold(self, action: Action) -> float | None:
        """Of an action, as a probability; None: never."""
        return {"go_online": self.go_online, "verify": self.verify, "decline": self.decline}[action]

    def budgets_per_1000(self) -> dict[Action, float]:
        """What was promised of each action: at most so many false alerts per 1,000."""
        return {action: promise.budget_per_1000 for action, promise in self.promise.items()}


class Metrics(ResultFile):
    """The file."""

    NAME: ClassVar[str] = "metrics.json"

    known_cards_look_back_days: int = 14
    populations: dict[Population, dict[str, ScorerFigures]]
    thinned: list[Thinned] = []
    calibration_promise: dict[Action, BudgetPromise] = {}
    """Before there is a pack."""
    decision: DecisionFacts | None = None
    """Once there is a pack."""
    alert_minor: float | None = None
    """What an alert costs, for the savings."""
    savings: dict[Population, dict[str, Savings]] = {}
    """By scorer, with as many alerts as ``model_int8`` once there is a pack, before that as
    ``model_float`` by the thresholds that it would have. Populations without a fraudulent amount
    are left out."""

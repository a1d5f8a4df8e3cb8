# SPDX-License-Identifier: Apache-2.0
"""All folds of an evaluation: ``evaluation.json``."""

from __future__ import annotations

from typing import ClassVar, Literal

from tinyfin.results.capacities import Capacities
from tinyfin.results.facts import NAN, Facts, Figure, Interval, ResultFile
from tinyfin.results.metrics import (
    AlertFigures,
    DecisionFacts,
    ExpectedFrauds,
    Population,
    Promised,
    Savings,
    ScorerFigures,
    Thresholds,
)
from tinyfin.results.model_risk import (
    CardFacts,
    Challenger,
    DataContents,
    Effects,
    Limit,
    Measure,
    ReasonAgreement,
    Stability,
    WithoutNotices,
)
from tinyfin.results.parity import Distance
from tinyfin.results.run import InputFile, MissingFields, ModelFacts, NoticeStatus, SplitFacts

__all__ = [
    "DelayFigures",
    "DelayQuantile",
    "DoubtedLabel",
    "Doubts",
    "Drift",
    "EvaluatedData",
    "Evaluation",
    "FamilyFacts",
    "FamilyFigures",
    "FieldQuality",
    "FoldFacts",
    "FoldFigures",
    "FraudShare",
    "GateRow",
    "GroupFeature",
    "GroupFigures",
    "GroupValue",
    "Intervention",
    "MeanFigures",
    "Means",
    "PackFacts",
    "Pooled",
    "Promised",
    "ProxyFigures",
    "Quality",
    "Ratio",
    "ReasonShare",
    "ScenarioFigures",
    "ScenarioReasons",
    "SeedFigures",
    "Settings",
    "SliceFigures",
    "Spans",
    "Spread",
    "Suspect",
    "TrustFigures",
    "WorstRatios",
]

DelayQuantile = Literal["least", "median", "90 %", "most"]


class FoldFigures(ScorerFigures):
    """One scorer on one population of a fold."""

    precision_at_100: Figure
    card_precision_100: Figure = NAN
    """Left out where the data has no cards, like the ceiling of any ranking."""
    card_precision_100_ceiling: Figure = NAN
    alerts: AlertFigures
    above_threshold: ExpectedFrauds | None = None
    """Left out where there are no probabilities, like ``overall``."""
    overall: ExpectedFrauds | None = None

    @property
    def has_cards(self) -> bool:
        """Whether there were cards to rank."""
        return "card_precision_100" in self.model_fields_set


class MeanFigures(FoldFigures):
    """Means over the folds that have the figure."""

    worst_fold: Figure
    """Lowest average precision of a fold."""
    folds: int


Means = dict[Population, dict[str, MeanFigures]]
"""By population and scorer; empty when no fold counts."""


class PackFacts(Facts):
    """The pack of a fold."""

    bytes: int
    pack_id: str
    model_id: str


class FoldFacts(Facts):
    """A test period, and what was learned for it."""

    name: str
    begin: str
    end: str
    cold: bool
    history_days: float | None
    """How much older than the test the data is; None where time means nothing."""
    cold_verdicts: float
    notices: dict[NoticeStatus, int]
    terminals: int
    split: SplitFacts
    decision: DecisionFacts | None
    model: ModelFacts
    pack: PackFacts
    parity: Distance | None
    populations: dict[Population, dict[str, FoldFigures]]


class Spans(Facts):
    """95 % intervals."""

    average_precision: Interval
    int8_leads_by: Interval


class SeedFigures(Facts):
    """Mean average precision of the int8 model by seed, and how far seeds are apart."""

    average_precision: dict[str, Figure]
    mean: Figure
    lowest: Figure
    highest: Figure
    standard_deviation: Figure


class TrustFigures(Facts):
    """Whether as many frauds came as the probabilities promise."""

    above_threshold: Promised
    overall: Promised
    calibration_error: Figure


class SliceFigures(Facts):
    """A kind of transactions."""

    kind: str
    slice: str
    rows: int
    frauds: int
    recall: Figure
    false_alerts_per_1000: Figure
    expected: Figure
    behind: list[str]
    """In what; empty where it does not fall behind."""


class Ratio(Facts):
    """Of a share in one value of a group to that of all other rows, with its 95 % interval."""

    ratio: Figure
    low: Figure
    high: Figure


class GroupValue(Facts):
    """The rows of a group that have one value."""

    rows: int
    frauds: int
    alerts: int
    alert_share: Figure
    """Of all alerts."""
    recall: Figure
    recall_ratio: Ratio
    false_alerts_per_1000: Figure
    false_alert_ratio: Ratio
    calibration: Promised | None
    """None where there are no probabilities."""


class WorstRatios(Facts):
    """What a gate holds: ratios beyond which chance does not explain the worst value."""

    false_alert_ratio_at_least: Figure
    """0 where no value has enough false alerts to say more."""
    false_alert_value: str | None
    """The value that it is of; None where none has enough."""
    recall_ratio_at_most: Figure
    """1 / recall of the rest where no value has enough frauds to say more."""
    recall_value: str | None


class GroupFeature(Facts):
    """How well one feature of the model tells one value of a group from all others."""

    feature: str
    value: str
    roc_auc: Figure
    """At least 0.5: low or high values may be the ones that tell."""


class ProxyFigures(Facts):
    """How well all features of the model together tell the values of a group."""

    roc_auc: Figure
    """Mean over the values, each against all others; 0.5: not at all, 1: always."""
    interval: Interval
    held_out: Literal["terminals", "transactions"]
    """What a classifier has not seen when it is asked."""
    rows: int
    values: list[str]
    """Those with rows enough."""
    features: list[GroupFeature]
    """Those that tell most on their own, first."""


class GroupFigures(Facts):
    """A group of one's own: a column that no model sees."""

    column: str
    values: dict[str, GroupValue]
    worst: WorstRatios
    proxies: ProxyFigures | None
    """None where fewer than two values have rows enough."""


class Intervention(Facts):
    """The rows of one value against all others: who is sent online or declined more."""

    kind: str
    """Entry mode, MCC, or a name in [evaluate] slices."""
    value: str
    rows: int
    frauds: int
    online_per_1000: Figure
    """Advice to go online or to verify."""
    declined_per_1000: Figure
    online_ratio: Ratio
    declined_ratio: Ratio
    observed_to_expected: Ratio
    """Of those who were sent online or declined: frauds that came over those that the
    probabilities promise; no upper end where the frauds promised may be 0."""
    explained: Literal["not more", "by its frauds", "not by its frauds", "unknown"]
    """More where a ratio's interval lies above 1; not by its frauds where fewer came than were
    promised, beyond chance."""


class ScenarioFigures(Facts):
    """A scenario of the data; one without frauds has no attacks."""

    scenario: str
    transactions: int
    terminals: int
    frauds: int
    frauds_alerted: int
    genuine: int
    false_alerts: int
    attacks: int = 0
    attacks_detected: int = 0
    transactions_until_detected_median: float | None = None
    transactions_until_detected_max: int | None = None


class ReasonShare(Facts):
    """Of the alerted frauds of a scenario, how many had a reason."""

    reason: int
    share: float
    text: str | None = None
    """Of a reason of the user's own."""


class ScenarioReasons(Facts):
    """What people are told of a scenario."""

    scenario: str
    alerted: int
    reasons: list[ReasonShare]
    expected: list[int] = []
    told: float | None = None
    """Share with an expected reason; None where none is expected."""


class Pooled(Facts):
    """What needs all folds at once."""

    thresholds: Thresholds
    expected_and_observed: dict[Population, TrustFigures]
    slices: list[SliceFigures]
    scenarios: list[ScenarioFigures]
    reasons: list[ScenarioReasons]
    transactions_per_terminal_day: float


class DelayFigures(Facts):
    """The same weeks with labels that take another time."""

    delay_s: int
    delay: str
    average_precision: dict[Population, dict[str, Figure]]


class Spread(Facts):
    """Standard deviation over the folds."""

    roc_auc: Figure
    average_precision: Figure


class FamilyFigures(Facts):
    """A family on one population."""

    model_int8: MeanFigures
    model_float: MeanFigures
    standard_deviation: Spread


class FamilyFacts(Facts):
    """A family, on the rows of all others."""

    family: str
    own: bool
    """The configuration's."""
    folds: int
    pack_bytes: int
    populations: dict[Population, FamilyFigures]


class FieldQuality(Facts):
    """A field of the schema."""

    field: str
    missing: float
    distinct: int


class Suspect(Facts):
    """A column that separates frauds suspiciously well."""

    column: str
    roc_auc: Figure


class Drift(Facts):
    """How far a feature moved between training and test."""

    feature: str
    stability_index: Figure


class FraudShare(Facts):
    """Of the rows."""

    learned: Figure
    tested: Figure


class Quality(Facts):
    """What is the matter with the data."""

    rows: int
    terminals: int
    from_: str
    to: str
    frauds: int
    genuine: int
    unlabelled: int
    without_outcome: int
    fields: list[FieldQuality]
    duplicate_ids: int
    duplicate_rows: int
    duplicates_of_other_label: int
    label_delay_days: dict[DelayQuantile, float]
    """Empty without labels."""
    label_delay_configured_days: float
    leakage: list[Suspect]
    drift: list[Drift]
    fraud_share: FraudShare


class EvaluatedData(Facts):
    """The transactions."""

    files: list[InputFile]
    rows: int
    terminals: int


class Settings(Facts):
    """What a reader needs of the configuration."""

    text: str
    family: str
    decision: dict[str, object]
    rules: dict[str, object]
    evaluate: dict[str, object]


class GateRow(Facts):
    """A bound, and whether it holds."""

    name: str
    wanted: str
    found: float | None
    ok: bool


class DoubtedLabel(Facts):
    """A label that models doubt which have not seen it."""

    rank: int
    """Among those of the same label, from 1."""
    label: Literal["fraud", "genuine"]
    """What the data says."""
    score: float
    """Probability of fraud that the models give, with frauds as common as in the data."""
    input_row: int
    """0-based, of all files; as in the file of scores."""
    id: int
    terminal: str
    time: str


class Doubts(Facts):
    """Labels to look at first: frauds that look genuine, then genuine ones that look like fraud."""

    rows: int
    """With a label, and old enough for fraud reports."""
    frauds: int
    parts: int
    """Models, each of the rows of all other parts."""
    held_out: Literal["terminals", "transactions"]
    """What no two parts share."""
    labels: list[DoubtedLabel]


class Evaluation(ResultFile):
    """The file."""

    NAME: ClassVar[str] = "evaluation.json"

    run: str
    protocol: str
    family: str
    data: EvaluatedData
    fields: MissingFields
    label_delay_s: int | None
    warm_after_s: int
    known_cards_look_back_days: int
    prevalence: float | None
    false_alert_minor: float
    """What an alert costs, for the savings."""
    state: Literal["warm", "COLD"]
    folds: list[FoldFacts]
    means: Means
    cold: Means
    intervals: dict[Population, dict[str, Spans]]
    seeds: dict[Population, SeedFigures]
    drawn: str
    """What intervals resample."""
    pooled: Pooled
    groups: dict[str, GroupFigures] = {}
    """By name in [evaluate] slices."""
    interventions: list[Intervention] = []
    delays: list[DelayFigures]
    families: list[FamilyFacts]
    savings: dict[Population, dict[str, Savings]] = {}
    """By scorer; populations without a fraudulent amount are left out."""
    int8_loss: dict[Population, Figure]
    """Average precision that int8 loses against float."""
    quality: Quality
    capacities: Capacities | None = None
    """Of all rows, with the features of the last fold."""
    config: Settings
    seconds: float
    card: CardFacts = CardFacts()
    contents: DataContents | None = None
    """None, like what follows, in files that an earlier tinyfin wrote."""
    stability: Stability | None = None
    effects: Effects | None = None
    """None where the state began with the part (the inputs are those of a warm one), or where no
    part has a fraud."""
    reasons: ReasonAgreement | None = None
    """None like the effects, and without an alert or the package shap."""
    challengers: list[Challenger] = []
    """The best rule and the best learned baseline."""
    without_notices: WithoutNotices | None = None
    doubts: Doubts | None = None
    """None where frauds are too few."""
    monitoring: dict[Measure, Limit] = {}
    gate: list[GateRow] = []
    """Left out where none was given."""

    @property
    def judged(self) -> Means:
        """The means of the warm folds, or of the cold ones when there are no others."""
        return self.means or self.cold

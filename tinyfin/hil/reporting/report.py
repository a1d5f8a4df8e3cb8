# SPDX-License-Identifier: Apache-2.0
"""What the report of a replay says: the model of its JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from pydantic import AliasChoices, Field

from tinyfin.documents import Count, Document, Facts, Partial, Quantity, Reported
from tinyfin.hil.replay.facts import Instructions, ReplayFacts
from tinyfin.pages.charts import CalibrationBin, PrecisionRecall, ScoreHistogram
from tinyfin.pages.render import Check
from tinyfin.results.evaluation import ScenarioFigures
from tinyfin.results.metrics import Thresholds


class Verdict(Facts):
    """Pass or fail, and the checks that it rests on."""

    passed: bool = Field(
        validation_alias=AliasChoices("passed", "pass"), serialization_alias="pass"
    )
    checks: list[Check]


class Sizes(Reported):
    """Bytes of a target's image."""

    flash_bytes: Count = None
    ram_bytes: Count = None
    stack_bytes: Count = None
    sections: dict[str, Count] | None = None


class TargetFacts(Sizes):
    """What is known of a target: catalogue, image, and the replay's own words."""

    name: str
    title: str | None = None
    core: str | None = None
    kind: str
    flash_available_bytes: Count = None
    ram_available_bytes: Count = None


class CountedPart(Instructions):
    """Instructions of some transactions, and how many those are."""

    count: int


class Histogram(Facts):
    """Counts per bin."""

    edges: list[float]
    counts: list[int]


class InstructionFacts(Reported, Instructions):
    """Instructions per transaction of a replay that counted them."""

    target: str
    count: Count = None
    min: Count = None
    histogram: Histogram | None = None
    accepted: CountedPart | None = None
    alerted: CountedPart | None = None


class InputFile(Partial):
    """A file of transactions."""

    name: str | None = None


class TrainingData(Partial):
    """What the run was trained on."""

    files: list[InputFile] = Field(default_factory=list)
    fingerprint: str | None = None


class ModelFacts(Partial):
    """The network."""

    family: str = "?"
    hidden: list[int] | None = None
    parameters: Count = None
    seed: Count = None


class RowCount(Partial):
    """Rows of a part of the data."""

    rows: int
    frauds: int


class SplitFacts(Partial):
    """Which rows did what."""

    until: str | None = None
    test_until: str | None = None
    fit: RowCount | None = None
    calibration: RowCount | None = None


class RunFacts(Partial):
    """What is said of ``run.json``."""

    name: str | None = None
    data: TrainingData = TrainingData()
    model: ModelFacts | None = None
    split: SplitFacts = SplitFacts()
    versions: dict[str, str] = Field(default_factory=dict)
    config_sha256: str | None = None


class ScenarioRecall(Partial):
    """Recall of one scenario."""

    frauds: Count = None
    recall: Quantity = None


class Scorer(Partial):
    """What is said of a model or rule in ``metrics.json``."""

    rows: Count = None
    frauds: Count = None
    average_precision: Quantity = None
    recall_at_01: Quantity = Field(None, alias="recall_at_0.1%")
    recall_at_1: Quantity = Field(None, alias="recall_at_1%")
    roc_auc: Quantity = None
    calibration_error: Quantity = None
    brier_skill: Quantity = None
    expected_frauds: Quantity = None
    scenarios_at_01: dict[str, ScenarioRecall] = Field({}, alias="scenario_recall_at_0.1%")


class RunDecision(Partial):
    """Thresholds in force, judged in the test period."""

    drawn: str = "terminals"
    thresholds: Thresholds = Field(default_factory=dict)


class Metrics(Partial):
    """What is said of ``metrics.json``: scorers by population."""

    populations: dict[str, dict[str, Scorer]] = Field(default_factory=dict)
    decision: RunDecision | None = None

    def scorers(self, population: str = "all") -> dict[str, Scorer]:
        """Those of a population; none where it was not judged."""
        return self.populations.get(population, {})


class Compared(Partial):
    """How one runtime's network outputs differ."""

    differing_bytes: Count = None
    max_abs_difference: Count = None


class FloatAndInt8(Partial):
    """A metric of the float and of the int8 model."""

    float_: Quantity = Field(None, alias="float")
    int8: Quantity = None


class Parity(Partial):
    """What is said of ``parity.json``."""

    reference: str | None = None
    rows: Count = None
    bytes_: Count = Field(None, alias="bytes")
    plan: Compared | None = None
    litert_auto: Compared | None = None
    litert_reference: Compared | None = None
    interpreter: Compared | None = None
    float_and_int8: dict[str, dict[str, FloatAndInt8]] = Field(default_factory=dict)


class NetworkFacts(Partial):
    """The network of a pack."""

    plan_bytes: Count = None
    arena_bytes: Count = None
    macs: Count = None


class PackThresholds(Partial):
    """Thresholds of a pack, as probabilities."""

    go_online: Quantity = None
    decline: Quantity = None


class PackFacts(Partial):
    """What is said of the pack."""

    pack_id: str
    model_id: str
    format_version: int
    bytes_: int = Field(alias="bytes")
    minimum_engine: str
    signed_by: str
    features: list[str]
    state_bytes: int
    memory_bytes: int
    sections: dict[str, int]
    network: NetworkFacts | None = None
    decision: PackThresholds | None = None


class DataFacts(Facts):
    """The replayed data."""

    rows: int
    terminals: int
    frauds: int
    unlabelled: int
    begin: str = Field(validation_alias=AliasChoices("begin", "from"), serialization_alias="from")
    to: str
    fingerprint: str


class TestPeriod(Facts):
    """Curves of the run's test period."""

    rows: int
    frauds: int
    scores_of: str
    scores: ScoreHistogram | None
    precision_recall: dict[str, PrecisionRecall]
    calibration: dict[str, list[CalibrationBin]]


class Caught(Facts):
    """Alerts among replayed rows: false ones, and per scenario how many attacks were found."""

    rows: int
    terminals: int
    weeks: float
    genuine: int
    frauds: int
    unknown: int
    alerts: int
    frauds_alerted: int
    false_alerts: int
    false_alerts_per_1000: Quantity
    false_alerts_per_terminal_week: Quantity
    attack_gap_s: int
    scenarios: list[ScenarioFigures]


class Replayed(Facts):
    """What the terminal's own verdicts caught."""

    target: str
    verdicts: int
    learned_until: str | None
    later_than_learning: int
    only_later: bool
    scores: ScoreHistogram | None
    caught: Caught


class ExtraBlock(Reported):
    """A table, commands, or words, in that order of preference."""

    caption: str = ""
    columns: list[str] = Field(default_factory=list)
    rows: Sequence[Sequence[object]] | None = None
    code: list[str] | None = None
    text: str = ""


class ExtraSection(Reported):
    """A section that the caller adds."""

    title: str = ""
    blocks: list[ExtraBlock] = Field(default_factory=list)


class Missing(Facts):
    """What could not be said, and why."""

    what: str
    why: str


class ReplayReport(Document):
    """Everything that a report says."""

    NAME: ClassVar[str] = "replay.json"

    title: str
    date: str | None
    verdict: Verdict
    replays: list[ReplayFacts]
    targets: list[TargetFacts]
    instructions: list[InstructionFacts]
    example_hz: int
    run: RunFacts | None
    metrics: Metrics | None
    parity: Parity | None
    pack: PackFacts | None
    data: DataFacts | None
    test_period: TestPeriod | None
    replayed: Replayed | None
    commands: list[str]
    more: list[ExtraSection]
    missing: list[Missing]

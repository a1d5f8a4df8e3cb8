# SPDX-License-Identifier: Apache-2.0
"""What the report of a replay says: the model of its JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

from pydantic import AliasChoices, Field, PlainSerializer

from tinyfin.documents import Count, Document, Facts, Partial, Quantity, Reported
from tinyfin.hil.replay.facts import Instructions, ReplayFacts
from tinyfin.pages.charts import CalibrationBin, PrecisionRecall, ScoreHistogram
from tinyfin.pages.render import Check
from tinyfin.results.evaluation import ScenarioFigures
from tinyfin.results.metrics import Metrics
from tinyfin.results.parity import Parity
from tinyfin.results.run import RunFacts


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


class NetworkFacts(Partial):
    """The network of a pack."""

    plan_bytes: Count = None
    arena_bytes: Count = None
    macs: Count = None


class PackThresholds(Partial):
    """Thresholds of a pack, as probabilities."""

    go_online: Quantity = None
    verify: Quantity = None
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


class ReplayedData(Facts):
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


_AS_JSON = PlainSerializer(lambda part: part.as_json())
"""As the run's own file: without the keys that were not given."""


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
    run: Annotated[RunFacts, _AS_JSON] | None
    metrics: Annotated[Metrics, _AS_JSON] | None
    parity: Annotated[Parity, _AS_JSON] | None
    pack: PackFacts | None
    data: ReplayedData | None
    test_period: TestPeriod | None
    replayed: Replayed | None
    commands: list[str]
    more: list[ExtraSection]
    missing: list[Missing]

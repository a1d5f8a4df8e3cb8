# SPDX-License-Identifier: Apache-2.0
"""What a run was made from: ``run.json``, ``maps.json``."""

from __future__ import annotations

from typing import ClassVar, Literal

from tinyfin.results.capacities import Capacities
from tinyfin.results.facts import NAN, Facts, Figure, ResultFile
from tinyfin.results.metrics import Thinned

__all__ = [
    "DataFacts",
    "DvcFacts",
    "FeatureFacts",
    "FitFacts",
    "InputFile",
    "LabelAges",
    "MapRow",
    "MapsFile",
    "MissingFields",
    "ModelFacts",
    "ModelFile",
    "NoticeStatus",
    "Replaced",
    "RunFacts",
    "SliceSize",
    "SplitFacts",
]


NoticeStatus = Literal["as_trained", "missing", "other", "unused"]
"""Whether a row had the notices that the model was calibrated with."""


class DvcFacts(Facts):
    """What DVC has of a file."""

    file: str
    """The .dvc file or dvc.lock that says so."""
    md5: str
    matches: bool | None
    """Whether the content is that one; None: it cannot be told without DVC."""


class InputFile(Facts):
    """A file of transactions or labels."""

    name: str
    path: str
    bytes: int
    sha256: str
    dvc: DvcFacts | None = None
    """None: DVC does not track it."""

    @property
    def digests(self) -> str:
        """Its hashes in words."""
        if self.dvc is None:
            return self.sha256
        differs = ", which differs from the file" if self.dvc.matches is False else ""
        return f"{self.sha256}, of DVC md5 {self.dvc.md5}{differs}"


class LabelAges(Facts):
    """How old the newest known label was at the calibration rows, in seconds."""

    stream: int | None
    """Of all terminals; None: hardly ever known."""
    terminal: int | None
    """Of the transaction's own terminal."""


class DataFacts(Facts):
    """The transactions."""

    files: list[InputFile]
    fingerprint: str
    known_fingerprint: str
    """Of the labels as they were known when the model went live."""
    rows: int
    terminals: int
    frauds: int
    scenarios: list[str]
    label_delay_s: int | None
    notices: Literal["both", "fraud_only", "none"]
    drawn: str = "terminals"
    """What intervals resample."""
    fields: list[str] | None = None
    """Of the schema, those that some row has."""
    newest_label_s: LabelAges | None = None
    label_files: list[InputFile] = []
    """Those of [labels]."""


class MissingFields(Facts):
    """Fields that the features read and no row has, and those that "*" fills alone."""

    missing: list[str]
    only_other: list[str]


class SliceSize(Facts):
    """Of a part of the rows."""

    rows: int
    frauds: int


class SplitFacts(Facts):
    """Which rows train, calibrate and test; moments as text."""

    since: str
    validation_from: str
    calibration_from: str
    labels_until: str | None = None
    until: str
    test_until: str
    warmup_rows: int
    immature_refused: int
    too_recent: int = 0
    label_horizon_days: float = 0.0
    reports_end: str | None = None
    test_too_recent: int = 0
    untested: int = 0
    unlabelled: int
    fit: SliceSize
    validation: SliceSize
    calibration: SliceSize
    test: SliceSize


class FeatureFacts(Facts):
    """The feature program."""

    names: list[str]
    ids: list[int]
    reason_ids: list[int]
    program_sha256: str
    state_bytes: int
    cuts: dict[str, int]


class FitFacts(Facts):
    """What is worth knowing of a fit; each family has some of them."""

    hidden: list[int] = []
    parameters: int = 0
    fit_rows: int = 0
    fit_frauds: int = 0
    fraud_weight: float = NAN
    amount_power: float = 0.0
    best_epoch: int = 0
    validation_average_precision: list[Figure] = []
    loss: list[Figure] = []
    validation_error: list[Figure] = []
    terms: str = ""
    trees: int = 0
    samples: int = 0
    depth: int = 0
    rotation: str = ""
    condition: Figure = NAN
    teacher: str = ""
    teacher_average_precision: Figure = NAN
    trust: float = NAN
    mixed_rows: int = 0


class ModelFile(Facts):
    """A model that was not trained here."""

    name: str
    sha256: str
    inputs: str = "scaled"
    """What it takes: ``scaled`` codes, ``codes`` or ``features``."""


class Replaced(Facts):
    """The run whose network another one took the place of."""

    run: str
    weights_sha256: str


class ModelFacts(FitFacts):
    """The float model."""

    family: str
    seed: int
    readout: str
    weights_sha256: str
    file: ModelFile | None = None
    in_place_of: Replaced | None = None


class MapRow(Facts):
    """The input map of a feature."""

    feature: str
    x: tuple[int, ...]
    y: tuple[int, ...]


class MapsFile(ResultFile):
    """``maps.json``."""

    NAME: ClassVar[str] = "maps.json"

    maps: list[MapRow]
    """In feature order."""


class RunFacts(ResultFile):
    """``run.json``."""

    NAME: ClassVar[str] = "run.json"

    name: str
    data: DataFacts
    config_sha256: str
    split: SplitFacts
    features: FeatureFacts
    model: ModelFacts
    versions: dict[str, str]
    thinned: list[Thinned] = []
    capacities: Capacities | None = None
    """Of all rows; None in runs that an earlier tinyfin trained."""

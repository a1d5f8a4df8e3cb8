# SPDX-License-Identifier: Apache-2.0
"""A candidate before it goes to terminals: ``release.json``."""

from __future__ import annotations

from typing import ClassVar, Literal

from tinyfin.results.comparison import Change, Pair
from tinyfin.results.facts import Facts, Figure, ResultFile
from tinyfin.results.monitor import LabelFigures, MonitoredData

__all__ = [
    "RULES",
    "Changed",
    "LookBounds",
    "Objection",
    "PackFacts",
    "ProbationFacts",
    "Release",
    "Rule",
    "Seen",
    "TargetCost",
    "TrialBounds",
]

Rule = Literal["not-better", "not-calibrated", "over-budget", "too-different", "no-labels"]
RULES: tuple[Rule, ...] = (
    "not-better",
    "not-calibrated",
    "over-budget",
    "too-different",
    "no-labels",
)
"""What refuses a candidate, unless it is allowed by name."""


class Objection(Facts):
    """A rule that the candidate breaks."""

    rule: Rule
    text: str
    """A sentence."""
    allowed: bool


class PackFacts(Facts):
    """A pack."""

    pack_id: str
    model_id: str
    family: str
    bytes: int
    plan_bytes: int
    multiplications: int
    state_bytes: int
    security_counter: int
    signed_by: str = ""
    """Id of the key."""


class TargetCost(Facts):
    """Both packs on a target, as ``tinyfin budget`` measures them."""

    target: str
    flash_bytes: Pair
    instructions_median: Pair
    """Of a verdict."""


class Changed(Facts):
    """A group of transactions, and how many of its decisions change."""

    value: str
    rows: int
    changed: int
    per_1000: Figure


class LookBounds(Facts):
    """After so many events of the shadow, at most."""

    events: int
    far: int
    differ: int
    psi_q10: int
    median: tuple[Figure, Figure, Figure]
    """Of the windows of DATA: far, differ, psi_q10."""
    largest: tuple[int, int, int]


class TrialBounds(Facts):
    """Of the trial, at most."""

    events: int
    alerts: int
    saturated: int
    largest: tuple[int, int]
    """Of the windows of DATA: alerts, saturated."""
    terminals: int
    """That have a window of so many events."""
    refused_at_most: Figure
    extrapolated: bool


class Seen(Facts):
    """Something that is no model any more, with the candidate's alerts."""

    what: str
    share: list[Figure]
    """Of the windows of DATA that the bounds refuse, by the end of each look."""


class ProbationFacts(Facts):
    """The bounds, and what they rest on."""

    shadow: bool
    """False: the parent has another feature program; the candidate goes on trial with a cold state,
    and only the bounds of the trial are used."""
    own_state: bool = False
    """The parent has another feature program, and the shadow has a state of its own, where
    terminals have memory for it."""
    looks: list[LookBounds]
    alerts_ratio: float | None = None
    """Alerts of the candidate for one of the parent, in all windows; None: the parent gave none, or
    an older version wrote the file."""
    alerts_factor: float
    alerts_more: int
    terminals: int
    windows: int
    refused_at_most: Figure
    """Share of healthy terminals that all looks together refuse, at most, with 95 % confidence:
    what so many terminals can show."""
    extrapolated: bool
    """Whether that is more than 0.1 %: then the bounds aim at that, by an extrapolated tail."""
    table: list[list[int]]
    """All windows: bin of the parent (row) and of the candidate."""
    sees: list[Seen]
    trial: TrialBounds | None
    days: Figure
    """That shadow and trial take on a terminal with the median of events."""
    auto_trial: bool
    auto_confirm: bool


class Release(ResultFile):
    """The file."""

    NAME: ClassVar[str] = "release.json"

    run: str
    run_pack: str = ""
    """Id of the run's own pack, of which its evaluation and cards speak: the candidate is the same
    model, with the sections and the signature of a release."""
    state: Literal["released", "refused"]
    objections: list[Objection]
    candidate: PackFacts
    parent: PackFacts | None = None
    """Left out for the first release."""
    data: MonitoredData
    labels: LabelFigures | None = None
    """Of the candidate; left out without labels that are old enough."""
    figures: dict[str, Pair] = {}
    """Parent (a) and candidate (b), on the same rows."""
    margin: float
    """Average precision that the candidate may lose."""
    changed: int = 0
    """Transactions whose action changes."""
    changes: list[Change] = []
    groups: list[Changed] = []
    """Of merchant categories, those with the most changes."""
    probation: ProbationFacts | None = None
    sections: dict[str, int]
    """Bytes of the sections that the release added."""
    costs: list[TargetCost] = []

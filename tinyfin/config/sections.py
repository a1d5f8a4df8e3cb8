# SPDX-License-Identifier: Apache-2.0
"""The sections of tinyfin.toml, with their defaults and their rules."""

from __future__ import annotations

import datetime as dt
from functools import partial
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

from tinyfin.config.columns import Data, Duration, Moment
from tinyfin.config.labels import Labels
from tinyfin.config.sizes import parse_size

__all__ = [
    "Card",
    "Compromise",
    "Costs",
    "DecisionSection",
    "Evaluate",
    "Features",
    "Model",
    "Monitor",
    "Risk",
    "Rules",
    "Simulate",
    "Train",
]

Seed = Annotated[int, Field(ge=0, lt=2**63)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Name = Annotated[str, Field(min_length=1)]
Size = Annotated[int, BeforeValidator(parse_size)]


def _parse_day(value: object) -> str:
    """The day as ISO 8601 writes it. Raises ValueError with the rule."""
    if isinstance(value, str):
        try:
            value = dt.date.fromisoformat(value)
        except ValueError:
            value = None
    if not isinstance(value, dt.date) or isinstance(value, dt.datetime):
        raise ValueError('a day is written like "2026-03-31"')
    return value.isoformat()


Day = Annotated[str, BeforeValidator(_parse_day)]


class Section(BaseModel):
    """A section refuses keys that it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Season(Section):
    """A time from which the simulated town behaves in another way."""

    start: Moment
    """First moment, local time; to the end of the data, or to ``end``."""
    end: Moment | None = None
    amounts: Annotated[float, Field(gt=0, le=100)] = 1.0
    """Factor on the amounts of sales."""
    sales: Annotated[float, Field(ge=0, le=100)] = 1.0
    """Factor on the number of sales."""


class Simulate(Section):
    """[simulate]: size, seed and contents of simulated data."""

    terminals: Annotated[int, Field(ge=1, le=100_000)] = 40
    days: Annotated[int, Field(ge=1, le=3650)] = 60
    seed: Seed = 1
    start: Moment = 789_436_800
    """First day, local time; 2025-01-06, a Monday, if not given."""
    merchants: dict[str, Annotated[float, Field(ge=0)]] = {}
    """Weight per merchant profile; all alike if empty."""
    attacks: dict[str, Annotated[float, Field(ge=0)]] = {}
    """Factor on the rate of a scenario, 0 to leave it out; 1 for those not named."""
    attacks_start: dict[str, Moment] = {}
    """Local time from which a scenario happens; from the first day if it is not named."""
    seasons: list[Season] = []
    """Times of other amounts and numbers of sales; where several hold, factors multiply."""


class Risk(Section):
    """A table that training learned: ``values[i]`` where i of the ascending ``cuts`` are not above
    the number; 64 is one doubling of the odds of fraud."""

    cuts: Annotated[
        list[Annotated[int, Field(ge=-(2**31), lt=2**31)]], Field(min_length=1, max_length=32)
    ]
    values: list[Annotated[int, Field(ge=-32768, le=32767)]]

    @model_validator(mode="after")
    def _whole(self) -> Risk:
        if len(self.values) != len(self.cuts) + 1:
            raise ValueError("values has one entry more than cuts")
        if any(low >= high for low, high in pairwise(self.cuts)):
            raise ValueError("cuts must ascend")
        return self


Odds = Annotated[int, Field(ge=-32768, le=32767)]
Evidence = Annotated[int, Field(ge=0, le=255)]


class Pair(Section):
    """A table over two features: the ranges of the second follow each other."""

    features: tuple[str, str]
    values: Annotated[list[Odds], Field(min_length=1, max_length=256)]


class Compromise(Section):
    """What training learned of compromised terminals. Odds are 64 * log2; evidence is 16 * log2 of
    how much likelier something is where a terminal is compromised."""

    base: Odds
    """Odds of fraud of an event, before the tables."""
    odds: dict[str, Risk]
    """Tables of odds that are added up, by feature."""
    pairs: list[Pair] = []
    """Tables over pairs of these features, added too."""
    evidence: Risk
    """From the odds of an event to the evidence of its fraud, 0 to 255."""
    probability: Risk
    """From the odds of an event to 4096 times its probability of fraud."""
    share: Annotated[int, Field(ge=-1024, le=-1)]
    """64 * log2 of the share of a compromised terminal's transactions that is fraud."""
    usual: Evidence
    """Evidence of a fraud of which nothing is remembered."""
    genuine: Annotated[int, Field(ge=-32768, le=0)]
    """Evidence of a genuine transaction."""
    limit: Annotated[int, Field(ge=0, le=256)]
    """Events with less evidence are remembered."""
    durations: Annotated[
        list[tuple[Annotated[int, Field(ge=1, le=128)], Odds]], Field(min_length=1, max_length=4)
    ]
    """Days, and evidence of a compromise that begins on a given day and lasts so long."""
    days: Annotated[int, Field(ge=2, le=128)]
    """Days of labels that are read."""
    remembered: Annotated[int, Field(ge=0, le=64)]
    """Events that are remembered."""

    @model_validator(mode="after")
    def _whole(self) -> Compromise:
        for pair in self.pairs:
            sizes = [len(self.odds[x].values) if x in self.odds else 0 for x in pair.features]
            if sizes[0] * sizes[1] != len(pair.values):
                raise ValueError(
                    f"pairs: {' and '.join(pair.features)} have tables of {sizes[0]} and "
                    f"{sizes[1]} values in odds, and {len(pair.values)} together"
                )
        return self


ClockStep = Annotated[Duration, Field(ge=3600, lt=2**31)]


class Features(Section):
    """[features]: which features the model sees.

    ``names`` lists features of the catalogue, takes the schema's fields themselves (``"fields"``),
    names one of its sets (``"default"``, ``"stream"``, ``"host"``, ``"all"``), or takes what the
    files can feed (``"auto"``; training writes the names into ``[features.found]`` of the run). The
    capacities are the terminal's memory: transactions that wait for their outcome, cards, labels;
    with ``max_state`` training chooses them from the data. The terminal's clock may step ahead by
    ``clock_step`` after a restart, by ``clock_step_in_boot`` from then on; what claims more is not
    believed. ``cuts`` has the numbers that training chose. Every other entry of the section is a
    table that defines a feature of your own, kept as written in ``define``.
    """

    names: str | list[str] = "auto"
    pending: Annotated[int, Field(ge=1, le=256)] = 8
    card_sets: Annotated[int, Field(ge=1, le=4096)] = 16
    card_ways: Annotated[int, Field(ge=1, le=16)] = 4
    terminal_labels: Annotated[int, Field(ge=1, le=128)] = 32
    card_labels: Annotated[int, Field(ge=0, le=16)] = 0
    max_state: Size | None = None
    """Bytes that a terminal's state may take. Within it training chooses the capacities that are
    not given from the data and writes them into ``[features.found]`` of the run; with ``names =
    "auto"`` it does so without ``max_state``, too, within 16 kB."""
    clock_step: ClockStep = 400 * 86_400
    clock_step_in_boot: ClockStep = 14 * 86_400
    cuts: dict[str, Annotated[int, Field(ge=-(2**31), lt=2**31)]] = {}
    risks: dict[str, Risk] = {}
    """Tables that training learned for ``risk = "learn"``, by feature."""
    compromise: Compromise | None = None
    """What training learned of compromised terminals and of the odds of an event."""
    define: dict[str, dict[str, object]] = {}

    @property
    def capacities(self) -> dict[str, int]:
        """The limits that compile_program takes."""
        names = ("pending", "card_sets", "card_ways", "terminal_labels", "card_labels")
        return {name: getattr(self, name) for name in names} | {
            "clock_step_s": self.clock_step,
            "clock_step_in_boot_s": self.clock_step_in_boot,
        }

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, value: object) -> object:
        if not isinstance(value, dict):
            return value
        known = {key: entry for key, entry in value.items() if key in cls.model_fields}
        tables = {
            key: entry
            for key, entry in value.items()
            if key not in known and isinstance(entry, dict)
        }
        rest = {k: v for k, v in value.items() if k not in known and k not in tables}
        known |= tables.pop("found", {})
        if tables and isinstance(known.get("define", {}), dict):
            known["define"] = {**known.get("define", {}), **tables}
        return {**known, **rest}


class Model(Section):
    """[model]: the family of networks and how it is fitted."""

    family: str = "auto"
    """``"auto"``: ``distilled`` where frauds enough are known, else ``density``; training writes
    which into ``[model.found]`` of the run."""
    hidden: Annotated[list[Annotated[int, Field(ge=1, le=1024)]], Field(max_length=8)] = [32, 16]
    """Widths of the layers; of ``autoencoder``, where it is not given or empty, by the inputs."""
    epochs: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """Passes over the rows; if not given, so many that a model of few rows trains as thoroughly
    as one of many."""
    batch_size: Annotated[int, Field(ge=1)] = 1024
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 5e-3
    l2: Annotated[float, Field(ge=0)] = 1e-5
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    patience: Annotated[int, Field(ge=0)] = 5
    """Epochs without a better validation score before training stops; 0 never stops early.
    ``distilled`` stops early only with its option ``keep = "best"``."""
    seed: Seed = 1
    options: dict[str, object] = {}
    """What only one family knows; checked by that family."""

    @model_validator(mode="before")
    @classmethod
    def _with_what_was_found(cls, value: object) -> object:
        """[model.found], which a search writes, goes before [model]."""
        if isinstance(value, dict) and isinstance(value.get("found"), dict):
            return {**{key: x for key, x in value.items() if key != "found"}, **value["found"]}
        return value


class Search(Section):
    """[search]: what ``train --search`` tries, and what the model may cost on a target.

    Each list holds the values to try of a key of [model] (``options``: lists by option), ``names``
    and ``max_state`` of [features]; a key that is left out keeps its value. All combinations are
    tried when there are at most ``trials``, else so many of them, drawn with the model's seed.
    """

    target: str = "cortex-m4"
    trials: Annotated[int, Field(ge=1, le=1000)] = 12
    max_flash: Size | None = None
    """Bytes of the whole image, pack and signature check included."""
    max_ram: Size | None = None
    """Bytes of variables and stack."""
    max_instructions: Annotated[int, Field(ge=1)] | None = None
    """Bound of one scored event, reasons included; counted in the target's emulator when given."""
    family: Annotated[list[str], Field(min_length=1)] | None = None
    hidden: list[list[Annotated[int, Field(ge=1, le=1024)]]] = [
        [8],
        [16],
        [16, 8],
        [32],
        [32, 16],
        [64, 32],
    ]
    learning_rate: list[Annotated[float, Field(gt=0, le=1)]] | None = None
    l2: list[Annotated[float, Field(ge=0)]] | None = None
    dropout: list[Annotated[float, Field(ge=0, lt=1)]] | None = None
    options: dict[str, Annotated[list[Any], Field(min_length=1)]] = {}
    names: Annotated[list[str | list[str]], Field(min_length=1)] | None = None
    """Sets of features, or lists of features."""
    max_state: Annotated[list[Size], Field(min_length=1)] | None = None
    """Bytes that a terminal's state may take; training chooses the capacities within them."""


class Costs(Section):
    """[decision.costs]: what errors cost; thresholds are then set where the most is saved, within
    the budgets that are given beside the costs."""

    go_online_minor: Annotated[float, Field(gt=0)] | None = None
    """Minor units: a transaction sent online, fraud or genuine."""
    verify_minor: Annotated[float, Field(gt=0)] | None = None
    """Minor units: a transaction before which the person is verified, fraud or genuine."""
    decline_minor: Annotated[float, Field(gt=0)] | None = None
    """Minor units: a transaction declined, fraud or genuine."""
    missed: Annotated[float, Field(gt=0)] = 1.0
    """Share of the amount that a missed fraud costs."""


def _usual_budget(action: str, per_1000: float, given: dict[str, Any]) -> float | None:
    """The budget of an action in [decision] that gives none: ``per_1000``, or None where another
    key sets the threshold."""
    costs = getattr(given.get("costs"), f"{action}_minor", None)
    others = (costs, given.get(action), given.get(f"{action}_per_terminal_week"))
    return per_1000 if others == (None, None, None) else None


class DecisionSection(Section):
    """[decision]: from score to action.

    Budgets of false alerts (per 1000 genuine transactions, per terminal and week; both hold when
    both are given), costs weighted by amount, or both, from which the thresholds are set; or the
    thresholds themselves as probabilities. A budget per 1000 that is not given is the default one,
    or None where something else sets the threshold. ``verify`` is between the two others and has no
    default: without a key of its own the model never asks for it. A stronger action counts in the
    budgets of the weaker ones.
    """

    go_online_per_terminal_week: Annotated[float, Field(ge=0)] | None = None
    verify_per_terminal_week: Annotated[float, Field(ge=0)] | None = None
    decline_per_terminal_week: Annotated[float, Field(ge=0)] | None = None
    confidence: Annotated[float, Field(ge=0.5, lt=1)] | None = None
    """With which the budgets are to be kept on future transactions; if not given, they are kept on
    the calibration rows."""
    costs: Costs = Costs()
    reasons: dict[str, Annotated[int, Field(ge=0, le=65535)]] = {}
    """Reason by feature, where it is not the catalogue's; 0: this feature is never one. It is given
    on the sides of the usual value on which the catalogue gives one."""
    go_online: Share | None = None
    verify: Share | None = None
    decline: Share | None = None
    go_online_per_1000: Annotated[float, Field(ge=0, le=1000)] | None = Field(
        default_factory=partial(_usual_budget, "go_online", 1.0)
    )
    verify_per_1000: Annotated[float, Field(ge=0, le=1000)] | None = None
    decline_per_1000: Annotated[float, Field(ge=0, le=1000)] | None = Field(
        default_factory=partial(_usual_budget, "decline", 0.0)
    )
    """0: the model never declines by itself."""
    control_share: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    """Share of events on which the advice is to ignore the model (never the kernel)."""
    cold_events: Annotated[int, Field(ge=0)] = 32
    cold: Duration = 86_400
    """A verdict is COLD before ``cold_events`` commits and while less than ``cold`` has passed."""

    @model_validator(mode="after")
    def _ordered(self) -> DecisionSection:
        actions = ("go_online", "verify", "decline")
        budgets = [
            f"{name}_per_1000" for name in actions if getattr(self, f"{name}_per_1000") is not None
        ]
        for weak, strong in pairwise(budgets):
            if getattr(self, strong) > getattr(self, weak):
                raise ValueError(f"{strong} must not exceed {weak}")
        if self.confidence is not None and (
            self.go_online is not None
            or (self.go_online_per_1000, self.go_online_per_terminal_week) == (None, None)
        ):
            raise ValueError(
                "confidence keeps a budget: leave out go_online, and give a budget beside costs"
            )
        shares = [name for name in actions if getattr(self, name) is not None]
        for weak, strong in pairwise(shares):
            if getattr(self, weak) > getattr(self, strong):
                raise ValueError(f"{weak} must not exceed {strong}")
        return self


class Train(Section):
    """[train]: the rows to train on, always split by time.

    ``since`` and ``until`` bound the transactions to train on; labels that are not known
    by ``until`` are not used, and what follows, up to ``test_until``, is the test. Without
    ``until`` the fractions split the data into train, validation and test, in that order of time.
    The first half of the validation says when to stop, the second calibrates.
    """

    since: Moment | None = None
    until: Moment | None = None
    test_until: Moment | None = None
    train: Share = 0.6
    validation: Share = 0.2
    test: Share = 0.2

    @model_validator(mode="after")
    def _whole(self) -> Train:
        if abs(self.train + self.validation + self.test - 1.0) > 1e-9:
            raise ValueError("train + validation + test must be 1")
        if self.since is not None and self.until is not None and self.since >= self.until:
            raise ValueError("since must be before until")
        return self


class Rules(Section):
    """[rules]: numbers of the rules that are shown with every model (training/baselines.py)."""

    amount_cut_minor: Annotated[int, Field(ge=0)] = 22_000
    run_age: Duration = 28 * 86_400
    """A run of known frauds counts while its oldest is younger."""
    rate: Duration = 600
    large_amount: float = 3.0
    two_known: float = 2.0
    one_known: float = 0.6
    terminal_ratio_cap: Annotated[float, Field(gt=0)] = 50.0
    card_ratio_cap: Annotated[float, Field(gt=0)] = 10.0


class Evaluate(Section):
    """[evaluate]: how a configuration is evaluated."""

    protocol: Literal["prequential", "holdout", "halves"] = "prequential"
    weeks: Annotated[int, Field(ge=1, le=520)] | Annotated[list[Moment], Field(min_length=1)] = 4
    """First seconds of the test weeks; or how many, the last whole ones of the data."""
    period: Annotated[Duration, Field(ge=1)] = 7 * 86_400
    """Length of a test week."""
    seeds: Annotated[int, Field(ge=1, le=100)] = 3
    """Models per week; the first is in the tables, the others show the spread."""
    halves: Annotated[int, Field(ge=1, le=100)] = 10
    """Seeded halves of the protocol of that name."""
    baselines: list[str] = ["logistic_regression", "random_forest", "xgboost", "isolation_forest"]
    prevalence: Annotated[float, Field(gt=0, lt=1)] | None = None
    """True share of fraud when the file holds another one: average precision is weighted to it."""
    delays: list[Duration] = []
    """Label delays of the curve."""
    warm: Duration | None = None
    """State this much older than the test counts as warm; label_delay and 14 days if not given."""
    false_alert_minor: Annotated[float, Field(ge=0)] | None = None
    """What an alert costs, false or not, for the savings; see :meth:`alert_minor`."""
    families: list[str] = []
    """Families to compare with the run's own; ``all`` is those of the same kind."""
    slices: dict[Name, Name] = {}
    """Groups whose figures are compared: column of the file by name. No model sees them."""

    def alert_minor(self, decision: DecisionSection) -> float:
        """Minor units that an alert costs where a missed fraud costs its amount; where
        ``false_alert_minor`` is not given, that of [decision.costs], and 500 without any."""
        if self.false_alert_minor is not None:
            return self.false_alert_minor
        costs = decision.costs
        return 500.0 if costs.go_online_minor is None else costs.go_online_minor / costs.missed


class Monitor(Section):
    """[monitor]: from where on a check of ``tinyfin monitor`` warns or fails."""

    psi_warning: Annotated[float, Field(gt=0)] = 0.1
    """Population stability index from which a column drifts."""
    psi_failed: Annotated[float, Field(gt=0)] = 0.25
    factor: Annotated[float, Field(gt=1)] = 2.0
    """A figure fails when all of its interval is so many times worse than expected; it warns when
    all of it is worse."""
    missing_notices: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Share of transactions without the notices of training from which the check fails."""
    min_rows: Annotated[int, Field(ge=1)] = 1000
    """With fewer transactions there is no verdict."""
    min_frauds: Annotated[int, Field(ge=1)] = 20
    """With fewer known frauds there is no verdict on what is said of frauds."""

    @model_validator(mode="after")
    def _ordered(self) -> Monitor:
        if self.psi_warning > self.psi_failed:
            raise ValueError("psi_warning must not exceed psi_failed")
        return self


Words = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000)]


class Card(Section):
    """[card]: what model card and data card say that no data can; no model is made by it."""

    owner: Words | None = None
    """Who answers for the model."""
    approved_by: Words | None = None
    approved_on: Day | None = None
    review_by: Day | None = None
    """Day by which it has to be approved again."""
    intended_use: Words | None = None
    data_origin: Words | None = None
    data_licence: Words | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Card:
        if self.approved_on and self.review_by and self.review_by <= self.approved_on:
            raise ValueError("review_by must be after approved_on")
        return self


class Sections(Section):
    """The whole file, except [schema]."""

    data: Data = Data()
    labels: Labels = Labels()
    simulate: Simulate = Simulate()
    features: Features = Features()
    model: Model = Model()
    decision: DecisionSection = DecisionSection()
    train: Train = Train()
    search: Search = Search()
    rules: Rules = Rules()
    evaluate: Evaluate = Evaluate()
    monitor: Monitor = Monitor()
    card: Card = Card()

# SPDX-License-Identifier: Apache-2.0
"""The model card: what a run is for, what it was made from, what it can do and what it cannot.

The headings are those of Mitchell et al., Model Cards for Model Reporting (2019), and what SR 11-7
asks for in between (card_sections).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from tinyfin.evaluation.card_sections import given, responsible, risk_sections
from tinyfin.evaluation.data_remarks import beaten_by, delay_words, drawn, limits, money, warnings
from tinyfin.evaluation.fold_metrics import MAIN
from tinyfin.evaluation.group_sections import group_card
from tinyfin.pages.blocks import fixed, spread
from tinyfin.pages.markdown import as_markdown, escaped, readable
from tinyfin.pages.scorers import population_name
from tinyfin.pages.threshold_table import interval_words, threshold_cells
from tinyfin.results.evaluation import Evaluation, MeanFigures
from tinyfin.results.metrics import Population, ScorerFigures
from tinyfin.training.alert_guarantee import promise_lines
from tinyfin.training.capacities import capacity_rows
from tinyfin.training.families import family
from tinyfin.training.representative_sample import thinned_text
from tinyfin.training.run_folder import RunFolder

__all__ = [
    "INTENDED",
    "LIMITS",
    "NO_GROUPS",
    "OUT_OF_SCOPE",
    "made_from",
    "model_card",
    "ranked",
    "trained_on",
]

_Figures = TypeVar("_Figures", bound=ScorerFigures)

INTENDED = (
    "Inside a payment terminal, before authorisation: raise caution on a transaction that looks "
    "like fraud (advise to go online, or to decline).",
    "It may only raise caution: it never turns a decline of the kernel or of the host into an "
    "approval.",
)
OUT_OF_SCOPE = (
    "Creditworthiness, credit scoring, or any judgement of a person: the score must feed none.",
    "Transactions unlike those it was trained on: another country, merchant, currency or schema "
    "needs its own evaluation.",
    "A sole ground for refusing a customer without a way to be heard.",
)
LIMITS = (
    "Attacks spread thinly over many terminals are invisible to any one of them.",
    "Fraud that shows only through labels is found only as fast as labels arrive.",
    "State must be warm: figures of a terminal without memory are another model's (named COLD).",
    "Intervals: bootstrap over {drawn}; they say nothing of kinds of fraud that the data lacks.",
)
NO_GROUPS = (
    "No groups were compared, so nothing is known of proxies: name columns that no model sees in "
    "`[evaluate] slices`, and evaluate again."
)


def ranked(means: Mapping[str, _Figures]) -> list[tuple[str, _Figures]]:
    """Scorers of one population, the models first, then by average precision."""
    return sorted(
        means.items(),
        key=lambda item: (not item[0].startswith("model"), -item[1].average_precision),
    )


def trained_on(facts: Evaluation, run: RunFolder) -> list[tuple[str, str]]:
    """The rows that the model of the last part was trained on, and those that chose its epoch."""
    split, model = facts.folds[-1].split, run.config().model
    rows, frauds = split.fit.rows, split.fit.frauds
    validated = f"{split.validation.rows:,} rows"
    if family(model.family).takes_validation(model):
        rows, frauds = rows + split.validation.rows, frauds + split.validation.frauds
        validated = "no rows of their own"
    return [("trained on", f"{rows:,} rows with {frauds:,} frauds"), ("validated on", validated)]


def made_from(facts: Evaluation, run: RunFolder) -> list[tuple[str, str]]:
    """Hashes and versions that name this model and what it was made from."""
    own = run.facts()
    rows = [(f"data, {f.name}", f"sha256 {f.digests}") for f in facts.data.files]
    rows += [(f"labels, {f.name}", f"sha256 {f.digests}") for f in own.data.label_files]
    rows += [
        ("configuration", f"sha256 {own.config_sha256}"),
        ("weights of the run", f"sha256 {own.model.weights_sha256}"),
        ("feature program", f"sha256 {own.features.program_sha256}"),
    ]
    if run.pack.is_file():
        from tinyfin.pack.container import parse_pack

        pack = parse_pack(run.pack.read_bytes())
        rows += [("model_id", pack.model_id.hex()), ("pack_id", pack.pack_id.hex())]
    versions = ", ".join(f"{k} {v}" for k, v in own.versions.items())
    return [*rows, ("versions", versions)]


def model_card(facts: Evaluation, run: RunFolder) -> str:
    """Markdown, no line of it dependent on the machine."""
    own = run.facts()
    split = facts.folds[-1].split
    lines = [
        f"# Model card: {facts.run}",
        "",
        f"Family `{own.model.family}`, read-out `{own.model.readout}`, "
        f"{len(own.features.names)} features; state {facts.state}.",
        "",
        "## Responsible",
        "",
        *as_markdown(responsible(facts)),
        "## Intended use",
        "",
        *_items([escaped(given(facts.card, "intended_use")), *INTENDED]),
        "",
        "## Out of scope",
        "",
        *_items(OUT_OF_SCOPE),
        "",
        "## Data",
        "",
        f"{facts.data.rows:,} transactions of {facts.data.terminals:,} terminals, "
        f"{facts.quality.from_} to {facts.quality.to}, "
        f"{facts.quality.frauds:,} frauds. The model of the last part was "
        f"{', '.join(' '.join(words) for words in trained_on(facts, run))}, calibrated on "
        f"{split.calibration.rows:,} rows; "
        f"{split.immature_refused - split.too_recent:,} rows were left out because their "
        f"label was not known in time, {split.too_recent:,} because they were too recent for "
        "fraud reports.",
        *(f"In the run itself {thinned_text(row)}." for row in own.thinned),
        "",
        f"* Origin: {escaped(given(facts.card, 'data_origin'))}",
        f"* Licence: {escaped(given(facts.card, 'data_licence'))}",
        "* Population, labels, splits and faults: DATA_CARD.md",
        "",
        "## Metrics",
        "",
        _protocol(facts),
        "",
    ]
    for population, scorers in facts.judged.items():
        lines += [
            f"Population: {population_name(population)}.",
            "",
            *_items([f"{said[0].upper()}{said[1:]}." for said in money(facts, population)]),
            *([""] if population in facts.savings else []),
            *_table(facts, population, scorers),
            "",
        ]
    lines += [*_thresholds(facts), *_trust(facts), "", "## Where it falls behind", ""]
    lines += [*_behind(facts), ""]
    for title, blocks in risk_sections(facts):
        lines += [f"## {title}", "", *as_markdown(blocks)]
    lines += group_card(facts) or ["## Groups", "", NO_GROUPS, ""]
    lines += [
        *_capacities(facts),
        "## Limits",
        "",
        *_items(limits(facts, LIMITS)),
        "",
        "## How it was made",
        "",
    ]
    *names, (_, versions) = made_from(facts, run)
    lines += [
        "Trained in Keras or fitted as an integer model, quantized after training to int8, "
        "compiled into a signed pack; every figure of `model_int8` is that pack's on the twin of "
        "the terminal's engine.",
        "",
        "    tinyfin train DATA --config tinyfin.toml --name " + facts.run,
        f"    tinyfin quantize runs/{facts.run}",
        f"    tinyfin evaluate runs/{facts.run} --protocol {facts.protocol}",
        "",
        "| what | name |",
        "|---|---|",
        *(f"| {name} | `{value}` |" for name, value in names),
        "",
        f"Versions: {versions}.",
        "",
    ]
    return readable(lines)


def _items(texts: Sequence[str]) -> list[str]:
    return [f"* {text}" for text in texts]


def _protocol(facts: Evaluation) -> str:
    folds = ", ".join(fold.name + (" (COLD)" if fold.cold else "") for fold in facts.folds)
    return (
        f"Protocol {facts.protocol}: {folds}. Each is trained, quantized, calibrated and given "
        f"its thresholds from what was known when it begins; {delay_words(facts)}. Means "
        f"over the parts; intervals (95 %): bootstrap over {drawn(facts)}."
    )


def _table(
    facts: Evaluation, population: Population, scorers: Mapping[str, MeanFigures]
) -> list[str]:
    lines = [
        "| scorer | AP | interval | ROC AUC | recall at 0.1 % FP | at 1 % FP | value detected | "
        "savings | interval |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    spans = facts.intervals.get(population, {})
    saved = facts.savings.get(population, {})
    for name, m in ranked(scorers):
        between = spread(*spans[name].average_precision) if name in spans else ""
        of_savings = spread(*saved[name].interval) if name in saved else ""
        lines.append(
            f"| {name} | {fixed(m.average_precision)} | {between} | {fixed(m.roc_auc)} | "
            f"{fixed(m.recall_at_0_1_percent)} | {fixed(m.recall_at_1_percent)} | "
            f"{fixed(m.alerts.value_detected)} | {fixed(m.alerts.savings)} | {of_savings} |"
        )
    return lines


def _thresholds(facts: Evaluation) -> list[str]:
    cells = threshold_cells(facts.pooled.thresholds)
    if not cells:
        return ["No threshold is in force: the model never advises anything.", ""]
    head, *rows = cells
    decision = facts.folds[-1].decision
    promised = [] if decision is None else promise_lines(decision.promise)
    return [
        f"At the thresholds in force, all parts together; {interval_words(drawn(facts))}.",
        "",
        *(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)),
        "",
        *_items([f"The last part, {line}." for line in promised]),
        *([""] if promised else []),
    ]


def _trust(facts: Evaluation) -> list[str]:
    out = []
    for population, scorers in facts.judged.items():
        m = scorers[MAIN]
        seeds = facts.seeds[population]
        text = (
            f"{population_name(population)}: AP lost by int8 "
            f"against float: {fixed(facts.int8_loss[population], 4)}; "
            f"over seeds {spread(seeds.lowest, seeds.highest)}"
        )
        if m.has_probabilities and facts.prevalence is None:
            above = facts.pooled.expected_and_observed[population].above_threshold
            text += (
                f"; calibration error {fixed(m.calibration_error, 4)}, Brier skill "
                f"{fixed(m.brier_skill)}; above the alert threshold {above.expected:.0f} "
                f"frauds expected ({above.low:.0f} to {above.high:.0f}; were rows "
                f"independent {above.independent_low:.0f} to "
                f"{above.independent_high:.0f}), {above.observed} observed"
            )
        out.append(text + ".")
    return _items(out)


def _capacities(facts: Evaluation) -> list[str]:
    if facts.capacities is None:
        return []
    return [
        "## Memory of a terminal",
        "",
        "| table | full | lost |",
        "|---|---|---|",
        *(f"| {' | '.join(row)} |" for row in capacity_rows(facts.capacities)),
        "",
    ]


def _behind(facts: Evaluation) -> list[str]:
    rows = [s for s in facts.pooled.slices if s.behind]
    beaten = [*beaten_by(facts), *warnings(facts)]
    if not rows and not beaten:
        return ["No slice with enough frauds for a comparison falls behind."]
    return _items(
        [
            *(f"{text}." for text in beaten),
            *(
                f"{s.kind}: {s.slice} ({', '.join(s.behind)}; recall {fixed(s.recall)} "
                f"of {s.frauds} frauds, {s.expected:.0f} expected)"
                for s in rows
            ),
        ]
    )

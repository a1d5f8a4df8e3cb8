# SPDX-License-Identifier: Apache-2.0
"""Evaluate a configuration: train every fold again, score it on the twin, sum up."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tinyfin.config import Card, Config, format_duration
from tinyfin.data.memory_tables import Sources, as_files
from tinyfin.data.seen import Seen
from tinyfin.data.transactions import Transactions
from tinyfin.errors import InputError
from tinyfin.evaluation.challengers import challengers, without_notices
from tinyfin.evaluation.data_contents import contents
from tinyfin.evaluation.data_quality import quality
from tinyfin.evaluation.doubts import doubts
from tinyfin.evaluation.family_comparison import family_facts, family_names, with_family
from tinyfin.evaluation.feature_effects import effects
from tinyfin.evaluation.fold_metrics import MAIN, fold_figures
from tinyfin.evaluation.fold_scores import FoldScores, score_fold
from tinyfin.evaluation.folds import PROTOCOLS, Fold, folds_of, warm_s
from tinyfin.evaluation.groups import Group, group_figures, read_groups, require_groups
from tinyfin.evaluation.interventions import interventions
from tinyfin.evaluation.proxies import proxy_figures
from tinyfin.evaluation.reason_agreement import reason_agreement
from tinyfin.evaluation.stability import limits, stability
from tinyfin.evaluation.summary import intervals, means, pooled, savings_of_folds, seed_spread
from tinyfin.features.compiler import compile_program
from tinyfin.progress import Stage, stage
from tinyfin.results.evaluation import (
    DelayFigures,
    EvaluatedData,
    Evaluation,
    FamilyFacts,
    FoldFacts,
    Means,
    ProxyFigures,
    Quality,
    Settings,
)
from tinyfin.results.metrics import Population
from tinyfin.results.model_risk import CardFacts
from tinyfin.training.dataset import Dataset, Featured, prepare
from tinyfin.training.missing_fields import require_fields
from tinyfin.training.populations import LOOK_BACK_DAYS, drawn_anew
from tinyfin.training.requirements import require_columns, require_packages, require_space
from tinyfin.training.run_folder import RunFolder, open_run

__all__ = ["FOLDER", "Evaluated", "evaluate"]

FOLDER = "evaluation"
Note = Callable[[str], None]
_KINDS = {"prequential": "week", "holdout": "part", "halves": "half"}


@dataclass(frozen=True)
class Evaluated:
    """What came out: the figures, and the scored rows for pictures."""

    run: RunFolder
    facts: Evaluation
    tx: Transactions
    scored: Sequence[FoldScores]
    """Warm folds, or the cold ones when there are no others."""


def evaluate(
    run: RunFolder | str | Path,
    data: Sources,
    *,
    protocol: str | None = None,
    weeks: int | Sequence[int] | None = None,
    seeds: int | None = None,
    delays: Sequence[int] | None = None,
    families: Sequence[str] | None = None,
    slices: Mapping[str, str] | None = None,
    card: Card | None = None,
    cold: bool = False,
    skip_bad_rows: str | Path | None = None,
    note: Note = lambda _: None,
) -> Evaluated:
    """Judge the configuration of ``run`` (its weights play no part) on files or tables.

    None takes [evaluate]'s value; ``card`` goes before the run's [card]. Folds are kept in
    ``run``'s folder and used again. Raises what reading, training and quantizing raise, InputError
    for an unknown protocol.
    """
    with as_files(data) as paths, stage("evaluating", unit="models") as whole:
        return _evaluate(
            open_run(run),
            paths,
            protocol,
            weeks,
            seeds,
            delays,
            families,
            slices,
            card,
            cold,
            skip_bad_rows,
            note,
            whole,
        )


def _evaluate(
    run: RunFolder,
    paths: Sequence[str | Path],
    protocol: str | None,
    weeks: int | Sequence[int] | None,
    seeds: int | None,
    delays: Sequence[int] | None,
    families: Sequence[str] | None,
    slices: Mapping[str, str] | None,
    card: Card | None,
    cold: bool,
    skip_bad_rows: str | Path | None,
    note: Note,
    whole: Stage,
) -> Evaluated:
    config = _with(run.asked(), protocol, weeks, seeds, delays, families, slices)
    begun = time.monotonic()
    learned = run.config()
    own = learned.model.family  # what "auto" came to
    names = family_names(config.evaluate.families, own)
    others = [name for name in names if name != own]
    require_columns(config, paths, names, judged=True)
    require_packages(config, paths, others, packed=True)
    require_space(run.path, paths)
    require_groups(config, paths)
    dataset = prepare(paths, config, skip_bad_rows=skip_bad_rows, note=note)
    asked, tx = config.evaluate, dataset.tx
    groups = read_groups(config, paths, tx)
    program = compile_program(learned.features, learned.schema, **learned.features.capacities)
    fields = require_fields(program.payload, Seen.of(tx, config), run, str(run.path), note)
    folds = folds_of(tx, config, protocol=asked.protocol, weeks=asked.weeks, cold=cold)
    whole.total = len(folds) * (asked.seeds + len(asked.delays) + len(others))
    chain = _Chain(run, config, cold, note, whole)
    seed = config.model.seed
    by_seed = {seed + i: chain.score(dataset, folds, seed + i, i == 0) for i in range(asked.seeds)}
    first = by_seed[seed]
    figures = _figures(tx, first, config)
    warm = [i for i, fold in enumerate(folds) if not fold.cold]
    counted = warm or list(range(len(folds)))
    of_warm = means([figures[i] for i in warm])
    of_cold = means([f for f in figures if f.cold])
    judged = of_warm or of_cold
    scored = [first[i] for i in counted]
    last = scored[-1]
    made = dataset.featured(last.run.config(), last.fold.split)
    spans = intervals(tx, scored, asked.prevalence, seed)
    found = _quality(dataset, config, made, last)
    told = [figures[i] for i in counted]
    alert_minor = asked.alert_minor(config.decision)
    facts = Evaluation(
        run=run.name,
        protocol=asked.protocol,
        family=config.model.family,
        data=EvaluatedData(files=list(dataset.files), rows=len(tx), terminals=len(tx.terminals)),
        fields=fields,
        label_delay_s=config.data.label_delay_s,
        warm_after_s=warm_s(config),
        known_cards_look_back_days=LOOK_BACK_DAYS,
        prevalence=asked.prevalence,
        false_alert_minor=alert_minor,
        state="COLD" if not warm and asked.protocol != "halves" else "warm",
        folds=figures,
        means=of_warm,
        cold=of_cold,
        intervals=spans,
        seeds=seed_spread(
            tx, {s: [scored[i] for i in counted] for s, scored in by_seed.items()}, asked.prevalence
        ),
        drawn=drawn_anew(tx, last.rows),
        pooled=pooled(tx, scored, program.reason_texts),
        groups=group_figures(tx, scored, groups, _proxies(tx, groups, made, last, seed)),
        interventions=interventions(tx, scored, groups),
        delays=[_delay(chain, dataset, folds, d) for d in asked.delays],
        families=[
            family_facts(name, True, told, judged)
            if name == own
            else _beside(chain, dataset, folds, name)
            for name in names
        ],
        savings=savings_of_folds(tx, scored, alert_minor, seed),
        int8_loss=_loss(judged),
        quality=found,
        capacities=dataset.capacities(made),
        config=_settings(config, run),
        card=CardFacts(**(card or config.card).model_dump()),
        contents=contents(tx),
        stability=stability(tx, scored, told, asked.prevalence, seed),
        effects=None if cold else effects(tx, scored, last.run.config(), asked.prevalence, seed),
        reasons=None if cold else reason_agreement(tx, scored, seed),
        challengers=challengers(judged, spans),
        without_notices=without_notices(tx, last, asked.prevalence, cold, seed),
        doubts=doubts(tx, made.features, made.config.features, seed),
        monitoring=limits(tx, scored, told, judged, spans, found, config),
        seconds=time.monotonic() - begun,
    )
    return Evaluated(run, facts, tx, scored)


def _with(
    config: Config,
    protocol: str | None,
    weeks: int | Sequence[int] | None,
    seeds: int | None,
    delays: Sequence[int] | None,
    families: Sequence[str] | None,
    slices: Mapping[str, str] | None,
) -> Config:
    """The configuration with what was asked for in place of what [evaluate] says."""
    if protocol is not None and protocol not in PROTOCOLS:
        raise InputError(f"--protocol {protocol!r}: known are {', '.join(PROTOCOLS)}")
    given = {
        "protocol": protocol,
        "weeks": weeks,
        "seeds": seeds,
        "delays": delays,
        "families": families,
        "slices": slices,
    }
    update = {name: value for name, value in given.items() if value is not None}
    evaluate = config.evaluate.model_copy(update=update)
    fixed: dict[str, object] = {}
    if evaluate.protocol == "halves":
        fixed["seeds"] = 1  # every half has a seed of its own
    if evaluate.protocol != "prequential":
        fixed["delays"] = []
    return replace(config, evaluate=evaluate.model_copy(update=fixed))


@dataclass
class _Chain:
    """Folds one after the other; ``whole`` is the stage of all of them."""

    run: RunFolder
    config: Config
    cold: bool
    note: Note
    whole: Stage

    def score(
        self, dataset: Dataset, folds: Sequence[Fold], seed: int, compared: bool, where: str = ""
    ) -> list[FoldScores]:
        """All folds with one seed; ``compared``: with the learned baselines. ``where`` is in
        the folders' names."""
        model = self.config.model.model_copy(update={"seed": seed})
        config = replace(self.config, model=model)
        out = []
        kind = _KINDS[config.evaluate.protocol]
        for number, fold in enumerate(folds, 1):
            self.whole.text = f"{kind} {number} of {len(folds)}, {fold.name}{where}, seed {seed}"
            name = f"{fold.name}{where}-seed{seed}" + ("-cold" if self.cold else "")
            out.append(
                score_fold(
                    self.run.path / FOLDER / config.evaluate.protocol / name,
                    dataset,
                    fold,
                    config,
                    note=self.note,
                    cold_start=self.cold,
                    baselines=config.evaluate.baselines if compared else [],
                )
            )
            self.whole.step()
        self.whole.text = "figures"
        return out


def _delay(chain: _Chain, dataset: Dataset, folds: Sequence[Fold], delay_s: int) -> DelayFigures:
    """The same weeks with labels that take ``delay_s`` instead."""
    tx, config = dataset.tx, chain.config
    known_s = (tx.t_mono_s.astype(np.int64) + delay_s).astype(np.uint32)
    late = replace(tx, label_known_s=known_s, revised=None)
    other = Dataset(late, dataset.files)
    starts = [fold.split.until_s for fold in folds]
    again = folds_of(late, config, protocol="prequential", weeks=starts)
    text = format_duration(delay_s)
    scored = chain.score(other, again, config.model.seed, False, f"-delay-{text}")
    figures = _figures(late, scored, config)
    found = means(figures)
    return DelayFigures(
        delay_s=delay_s,
        delay=text,
        average_precision={
            population: {scorer: m.average_precision for scorer, m in scorers.items()}
            for population, scorers in found.items()
        },
    )


def _beside(chain: _Chain, dataset: Dataset, folds: Sequence[Fold], name: str) -> FamilyFacts:
    """The same tests with another family, which may be given other slices to train on."""
    config = with_family(chain.config, name)
    other = replace(chain, config=config)
    again = folds_of(
        dataset.tx,
        config,
        protocol=config.evaluate.protocol,
        cold=chain.cold,
        weeks=[fold.split.until_s for fold in folds],
    )
    scored = other.score(dataset, again, config.model.seed, False, f"-{name}")
    figures = _figures(dataset.tx, scored, config)
    warm = [f for f in figures if not f.cold] or figures
    return family_facts(name, False, warm, means(warm))


def _figures(tx: Transactions, scored: Sequence[FoldScores], config: Config) -> list[FoldFacts]:
    asked = config.evaluate
    return [
        fold_figures(
            tx, s, alert_minor=asked.alert_minor(config.decision), prevalence=asked.prevalence
        )
        for s in scored
    ]


def _proxies(
    tx: Transactions, groups: Mapping[str, Group], made: Featured, last: FoldScores, seed: int
) -> dict[str, ProxyFigures | None]:
    """By group, of the features of the last fold's test rows."""
    names = made.program.feature_names
    return {
        name: proxy_figures(made.features, names, group, last.rows, tx.terminal, seed)
        for name, group in groups.items()
    }


def _quality(dataset: Dataset, config: Config, made: Featured, last: FoldScores) -> Quality:
    """Of the data, with what the last fold was trained and tested on."""
    return quality(
        dataset.tx,
        config,
        made.features,
        made.program.feature_names,
        last.fold.split.fit,
        last.rows,
    )


def _loss(found: Means) -> dict[Population, float]:
    """Average precision that int8 loses against float, by population."""
    return {
        population: scorers["model_float"].average_precision - scorers[MAIN].average_precision
        for population, scorers in found.items()
    }


def _settings(config: Config, run: RunFolder) -> Settings:
    """What a reader needs of the configuration."""
    return Settings(
        text=run.file("config.toml").read_text(encoding="utf-8"),
        family=config.model.family,
        decision=config.decision.model_dump(),
        rules=config.rules.model_dump(),
        evaluate=config.evaluate.model_dump(),
    )

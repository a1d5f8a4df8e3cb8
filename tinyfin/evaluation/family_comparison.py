# SPDX-License-Identifier: Apache-2.0
"""Other families compared with the one that the configuration names: same folds, rows, features.

The comparison is for information. The configuration itself says which family it uses; this table,
whose figures come from test labels, does not choose it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tinyfin.config import Config
from tinyfin.errors import InputError
from tinyfin.evaluation.fold_metrics import MAIN
from tinyfin.pages.blocks import Block, count, fixed, table
from tinyfin.pages.scorers import population_name
from tinyfin.results.evaluation import (
    Evaluation,
    FamilyFacts,
    FamilyFigures,
    FoldFacts,
    MeanFigures,
    Means,
    Spread,
)
from tinyfin.results.metrics import Population
from tinyfin.training.families import FAMILIES, family

__all__ = ["family_facts", "family_names", "family_sections", "family_text", "with_family"]

_NOT_BESIDE = ("model_int8", "model_float")


def family_names(asked: Sequence[str], own: str) -> list[str]:
    """The families to show; ``all`` means those of the same kind as ``own``, with labels or
    without. Raises InputError for one that is not known.
    """
    names: list[str] = []
    for name in asked:
        if name == "all":
            kind = family(own).supervised
            names += [other for other in FAMILIES if family(other).supervised == kind]
        elif name in FAMILIES:
            names.append(name)
        else:
            raise InputError(f"--families {name!r}: known are all, {', '.join(FAMILIES)}")
    return list(dict.fromkeys(names))


def with_family(config: Config, name: str) -> Config:
    """The configuration with another family and what is usual for it; its own family's model is
    taken as it is."""
    if name == config.model.family:
        return config
    usual = {"family": name, "options": {}, **family(name).usual}
    return replace(config, model=config.model.model_copy(update=usual))


def family_facts(name: str, own: bool, folds: Sequence[FoldFacts], means: Means) -> FamilyFacts:
    """Means of the int8 and the float model over the folds, by population, with the standard
    deviation of the int8 model's over the folds."""
    populations: dict[Population, FamilyFigures] = {}
    for population, scorers in means.items():
        rows = [fold.populations[population][MAIN] for fold in folds]
        populations[population] = FamilyFigures(
            model_int8=scorers[MAIN],
            model_float=scorers["model_float"],
            standard_deviation=Spread(
                roc_auc=float(np.std([row.roc_auc for row in rows])),
                average_precision=float(np.std([row.average_precision for row in rows])),
            ),
        )
    return FamilyFacts(
        family=name,
        own=own,
        folds=len(folds),
        pack_bytes=max(fold.pack.bytes for fold in folds),
        populations=populations,
    )


def _rows(facts: Evaluation, population: Population) -> list[list[str]]:
    out = []
    for one in facts.families:
        found = one.populations[population]
        m, spread, float_ = found.model_int8, found.standard_deviation, found.model_float

        def both(value: float, deviation: float, several: bool = one.folds > 1) -> str:
            return fixed(value, 4) + (f" ± {fixed(deviation, 4)}" if several else "")

        out.append(
            [
                ("* " if one.own else "  ") + one.family,
                both(m.roc_auc, spread.roc_auc),
                both(m.average_precision, spread.average_precision),
                fixed(float_.roc_auc, 4),
                fixed(float_.average_precision, 4),
                fixed(m.recall_at_0_1_percent),
                fixed(m.recall_at_1_percent),
                count(one.pack_bytes),
            ]
        )
    return out


_HEAD = ["family", "ROC AUC", "AP", "float: ROC AUC", "AP", "R@0.1%", "R@1%", "pack bytes"]


def _caught(facts: Evaluation, population: Population) -> tuple[list[str], list[list[str]]]:
    """Share of each scenario's frauds in the 0.1% of genuine rows that each scorer ranks highest:
    the rules, then the families."""
    means = facts.judged[population]
    scorers = {n: m for n, m in means.items() if n not in _NOT_BESIDE}
    scorers |= {one.family: one.populations[population].model_int8 for one in facts.families}
    names = dict.fromkeys(name for m in scorers.values() for name in m.scenario_recall)

    def caught(m: MeanFigures, name: str) -> str:
        found = m.scenario_recall.get(name)
        return "-" if found is None else fixed(found.recall, 2)

    rows = [[name, *(caught(m, name) for m in scorers.values())] for name in names]
    rows.append(["average precision", *(fixed(m.average_precision) for m in scorers.values())])
    return ["scenario", *scorers], rows


def family_text(facts: Evaluation) -> str:
    """The tables for people at a terminal; nothing when no other family was asked for."""
    if not facts.families:
        return ""
    lines = []
    for population in facts.families[0].populations:
        folds = facts.families[0].folds
        mean = f"mean of {folds} part{'s' if folds > 1 else ''}"
        lines.append(
            f"families, {population_name(population)}, {mean}, int8 (* is the configuration's own)"
        )
        lines += _aligned([_HEAD, *_rows(facts, population)])
        head, rows = _caught(facts, population)
        if len(rows) > 1:
            lines.append(
                f"recall by scenario at 0.1% false positives, {population_name(population)}"
            )
            lines += _aligned([head, *rows])
    return "\n".join(lines)


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  "
        + "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def family_sections(facts: Evaluation) -> list[Block]:
    """The page's tables."""
    out: list[Block] = []
    for population in facts.families[0].populations if facts.families else ():
        name = population_name(population)
        out.append(
            table(
                f"Families on the same rows, {name}; * is the configuration's own, the others "
                "are for comparison",
                _HEAD,
                _rows(facts, population),
            )
        )
        head, rows = _caught(facts, population)
        if len(rows) > 1:
            out.append(table(f"Recall by scenario at 0.1% false positives, {name}", head, rows))
    return out

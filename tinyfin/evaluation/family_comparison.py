# SPDX-License-Identifier: Apache-2.0
"""Other families compared with the one that the configuration names: same parts, rows, features.

The comparison is for information. The configuration itself says which family it uses; this table,
whose figures come from test labels, does not choose it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tinyfin.config import Config
from tinyfin.errors import InputError
from tinyfin.evaluation.fold_metrics import MAIN
from tinyfin.pages.blocks import Block, count, fixed, table
from tinyfin.pages.scorers import population_name
from tinyfin.training.families import FAMILIES, family

__all__ = ["family_facts", "family_names", "family_sections", "family_text", "with_family"]

Facts = Mapping[str, Any]
_CAUGHT = "scenario_recall_at_0.1%"
_SPREAD = ("roc_auc", "average_precision")
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


def family_facts(name: str, own: bool, parts: Sequence[Facts], means: Facts) -> dict[str, Any]:
    """Means of the int8 and the float model over the parts, by population, with the standard
    deviation of the int8 model's over the parts.

    ``parts``, ``means``: as in ``evaluation.json``.
    """
    populations = {}
    for population, scorers in means.items():
        rows = [part["populations"][population][MAIN] for part in parts]
        populations[population] = {
            MAIN: scorers[MAIN],
            "model_float": scorers["model_float"],
            "standard_deviation": {
                key: float(np.std([row[key] for row in rows])) for key in _SPREAD
            },
        }
    return {
        "family": name,
        "own": own,
        "parts": len(parts),
        "pack_bytes": max(part["pack"]["bytes"] for part in parts),
        "populations": populations,
    }


def _rows(facts: Facts, population: str) -> list[list[str]]:
    out = []
    for one in facts["families"]:
        found = one["populations"][population]
        m, spread = found[MAIN], found["standard_deviation"]
        several = one["parts"] > 1
        out.append(
            [
                ("* " if one["own"] else "  ") + one["family"],
                *(
                    fixed(m[key], 4) + (f" ± {fixed(spread[key], 4)}" if several else "")
                    for key in _SPREAD
                ),
                *(fixed(found["model_float"][key], 4) for key in _SPREAD),
                fixed(m["recall_at_0.1%"]),
                fixed(m["recall_at_1%"]),
                count(one["pack_bytes"]),
            ]
        )
    return out


_HEAD = ["family", "ROC AUC", "AP", "float: ROC AUC", "AP", "R@0.1%", "R@1%", "pack bytes"]


def _caught(facts: Facts, population: str) -> tuple[list[str], list[list[str]]]:
    """Share of each scenario's frauds in the 0.1% of genuine rows that each scorer ranks highest:
    the rules, then the families."""
    means = (facts["means"] or facts["cold"])[population]
    scorers = {n: m for n, m in means.items() if n not in _NOT_BESIDE}
    scorers |= {one["family"]: one["populations"][population][MAIN] for one in facts["families"]}
    names = dict.fromkeys(name for m in scorers.values() for name in m.get(_CAUGHT, {}))
    rows = [
        [name, *(fixed(m[_CAUGHT].get(name, {}).get("recall"), 2) for m in scorers.values())]
        for name in names
    ]
    rows.append(["average precision", *(fixed(m["average_precision"]) for m in scorers.values())])
    return ["scenario", *scorers], rows


def family_text(facts: Facts) -> str:
    """The tables for people at a terminal; nothing when no other family was asked for."""
    if not facts["families"]:
        return ""
    lines = []
    for population in facts["families"][0]["populations"]:
        parts = facts["families"][0]["parts"]
        mean = f"mean of {parts} part{'s' if parts > 1 else ''}"
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


def family_sections(facts: Facts) -> list[Block]:
    """The page's tables."""
    out: list[Block] = []
    for population in facts["families"][0]["populations"] if facts["families"] else ():
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

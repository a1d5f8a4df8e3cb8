# SPDX-License-Identifier: Apache-2.0
"""Bounds that an evaluation must keep: what a CI refuses a model by.

A gate file is TOML; under ``[gate]`` each key is a path into ``evaluation.json`` and each value
``{min = ...}``, ``{max = ...}`` or both::

    [gate]
    "means.known_cards_removed.model_int8.average_precision" = {min = 0.68}
    "int8_loss.known_cards_removed" = {max = 0.003}
    "means.all.model_int8.calibration_error" = {max = 0.002}
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tinyfin.config.toml import read_toml
from tinyfin.errors import InputError
from tinyfin.results.evaluation import Evaluation, GateRow
from tinyfin.results.facts import ResultFile

__all__ = [
    "Gate",
    "check",
    "failed_text",
    "found_text",
    "load_gate",
    "look_up",
    "require_fed",
    "require_groups",
    "require_known",
]

Gate = Mapping[str, Mapping[str, float]]
Schema = dict[str, Any]
_NEEDED = {"known_cards_removed": "token", "card_precision": "token", "scenario": "scenario"}
"""What a figure of that name is made of."""


def load_gate(path: str | Path) -> Gate:
    """Read a gate file. Raises InputError that says what to fix."""
    table = read_toml(path)
    gate = table.get("gate")
    if not isinstance(gate, dict) or not gate or set(table) != {"gate"}:
        raise InputError(f"{path}: put the bounds under [gate], and nothing else")
    for key, bounds in gate.items():
        good = isinstance(bounds, dict) and bounds and set(bounds) <= {"min", "max"}
        if not good or not all(_number(v) for v in bounds.values()):
            raise InputError(
                f"{path}: gate.{key!r} = {bounds!r}: give {{min = number}}, {{max = number}} or "
                "both, and the key in quotes"
            )
    return gate


def require_fed(path: str | Path, gate: Gate, fed: Collection[str]) -> None:
    """InputError when a bound is about what data without some names of [data] cannot show."""
    for key in gate:
        for word, name in _NEEDED.items():
            if word in key and name not in fed:
                raise InputError(
                    f"{path}: gate.{key!r} needs {name}, and no column of the data is mapped to "
                    "it; map one in [data], or take the bound out"
                )


def require_known(path: str | Path, gate: Gate, kind: type[ResultFile] = Evaluation) -> None:
    """InputError when a bound is about what no file of a kind holds, with the nearest name there
    is."""
    schema = {**kind.model_json_schema(by_alias=True), "title": kind.NAME}
    for key in gate:
        try:
            _walk(schema, schema, key.split("."))
        except _Unknown as error:
            raise InputError(f"{path}: gate.{key!r}: {error}") from error


def require_groups(path: str | Path, gate: Gate, groups: Collection[str]) -> None:
    """InputError when a bound is about a group that [evaluate] slices does not name."""
    for key in gate:
        head, _, rest = key.partition(".")
        if head != "groups" or any(rest.startswith(f"{name}.") for name in groups):
            continue
        near = difflib.get_close_matches(rest.split(".")[0], groups, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(groups) or 'none'}"
        raise InputError(
            f"{path}: gate.{key!r} is about no group of [evaluate] slices or --slices; {hint}"
        )


class _Unknown(Exception):
    """A path that leads to no number; the text says why."""


def _walk(schema: Schema, node: Schema, path: Sequence[str]) -> None:
    """Follow a path of keys from a node of a JSON schema. Keys may hold dots themselves."""
    while "$ref" in node or "anyOf" in node:
        if "$ref" in node:
            node = schema["$defs"][node["$ref"].removeprefix("#/$defs/")]
        else:
            node = next(one for one in node["anyOf"] if one.get("type") != "null")
    if not path:
        if not {"number", "integer", "boolean"} & {*np.atleast_1d(node["type"]).tolist()}:
            raise _Unknown("is no number; give the path of one")
        return None
    inner: dict[str, Schema] = dict(node.get("properties", {}))
    heads = [".".join(path[:n]) for n in range(1, len(path) + 1)]
    if isinstance(more := node.get("additionalProperties"), dict):
        inner |= dict.fromkeys(node.get("propertyNames", {}).get("enum", heads), more)
    wrong = []
    for n, head in enumerate(heads, 1):
        if head in inner:
            try:
                return _walk(schema, inner[head], path[n:])
            except _Unknown as error:
                wrong.append(error)
    if wrong:
        raise wrong[0]
    near = [x for head in (heads[-1], path[0]) for x in difflib.get_close_matches(head, inner)]
    hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(inner) or 'none'}"
    raise _Unknown(f"{heads[-1]!r} is no figure of {schema['title']}; {hint}")


def check(facts: Mapping[str, object], gate: Gate) -> list[GateRow]:
    """One row per bound on the figures of ``evaluation.json``. What is no number there fails."""
    rows = []
    for key, bounds in gate.items():
        value = look_up(facts, key.split("."))
        number = float(value) if isinstance(value, (int, float)) else None
        low, high = bounds.get("min"), bounds.get("max")
        ok = (
            number is not None
            and number == number
            and (low is None or number >= low)
            and (high is None or number <= high)
        )
        wanted = " and ".join(
            text
            for text in (
                "" if low is None else f"at least {low:g}",
                "" if high is None else f"at most {high:g}",
            )
            if text
        )
        rows.append(GateRow(name=key, wanted=wanted, found=number, ok=ok))
    return rows


def failed_text(
    path: object, gate: Sequence[GateRow], page: object, figure: Callable[[float | None], str]
) -> str:
    """What to say of a gate in the file ``path`` that fails; empty when it holds. ``figure``: how
    figures are written."""
    failed = [f"{r.name} is {figure(r.found)}, wanted {r.wanted}" for r in gate if not r.ok]
    return f"{path}: the gate failed: {'; '.join(failed)}; see {page}" if failed else ""


def found_text(value: float | None) -> str:
    """A figure of an evaluation."""
    return "no figure of this evaluation" if value is None else f"{value:.4f}"


def look_up(facts: object, path: Sequence[str]) -> object:
    """The value at a path of keys; None if there is none. Keys may hold dots themselves."""
    if not path:
        return facts
    if not isinstance(facts, Mapping):
        return None
    for n in range(len(path), 0, -1):
        key = ".".join(path[:n])
        if key in facts:
            return look_up(facts[key], path[n:])
    return None


def _number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)

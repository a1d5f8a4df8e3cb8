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

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from tinyfin.config.toml import read_toml
from tinyfin.errors import InputError

__all__ = ["Gate", "check", "load_gate", "look_up", "require_fed"]

Gate = Mapping[str, Mapping[str, float]]
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


def check(facts: Mapping[str, Any], gate: Gate) -> list[dict[str, Any]]:
    """One row per bound: name, wanted, found, ok. What is not there or is no number fails."""
    rows = []
    for key, bounds in gate.items():
        value = look_up(facts, key.split("."))
        number = float(value) if _number(value) or isinstance(value, bool) else None
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
        rows.append({"name": key, "wanted": wanted, "found": number, "ok": ok})
    return rows


def look_up(facts: Any, path: Sequence[str]) -> Any:
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


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)

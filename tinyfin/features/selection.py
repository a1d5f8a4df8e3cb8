# SPDX-License-Identifier: Apache-2.0
"""Which features a program gets: names, sets, or the [features] section of tinyfin.toml."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from tinyfin.errors import ConfigError
from tinyfin.features.catalogue import BY_NAME, SETS
from tinyfin.features.custom import define_feature
from tinyfin.features.definition import OWN_FEATURE_ID, Feature

__all__ = ["FeaturesSection", "Selection", "select"]


class FeaturesSection(Protocol):
    """The [features] section: names or the name of a set, and definitions of one's own."""

    @property
    def names(self) -> str | list[str]:
        """Names in the program's order, or one of ``SETS``."""

    @property
    def define(self) -> dict[str, dict[str, Any]]:
        """Tables that define features."""


Selection = str | Sequence[str | Feature] | FeaturesSection


def select(features: Selection) -> tuple[Feature, ...]:
    """The features asked for, in order. Raises ConfigError with the nearest name."""
    if isinstance(features, str):
        return _set(features)
    if isinstance(features, Sequence):
        return _distinct([x if isinstance(x, Feature) else _named(x, {}) for x in features])
    own: dict[str, Feature] = {}
    for number, (name, table) in enumerate(features.define.items()):
        if name in BY_NAME:
            raise ConfigError(
                f"features.{name}: the catalogue has a feature of that name; choose another"
            )
        own[name] = define_feature(name, table, OWN_FEATURE_ID + number, own)
    names = features.names
    if isinstance(names, str):
        return (*_set(names), *own.values())
    return _distinct([_named(name, own) for name in names])


def _set(name: str) -> tuple[Feature, ...]:
    if name not in SETS:
        raise ConfigError(f"features.names = {name!r}; sets are {', '.join(SETS)}")
    return tuple(BY_NAME[feature] for feature in SETS[name])


def _named(name: str, own: Mapping[str, Feature]) -> Feature:
    feature = own.get(name) or BY_NAME.get(name) or _with_parameter(name)
    if feature is None:
        near = difflib.get_close_matches(name, [*own, *BY_NAME], n=1)
        hint = f"did you mean {near[0]!r}?" if near else "`tinyfin features` lists the catalogue"
        raise ConfigError(f"features.names: there is no feature {name!r}; {hint}")
    return feature


def _with_parameter(name: str) -> Feature | None:
    base, _, number = name.rpartition("_")
    make = BY_NAME[base].with_parameter if base in BY_NAME else None
    if make is None or not (number.isascii() and number.isdigit()) or int(number) >= 2**31:
        return None
    return make(int(number))


def _distinct(features: list[Feature]) -> tuple[Feature, ...]:
    seen: set[str] = set()
    for feature in features:
        if feature.name in seen:
            raise ConfigError(f"features.names: {feature.name!r} is named twice; keep one")
        seen.add(feature.name)
    return tuple(features)

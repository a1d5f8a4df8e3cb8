# SPDX-License-Identifier: Apache-2.0
"""Which features a program gets: names, sets, or the [features] section of tinyfin.toml.

A feature with a number, ``amt_over``, is also there at another, ``amt_over_22000``, and as
``amt_over_learned``, whose number training chooses; so is a feature of your own with
``cut = "learn"``. What was chosen is in ``[features.cuts]`` of the run's configuration. A feature
of your own takes the place of the catalogue's that has its name.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Protocol

from tinyfin.errors import ConfigError
from tinyfin.features.catalogue import BY_NAME, SETS
from tinyfin.features.compromise import (
    COMPROMISE_FEATURES,
    LearnedCompromise,
    compromise_expressions,
)
from tinyfin.features.definition import OWN_FEATURE_ID, Feature
from tinyfin.features.own_features import LearnedRisk, define_feature, number_reasons

__all__ = ["FeaturesSection", "Selection", "learned_cuts", "learned_risks", "select"]

_LEARNED = "_learned"


class FeaturesSection(Protocol):
    """The [features] section: names of features and sets, and definitions of your own."""

    @property
    def names(self) -> str | list[str]:
        """Names in the program's order, of features or of ``SETS``; or one of ``SETS``."""

    @property
    def define(self) -> dict[str, dict[str, object]]:
        """Tables that define features."""

    @property
    def cuts(self) -> dict[str, int]:
        """Cuts that training learned, by feature."""

    @property
    def risks(self) -> Mapping[str, LearnedRisk]:
        """Tables that training learned, by feature."""

    @property
    def compromise(self) -> LearnedCompromise | None:
        """What training learned of compromised terminals."""


Selection = str | Sequence[str | Feature] | FeaturesSection


def select(features: Selection) -> tuple[Feature, ...]:
    """The features asked for, in order. Raises ConfigError with the nearest name."""
    if isinstance(features, str):
        return _set(features, {})
    if isinstance(features, Sequence):
        return _distinct(
            [x for f in features for x in ((f,) if isinstance(f, Feature) else _listed(f, {}))]
        )
    own = {name: make(features.cuts.get(name)) for name, make in _own(features).items()}
    names = features.names
    if isinstance(names, str):
        of_set = _set(names, own)
        chosen = (*of_set, *(feature for feature in own.values() if feature not in of_set))
    else:
        chosen = _distinct([x for name in names for x in _listed(name, own)])
    made = [_at(feature, features.cuts) for feature in chosen]
    return tuple(_with_compromise(made, features.compromise))


def learned_cuts(features: FeaturesSection) -> dict[str, Callable[[int], Feature]]:
    """The chosen features whose cut training learns, by name: each makes the feature at a cut.

    Empty when ``features.cuts`` has them. Raises ConfigError when it has some of them only.
    """
    own = _own(features)
    wanted: dict[str, Callable[[int], Feature]] = {}
    for feature in select(features):
        if features.define.get(feature.name, {}).get("cut") == "learn":
            wanted[feature.name] = own[feature.name]
        elif feature.name.endswith(_LEARNED) and feature.with_parameter is not None:
            wanted[feature.name] = feature.with_parameter
    for name in features.cuts:
        if name not in wanted:
            raise ConfigError(f"features.cuts.{name}: no feature in use learns a cut; remove it")
    missing = [name for name in wanted if name not in features.cuts]
    if features.cuts and missing:
        raise ConfigError(
            f"features.cuts has no {missing[0]!r}; give the cuts of all features that learn one, "
            "or none"
        )
    return {name: wanted[name] for name in missing}


def learned_risks(features: FeaturesSection) -> list[Feature]:
    """The chosen features whose table training learns and has not learned yet, as numbers.

    Raises ConfigError for a table that no feature asks for.
    """
    asked = {name for name, table in features.define.items() if table.get("risk") == "learn"}
    for name in features.risks:
        if name not in asked:
            raise ConfigError(f"features.risks.{name}: no feature learns a table; remove it")
    return [
        feature
        for feature in select(features)
        if feature.name in asked and feature.name not in features.risks
    ]


def _own(section: FeaturesSection) -> dict[str, Callable[[int | None], Feature]]:
    """Makers of the features that the section defines; without a cut, at the one that it gives."""
    own: dict[str, Feature] = {}
    makers: dict[str, Callable[[int | None], Feature]] = {}
    reasons = number_reasons(section.define)
    for number, (name, table) in enumerate(section.define.items()):
        if name in COMPROMISE_FEATURES:
            raise ConfigError(
                f"features.{name}: training fits the catalogue's feature of that name; choose "
                "another"
            )
        makers[name] = partial(
            define_feature,
            name,
            table,
            OWN_FEATURE_ID + number,
            dict(own),
            risk=section.risks.get(name),
            reasons=reasons,
        )
        own[name] = makers[name](section.cuts.get(name))
    return makers


def _with_compromise(
    features: list[Feature], learned: LearnedCompromise | None
) -> Iterator[Feature]:
    inputs = {feature.name: feature.expression for feature in features}
    for name in learned.odds if learned is not None else ():
        if name not in inputs:
            raise ConfigError(
                f"features.compromise.odds.{name}: the feature is not among names; name it, or "
                "remove [features.compromise] and train again"
            )
    made = compromise_expressions(learned, inputs)
    for feature in features:
        if feature.name in COMPROMISE_FEATURES:
            yield replace(feature, expression=made[feature.name])
        else:
            yield feature


def _at(feature: Feature, cuts: Mapping[str, int]) -> Feature:
    if feature.name in cuts and feature.with_parameter is not None:
        return replace(feature.with_parameter(cuts[feature.name]), name=feature.name)
    return feature


def _set(name: str, own: Mapping[str, Feature]) -> tuple[Feature, ...]:
    if name not in SETS:
        raise ConfigError(f"features.names = {name!r}; sets are {', '.join(SETS)}")
    return tuple(_named(feature, own) for feature in SETS[name])


def _listed(name: str, own: Mapping[str, Feature]) -> tuple[Feature, ...]:
    """What an entry of a list names: a feature, or all of a set."""
    if name == "auto":
        raise ConfigError(
            'features.names: "auto" cannot be in a list, because the data says what it is; give '
            "the set that you mean, or the names"
        )
    return _set(name, own) if name in SETS else (_named(name, own),)


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
    if make is not None and f"_{number}" == _LEARNED:
        until = BY_NAME[base]
        return replace(
            until, name=name, definition=f"{until.definition}; training chooses the number"
        )
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

# SPDX-License-Identifier: Apache-2.0
"""tinyfin.toml, read and checked; every error names file, key, value, rule and fix.

    [schema]    fields of the events, if they are not payments (tinyfin.schema)
    [data]      which column is what, label_delay, notices
    [labels]    files of chargebacks and clearances
    [simulate]  size, seed and contents of simulated data
    [features]  names of features, and definitions of your own
    [model]     family and fitting
    [decision]  false-alert budget or thresholds, control share
    [train]     time bounds and split
    [search]    what `train --search` tries, and what the model may cost
    [rules]     numbers of the rules that every model has to beat
    [evaluate]  weeks, seeds, baselines, label delays, groups to compare
    [monitor]   from where on a check of a pack on later data warns or fails
    [card]      owner, approval, intended use, origin and licence of the data

Every section and every key may be left out.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import BaseModel, ValidationError

from tinyfin.config.columns import (
    ALIASES,
    Column,
    Data,
    check_columns,
    native_columns,
    split_columns,
)
from tinyfin.config.durations import format_duration, parse_duration, parse_moment
from tinyfin.config.labels import LabelFile, Labels, check_labels, split_labels
from tinyfin.config.sections import (
    Card,
    DecisionSection,
    Evaluate,
    Features,
    Model,
    Monitor,
    Rules,
    Search,
    Sections,
    Simulate,
    Train,
)
from tinyfin.config.toml import read_toml
from tinyfin.errors import ConfigError
from tinyfin.schema import PAYMENT, Schema, schema_from_toml

__all__ = [
    "Card",
    "Column",
    "Config",
    "Data",
    "DecisionSection",
    "Evaluate",
    "Features",
    "LabelFile",
    "Labels",
    "Model",
    "Monitor",
    "Rules",
    "Search",
    "Simulate",
    "Train",
    "as_config",
    "format_duration",
    "from_table",
    "load",
    "native_columns",
    "parse_duration",
    "parse_moment",
    "with_features",
]

_SHORT = {full: short for short, full in ALIASES.items()}


@dataclass(frozen=True)
class Config:
    """A checked configuration. ``table`` is what was written, for fingerprints and run folders."""

    schema: Schema
    data: Data
    labels: Labels
    simulate: Simulate
    features: Features
    model: Model
    decision: DecisionSection
    train: Train
    search: Search
    rules: Rules
    evaluate: Evaluate
    monitor: Monitor
    card: Card
    path: Path | None
    table: Mapping[str, object]


def load(path: str | Path | None = None) -> Config:
    """Read ``path``, or give the defaults if it is None. Raises ConfigError."""
    if path is None:
        return from_table({})
    return from_table(read_toml(path), path=Path(path))


def as_config(config: Config | str | Path | None) -> Config:
    """A configuration that is loaded already, or :func:`load` of its path. Raises ConfigError."""
    return config if isinstance(config, Config) else load(config)


def from_table(table: Mapping[str, object], path: Path | None = None) -> Config:
    """Check a parsed configuration. Raises ConfigError."""
    where = str(path) if path is not None else "configuration"
    rest = dict(table)
    schema = PAYMENT
    if "schema" in rest:
        part = rest.pop("schema")
        if not isinstance(part, Mapping):
            raise ConfigError(f"{where}: schema must be a table, [schema]")
        schema = schema_from_toml(part, where=f"{where}: [schema]")
    try:
        if isinstance(data := rest.get("data"), Mapping):
            rest["data"] = split_columns(data, schema)
        if isinstance(labels := rest.get("labels"), Mapping):
            rest["labels"] = split_labels(labels, schema)
        sections = Sections.model_validate(rest)
        check_columns(sections.data, schema)
        check_labels(sections.labels, sections.data, schema)
    except ValidationError as error:
        raise ConfigError(_explain(error, where)) from error
    except ValueError as error:
        key, message = error.args
        raise ConfigError(f"{where}: {key}: {message}") from error
    if sections.features.names == "fields":
        sections = sections.model_copy(update={"features": _of_fields(sections.features, schema)})
    parts = {name: getattr(sections, name) for name in Sections.model_fields}
    return Config(schema=schema, path=path, table=dict(table), **parts)


def with_features(config: Config, changes: Mapping[str, object]) -> Config:
    """The configuration with these keys of [features] changed. Raises ValueError."""
    given = config.features.model_dump(exclude_unset=True) | dict(changes)
    features = Features.model_validate(given)
    if features.names == "fields":
        features = _of_fields(features, config.schema)
    return replace(config, features=features)


def _of_fields(features: Features, schema: Schema) -> Features:
    """``names = "fields"``: every field but a token is a feature as it is, unless the section
    defines a feature of its name; what else it defines follows."""
    names = [field.name for field in schema.fields if field.unit != "token"]
    plain = {name: {"op": "field", "name": name} for name in names}
    define = {**plain, **features.define}
    return features.model_copy(update={"names": [*define], "define": define})


def _explain(error: ValidationError, where: str) -> str:
    lines = []
    for item in error.errors():
        loc = [
            _SHORT.get(str(part), part) for part in item["loc"] if part not in ("columns", "files")
        ]
        key = ".".join(str(part) for part in loc)
        if item["type"] == "extra_forbidden":
            lines.append(f"{where}: {key}: unknown key {loc[-1]!r}; {_nearest(item['loc'])}")
            continue
        rule = item["msg"].removeprefix("Value error, ")
        given = item["input"]
        shown = "" if isinstance(given, (dict, BaseModel)) else f" = {given!r}"
        lines.append(f"{where}: {key}{shown}: {rule[:1].lower()}{rule[1:]}")
    return "\n".join(dict.fromkeys(lines))


def _nearest(loc: Sequence[int | str]) -> str:
    """The known key nearest to an unknown one, found by walking the sections."""
    model: type[BaseModel] = Sections
    for part in loc[:-1]:
        field = model.model_fields.get(str(part))
        if field is None:
            model = Column
            break
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            model = field.annotation
    known = list(model.model_fields)
    if model is Sections:
        known.append("schema")
    near = difflib.get_close_matches(str(loc[-1]), known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"

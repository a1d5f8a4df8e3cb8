# SPDX-License-Identifier: Apache-2.0
"""What training and evaluating will need, asked for before the work begins: packages, columns and
space on the disk."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from tinyfin import files, optional_packages
from tinyfin.config import Config
from tinyfin.data.tables import about_rows_of, column_names
from tinyfin.errors import DataError
from tinyfin.features.auto import AUTO_NAME, fed_names
from tinyfin.training.baselines import require_known
from tinyfin.training.families import family
from tinyfin.training.resolve_auto import WITH_LABELS, WITHOUT_LABELS

__all__ = ["fed", "require_columns", "require_packages", "require_space"]

_PACKED = ("tflite", "tflite_micro")
_RUN_BYTES, _ROW_BYTES = 1_000_000, 10
"""Less than a run takes with 20 features: what has no space for it has no space for more either."""


def require_packages(
    config: Config,
    paths: Sequence[str | Path],
    families: Iterable[str] = (),
    *,
    packed: bool = False,
) -> None:
    """ToolError unless the packages are there for [model], for other ``families`` and for the
    baselines; ``packed``: for quantizing, too. ConfigError for a family or baseline that is not
    known."""
    require_known(config.evaluate.baselines)
    labelled = "label" in fed(config, paths)
    for name in dict.fromkeys([config.model.family, *families]):
        auto = name == AUTO_NAME
        chosen = family((WITH_LABELS if labelled else WITHOUT_LABELS) if auto else name)
        modules = [*chosen.needs, *(_PACKED if packed and "tensorflow" in chosen.needs else ())]
        why = f"for family {chosen.name}"
        if auto and labelled:
            why += ', which "auto" takes where labels are known'
        optional_packages.require(modules, why)
    optional_packages.require(["sklearn"], "for baselines and metrics")
    if "xgboost" in config.evaluate.baselines:
        optional_packages.require(
            ["xgboost"], "for the baseline of that name, which [evaluate] baselines may leave out"
        )


def require_columns(
    config: Config, paths: Sequence[str | Path], families: Iterable[str], *, judged: bool
) -> None:
    """DataError unless the files can have the labels that ``families`` train on, or, ``judged``,
    that their models are judged by."""
    if "label" in fed(config, paths):
        return
    for name in families:
        if name != AUTO_NAME and family(name).supervised:
            raise DataError(
                f"{paths[0]}: no column is mapped to label, and family {name} trains on labels; "
                "map one in [data] (label = ...), or choose a family that needs none, such as "
                f"{WITHOUT_LABELS}"
            )
    if judged:
        raise DataError(
            f"{paths[0]}: no column is mapped to label, and without labels nothing can be judged; "
            "map one in [data] (label = ...)"
        )


def require_space(place: Path, paths: Sequence[str | Path]) -> None:
    """InputError unless ``place`` has space for a run on the files."""
    files.require_space(place, _RUN_BYTES + _ROW_BYTES * about_rows_of(paths), "the run")


def fed(config: Config, paths: Sequence[str | Path]) -> set[str]:
    """The names of [data] that all files fill, with the labels of [labels]."""
    mapping = config.data.resolved(config.schema)
    found = [fed_names(mapping, column_names(path, config.data)) for path in paths]
    labelled = {"label"} if config.labels.files else set()
    return labelled | (set.intersection(*found) if found else set())

# SPDX-License-Identifier: Apache-2.0
"""What a configuration leaves to the data: ``features.names = "auto"``, ``model.family = "auto"``
and the capacities of a terminal's tables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tinyfin.config import Config
from tinyfin.errors import DataError
from tinyfin.features.auto import AUTO_NAME, resolve_names
from tinyfin.training.chosen_capacities import choose_capacities
from tinyfin.training.dataset import Dataset, as_known
from tinyfin.training.families import family
from tinyfin.training.run_folder import RunFolder
from tinyfin.training.split import Split, split_by_time

__all__ = ["WITHOUT_LABELS", "WITH_LABELS", "resolve_auto"]

WITH_LABELS, WITHOUT_LABELS = "distilled", "density"
"""Families that "auto" takes."""


def resolve_auto(
    run: RunFolder,
    dataset: Dataset,
    config: Config,
    until_s: int | None = None,
    *,
    note: Callable[[str], None] = lambda _: None,
    named: bool = False,
) -> tuple[Config, Split]:
    """The configuration with nothing left open, and the split of the data that goes with it.

    ``until_s`` takes the place of the configuration's. A family that trains on labels is taken
    when the split finds frauds enough for it. What was chosen is written into the run's
    configuration, so that later commands do not choose again; ``named``: the features' names, too,
    where ``config`` has others than the file. Raises DataError.
    """
    chosen = config.model.family
    if chosen == AUTO_NAME:
        chosen, split = _chosen(dataset, config, until_s, note)
        run.add_model({"family": chosen})
        config = replace(config, model=config.model.model_copy(update={"family": chosen}))
    else:
        split = _split(dataset, config, until_s, family(chosen).supervised)
    features = resolve_names(config, dataset.columns, labels=family(chosen).supervised)
    fed = features is not config.features
    if fed:
        note(f"features: {len(features.names)} that the data can feed")
    capacities: dict[str, int] = {}
    if fed or features.max_state is not None:
        capacities = choose_capacities(
            features,
            config.schema,
            as_known(dataset.tx, split.until_s),
            config.data.notices,
            note=note,
        )
        features = features.model_copy(update=capacities)
    if fed or named or capacities:
        added = {k: v for k, v in features.define.items() if k not in config.features.define}
        run.add_features(features.names if fed or named else None, capacities, added)
    return replace(config, features=features), split


def _chosen(
    dataset: Dataset, config: Config, until_s: int | None, note: Callable[[str], None]
) -> tuple[str, Split]:
    try:
        return WITH_LABELS, _split(dataset, config, until_s, True)
    except DataError as error:
        note(f"{error}; so no labels are used: family {WITHOUT_LABELS}")
    return WITHOUT_LABELS, _split(dataset, config, until_s, False)


def _split(dataset: Dataset, config: Config, until_s: int | None, supervised: bool) -> Split:
    return split_by_time(
        dataset.tx,
        since_s=config.train.since,
        until_s=config.train.until if until_s is None else until_s,
        test_until_s=config.train.test_until,
        shares=(config.train.train, config.train.validation, config.train.test),
        supervised=supervised,
    )

# SPDX-License-Identifier: Apache-2.0
"""From files of transactions to a run folder with a float model, its metrics and pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tinyfin.config import Config, as_config
from tinyfin.data.memory_tables import Sources, as_files
from tinyfin.features.auto import AUTO_NAME
from tinyfin.memory import give_back
from tinyfin.progress import stage
from tinyfin.results.metrics import Metrics
from tinyfin.results.run import SliceSize, SplitFacts
from tinyfin.training.dataset import Dataset, prepare
from tinyfin.training.families import family
from tinyfin.training.fit import learn
from tinyfin.training.populations import LOOK_BACK_DAYS
from tinyfin.training.representative_sample import thinned_text
from tinyfin.training.requirements import require_columns, require_packages, require_space
from tinyfin.training.resolve_auto import resolve_auto
from tinyfin.training.run_folder import RunFolder, making_run
from tinyfin.training.run_metrics import draw_run, float_alerts, savings_of, table_of
from tinyfin.training.split import SLICES, Split, known_labels, unreported, untested
from tinyfin.training.thresholds import Held, promises

__all__ = ["Begun", "begin", "finish", "left_out", "part", "train"]

Note = Callable[[str], None]


def train(
    data: Sources,
    config: Config | str | Path | None = None,
    *,
    name: str,
    out: str | Path = "runs",
    until_s: int | None = None,
    seed: int | None = None,
    skip_bad_rows: str | Path | None = None,
    note: Note = lambda _: None,
) -> RunFolder:
    """Train the model that ``config`` describes, and fill the run folder ``out/name``.

    data: files of transactions, or tables of pandas, Polars or Arrow. config: one that was loaded,
    the path of a tinyfin.toml, or None for the defaults. ``until_s`` and ``seed`` take the place of
    the configuration's. Raises DataError, ConfigError, InputError.
    """
    config = as_config(config)
    with as_files(data) as paths, making_run(out, name, config) as run:
        begun = begin(run, paths, config, until_s, seed, skip_bad_rows, note)
        finish(begun, begun.config, note=note)
    return RunFolder(Path(out) / name)


@dataclass(frozen=True)
class Begun:
    """A run that has everything but a model."""

    run: RunFolder
    dataset: Dataset
    split: Split
    config: Config
    """The run's: with the seed that was asked for, and what the data has decided."""


def begin(
    run: RunFolder,
    paths: Sequence[str | Path],
    config: Config,
    until_s: int | None = None,
    seed: int | None = None,
    skip_bad_rows: str | Path | None = None,
    note: Note = lambda _: None,
    *,
    searching: bool = False,
) -> Begun:
    """Read the files for a new run, and split them by time; ``searching``: [search] says what else
    will be needed. Raises ToolError and InputError at once for what would be missing later."""
    if seed is not None:
        config = replace(config, model=config.model.model_copy(update={"seed": seed}))
    if config.model.family != AUTO_NAME:
        family(config.model.family)
    tried = config.search.family or [] if searching else []
    require_columns(config, paths, [config.model.family, *tried], judged=False)
    require_packages(config, paths, tried, packed=searching)
    require_space(run.path, paths)
    dataset = prepare(paths, config, skip_bad_rows=skip_bad_rows, note=note)
    config, split = part(run, dataset, config, until_s, note=note)
    return Begun(run, dataset, split, config)


def part(
    run: RunFolder,
    dataset: Dataset,
    config: Config,
    until_s: int | None = None,
    *,
    note: Note = lambda _: None,
    named: bool = False,
) -> tuple[Config, Split]:
    """The configuration without "auto", and the split that it asks for, as
    :func:`~tinyfin.training.resolve_auto.resolve_auto` says."""
    config, split = resolve_auto(run, dataset, config, until_s, note=note, named=named)
    give_back()
    summary = split.summary(known_labels(dataset.tx, split.until_s))
    note(
        "split: "
        + ", ".join(f"{name} {_size(getattr(summary, name))}" for name in SLICES)
        + f"; {left_out(summary)}"
    )
    if later := untested(summary):
        note(f"{summary.untested} {later}")
    if late := unreported(summary):
        note(f"WARNING: {late}")
    return config, split


def _size(part: SliceSize) -> str:
    return f"{part.rows} rows ({part.frauds} frauds)"


def left_out(summary: SplitFacts) -> str:
    """Which rows before ``until`` are not trained on."""
    late = summary.immature_refused - summary.too_recent
    return (
        f"left out: {late} rows whose label was not known by {summary.until}, "
        f"{summary.too_recent} rows too recent for fraud reports (9 of 10 labels are known "
        f"within {summary.label_horizon_days:.3g} days), {summary.unlabelled} rows without a "
        "label"
    )


def finish(begun: Begun, config: Config, *, note: Note = lambda _: None) -> None:
    """Learn what ``config`` says, and fill the run's folder with the model, its metrics and its
    pictures."""
    run = begun.run
    slices = learn(run, begun.dataset, begun.split, config, note=note)
    thinned = run.facts().thinned
    for facts in thinned:
        note(thinned_text(facts))
    with stage("metrics"):
        held = Held.of(np.zeros(len(begun.split.calibration), np.int32), slices)
        alert_minor = config.evaluate.alert_minor(config.decision)
        metrics = Metrics(
            known_cards_look_back_days=LOOK_BACK_DAYS,
            populations=table_of(slices, begun.dataset.tx.scenario or ()),
            thinned=thinned,
            calibration_promise=promises(config.decision, held),
            alert_minor=alert_minor,
            savings=savings_of(
                slices,
                "model_float",
                slices["test_float"],
                float_alerts(config.decision, slices),
                alert_minor,
            ),
        )
    run.write(metrics)
    with stage("pictures"):
        draw_run(run, slices)

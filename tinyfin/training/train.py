# SPDX-License-Identifier: Apache-2.0
"""From files of transactions to a run folder with a float model, its metrics and pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from tinyfin.config import Config
from tinyfin.training.families import family
from tinyfin.training.fitting import learn
from tinyfin.training.material import Material, prepare
from tinyfin.training.run import RunFolder, new_run
from tinyfin.training.split import Split, known_labels, split_by_time
from tinyfin.training.table import draw_run, table_of

__all__ = ["finish", "part", "train"]

Note = Callable[[str], None]
Progress = Callable[[int, int, str], None]


def train(
    paths: Sequence[str | Path],
    config: Config,
    *,
    name: str,
    out: str | Path = "runs",
    until_s: int | None = None,
    seed: int | None = None,
    skip_bad_rows: str | Path | None = None,
    note: Note = lambda _: None,
    progress: Progress = lambda done, of, text: None,
) -> RunFolder:
    """Train the model that ``config`` describes on the files, and fill ``out/name``.

    ``until_s`` and ``seed`` take the place of the configuration's. Raises DataError, ConfigError,
    InputError.
    """
    model = config.model if seed is None else config.model.model_copy(update={"seed": seed})
    config = replace(config, model=model)
    family(model.family)
    run = new_run(out, name, config)
    material = prepare(paths, config, skip_bad_rows=skip_bad_rows, note=note)
    split = part(material, config, until_s, note=note)
    finish(run, material, split, config, note=note, progress=progress)
    return run


def part(
    material: Material, config: Config, until_s: int | None = None, *, note: Note = lambda _: None
) -> Split:
    """The split that the configuration asks for; ``until_s`` takes the place of its own."""
    split = split_by_time(
        material.tx,
        since_s=config.train.since,
        until_s=config.train.until if until_s is None else until_s,
        test_until_s=config.train.test_until,
        shares=(config.train.train, config.train.validation, config.train.test),
        supervised=family(config.model.family).supervised,
    )
    summary = split.summary(known_labels(material.tx, split))
    note(
        f"split: fit {summary['fit']}, validation {summary['validation']}, calibration "
        f"{summary['calibration']}, test {summary['test']}; {split.immature} immature rows refused"
    )
    return split


def finish(
    run: RunFolder,
    material: Material,
    split: Split,
    config: Config,
    *,
    note: Note = lambda _: None,
    progress: Progress = lambda done, of, text: None,
) -> None:
    """Learn, and fill the run's folder with the model, its metrics and its pictures."""
    slices = learn(run, material, split, config, note=note, progress=progress)
    run.write_json("metrics.json", table_of(slices, material.tx.scenario or ()))
    draw_run(run, slices)

# SPDX-License-Identifier: Apache-2.0
"""``tinyfin runs``: the runs of a folder, and how good each is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import click

from tinyfin.cli.output import aligned, emit, json_option
from tinyfin.errors import InputError, TinyfinError
from tinyfin.results.facts import Facts, IncompleteError

__all__ = ["command"]

_COLUMNS = ("run", "family", "data", "rows", "frauds", "model", "AP", "ECE", "pack bytes")


@click.command()
@click.option("--out", default="runs", show_default=True, help="Folder of the runs.")
@json_option
def command(out: str, as_json: bool) -> None:
    """List the runs of a folder: what each was trained on, and how good it is.

    AP is the average precision and ECE the calibration error on the test rows of the run: of the
    int8 model, or before `tinyfin quantize` of the float model. `-` stands for a figure that the
    run does not have.
    """
    folder = Path(out)
    if not folder.is_dir():
        raise InputError(f"{out}: there is no such folder; `tinyfin train` makes runs in it")
    found = [_listed(path) for path in sorted(folder.iterdir()) if (path / "run.json").is_file()]
    emit({"runs": found}, as_json, _text(found) if found else f"{out}: holds no run")


class Listed(Facts):
    """A run in the list; None where an older run lacks a figure."""

    run: str
    family: str | None = None
    data: tuple[str, ...] = ()
    rows: int | None = None
    frauds: int | None = None
    until: str | None = None
    model: str | None = None
    average_precision: float | None = None
    calibration_error: float | None = None
    pack_bytes: int | None = None
    error: str = ""
    """What is wrong with its files, if they cannot be read; nothing else is known then."""


def _listed(path: Path) -> Listed:
    from tinyfin.results.metrics import Metrics
    from tinyfin.training.run_folder import open_run

    try:
        run = open_run(path)
        try:
            facts = run.facts()
        except IncompleteError:
            facts = None
        metrics = run.read(Metrics) if (path / Metrics.NAME).is_file() else None
    except TinyfinError as error:
        return Listed(run=path.name, error=str(error))
    found = Listed(
        run=run.name,
        family=None,
        data=(),
        rows=None,
        frauds=None,
        until=None,
        model=None,
        average_precision=None,
        calibration_error=None,
        pack_bytes=run.pack.stat().st_size if run.pack.is_file() else None,
    )
    if facts is not None:
        found.family, found.until = facts.model.family, facts.split.until
        found.data = tuple(file.name for file in facts.data.files)
        found.rows, found.frauds = facts.data.rows, facts.data.frauds
    scorers = metrics.populations.get("all", {}) if metrics is not None else {}
    for model in ("model_float", "model_int8"):
        if model in scorers:
            found.model = model
            found.average_precision = _finite(scorers[model].average_precision)
            found.calibration_error = _finite(scorers[model].calibration_error)
    return found


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _text(found: list[Listed]) -> str:
    from tinyfin.pages.blocks import count, fixed
    from tinyfin.text import one_line

    rows = [
        (
            one_line(one.run),
            one.family or "-",
            one_line(_files(one.data)),
            count(one.rows),
            count(one.frauds),
            (one.model or "-").removeprefix("model_"),
            fixed(one.average_precision),
            fixed(one.calibration_error, 4),
            count(one.pack_bytes),
        )
        for one in found
        if not one.error
    ]
    lines = aligned([_COLUMNS, *rows]) if rows else []
    lines += [f"{one_line(one.run)}: damaged: {one.error}" for one in found if one.error]
    return "\n".join(lines)


def _files(names: Sequence[str]) -> str:
    first = names[0] if names else "-"
    return first if len(names) < 2 else f"{first} and {len(names) - 1} more"

# SPDX-License-Identifier: Apache-2.0
"""``tinyfin runs``: the runs of a folder, and how good each is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from tinyfin.cli.output import aligned, emit, json_option
from tinyfin.errors import InputError, TinyfinError

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
    found = [_facts(path) for path in sorted(folder.iterdir()) if (path / "run.json").is_file()]
    emit({"runs": found}, as_json, _text(found) if found else f"{out}: holds no run")


def _facts(path: Path) -> dict[str, Any]:
    """Of one run; of one whose files cannot be read its name and what is wrong."""
    from tinyfin.training.run_folder import open_run

    try:
        run = open_run(path)
        facts = run.read_json("run.json")
        metrics = run.read_json("metrics.json") if (path / "metrics.json").is_file() else {}
    except TinyfinError as error:
        return {"run": path.name, "error": str(error)}
    scorers = _at(metrics, "populations", "all") or {}
    model = next((name for name in ("model_int8", "model_float") if name in scorers), None)
    return {
        "run": run.name,
        "family": _at(facts, "model", "family"),
        "data": [_at(file, "name") for file in _at(facts, "data", "files") or ()],
        "rows": _at(facts, "data", "rows"),
        "frauds": _at(facts, "data", "frauds"),
        "until": _at(facts, "split", "until"),
        "model": model,
        "average_precision": _at(scorers, model, "average_precision"),
        "calibration_error": _at(scorers, model, "calibration_error"),
        "pack_bytes": run.pack.stat().st_size if run.pack.is_file() else None,
    }


def _at(facts: Any, *keys: str | None) -> Any:
    """The value under ``keys``; None where an older run lacks one."""
    for key in keys:
        facts = facts.get(key) if isinstance(facts, Mapping) else None
    return facts


def _text(found: list[dict[str, Any]]) -> str:
    from tinyfin.pages.blocks import count, fixed
    from tinyfin.text import one_line

    rows = [
        (
            one_line(facts["run"]),
            str(facts["family"] or "-"),
            one_line(_files(facts["data"])),
            count(facts["rows"]),
            count(facts["frauds"]),
            (facts["model"] or "-").removeprefix("model_"),
            fixed(facts["average_precision"]),
            fixed(facts["calibration_error"], 4),
            count(facts["pack_bytes"]),
        )
        for facts in found
        if "error" not in facts
    ]
    lines = aligned([_COLUMNS, *rows]) if rows else []
    lines += [f"{one_line(f['run'])}: damaged: {f['error']}" for f in found if "error" in f]
    return "\n".join(lines)


def _files(names: list[Any]) -> str:
    first = str(names[0]) if names else "-"
    return first if len(names) < 2 else f"{first} and {len(names) - 1} more"

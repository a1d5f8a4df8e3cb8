# SPDX-License-Identifier: Apache-2.0
"""``tinyfin check``: what is the matter with files of transactions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tinyfin.cli.evaluate import end_at_gate, gate_lines
from tinyfin.cli.output import (
    DataFile,
    aligned,
    claim,
    emit,
    json_option,
    note,
    skip_bad_rows_option,
)
from tinyfin.progress import stage

if TYPE_CHECKING:
    from tinyfin.results.check import DataCheck

__all__ = ["command"]


@click.command()
@click.argument("data", nargs=-1, required=True, type=DataFile())
@click.option("--config", "config_path", type=click.Path(dir_okay=False), help="tinyfin.toml")
@click.option(
    "--against",
    type=click.Path(file_okay=False),
    help="Compare the fields with the training of this run; without --config, take its mapping.",
)
@click.option(
    "--gate",
    type=click.Path(exists=True, dir_okay=False),
    help="TOML of bounds on check.json; exit code 4 when one fails.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default="check",
    show_default=True,
    help="Folder of check.json and check.html.",
)
@skip_bad_rows_option
@json_option
def command(
    data: tuple[str, ...],
    config_path: str | None,
    against: str | None,
    gate: str | None,
    out: Path,
    skip_bad_rows: str | None,
    as_json: bool,
) -> None:
    """Look at transactions before a model is made of them, or scores them.

    Counts rows that cannot be read, doubles, missing values, codes of no ISO list, gaps in time,
    terminals that fall silent, labels that are too recent, and columns that look like card numbers;
    with --against, how far the fields are from a run's training. Writes check.json and check.html.
    Ends with exit code 0 whatever it finds, unless a bound of --gate fails.
    """
    from tinyfin.checking.page import write_page
    from tinyfin.checking.workflow import check
    from tinyfin.evaluation.gates import check as hold
    from tinyfin.evaluation.gates import load_gate, require_known
    from tinyfin.results.check import DataCheck
    from tinyfin.training.run_folder import RunFolder

    claim(out, make_folder=True)
    claim(skip_bad_rows)
    bounds = load_gate(gate) if gate is not None else None
    if gate is not None and bounds is not None:
        require_known(gate, bounds, DataCheck)
    found = check(data, config_path, against=against, skip_bad_rows=skip_bad_rows, note=note)
    if bounds is not None:
        found.gate = hold(found.as_json(), bounds)
    out.mkdir(parents=True, exist_ok=True)
    RunFolder(out).write(found)
    with stage("drawing the page"):
        page = write_page(out / "check.html", found)
    emit(found.as_json(), as_json, f"{_text(found)}\nreport: {page}")
    end_at_gate(gate, found.gate, page, _figure)


def _text(found: DataCheck) -> str:
    data = found.data
    rows = [[one.state.replace("_", " "), one.check, one.text] for one in found.checks]
    return "\n".join(
        [
            f"{data.rows:,} transactions of {data.terminals:,} terminals, {data.from_} to "
            f"{data.to}: {found.state.replace('_', ' ')}",
            *(f"  {line}" for line in aligned([["state", "check", "what was found"], *rows])),
            *gate_lines(found.gate, _figure),
        ]
    )


def _figure(value: float | None) -> str:
    return "no figure of this check" if value is None else f"{value:.4g}"

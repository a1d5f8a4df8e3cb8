# SPDX-License-Identifier: Apache-2.0
"""``tinyfin explain``: why one event got its verdict."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tinyfin.cli.output import DataFile, aligned, claim, emit, json_option, note
from tinyfin.cli.score import scoring_options

if TYPE_CHECKING:
    from tinyfin.data.events import Notices
    from tinyfin.results.explanation import Explanation

__all__ = ["command"]

_FEW = 6


@click.command()
@click.argument("run", type=click.Path(file_okay=False))
@click.argument("data", nargs=-1, required=True, type=DataFile())
@click.option(
    "--event",
    required=True,
    metavar="ID|ROW",
    help="The event: row:N (as input_row of the scores, from 0), id:ID, TERMINAL@TIME (UTC), or a "
    "row or an id alone where only one transaction is meant.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Page to write, such as why.html; its numbers go to why.json next to it.",
)
@scoring_options
@json_option
def command(
    run: str,
    data: tuple[str, ...],
    event: str,
    out: Path | None,
    warmup: tuple[str, ...],
    notices: Notices | None,
    config_path: str | None,
    skip_bad_rows: str | None,
    public_keys: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Explain the verdict of one event of DATA by the pack of a RUN.

    Gives score, thresholds and reasons, every feature with its usual value, its contribution as the
    device computes it and its Shapley value, and the smallest change of amount, hour or entry mode
    with which the event would have been accepted. The terminal is in the state that its earlier
    transactions left, as in `tinyfin score`.
    """
    from tinyfin import files
    from tinyfin.errors import InputError
    from tinyfin.explanation.words import render
    from tinyfin.explanation.workflow import explain
    from tinyfin.pack.trust import require_trusted, trusted_keys
    from tinyfin.training.run_folder import open_run

    folder = open_run(run)
    keys = trusted_keys(folder.path, public_keys)
    require_trusted(folder.pack_bytes(), keys, folder.pack)
    numbers = None if out is None else out.with_suffix(".json")
    if out is not None and out == numbers:
        raise InputError(f"--out {out}: is a page; name it .html, its numbers go to {numbers}")
    claim(out, numbers, skip_bad_rows)
    found = explain(
        folder,
        data,
        event,
        warmup=warmup,
        config_path=config_path,
        notices=notices,
        skip_bad_rows=skip_bad_rows,
        keys=keys,
        note=note,
    )
    if out is not None and numbers is not None:
        files.write(numbers, found.text())
        files.write(out, render(found, numbers.name))
        note(f"page: {out}")
    emit(found.as_dict(), as_json, _text(found))


def _text(found: Explanation) -> str:
    from tinyfin.explanation.words import feature_rows, place, sum_text, verdict_lines

    most = found.features[:_FEW]
    lines = [
        *verdict_lines(found),
        sum_text(found),
        *aligned(feature_rows(found)[: len(most) + 1]),
        *(f"{f.feature}: {f.definition}" for f in most),
        f"The {len(most)} largest of {len(found.features)} features; pack {found.pack_id}.",
    ]
    return "\n  ".join([f"{place(found)}: {found.advice}", *lines])

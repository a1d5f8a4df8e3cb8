# SPDX-License-Identifier: Apache-2.0
"""``tinyfin monitor``: the fixed pack of a run on later transactions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tinyfin.cli.output import DataFile, aligned, claim, emit, json_option, note
from tinyfin.cli.score import scoring_options
from tinyfin.errors import InputError, MismatchError
from tinyfin.progress import stage

if TYPE_CHECKING:
    from tinyfin.data.events import Notices
    from tinyfin.results.monitor import Monitoring

__all__ = ["command", "moment"]


@click.command()
@click.argument("run", type=click.Path(file_okay=False))
@click.argument("data", nargs=-1, required=True, type=DataFile())
@scoring_options
@click.option(
    "--as-of",
    help="Use labels that were known at this moment (ISO 8601); the last transaction of DATA if "
    "not given.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False),
    help="Folder of monitor.json and monitor.html; RUN/monitor if not given.",
)
@click.option("--psi-warning", type=float, help="Instead of [monitor] psi_warning.")
@click.option("--psi-failed", type=float, help="Instead of [monitor] psi_failed.")
@click.option("--factor", type=float, help="Instead of [monitor] factor.")
@click.option("--missing-notices", type=float, help="Instead of [monitor] missing_notices.")
@click.option("--min-rows", type=int, help="Instead of [monitor] min_rows.")
@click.option("--min-frauds", type=int, help="Instead of [monitor] min_frauds.")
@json_option
def command(
    run: str,
    data: tuple[str, ...],
    warmup: tuple[str, ...],
    notices: Notices | None,
    config_path: str | None,
    skip_bad_rows: str | None,
    as_of: str | None,
    out: str | None,
    public_keys: tuple[Path, ...],
    as_json: bool,
    **limits: float | int | None,
) -> None:
    """Look at the pack of a RUN on DATA that came after its training.

    Scores DATA as `tinyfin score` does and compares inputs, fields, scores and alerts with the rows
    that the model was made from; where labels are known and old enough, also false alerts with
    the budget, frauds with the probabilities, recall and average precision. Each check is ok, a
    warning, failed, or has too few rows; exit code 4 when one failed. Writes monitor.json and
    monitor.html.
    """
    from tinyfin.monitoring.page import write_page
    from tinyfin.monitoring.workflow import monitor
    from tinyfin.pack.trust import require_trusted, trusted_keys
    from tinyfin.training.run_folder import RunFolder, open_run

    folder = open_run(run)
    keys = trusted_keys(folder.path, public_keys)
    require_trusted(folder.pack_bytes(), keys, folder.pack)
    place = folder.path / "monitor" if out is None else Path(out)
    claim(run if out is None else place, make_folder=True)
    claim(skip_bad_rows)
    found = monitor(
        folder,
        data,
        warmup=warmup,
        config_path=config_path,
        notices=notices,
        skip_bad_rows=skip_bad_rows,
        keys=keys,
        limits={name: value for name, value in limits.items() if value is not None},
        as_of_s=moment(as_of),
        note=note,
    )
    place.mkdir(parents=True, exist_ok=True)
    RunFolder(place).write(found)
    with stage("drawing the page"):
        page = write_page(place / "monitor.html", found)
    emit(found.as_json(), as_json, f"{_text(found)}\nreport: {page}")
    failed = [check.check for check in found.checks if check.state == "failed"]
    if failed:
        # the result is out already: an error object on stdout would follow it
        named = ", ".join(failed[:5]) + (f" and {len(failed) - 5} more" if len(failed) > 5 else "")
        note(f"error: {folder.path}: failed on these transactions: {named}; see {page}")
        raise SystemExit(MismatchError.exit_code)


def moment(text: str | None) -> int | None:
    """``--as-of`` in seconds. Raises InputError."""
    from tinyfin.config import parse_moment

    try:
        return None if text is None else parse_moment(text)
    except ValueError as error:
        raise InputError(f"--as-of {text!r}: {error}") from error


def _text(found: Monitoring) -> str:
    from tinyfin.monitoring.remarks import check_rows, remarks

    rows = [["state", "check", "what was found, with 95 % intervals"], *check_rows(found)]
    lines = [f"  {line}" for line in aligned(rows)]
    return "\n".join([f"{found.run}: {found.state}", *lines, *remarks(found)])

# SPDX-License-Identifier: Apache-2.0
"""``tinyfin score``: what the terminal would have answered, computed on the workstation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from tinyfin.cli.output import DataFile, claim, emit, json_option, note, skip_bad_rows_option
from tinyfin.cli.trust import public_key_option

if TYPE_CHECKING:
    from tinyfin.data.events import Notices
    from tinyfin.training.scoring import Scored

__all__ = ["command", "scoring_options"]

F = TypeVar("F", bound=Callable[..., Any])

_SCORING = (
    click.option(
        "--warmup",
        multiple=True,
        type=DataFile(),
        help="Earlier transactions: they build state and are not reported. May be repeated.",
    ),
    click.option(
        "--notices",
        type=click.Choice(["both", "fraud_only", "none"]),
        help="Which labels of DATA reach the terminal as notices; as the mapping says if not "
        "given.",
    ),
    click.option(
        "--config",
        "config_path",
        type=click.Path(dir_okay=False),
        help="Another tinyfin.toml for the columns of DATA and for [monitor]; the run's own if not "
        "given.",
    ),
    skip_bad_rows_option,
    public_key_option,
)


def scoring_options(verb: F) -> F:
    """The options of every command that scores transactions with the pack of a run."""
    for option in reversed(_SCORING):
        verb = option(verb)
    return verb


@click.command()
@click.argument("run", type=click.Path(file_okay=False))
@click.argument("data", nargs=-1, required=True, type=DataFile())
@click.option(
    "--out",
    required=True,
    type=click.Path(dir_okay=False),
    help="File of scores: CSV when its name ends in .csv, else Parquet.",
)
@click.option(
    "--with",
    "extras",
    metavar="COLUMNS",
    help="Add these columns, separated by commas: terminal, id, time, label, model (model_id "
    "and pack_id), fields of the schema such as amount_minor; or all.",
)
@scoring_options
@json_option
def command(
    run: str,
    data: tuple[str, ...],
    warmup: tuple[str, ...],
    out: str,
    extras: str | None,
    notices: Notices | None,
    config_path: str | None,
    skip_bad_rows: str | None,
    public_keys: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Score DATA with the pack of a RUN: one row per transaction, in input order.

    Labels of DATA reach the terminal as notices, when they became known, and no earlier. The column
    `notices` says whether a row had the notices that the model was calibrated with: as_trained,
    missing, other (another kind), or unused (no feature needs them). Where they are missing, the
    probabilities do not hold.
    """
    from tinyfin.pack.trust import require_trusted, trusted_keys
    from tinyfin.training.run_folder import open_run
    from tinyfin.training.scoring import score

    folder = open_run(run)
    keys = trusted_keys(folder.path, public_keys)
    require_trusted(folder.pack_bytes(), keys, folder.pack)
    claim(out, skip_bad_rows, make_folder=True)
    result = score(
        folder,
        data,
        out,
        warmup=warmup,
        config_path=config_path,
        notices=notices,
        extras=_extras(extras),
        skip_bad_rows=skip_bad_rows,
        keys=keys,
        note=note,
    )
    emit(result, as_json, _text(result))


def _extras(asked: str | None) -> tuple[str, ...]:
    return () if asked is None else tuple(name.strip() for name in asked.split(","))


def _text(result: Scored) -> str:
    actions = ", ".join(f"{n} {name}" for name, n in result["actions"].items())
    lines = [f"{result['transactions']} transactions: {actions}"]
    labelled = result["labelled"]
    if result["expected_frauds"] is not None:
        line = f"frauds expected: {result['expected_frauds']:.1f}"
        if labelled["transactions"]:
            line += (
                f"; of {labelled['transactions']} labelled {labelled['expected_frauds']:.1f}, "
                f"observed {labelled['frauds']}"
            )
        lines.append(line)
    return "\n".join([*lines, f"scores: {result['out']}"])

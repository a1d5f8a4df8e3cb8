# SPDX-License-Identifier: Apache-2.0
"""``tinyfin demo``: the whole workflow, from transactions to verified verdicts."""

from __future__ import annotations

from pathlib import Path

import click

from tinyfin.cli.boards import boards_option
from tinyfin.cli.output import DataFile, emit, json_option, note

__all__ = ["command"]


@click.command()
@click.option(
    "--data",
    multiple=True,
    type=DataFile(Path),
    help="Transactions of your own; simulated ones if not given. May be repeated.",
)
@click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="tinyfin.toml; the reference model's for simulated transactions.",
)
@click.option(
    "--target",
    "target_name",
    default="cortex-m4",
    show_default=True,
    help="An emulated target of `tinyfin targets`.",
)
@click.option(
    "--out",
    default="runs",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Folder of the runs.",
)
@click.option("--name", default="demo", show_default=True, help="Name of the run.")
@boards_option
@json_option
def command(
    data: tuple[Path, ...],
    config_path: Path | None,
    target_name: str,
    out: Path,
    name: str,
    as_json: bool,
) -> None:
    """Train, quantize, compile into firmware, boot it and compare every answer.

    Exit code 4 when anything that the terminal computes differs from the workstation's.
    """
    from tinyfin.config import load
    from tinyfin.demo import run_demo
    from tinyfin.errors import MismatchError
    from tinyfin.field.audit import Verdict
    from tinyfin.paths import project_dir

    if config_path is None and not data:
        config_path = project_dir() / "models" / "payment" / "tinyfin.toml"
    demo = run_demo(
        load(config_path),
        data=list(data) or None,
        out=out,
        name=name,
        target_name=target_name,
        note=note,
    )
    emit(demo.facts, as_json, demo.text())
    for replayed in (demo.replayed, demo.installed):
        if replayed is not None and not replayed.ok:
            try:
                replayed.check()
            except MismatchError as error:
                note(f"error: {error}")
            raise SystemExit(4)
    if demo.noticed is not None and demo.noticed.mismatches:
        note("error: after the same notices the terminal's answers differ from the workstation's")
        raise SystemExit(4)
    if demo.audited is not None and demo.audited.verdict != Verdict.VALID:
        note("error: the terminal's audit log is not what it should be")
        raise SystemExit(4)

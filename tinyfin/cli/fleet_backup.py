# SPDX-License-Identifier: Apache-2.0
"""``tinyfin fleet backup`` and ``restore``: a lake, and what belongs to it, as one file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tinyfin.cli.fleet_carriers import FILE, open_lake_argument
from tinyfin.cli.output import claim, emit, json_option, note

if TYPE_CHECKING:
    from tinyfin.fleet.lake import Lake

__all__ = ["backup", "restore"]


@click.command("backup")
@open_lake_argument
@click.argument("out", metavar="FILE.tar", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--with-keys", is_flag=True, help="With the lake's key and report keys, in clear.")
@click.option(
    "--registry",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="With this registry.",
)
@click.option(
    "--campaigns",
    type=click.Path(path_type=Path),
    help="Their database, a file of SQLite; campaigns.sqlite in the lake if not given. Save "
    "PostgreSQL with pg_dump.",
)
@json_option
def backup(
    lake: Lake,
    out: Path,
    with_keys: bool,
    registry: Path | None,
    campaigns: Path | None,
    as_json: bool,
) -> None:
    """Write LAKE to FILE.tar, as it is at one moment, with the SHA-256 of every file.

    Merges wait meanwhile; reports are taken. Without the keys nobody can use what is restored until
    they are put back, so keep them somewhere.
    """
    from tinyfin.fleet.backup import backup

    claim(out)
    made = backup(lake, out, keys=with_keys, registry=registry, campaigns=campaigns)
    if not with_keys:
        note(f"without the key of the lake, {lake.path / lake.settings.key}: keep that one, too")
    size = sum(kept.bytes for kept in made.files.values())
    facts = {"file": str(out), "files": len(made.files), "bytes": size, "keys": with_keys}
    emit(facts, as_json, f"{out}: {len(made.files)} files, {size / 1e6:.1f} MB")


@click.command("restore")
@click.argument("file", metavar="FILE.tar", type=FILE)
@click.argument("folder", type=click.Path(path_type=Path))
@json_option
def restore(file: Path, folder: Path, as_json: bool) -> None:
    """Restore FILE.tar into a new FOLDER: all of it, or nothing where a byte was changed.

    FOLDER/lake is the lake then; registry and keys are next to it.
    """
    from tinyfin.fleet.backup import restore
    from tinyfin.fleet.lake import Settings

    made = restore(file, folder)
    settings = Settings.read(folder / "lake" / Settings.NAME)
    keys = [folder / "lake" / name for name in (settings.key, settings.report_keys) if name]
    missing = [str(path) for path in keys if not path.is_file()]
    for path in missing:
        note(f"put this file of keys back: {path}")
    facts = {"folder": str(folder), "files": len(made.files), "keys_missing": missing}
    emit(facts, as_json, f"{folder}: {len(made.files)} files, each as it was written")

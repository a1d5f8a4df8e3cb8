# SPDX-License-Identifier: Apache-2.0
"""``tinyfin governance``: drafts of governance documents from a registry."""

from __future__ import annotations

from pathlib import Path

import click

from tinyfin.cli.output import claim, emit, json_option
from tinyfin.cli.registry import registry_option

__all__ = ["command"]


@click.command()
@click.argument("out", type=click.Path(path_type=Path, file_okay=False))
@registry_option
@click.option("--at", "moment", help="A date or time: the state then, not the newest.")
@click.option(
    "--settings",
    "settings_path",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="TOML file of what only people know: purpose, tier, owner, limits, monitoring.",
)
@json_option
def command(
    out: Path, folder: Path, moment: str | None, settings_path: Path | None, as_json: bool
) -> None:
    """Write model inventory, change log, roles and maps of evidence into the folder OUT
    (docs/governance.md). The same log gives the same bytes."""
    from tinyfin import files
    from tinyfin.governance.documents import Settings, build, pages, read_settings
    from tinyfin.registry.registry import Registry, moment_text

    claim(out, make_folder=True)
    settings = read_settings(settings_path) if settings_path else Settings()
    facts = build(Registry(folder), moment_text(moment), settings)
    texts = {**pages(facts), "governance.json": facts.text()}
    out.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        files.write(out / name, text)
    gaps = sum(not row.found for one in facts.maps for row in one.rows)
    emit(
        {"folder": str(out), "files": sorted(texts), "head": facts.head, "gaps": gaps},
        as_json,
        f"{out}: {', '.join(sorted(texts))}\n{gaps} rows of the maps have no evidence",
    )

# SPDX-License-Identifier: Apache-2.0
"""``tinyfin targets``: what firmware can be built for, and where it can run."""

from __future__ import annotations

import click

from tinyfin.cli.boards import boards_option
from tinyfin.cli.output import aligned, emit, json_option

__all__ = ["command"]


@click.command()
@boards_option
@json_option
def command(as_json: bool) -> None:
    """List the targets: core, flash, RAM, how each is run and flashed.

    A target of your own is one board file in the folder boards: docs/boards.md.
    """
    from tinyfin.targets import catalogue

    targets = list(catalogue.load().values())
    rows = [("target", "core", "flash", "RAM", "status", "how to flash")]
    rows += [
        (
            target.name,
            target.core,
            _size(target.flash_bytes),
            _size(target.ram_bytes),
            ", ".join(target.status),
            target.how_to_flash(),
        )
        for target in targets
    ]
    emit({"targets": [target.as_dict() for target in targets]}, as_json, "\n".join(aligned(rows)))


def _size(count: int) -> str:
    return f"{count // 1024} KiB" if count < 1 << 20 else f"{count // (1 << 20)} MiB"

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
    """List the targets by family: core, flash, RAM, where what of each was executed, flash tools.

    No target has run on hardware: what was executed, was in an emulator (qemu, renode) or on an
    emulated core with models of the chip's registers (unicorn).
    A target of your own is one board file in the folder boards: docs/boards.md.
    """
    from tinyfin.targets import catalogue

    targets = list(catalogue.load().values())
    rows = [("target", "core", "flash", "RAM", "executed", "how to flash")]
    rows += [
        (
            target.name,
            target.core,
            _size(target.flash_bytes),
            _size(target.ram_bytes),
            target.where_executed(),
            target.how_to_flash(),
        )
        for target in targets
    ]
    head, *lines = aligned(rows)
    text = [head]
    for family in sorted({target.family for target in targets}, key=str.casefold):
        members = zip(targets, lines, strict=True)
        text += ["", family, *(line for target, line in members if target.family == family)]
    emit({"targets": [target.as_dict() for target in targets]}, as_json, "\n".join(text))


def _size(count: int) -> str:
    return f"{count // 1024} KiB" if count < 1 << 20 else f"{count // (1 << 20)} MiB"

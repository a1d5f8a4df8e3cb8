# SPDX-License-Identifier: Apache-2.0
"""``tinyfin build``: the firmware of a run for a target, by PlatformIO."""

from __future__ import annotations

from pathlib import Path

import click

from tinyfin.cli.boards import boards_option
from tinyfin.cli.output import claim, emit, json_option, note
from tinyfin.cli.trust import (
    public_key_option,
    release_defines,
    release_option,
    release_replay_option,
    root_key_option,
    root_public_key,
    sealed_option,
    shadow_state_option,
)

__all__ = ["command"]


@click.command()
@click.argument("run", type=click.Path(path_type=Path, exists=True))
@click.option("--target", "target_name", required=True, help="A name of `tinyfin targets`.")
@click.option(
    "--generated",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Compile this folder, written by `tinyfin codegen`, instead of generating from the pack.",
)
@release_option
@release_replay_option
@sealed_option
@shadow_state_option
@public_key_option
@root_key_option
@boards_option
@json_option
def command(
    run: Path,
    target_name: str,
    generated: Path | None,
    release: bool,
    release_replay: bool,
    sealed: bool,
    shadow_state: bool,
    public_keys: tuple[Path, ...],
    root_key: Path | None,
    as_json: bool,
) -> None:
    """Build the terminal firmware with the pack of RUN, a run folder or a .tfpack.

    The image gets the pack in the layout of the target's kernels. A pack of the development key is
    repacked here; for another key, the file that `tinyfin sign` or `quantize --key` wrote next to
    the pack is used.

    The image is kept in RUN/firmware/TARGET, with its sizes in image.json. Exit code 7 says that
    it does not fit the target, 6 that a tool is missing or that the compiler failed.
    """
    from tinyfin.pack.container import parse_pack
    from tinyfin.pack.trust import require_trusted, trusted_keys
    from tinyfin.targets import build as building
    from tinyfin.targets import catalogue, flash

    target = catalogue.get(target_name)
    pack = None if generated is not None else flash.run_pack(run)
    if run.is_dir():
        claim(run, shared=True)
        claim(flash.run_folder(run) / target.name, make_folder=True)
    keys = None
    root = root_public_key(root_key)
    if pack is not None:
        keys = trusted_keys(run, public_keys)
        require_trusted(pack.read_bytes(), keys, pack, release=release or release_replay)
        pack = flash.target_pack(run, target, keys, note)
    elif public_keys or root:
        raise click.UsageError(
            "--generated has its keys already: give --public-key and --root-key to codegen"
        )
    result = building.build(
        target,
        generated_dir=generated,
        pack=pack,
        keys=keys,
        root_key=root,
        defines=release_defines(target, release, release_replay, sealed, shadow_state),
    )
    elf = flash.store_image(result, flash.run_folder(run))
    emit(
        {
            "target": target.name,
            "pack": None if pack is None else parse_pack(pack.read_bytes()).pack_id.hex(),
            "elf": str(elf),
            "flash_bytes": result.flash_bytes,
            "ram_bytes": result.ram_bytes,
            "sections": result.sections,
            "log": str(result.log_path),
        },
        as_json,
        f"{elf}: {result.flash_bytes} B of flash, {result.ram_bytes} B of RAM",
    )

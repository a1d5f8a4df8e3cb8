# SPDX-License-Identifier: Apache-2.0
"""``tinyfin flash``: the firmware of a run on a target, and proof that it is that firmware."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tinyfin.cli.boards import boards_option, emulator_option
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

if TYPE_CHECKING:
    from tinyfin.wire.messages import Hello

__all__ = ["command"]


@click.command()
@click.argument("run", type=click.Path(path_type=Path, exists=True))
@click.option("--target", "target_name", required=True, help="A name of `tinyfin targets`.")
@click.option("--board", is_flag=True, help="Program a board, not the emulated target.")
@click.option(
    "--port",
    help="With --board: where it answers afterwards, to check its pack. Tools that flash through "
    "the serial port use it too.",
)
@emulator_option
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
    board: bool,
    port: str | None,
    emulator: str | None,
    release: bool,
    release_replay: bool,
    sealed: bool,
    shadow_state: bool,
    public_keys: tuple[Path, ...],
    root_key: Path | None,
    as_json: bool,
) -> None:
    """Build the firmware of RUN, a run folder or a .tfpack, and put it on a target.

    On an emulated target the flash is a file that `tinyfin replay` boots. This command boots it
    once, checks that it runs the pack of RUN, and stops it. A board is programmed with the first of
    its flash tools that is on PATH.
    """
    from tinyfin.pack.container import parse_pack
    from tinyfin.pack.trust import require_trusted, trusted_keys
    from tinyfin.targets import build as building
    from tinyfin.targets import catalogue, flash, renode

    target = catalogue.get(target_name)
    if emulator is not None and board:
        raise click.UsageError("--emulator is for an emulated target: leave out --board")
    board = board or (target.emulator is None and emulator != "renode")
    if port is not None and not board:
        raise click.UsageError("--port is for a board: give --board too")
    if board:
        flash.require_flash_tool(target)
    building.require_tools(target, emulated=not board and emulator != "renode")
    if emulator == "renode":
        renode.require(target)
    pack = flash.run_pack(run)
    if run.is_dir():
        claim(run, shared=True)
        if not board:
            claim(flash.run_folder(run) / target.name, make_folder=True)
    keys = trusted_keys(run, public_keys)
    root = root_public_key(root_key)
    require_trusted(pack.read_bytes(), keys, pack, release=release or release_replay)
    pack = flash.target_pack(run, target, keys, note)
    pack_id = parse_pack(pack.read_bytes()).pack_id.hex()
    built = building.build(
        target,
        pack=pack,
        keys=keys,
        root_key=root,
        defines=release_defines(target, release, release_replay, sealed, shadow_state),
    )
    facts: dict[str, Any] = {
        "target": target.name,
        "pack": pack_id,
        "flash_bytes": built.flash_bytes,
        "ram_bytes": built.ram_bytes,
    }
    if board:
        facts["command"] = flash.flash_board(target, built, port)
        facts["checked"] = port is not None
        if port is not None:
            from tinyfin.hil.links.session import at_port

            with at_port(port) as reached:
                _check(target.name, reached.client.connect(), pack_id)
        text = f"{target.name}: programmed with {facts['command'][0]}"
    else:
        from tinyfin.hil.links.session import emulated

        image = flash.store_image(built, flash.run_folder(run))
        note("booting")
        with emulated(target, image, icount=False, emulator=emulator) as reached:
            _check(target.name, reached.client.connect(), pack_id)
        facts.update(image=str(image), checked=True)
        text = f"{target.name}: {image}"
    checked = f"answers with pack {pack_id}" if facts["checked"] else "its pack was not checked"
    emit(facts, as_json, f"{text}; {checked}")


def _check(target: str, hello: Hello, pack_id: str) -> None:
    """TargetError when the terminal runs another pack, or could not open its own."""
    from tinyfin.errors import TargetError
    from tinyfin.wire.refusals import refused_pack

    if hello.open_error:
        raise refused_pack(target, hello.open_error)
    if hello.pack_id != pack_id:
        raise TargetError(
            f"{target}: runs pack {hello.pack_id}, not {pack_id}; the image was not written, or "
            "another terminal answers at this port"
        )

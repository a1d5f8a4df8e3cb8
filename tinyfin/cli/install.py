# SPDX-License-Identifier: Apache-2.0
"""``tinyfin install``: a pack into a slot of a terminal, over the wire."""

from __future__ import annotations

from pathlib import Path

import click

from tinyfin.cli.output import emit, json_option, note
from tinyfin.cli.slots import as_dict, text
from tinyfin.cli.terminal import Terminal, terminal_options
from tinyfin.cli.trust import public_key_option

__all__ = ["command"]


@click.command()
@click.argument("run", type=click.Path(path_type=Path, exists=True))
@terminal_options
@click.option(
    "--activate", is_flag=True, help="Then start the trial: the terminal restarts with the pack."
)
@public_key_option
@json_option
def command(
    run: Path, terminal: Terminal, activate: bool, public_keys: tuple[Path, ...], as_json: bool
) -> None:
    """Put the pack of RUN, a run folder or a .tfpack, into the free slot of a terminal.

    RUN may be a sealed pack of `tinyfin seal`, too; the terminal opens it, no key is needed here.

    The terminal checks the signature before it erases anything, goes on scoring meanwhile, and
    verifies the pack when it is complete. When line or power fail, the same command goes on where
    it stopped. The pack runs from the next start after `--activate`, or after
    `tinyfin slots --activate`; `tinyfin slots --confirm` makes it stay. A release takes both as
    signed commands alone: `tinyfin command`. Exit code 5: the terminal refuses it, or does not
    answer.
    """
    from tinyfin.cli.sealing import sealed_of
    from tinyfin.field.sealing import Kind
    from tinyfin.pack.trust import require_trusted, trusted_keys
    from tinyfin.progress import stage
    from tinyfin.targets import catalogue, flash
    from tinyfin.wire import slot_frames

    keys = trusted_keys(run, public_keys)
    sealed = sealed_of(run, Kind.PACK)
    if sealed is None:
        path = flash.run_pack(run)
        require_trusted(path.read_bytes(), keys, path)
    with terminal.connected() as client:
        hello = client.hello
        target = catalogue.load().get(hello.target)
        if sealed is None and target is not None:
            path = flash.target_pack(run, target, keys, note)
        pack = path.read_bytes() if sealed is None else sealed
        before = slot_frames.info(client)
        size = len(pack if isinstance(pack, bytes) else pack.content)
        with stage("installing", size, "bytes") as shown:
            slots = slot_frames.install(client, pack, lambda at, of: shown.at(at, of, "bytes"))
        staged = slots.phase == slot_frames.Phase.STAGED
        if slots == before:
            note(
                "nothing was installed: the terminal holds this pack already"
                + ("" if staged or not activate else ", and there is nothing to activate")
            )
        if activate and staged:
            slot_frames.command(client, slot_frames.Command.ACTIVATE)
            client.reboot()
            client.connect()
            slots = slot_frames.info(client)
    emit(as_dict(slots), as_json, text(slots))

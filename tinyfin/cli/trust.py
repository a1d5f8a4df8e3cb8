# SPDX-License-Identifier: Apache-2.0
"""Options on trust, shared by the commands that open packs or build them in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tinyfin.cli.output import file_option

if TYPE_CHECKING:
    from tinyfin.targets.catalogue import Target

__all__ = [
    "command_key_option",
    "key_option",
    "keys_option",
    "public_key_option",
    "release_defines",
    "release_option",
    "release_replay_option",
    "root_key_option",
    "root_public_key",
    "seal_key_option",
    "sealed_option",
    "security_counter_option",
    "shadow_state_option",
]

key_option = file_option(
    "--key",
    "key_path",
    "The key to sign with; the development key if not given, for a pack that it signed.",
)

security_counter_option = click.option(
    "--security-counter",
    type=click.IntRange(0, 2**32 - 1),
    help="Terminals that have run a pack with a higher one refuse this pack; it stays if not "
    "given.",
)

public_key_option = file_option(
    "--public-key",
    "public_keys",
    "Trust packs signed by this key: a .pub file of `tinyfin keygen`. May be repeated; the "
    "key that the run was signed with if not given.",
    multiple=True,
)

command_key_option = file_option(
    "--key",
    "key_path",
    "The command key to sign with, of `tinyfin keygen --kind command`; the root key for a "
    "terminal without a key manifest. The development key, for a rig, if not given.",
)

keys_option = file_option(
    "--keys",
    "keys_path",
    "The key manifest of the terminals, a .tfkeys file; needed where --key is not the first "
    "command key in it.",
)

root_key_option = file_option(
    "--root-key",
    "root_key",
    "The .pub file of the root key, of `tinyfin keygen --kind root`: terminals take the keys "
    "and commands that it has signed. The development key, in no release, if not given.",
)

release_option = click.option(
    "--release",
    is_flag=True,
    help="Build for the field: trust release keys alone, answer HELLO and STATS, and take only "
    "what is signed.",
)

release_replay_option = click.option(
    "--release-replay",
    is_flag=True,
    help="As --release, but also answer EVENTS, CHECKPOINT and REBOOT, for acceptance tests.",
)


sealed_option = click.option(
    "--sealed",
    is_flag=True,
    help="With sealed packs and state images (TFIN_SEALED), for a board that keeps packs in flash.",
)

shadow_state_option = click.option(
    "--shadow-state",
    is_flag=True,
    help="With memory for a second state (TFIN_SHADOW_STATE), so that a pack with another feature "
    "program runs in shadow, too; for a board that keeps packs in flash.",
)

seal_key_option = file_option(
    "--seal-key",
    "seal_key",
    "The sealing key, of `tinyfin keygen --kind seal`, that opens what is sealed.",
)


def root_public_key(path: Path | None) -> bytes | None:
    """The 32 bytes of :data:`root_key_option`. Raises InputError."""
    from tinyfin.pack.trust import load_public_key

    return None if path is None else load_public_key(path, "root")


def release_defines(
    target: Target, release: bool, replay: bool, sealed: bool, shadow_state: bool
) -> tuple[str, ...]:
    """What the firmware is compiled with under these options. Raises InputError for a target that
    cannot take sealed packs, or has no pack in shadow."""
    from tinyfin.errors import InputError

    if sealed and not target.keeps_packs:
        raise InputError(
            f"--sealed: {target.name} keeps no pack in flash, so it takes none that is sealed; "
            "docs/field.md says which boards do"
        )
    if shadow_state and not target.keeps_packs:
        raise InputError(
            f"--shadow-state: {target.name} keeps no pack in flash, so it has none in shadow; "
            "docs/field.md says which boards do"
        )
    asked = (
        ("TFIN_RELEASE", release or replay),
        ("TFIN_RELEASE_REPLAY", replay),
        ("TFIN_SEALED", sealed),
        ("TFIN_SHADOW_STATE", shadow_state),
    )
    return tuple(name for name, given in asked if given)

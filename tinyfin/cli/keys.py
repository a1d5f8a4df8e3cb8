# SPDX-License-Identifier: Apache-2.0
"""``tinyfin keys``: the keys that terminals trust, signed by the root key."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tinyfin.cli.output import FILE, Group, claim, emit, file_option, json_option, out_option
from tinyfin.cli.terminal import Terminal, terminal_options
from tinyfin.cli.trust import root_key_option

if TYPE_CHECKING:
    from tinyfin.field.keys import KeyManifest

__all__ = ["command"]


@click.group(cls=Group)
def command() -> None:
    """The key manifest of terminals: which keys sign their packs, commands and notices.

    A key that leaks is replaced by a manifest with a higher version and without it.
    """


@command.command("make")
@file_option(
    "--root",
    "root_path",
    "The root key that signs it; the development key, for a rig, if not given.",
)
@file_option(
    "--release",
    "releases",
    "Public half of a release key; at most two.",
    multiple=True,
    required=True,
)
@file_option(
    "--command",
    "commands",
    "Public half of a command key; at most two.",
    multiple=True,
    required=True,
)
@click.option(
    "--version",
    type=click.IntRange(1, 65535),
    required=True,
    help="Higher than that of every manifest before.",
)
@out_option("The manifest, a .tfkeys file.")
@json_option
def make(
    root_path: Path | None,
    releases: tuple[Path, ...],
    commands: tuple[Path, ...],
    version: int,
    out_path: Path,
    as_json: bool,
) -> None:
    """Make a manifest of one or two release keys and one or two command keys."""
    from tinyfin import files
    from tinyfin.field.keys import KeyManifest, sign_manifest
    from tinyfin.pack.signing import DEVELOPMENT_KEY, load_key
    from tinyfin.pack.trust import load_public_key

    claim(out_path)
    root = DEVELOPMENT_KEY if root_path is None else load_key(root_path, "root")
    manifest = KeyManifest(
        version,
        tuple(load_public_key(path) for path in releases),
        tuple(load_public_key(path, "command") for path in commands),
    )
    files.write(out_path, sign_manifest(manifest, root))
    emit({"file": str(out_path), **asdict(manifest)}, as_json, f"{out_path}: {_text(manifest)}")


@command.command("show")
@click.argument("file", type=FILE)
@root_key_option
@json_option
def show(file: Path, root_key: Path | None, as_json: bool) -> None:
    """The keys of a manifest; with --root-key, also whether that key signed it."""
    from tinyfin.cli.trust import root_public_key
    from tinyfin.field.signers import read_manifest

    root = root_public_key(root_key)
    manifest = read_manifest(file, root)
    checked = "signed by the root key" if root else "its signature was not checked (--root-key)"
    facts = {**asdict(manifest), "checked": root is not None}
    emit(facts, as_json, f"{_text(manifest)}\n{checked}")


@command.command("install")
@click.argument("file", type=FILE)
@terminal_options
@json_option
def install(file: Path, terminal: Terminal, as_json: bool) -> None:
    """Put a manifest into a terminal. From then on its keys alone count there.

    The terminal checks it with the root key of its firmware, and takes no older version than it
    has.
    """
    from tinyfin.field.signers import read_manifest
    from tinyfin.wire import field_frames

    manifest = read_manifest(file)
    with terminal.connected() as client:
        now = field_frames.install_keys(client, file.read_bytes())
    facts = {"terminal": now.terminal.hex(), "keys_version": now.keys_version}
    emit(facts, as_json, f"terminal {now.terminal.hex()} has {_text(manifest)}")


def _text(manifest: KeyManifest) -> str:
    rows = [("release", manifest.release), ("command", manifest.command)]
    lines = [f"key manifest, version {manifest.version}"]
    lines += [f"  {what} {i}: {key.hex()}" for what, keys in rows for i, key in enumerate(keys)]
    return "\n".join(lines)

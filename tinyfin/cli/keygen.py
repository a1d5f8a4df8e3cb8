# SPDX-License-Identifier: Apache-2.0
"""``tinyfin keygen``: a key that signs, that seals, or from which secrets of terminals are made."""

from __future__ import annotations

from pathlib import Path

import click

from tinyfin.cli.output import claim, emit, file_option, json_option

__all__ = ["command"]


@click.command()
@click.argument("file", type=click.Path(dir_okay=False))
@click.option(
    "--kind",
    type=click.Choice(["release", "root", "command", "person", "fleet", "seal"]),
    default="release",
    show_default=True,
    help="What it is for: release signs packs; command commands and notices; root the list of "
    "these keys; person what you do in a registry; from fleet come the secrets of terminals; seal "
    "encrypts packs and state images.",
)
@file_option(
    "--fleet-key",
    "fleet_path",
    "With --kind seal: not a new key, but the one that a terminal makes of its secrets.",
)
@click.option("--terminal", "terminal_id", help="With --fleet-key: the id of that terminal.")
@click.option(
    "--hsm",
    "uri",
    help="Have an HSM seal FILE: pkcs11:token=TOKEN;object=KEY names its AES key, which is made if "
    "need be. PKCS11_MODULE is the HSM's library, PKCS11_PIN its PIN.",
)
@json_option
def command(
    file: str,
    kind: str,
    fleet_path: Path | None,
    terminal_id: str | None,
    uri: str | None,
    as_json: bool,
) -> None:
    """Make a key in FILE, and the public half of one that signs in FILE.pub.

    FILE is readable by you alone; keep it off shared machines, and a root key off the network. An
    existing file is never replaced. FILE.pub of a release key is for --public-key, that of a root
    key for --root-key: they go into the firmware. That of a person goes into the policy of a
    registry.

    A sealing key has no public half: whoever has it opens what it has sealed. Terminals get it from
    their maker, through the port; or take a terminal's own, with --fleet-key and --terminal.

    With --hsm the AES key never leaves the HSM, and FILE is of no use without it. No HSM computes
    the signatures of tinyfin: the secret is in the memory of a command while it signs.
    """
    import secrets
    from typing import cast

    from tinyfin.errors import InputError
    from tinyfin.field import sealing
    from tinyfin.field.keys import load_fleet_key, parse_terminal_id
    from tinyfin.pack.key_files import KEY_BYTES, Kind, save_secret, text_of
    from tinyfin.pack.sealed_keys import sealed
    from tinyfin.pack.signing import key_from_seed
    from tinyfin.pack.trust import save_public_key

    chosen = cast("Kind", kind)
    if (fleet_path is None) != (terminal_id is None) or (fleet_path and kind != "seal"):
        raise click.UsageError("--fleet-key and --terminal go together, with --kind seal")
    public_file = None if kind in ("fleet", "seal") else Path(f"{file}.pub")
    claim(file, public_file)
    for path in filter(None, (Path(file), public_file)):
        if path.exists():
            raise InputError(f"{path}: exists already; a key is never replaced")
    secret = secrets.token_bytes(KEY_BYTES)
    if fleet_path is not None and terminal_id is not None:
        name = parse_terminal_id(terminal_id)
        secret = sealing.terminal_sealing_key(load_fleet_key(fleet_path), name)
    if uri is None:
        save_secret(file, text_of(secret, kind))
    else:
        word = f"{kind}-sealed"
        save_secret(file, text_of(sealed(secret, word, uri), word, uri))
    result = {"file": file, "kind": kind, "sealed": uri is not None}
    if kind == "seal":
        key_id = sealing.key_id(secret).hex()
        emit(result | {"key_id": key_id}, as_json, f"{file}: sealing key {key_id}")
        return
    if public_file is None:
        emit(result, as_json, f"{file}: fleet key")
        return
    key = key_from_seed(secret)
    save_public_key(key.public, public_file, chosen)
    result |= {
        "public_file": str(public_file),
        "public_key": key.public.hex(),
        "key_id": f"{key.key_id:08x}",
    }
    emit(
        result,
        as_json,
        f"{file}: {kind} key {key.key_id:08x}\n{public_file}: public key {key.public.hex()}",
    )

# SPDX-License-Identifier: Apache-2.0
"""``tinyfin keygen``: a key that signs release packs."""

from __future__ import annotations

from pathlib import Path

import click

from tinyfin.cli.output import claim, emit, json_option

__all__ = ["command"]


@click.command()
@click.argument("file", type=click.Path(dir_okay=False))
@json_option
def command(file: str, as_json: bool) -> None:
    """Make a signing key in FILE, and its public half in FILE.pub.

    FILE holds 64 hex digits, readable by you alone; keep it off shared machines. FILE.pub
    is for --public-key: it goes into the firmware's list of trusted keys. An existing file is
    never replaced.
    """
    from tinyfin.errors import InputError
    from tinyfin.pack.signing import generate_key, save_key
    from tinyfin.pack.trust import save_public_key

    public_file = Path(f"{file}.pub")
    claim(file, public_file)
    if public_file.exists():
        raise InputError(f"{public_file}: exists already; a key is never replaced")
    key = generate_key()
    save_key(key, file)
    save_public_key(key.public, public_file)
    result = {
        "file": file,
        "public_file": str(public_file),
        "public_key": key.public.hex(),
        "key_id": f"{key.key_id:08x}",
    }
    emit(
        result,
        as_json,
        f"{file}: key {key.key_id:08x}\n{public_file}: public key {key.public.hex()}",
    )

# SPDX-License-Identifier: Apache-2.0
"""``tinyfin keygen``: a key that signs release packs."""

from __future__ import annotations

import click

from tinyfin.cli.output import emit, json_option

__all__ = ["command"]


@click.command("keygen")
@click.argument("file", type=click.Path(dir_okay=False))
@json_option
def command(file: str, as_json: bool) -> None:
    """Make a signing key in FILE and print its public half.

    FILE holds 64 hex digits, readable by you alone; keep it off shared machines. The public key
    goes into the firmware's list of trusted keys. An existing file is never replaced.
    """
    from tinyfin.pack.signing import generate_key, save_key

    key = generate_key()
    save_key(key, file)
    result = {"file": file, "public_key": key.public.hex(), "key_id": f"{key.key_id:08x}"}
    emit(result, as_json, f"{file}: key {key.key_id:08x}\npublic key {key.public.hex()}")

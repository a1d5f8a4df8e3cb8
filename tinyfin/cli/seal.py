# SPDX-License-Identifier: Apache-2.0
"""``tinyfin seal``: encrypt a pack or a state image for its way, or open one."""

from __future__ import annotations

from pathlib import Path

import click

from tinyfin.cli.boards import boards_option
from tinyfin.cli.output import claim, emit, file_option, json_option, note, out_option
from tinyfin.cli.trust import public_key_option

__all__ = ["command"]


@click.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True))
@file_option(
    "--seal-key", "seal_key", "The sealing key, of `tinyfin keygen --kind seal`.", required=True
)
@out_option("The sealed file (.tfsealed); with --open what was sealed.")
@click.option("--open", "opens", is_flag=True, help="Open the sealed FILE instead.")
@click.option("--target", help="Of a pack: in the layout of this target's kernels.")
@public_key_option
@boards_option
@json_option
def command(
    file: Path,
    seal_key: Path,
    out_path: Path,
    opens: bool,
    target: str | None,
    public_keys: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Encrypt FILE, a run folder, a .tfpack or a state image, so that only terminals and people
    with the sealing key can read it.

    A sealed pack is for `tinyfin install`, which needs no key; a sealed state image for `tinyfin
    state`. `tinyfin inspect` says what is sealed in a file, and by which key. Sealing replaces no
    signature: a terminal opens the pack and then checks it as any other one.

    Each sealing of a pack gives another file. What was opened is readable by you alone.
    """
    from tinyfin.cli.sealing import write_private
    from tinyfin.errors import InputError
    from tinyfin.field import sealing
    from tinyfin.pack.trust import require_trusted, trusted_keys
    from tinyfin.targets import catalogue, flash

    if opens and target is not None:
        raise click.UsageError("--target goes with sealing: leave out --open")
    key = sealing.load_sealing_key(seal_key)
    claim(out_path)
    data = b"" if file.is_dir() else file.read_bytes()
    if opens:
        sealed = sealing.parse_sealed(data, file)
        write_private(out_path, sealing.open_sealed(sealed, key, file))
        done = f"opened, a {sealed.what}"
    else:
        if sealing.is_sealed(data):
            raise InputError(f"{file}: is sealed already; open it first with --open")
        if data.startswith(b"TFST"):
            if target is not None:
                raise click.UsageError("--target is for a pack; FILE is a state image")
            sealed = sealing.seal_state(data, key)
        else:
            keys = trusted_keys(file, public_keys)
            path = flash.run_pack(file)
            if not path.read_bytes().startswith(b"TFPK"):
                raise InputError(f"{path}: is neither a pack (TFPK) nor a state image (TFST)")
            require_trusted(path.read_bytes(), keys, path)
            if target is not None:
                path = flash.target_pack(file, catalogue.get(target), keys, note)
            sealed = sealing.seal_pack(path.read_bytes(), key)
        from tinyfin import files

        files.write(out_path, sealed.encode())
        done = f"{sealed.what}, sealed by key {sealed.key_id.hex()}"
    facts = {
        "out": str(out_path),
        "kind": sealed.kind.name.lower(),
        "sealed": not opens,
        "key_id": sealed.key_id.hex(),
        "bytes": len(sealed.content),
    }
    emit(facts, as_json, f"{out_path}: {done}, {len(sealed.content)} bytes")

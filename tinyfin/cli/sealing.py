# SPDX-License-Identifier: Apache-2.0
"""Sealed files, for the commands that take them: what is in one, opened or closed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tinyfin.errors import InputError

if TYPE_CHECKING:
    from tinyfin.field.sealing import Kind, Sealed

__all__ = ["contents", "sealed_of", "write_private"]


def sealed_of(path: Path, kind: Kind) -> Sealed | None:
    """What is sealed in a file; None when nothing is, or it is a folder.

    Raises PackError when it is damaged, InputError when it is not of this kind.
    """
    from tinyfin.field.sealing import is_sealed, parse_sealed

    if not path.is_file() or not is_sealed(data := path.read_bytes()):
        return None
    sealed = parse_sealed(data, path)
    if sealed.kind != kind:
        raise InputError(f"{path}: is a sealed {sealed.what}; give a {kind.what}")
    return sealed


def contents(path: Path, seal_key: Path | None, kind: Kind) -> bytes:
    """What a file holds, opened when it is sealed; ``seal_key``: the file of the key for that.

    Raises InputError when the key is missing or another one, PackError when it is damaged.
    """
    from tinyfin.field.sealing import load_sealing_key, open_sealed

    sealed = sealed_of(path, kind)
    if sealed is None:
        return path.read_bytes()
    if seal_key is None:
        raise InputError(
            f"{path}: is sealed by key {sealed.key_id.hex()}; give that key with --seal-key"
        )
    return open_sealed(sealed, load_sealing_key(seal_key), path)


def write_private(path: Path, data: bytes) -> None:
    """Write what was opened: a new file is its owner's alone. Raises InputError."""
    from tinyfin import files

    with files.whole(path, private=True) as unfinished:
        unfinished.write_bytes(data)

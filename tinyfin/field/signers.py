# SPDX-License-Identifier: Apache-2.0
"""Who signs commands and notices."""

from __future__ import annotations

from pathlib import Path

from tinyfin.errors import InputError
from tinyfin.field.keys import KeyManifest, parse_manifest
from tinyfin.pack.key_files import kind_of
from tinyfin.pack.signing import DEVELOPMENT_KEY, Key, load_key

__all__ = ["command_signer", "read_manifest"]


def read_manifest(path: str | Path, root: bytes | None = None) -> KeyManifest:
    """The manifest of a file, as :func:`parse_manifest` reads it. Raises InputError."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}; check the path") from error
    return parse_manifest(data, root, path)


def command_signer(key: str | Path | None, manifest: str | Path | None = None) -> tuple[Key, int]:
    """The key of a file, and its place among the command keys of the terminals' manifest.

    key: of the kind command, or root for terminals that have no manifest; the development key, for
    a rig, if None. manifest: of a file; without one the place is 0. Raises InputError, ToolError.
    """
    signer = DEVELOPMENT_KEY
    if key is not None:
        signer = load_key(key, "root" if kind_of(key) == "root" else "command")
    return signer, 0 if manifest is None else read_manifest(manifest).place_of(signer.public)
